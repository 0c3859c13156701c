//! What this machine looks like: a hash that differs between machines and stays on one.
//!
//! It keeps a copied disk from becoming a second machine with the first one's identity by accident.
//! It is no proof against somebody who wants to copy one: that is what the key file's mode is for.

use std::fs;
use std::path::Path;

use ring::digest::{Context, SHA256};

/// Files whose content tells machines apart: the installation's, the firmware's and the board's. A
/// copied disk has the first one in common, a moved one the others not.
const SOURCES: [&str; 3] = ["etc/machine-id", "sys/class/dmi/id/product_uuid", "sys/class/dmi/id/product_serial"];

/// The fingerprint of the system under `root`, `v1:` and 64 hex digits. What cannot be read counts
/// as empty.
#[must_use]
pub fn of_machine(root: &Path) -> String {
    let mut context = Context::new(&SHA256);
    for source in SOURCES {
        let text = fs::read_to_string(root.join(source)).unwrap_or_default();
        context.update(source.as_bytes());
        context.update(b"=");
        context.update(text.trim().as_bytes());
        context.update(b"\n");
    }
    let digits: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1:{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_differ_by_their_ids_and_stay_the_same() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("etc")).expect("a directory");
        let write = |id: &str| fs::write(root.path().join("etc/machine-id"), id).expect("written");
        write("0123\n");
        let first = of_machine(root.path());
        assert_eq!(of_machine(root.path()), first);
        write("4567\n");
        assert_ne!(of_machine(root.path()), first);
    }
}
