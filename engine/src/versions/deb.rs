//! Debian's order of versions (Debian Policy, section 5.6.12), as dpkg implements it.
//!
//! `[epoch:]upstream[-revision]`: the epoch counts first, as a number; then the upstream version and
//! the revision, each read as runs of non-digits and numbers in turn. Letters sort before other
//! characters, and `~` before everything, even the end: `1.0~rc1` is older than `1.0`.

use std::cmp::Ordering;

use super::compare_digits;

/// Compares two versions: `Less` means that `a` is older.
///
/// Never fails: what is no valid version is ordered by the same rules, with an epoch that is not a
/// number read as part of the upstream version.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a_epoch, a_upstream, a_revision) = split(a.trim_ascii());
    let (b_epoch, b_upstream, b_revision) = split(b.trim_ascii());
    compare_digits(a_epoch, b_epoch)
        .then_with(|| compare_part(a_upstream, b_upstream))
        .then_with(|| compare_part(a_revision, b_revision))
}

/// Epoch, upstream version and revision; an absent epoch or revision is empty, which equals zero.
fn split(version: &str) -> (&[u8], &[u8], &[u8]) {
    let (epoch, rest) = match version.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => (epoch, rest),
        _ => ("", version),
    };
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch.as_bytes(), upstream.as_bytes(), revision.as_bytes())
}

fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (a_text, a_rest) = a.split_at(a.iter().take_while(|byte| !byte.is_ascii_digit()).count());
        let (b_text, b_rest) = b.split_at(b.iter().take_while(|byte| !byte.is_ascii_digit()).count());
        let (a_number, a_rest) = a_rest.split_at(a_rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
        let (b_number, b_rest) = b_rest.split_at(b_rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
        let order = compare_text(a_text, b_text).then_with(|| compare_digits(a_number, b_number));
        if order.is_ne() {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
    Ordering::Equal
}

fn compare_text(a: &[u8], b: &[u8]) -> Ordering {
    (0..a.len().max(b.len()))
        .map(|i| weight(a.get(i)).cmp(&weight(b.get(i))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// `~`, then the end, then letters, then the rest.
fn weight(byte: Option<&u8>) -> u16 {
    match byte {
        Some(b'~') => 0,
        None => 1,
        Some(letter) if letter.is_ascii_alphabetic() => 2 + u16::from(*letter),
        Some(other) => 0x200 + u16::from(*other),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    /// Ascending within each row; `=` joins equals. From the policy's examples, dpkg's own test
    /// suite and versions met in the archive.
    const ROWS: &[&str] = &[
        "1.0~~ 1.0~~a 1.0~ 1.0 1.0a 1.0+",
        "1.0~beta1~svn1245 1.0~beta1 1.0",
        "0:0-0 = 0-0 = 0 = 0:0 = 00:0-00",
        "1:0-0 = 1:0",
        "9:1 10:0",
        "0.9 1:0.1",
        "1.0 = 1.00 = 1.0-0 = 1.000-00",
        "1.2 1.2.1 1.10 1.10.0",
        "1.0-1~bpo12+1 1.0-1",
        "1.0-1~deb12u1 1.0-1~deb12u2 1.0-1 1.0-1+deb12u1",
        "2.36-9+deb12u4 2.36-9+deb12u9 2.36-9+deb12u10",
        "1.1.1n-0+deb11u5 3.0.11-1~deb12u2 3.0.11-1",
        "5.15.0-91.101 5.15.0-101.111",
        "2:8.2.3995-1ubuntu2.15 2:8.2.3995-1ubuntu2.16",
        "1.3 1.3.2",
        "0.0-1 0.0foo-1 0.0.0-1",
        "~~ ~~a ~ 0 a",
        "0-0 0-1 0-a 0-b 0-+",
        "7.6-0 7.6p2-4",
        "1.0-1 1.0.3-3",
        "0foo 0fop 0.1",
        "1.18.36 1.18.36-0.17.35-18 1:1.18.36:5.4-20",
        "1.0-1 1.0-1+b1 1.0-1.1 1.0-2 1.0.1-1",
        "20240101 20240102",
        "99999999999999999999 100000000000000000000",
        "1.0-1-1 1.0-1-2 1.0-2-1",
    ];

    /// Every pair of a row with its expected order.
    fn pairs() -> Vec<(&'static str, &'static str, Ordering)> {
        let mut pairs = Vec::new();
        for row in ROWS.iter() {
            let mut ranked: Vec<(u32, &str)> = Vec::new();
            let mut rank = 0;
            let mut joined = true;
            for word in row.split(' ') {
                if word == "=" {
                    joined = true;
                    continue;
                }
                rank += u32::from(!joined);
                joined = false;
                ranked.push((rank, word));
            }
            for (a_rank, a) in &ranked {
                for (b_rank, b) in &ranked {
                    pairs.push((*a, *b, a_rank.cmp(b_rank)));
                }
            }
        }
        pairs
    }

    #[test]
    fn order_is_that_of_the_table() {
        for (a, b, expected) in pairs() {
            assert_eq!(compare(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn order_is_that_of_dpkg() {
        for (a, b, expected) in pairs() {
            let operator = match expected {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                // The same pair comes the other way round.
                Ordering::Greater => continue,
            };
            // Some versions of the table do not start with a digit: dpkg says so, and orders them.
            let status = Command::new("dpkg")
                .args(["--compare-versions", a, operator, b])
                .stderr(Stdio::null())
                .status()
                .expect("tests run on Debian or Ubuntu, which have dpkg");
            assert!(status.success(), "dpkg disagrees: {a} {operator} {b}");
        }
    }

    fn version() -> impl Strategy<Value = String> {
        "([0-9]{1,2}:)?[0-9a-c.+~:-]{0,6}(-[0-9a-b.+~]{1,3})?"
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn order_is_total(a in version(), b in version(), c in version()) {
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            let mut sorted = [&a, &b, &c];
            sorted.sort_by(|x, y| compare(x, y));
            prop_assert!(compare(sorted[0], sorted[2]).is_le());
            if compare(sorted[0], sorted[1]).is_lt() || compare(sorted[1], sorted[2]).is_lt() {
                prop_assert!(compare(sorted[0], sorted[2]).is_lt());
            }
        }

        #[test]
        fn any_text_can_be_compared(a in ".{0,12}", b in ".{0,12}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        }
    }
}
