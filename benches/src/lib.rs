//! Patchwave.
