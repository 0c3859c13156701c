//! Which of two package versions is newer.
//!
//! One file per packaging system, each with the order its own tool uses. Any text has a place in
//! the order: versions come from repositories and nodes, and a strange one must not stop a scan.
//! Two texts may be equal without being the same (`1.0` and `1.00`).

use std::cmp::Ordering;

pub mod deb;
pub mod rpm;

/// Compares runs of ASCII digits as numbers of any size; no digits are zero.
fn compare_digits(a: &[u8], b: &[u8]) -> Ordering {
    let zeros = |digits: &[u8]| digits.iter().take_while(|digit| **digit == b'0').count();
    let (a, b) = (&a[zeros(a)..], &b[zeros(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}
