//! What reads bytes from outside, as functions of bytes: for libFuzzer, and for an ordinary test.
//!
//! Each target takes whatever it is given and panics only when a promise is broken: that nothing a
//! peer sends makes a panic, and what else its own head says. `fuzz/` holds the programs for
//! libFuzzer and the inputs worth keeping; `tests/tests/fuzzing.rs` runs those inputs, and a bounded
//! number of changed ones, in every `make test`.

mod expressions;
mod identity;
mod messages;
mod mutation;
mod node_files;
mod requests;

pub use expressions::{baseline, content, document, limits, schedule, targets, versions};
pub use identity::{login, registration, signed};
pub use messages::{ids, message};
pub use mutation::Mutator;
pub use node_files::{apt_files, journal, os_release, policy};
pub use requests::{request, sigv4};

/// Something that reads bytes from outside.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of its program in `fuzz/fuzz_targets` and of its directory in `fuzz/corpus`.
    pub name: &'static str,
    /// Reads an input. Panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Changed inputs that `make test` tries: fewer where one costs more.
    pub tries: usize,
}

/// Every target, sorted by name.
pub const TARGETS: &[Target] = &[
    Target { name: "apt_files", run: apt_files, tries: 400 },
    Target { name: "baseline", run: baseline, tries: 2_000 },
    Target { name: "content", run: content, tries: 1_000 },
    Target { name: "document", run: document, tries: 4_000 },
    Target { name: "ids", run: ids, tries: 4_000 },
    Target { name: "journal", run: journal, tries: 400 },
    Target { name: "limits", run: limits, tries: 10_000 },
    Target { name: "login", run: login, tries: 10_000 },
    Target { name: "message", run: message, tries: 2_000 },
    Target { name: "os_release", run: os_release, tries: 400 },
    Target { name: "policy", run: policy, tries: 4_000 },
    Target { name: "registration", run: registration, tries: 4_000 },
    Target { name: "request", run: request, tries: 4_000 },
    Target { name: "schedule", run: schedule, tries: 2_000 },
    Target { name: "signed", run: signed, tries: 4_000 },
    Target { name: "sigv4", run: sigv4, tries: 10_000 },
    Target { name: "targets", run: targets, tries: 4_000 },
    Target { name: "versions", run: versions, tries: 10_000 },
];

/// The input as text, if it is some.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// The input in parts: what stands between zero bytes, the last part with all that is left.
fn parts<const N: usize>(data: &[u8]) -> [&[u8]; N] {
    let mut parts = data.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}
