//! Whether a machine may become a node.
//!
//! SSM's hybrid activations: each admits so many registrations until it expires; what is registered
//! stays so, whatever becomes of its activation.

use jiff::{SignedDuration, Timestamp};

/// Registrations of an activation when none are given (SSM).
pub const LIMIT_DEFAULT: u32 = 1;
/// Registrations of an activation at most (SSM).
pub const LIMIT_MAX: u32 = 1_000;
/// How long an activation lasts when nothing is said (SSM).
pub const LASTS_DEFAULT: SignedDuration = SignedDuration::from_hours(24);
/// How long it lasts at most (SSM).
pub const LASTS_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What an activation still allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Registrations in all.
    pub limit: u32,
    /// Registrations so far.
    pub used: u32,
    /// From when it admits none.
    pub expires_at: Timestamp,
}

/// Why an activation admits no registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// Its time has passed.
    #[error("the activation expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// All its registrations were used.
    #[error("the activation has admitted all its {limit} registrations")]
    Exhausted {
        /// How many it had.
        limit: u32,
    },
}

impl Allowance {
    /// Admits one registration.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub fn admit(&self, now: Timestamp) -> Result<(), NotAdmitted> {
        if now >= self.expires_at {
            return Err(NotAdmitted::Expired { at: self.expires_at });
        }
        if self.used >= self.limit {
            return Err(NotAdmitted::Exhausted { limit: self.limit });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a small number")
    }

    #[test]
    fn an_activation_admits_its_number_until_it_expires() {
        let allowance = |used| Allowance { limit: 2, used, expires_at: at(100) };
        assert_eq!(allowance(0).admit(at(99)), Ok(()));
        assert_eq!(allowance(1).admit(at(0)), Ok(()));
        assert_eq!(allowance(2).admit(at(0)), Err(NotAdmitted::Exhausted { limit: 2 }));
        assert_eq!(allowance(0).admit(at(100)), Err(NotAdmitted::Expired { at: at(100) }));
    }
}
