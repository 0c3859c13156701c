//! Patch baselines: which versions of which packages are approved on a node, and why.
//!
//! [`evaluate`], and [`evaluate_patches`] where the vendor's unit is the patch, are functions of values. The agent calls it on what it has just read from the
//! package manager, the control plane calls it on stored inventories; both get the same answer
//! for the same `now`. Nothing here reads a clock or a file.
//!
//! Order of precedence (SSM's): rejected patches win over everything; approved patches need no
//! rule and no global filter; then global filters; then the approval rules, of which any suffices.
//! An InstallOverrideList takes the place of all of it for what is installed, and of nothing else.

mod approval;
mod decision;
mod evaluate;
mod family;
mod filters;
mod fleet;
mod inventory;
mod lists;
mod override_file;
mod override_list;
mod package;
mod patches;
mod patterns;
mod predefined;
mod subject;
mod validate;
mod verdict;

pub use decision::{Decision, Evaluation, LeftOut};
pub use evaluate::{blocked_by, evaluate};
pub use family::Family;
pub use filters::product;
pub use fleet::{Comparison, Fleet, FleetCounts, FleetNode, NodeChange, PatchChange, Standing};
pub use inventory::{Entry, Found, Inventory, PACKED_BYTES_MAX, PackError, Unpacked, unpack};
pub use lists::{Listed, listed};
pub use override_file::{OVERRIDE_BYTES_MAX, OVERRIDE_ENTRIES_MAX, OverrideListError, parse_override_list};
pub use override_list::{forbidden, judge, judge_patches};
pub use package::{Advisory, AvailableVersion, InstalledPackage, NodeProfile, Origin, Patch, PatchStatus};
pub use patches::evaluate_patches;
pub use patterns::{Names, glob_matches};
pub use predefined::{all_predefined, predefined};
pub use validate::{BaselineError, validate};
