//! What all systems of rpm share: the database of installed packages, and repositories' metadata.
//!
//! Metadata is read as a stream and never held: of a repository's tens of thousands of packages only
//! those of installed names, at least as new as what is installed, are kept.
//!
//! - `installed`: what is on the node. `repomd`: which files a repository has.
//! - `elements` and `open`: reading those files. `primary`: packages. `updateinfo`: notices.
//!   `modules`: names of packages that belong to a module.
//! - `ini`: what the tools' configuration is written in.
//!
//! Nothing here knows which tool installs, and nothing here is changed on the node.

pub(super) mod elements;
pub(super) mod ini;
pub(super) mod installed;
pub(super) mod modules;
pub(super) mod open;
pub(super) mod primary;
pub(super) mod repomd;
pub(super) mod updateinfo;
