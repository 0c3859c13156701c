//! What is only looked at: lists for the API and figures for `/metrics`.
//!
//! Nothing here locks or changes a row. Lists that can grow without bound are read a page at a
//! time, by the key of the last row seen.

pub mod commands;
pub mod figures;
pub mod nodes;
pub mod windows;
