//! RPM's order of versions, as `rpmvercmp` in rpm 4.15 and later has it.
//!
//! `[epoch:]version[-release]`: the epoch counts first, as a number; then version and release, each
//! read as segments of digits or of letters, with everything else as separators. `~` sorts before the
//! end (`1.0~rc1` is older than `1.0`), `^` after the end but before more segments (`1.0^git1` is newer
//! than `1.0`, older than `1.0.1`).

use std::cmp::Ordering;

use super::compare_digits;

/// Compares two `[epoch:]version[-release]`: `Less` means that `a` is older.
///
/// An absent epoch is 0. An absent release is older than any release; unlike in rpm's dependency
/// matching, it does not equal all of them, which would be no order.
#[must_use]
pub fn compare_evr(a: &str, b: &str) -> Ordering {
    let (a_epoch, a_version, a_release) = split(a);
    let (b_epoch, b_version, b_release) = split(b);
    compare_digits(a_epoch.as_bytes(), b_epoch.as_bytes())
        .then_with(|| compare(a_version, b_version))
        .then_with(|| compare(a_release, b_release))
}

/// Compares two versions, or two releases, by themselves.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    // Segment by segment, with the end as one: longer versions are newer unless `~` follows.
    let (mut a, mut b) = (Segments(a.as_bytes()), Segments(b.as_bytes()));
    loop {
        let (left, right) = (a.next(), b.next());
        let order = left.cmp(&right);
        if order.is_ne() || left == Segment::End {
            return order;
        }
    }
}

/// Epoch, version and release; what is absent is empty. An epoch that is not a number (rpmdb prints
/// `(none)`) counts as absent.
fn split(evr: &str) -> (&str, &str, &str) {
    let (epoch, rest) = match evr.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => (epoch, rest),
        Some(("(none)", rest)) => ("", rest),
        _ => ("", evr),
    };
    let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, version, release)
}

/// A piece of a version. The order of the variants is that of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Segment<'a> {
    Tilde,
    End,
    Caret,
    Letters(&'a [u8]),
    Number(Number<'a>),
}

/// A run of digits, ordered by value.
#[derive(Debug, Clone, Copy)]
struct Number<'a>(&'a [u8]);

impl Ord for Number<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_digits(self.0, other.0)
    }
}

impl PartialOrd for Number<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number<'_> {}

/// What is left of a version.
struct Segments<'a>(&'a [u8]);

