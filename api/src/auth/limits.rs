//! How often somebody may ask: token buckets for each access key, and for each address that could
//! not prove who it is.
//!
//! Of one process; with several behind a balancer each counts for itself. Memory is bounded: when
//! there are too many buckets, full ones are forgotten, and newcomers share one if that is not
//! enough.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Buckets at most: some hundred KiB.
const BUCKETS_MAX: usize = 10_000;

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// Tokens a second.
    pub(crate) per_second: f64,
    /// Tokens it holds at most: what may be asked at once after a silence.
    pub(crate) burst: f64,
}

/// What one access key may ask. A console and scripts together stay far below; a runaway loop does
/// not, and leaves the store to the others.
pub(crate) const REQUESTS: Rate = Rate { per_second: 200.0, burst: 2_000.0 };
/// What one address may fail to prove before its claims are looked at a few at a time (`strangers`).
/// Guessing a secret is hopeless at any rate; this keeps the noise and the cost down.
pub(crate) const FAILURES: Rate = Rate { per_second: 1.0, burst: 50.0 };
/// How often one address may ask for the control plane's public keys: as all nodes behind one address
/// do at once when there is a new key.
pub(crate) const KEYS: Rate = Rate { per_second: 100.0, burst: 20_000.0 };
/// Failures without a known key that are recorded in the audit log, of all addresses together; the
/// others are counted.
pub(crate) const RECORDED_FAILURES: Rate = Rate { per_second: 0.1, burst: 20.0 };

/// Buckets by name.
#[derive(Debug)]
pub(crate) struct Buckets {
    rate: Rate,
    filled: Mutex<HashMap<String, (f64, Instant)>>,
}

impl Buckets {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, filled: Mutex::default() }
    }

    /// Takes a token out of the bucket `name`. `Err` says after what time there is one.
    pub(crate) fn take(&self, name: &str, now: Instant) -> Result<(), Duration> {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        if filled.len() >= BUCKETS_MAX && !filled.contains_key(name) {
            filled.retain(|_, bucket| self.level(*bucket, now) < self.rate.burst);
        }
        let name = shared_when_full(&filled, name).to_owned();
        let bucket = filled.entry(name).or_insert((self.rate.burst, now));
        let left = self.level(*bucket, now);
        *bucket = (if left < 1.0 { left } else { left - 1.0 }, now);
        self.wait(left)
    }

    /// Whether the bucket that [`Buckets::take`] would take from has a token, without taking it.
    pub(crate) fn peek(&self, name: &str, now: Instant) -> Result<(), Duration> {
        let filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = filled.get(shared_when_full(&filled, name)) else { return Ok(()) };
        self.wait(self.level(*bucket, now))
    }

    /// What a bucket holds by now.
    fn level(&self, (level, at): (f64, Instant), now: Instant) -> f64 {
        let grown = now.saturating_duration_since(at).as_secs_f64() * self.rate.per_second;
        (level + grown).min(self.rate.burst)
    }

    fn wait(&self, left: f64) -> Result<(), Duration> {
        if left < 1.0 { Err(Duration::from_secs_f64((1.0 - left) / self.rate.per_second)) } else { Ok(()) }
    }
}

/// The bucket that counts for `name`: its own, or while there is no room for it the newcomers'.
fn shared_when_full<'a>(filled: &HashMap<String, (f64, Instant)>, name: &'a str) -> &'a str {
    if filled.len() >= BUCKETS_MAX && !filled.contains_key(name) { "" } else { name }
}

/// What addresses are told apart by: an IPv6 network of 64 bits is one customer's.
pub(crate) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let buckets = Buckets::new(Rate { per_second: 2.0, burst: 3.0 });
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(buckets.take("a", start), Ok(()));
        }
        assert_eq!(buckets.take("a", start), Err(Duration::from_millis(500)));
        assert_eq!(buckets.peek("a", start), Err(Duration::from_millis(500)));
        assert_eq!(buckets.take("b", start), Ok(()), "another's bucket is another's");
        let later = start + Duration::from_millis(500);
        assert_eq!((buckets.take("a", later), buckets.take("a", later).is_err()), (Ok(()), true));
        let much_later = start + Duration::from_secs(60);
        assert_eq!((0..5).filter(|_| buckets.take("a", much_later).is_ok()).count(), 3, "no more than it holds");
    }

    #[test]
    fn a_flood_of_names_takes_no_more_memory() {
        let buckets = Buckets::new(Rate { per_second: 0.001, burst: 2.0 });
        let now = Instant::now();
        for number in 0..BUCKETS_MAX + 100 {
            let _ = buckets.take(&number.to_string(), now);
        }
        assert!(buckets.filled.lock().expect("no panic").len() <= BUCKETS_MAX + 1);
        assert!(buckets.take("one more", now).is_err(), "newcomers share a bucket");
        assert!(buckets.peek("yet another", now).is_err(), "and are told so before they take from it");
        assert_eq!(buckets.peek("0", now), Ok(()), "who has a bucket keeps it");
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let network = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(network("2001:db8:1:2:3::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
