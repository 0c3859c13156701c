//! Waiting for what must come, and for no longer than a deadline.

use std::time::{Duration, Instant};

/// How long most things may take on two busy cores. What takes longer has its own deadline.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// Pause between two looks.
const POLL: Duration = Duration::from_millis(100);

/// Looks until `look` finds something, for [`PATIENCE`].
///
/// # Panics
/// When nothing is found in time; `what` says what was waited for.
pub async fn eventually<T, F>(what: &str, look: F) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    within(PATIENCE, what, look).await
}

/// As [`eventually`], with another deadline.
///
/// # Panics
/// When nothing is found in time.
pub async fn within<T, F>(patience: Duration, what: &str, mut look: F) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {} s: {what}", patience.as_secs());
        tokio::time::sleep(POLL).await;
    }
}