impl<'a> Segments<'a> {
    /// Takes the next segment; [`Segment::End`] for ever at the end.
    fn next(&mut self) -> Segment<'a> {
        let is_separator = |byte: &u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'~' | b'^');
        self.take_while(is_separator);
        match self.0.first() {
            None => Segment::End,
            Some(b'~') => {
                self.0 = &self.0[1..];
                Segment::Tilde
            }
            Some(b'^') => {
                self.0 = &self.0[1..];
                Segment::Caret
            }
            Some(byte) if byte.is_ascii_digit() => Segment::Number(Number(self.take_while(u8::is_ascii_digit))),
            Some(_) => Segment::Letters(self.take_while(u8::is_ascii_alphabetic)),
        }
    }

    fn take_while(&mut self, belongs: impl Fn(&u8) -> bool) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(self.0.iter().take_while(|byte| belongs(byte)).count());
        self.0 = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_is_that_of_rpm() {
        use Ordering::{Equal, Greater, Less};
        // The vectors of rpm's own test suite (rpmvercmp).
        for (a, b, expected) in [
            ("1.0", "1.0", Equal),
            ("1.0", "2.0", Less),
            ("2.0.1", "2.0.1", Equal),
            ("2.0", "2.0.1", Less),
            ("2.0.1a", "2.0.1a", Equal),
            ("2.0.1a", "2.0.1", Greater),
            ("5.5p1", "5.5p1", Equal),
            ("5.5p1", "5.5p2", Less),
            ("5.5p10", "5.5p10", Equal),
            ("5.5p1", "5.5p10", Less),
            ("10xyz", "10.1xyz", Less),
            ("xyz10", "xyz10", Equal),
            ("xyz10", "xyz10.1", Less),
            ("xyz.4", "xyz.4", Equal),
            ("xyz.4", "8", Less),
            ("xyz.4", "2", Less),
            ("5.5p2", "5.6p1", Less),
            ("5.6p1", "6.5p1", Less),
            ("6.0.rc1", "6.0", Greater),
            ("10b2", "10a1", Greater),
            ("10a2", "10b2", Less),
            ("1.0aa", "1.0aa", Equal),
            ("1.0a", "1.0aa", Less),
            ("10.0001", "10.0001", Equal),
            ("10.0001", "10.1", Equal),
            ("10.0001", "10.0039", Less),
            ("4.999.9", "5.0", Less),
            ("20101121", "20101122", Less),
            ("2_0", "2_0", Equal),
            ("2.0", "2_0", Equal),
            ("a", "a", Equal),
            ("a+", "a+", Equal),
            ("a+", "a_", Equal),
            ("+a", "_a", Equal),
            ("+_", "_+", Equal),
            ("+", "_", Equal),
            ("1.0~rc1", "1.0~rc1", Equal),
            ("1.0~rc1", "1.0", Less),
            ("1.0~rc1", "1.0~rc2", Less),
            ("1.0~rc1~git123", "1.0~rc1~git123", Equal),
            ("1.0~rc1~git123", "1.0~rc1", Less),
            ("1.0^", "1.0^", Equal),
            ("1.0^", "1.0", Greater),
            ("1.0^git1", "1.0^git1", Equal),
            ("1.0^git1", "1.0", Greater),
            ("1.0^git1", "1.0^git2", Less),
            ("1.0^git1", "1.01", Less),
            ("1.0^20160101", "1.0^20160101", Equal),
            ("1.0^20160101", "1.0.1", Less),
            ("1.0^20160101^git1", "1.0^20160101^git1", Equal),
            ("1.0^20160102", "1.0^20160101^git1", Greater),
            ("1.0~rc1^git1", "1.0~rc1^git1", Equal),
            ("1.0~rc1^git1", "1.0~rc1", Greater),
            ("1.0^git1~pre", "1.0^git1~pre", Equal),
            ("1.0^git1", "1.0^git1~pre", Greater),
            ("1b.fc17", "1b.fc17", Equal),
            ("1b.fc17", "1.fc17", Less),
            ("1g.fc17", "1g.fc17", Equal),
            ("1g.fc17", "1.fc17", Greater),
            ("1.1.α", "1.1.β", Equal),
            ("", "~", Greater),
            ("", "^", Less),
        ] {
            assert_eq!(compare(a, b), expected, "{a} {b}");
            assert_eq!(compare(b, a), expected.reverse(), "{b} {a}");
        }
    }

    #[test]
    fn epoch_counts_before_version_and_version_before_release() {
        let ascending = [
            "1.0",
            "1.0-1.el9",
            "1.0-1.el9_2.1",
            "1.0-2.el9",
            "1.0-10.el9",
            "2.0-1.el9",
            "1:0.1-1.el9",
            "1:0.1-2.el9",
            "10:0-1",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare_evr(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        for same in ["0:1.0-1", "00:1.0-1", "(none):1.0-1"] {
            assert_eq!(compare_evr("1.0-1", same), Ordering::Equal, "{same}");
        }
    }

    fn version() -> impl Strategy<Value = String> {
        "([0-9]{1,2}:)?[0-9a-c._~^]{0,6}(-[0-9a-b.~^]{1,3})?"
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn order_is_total(a in version(), b in version(), c in version()) {
            prop_assert_eq!(compare_evr(&a, &a), Ordering::Equal);
            prop_assert_eq!(compare_evr(&a, &b), compare_evr(&b, &a).reverse());
            let mut sorted = [&a, &b, &c];
            sorted.sort_by(|x, y| compare_evr(x, y));
            prop_assert!(compare_evr(sorted[0], sorted[2]).is_le());
            if compare_evr(sorted[0], sorted[1]).is_lt() || compare_evr(sorted[1], sorted[2]).is_lt() {
                prop_assert!(compare_evr(sorted[0], sorted[2]).is_lt());
            }
        }

        #[test]
        fn any_text_can_be_compared(a in ".{0,12}", b in ".{0,12}") {
            prop_assert_eq!(compare_evr(&a, &b), compare_evr(&b, &a).reverse());
        }
    }
}
