//! Writes the JSON Schemas and the AsyncAPI document beside this crate.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use patchwave_schemas::generated;

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(root.join("json"))?;
    let files = generated::files();
    let wanted: BTreeSet<_> = files.iter().map(|file| root.join(&file.path)).collect();
    for entry in fs::read_dir(root.join("json"))? {
        let path = entry?.path();
        if !wanted.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    for file in files {
        fs::write(root.join(&file.path), file.text)?;
    }
    Ok(())
}
