//! Those who have not proved who they are: how much of this process their claims may cost.
//!
//! Many people come from one address, so what one of them gets wrong must not keep the others out:
//! a claim is looked at before anybody is sent away. An address that failed too often is looked at
//! with all others like it a few at a time, and whoever fails then is told to wait and nothing else.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::{Extensions, request};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::limits::{self, Buckets};

/// Claims of addresses that failed too often, looked at together. Each is a read of the store and a
/// signature; the store's other connections are for those who prove themselves.
const SUSPECTS_AT_ONCE: usize = 4;

/// Longest wait of such a claim.
const SUSPECT_WAITS: Duration = Duration::from_secs(5);

/// What is known of addresses that nobody proved anything from; of this process.
#[derive(Debug)]
pub(crate) struct Strangers {
    failures: Buckets,
    suspects: Semaphore,
    suspect_waits: Duration,
}

impl Default for Strangers {
    fn default() -> Self {
        Self {
            failures: Buckets::new(limits::FAILURES),
            suspects: Semaphore::new(SUSPECTS_AT_ONCE),
            suspect_waits: SUSPECT_WAITS,
        }
    }
}

/// Leave to look at a claim, for as long as that takes.
#[must_use]
pub(crate) struct Look<'a> {
    /// What a claim that fails is answered, where the address failed too often before.
    pub(crate) wait: Option<Duration>,
    _place: Option<SemaphorePermit<'a>>,
}

impl Strangers {
    /// Lets a claim from this network be looked at, now or when it is its turn.
    ///
    /// # Errors
    /// After what time it may come again, when its turn does not come soon.
    pub(crate) async fn look(&self, network: &str) -> Result<Look<'_>, Duration> {
        let Err(wait) = self.failures.peek(network, Instant::now()) else {
            return Ok(Look { wait: None, _place: None });
        };
        match tokio::time::timeout(self.suspect_waits, self.suspects.acquire()).await {
            Ok(Ok(place)) => Ok(Look { wait: Some(wait), _place: Some(place) }),
            Ok(Err(_)) | Err(_) => Err(wait),
        }
    }

    /// Counts a claim from this network that did not hold, or that did not come to its end.
    pub(crate) fn failed(&self, network: &str) {
        // An empty bucket is what it is for.
        let _ = self.failures.take(network, Instant::now());
    }
}

/// The network that a request comes from, by which strangers are told apart.
pub(crate) struct Network(pub(crate) String);

impl Network {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        Self(peer(extensions).map_or_else(|| "unknown".to_owned(), limits::network))
    }
}

impl<S: Sync> FromRequestParts<S> for Network {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// The address that a request comes from.
pub(crate) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_shares_an_address_with_failures_is_still_looked_at_in_turn() {
        let strangers = Strangers { suspect_waits: Duration::from_millis(20), ..Strangers::default() };
        assert!(strangers.look("a").await.is_ok_and(|look| look.wait.is_none()));
        for _ in 0..60 {
            strangers.failed("a");
        }
        let mut looks = Vec::new();
        for _ in 0..SUSPECTS_AT_ONCE {
            looks.extend(strangers.look("a").await);
        }
        assert_eq!(looks.iter().filter(|look| look.wait.is_some()).count(), SUSPECTS_AT_ONCE);
        assert!(strangers.look("a").await.is_err(), "nobody's turn comes while all are held");
        assert!(strangers.look("b").await.is_ok_and(|look| look.wait.is_none()), "another address is another's");
        looks.pop();
        assert!(strangers.look("a").await.is_ok());
    }
}
