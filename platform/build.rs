//! Tells cargo what the program is made of besides Rust.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
