//! Bodies of requests: in time, not too long, and no more of them at once than this process can hold.
//!
//! The listener gives every body its deadline, whatever route it is for. Whoever reads one whole
//! counts what has come of it against shares, so that many unfinished requests of one peer end
//! before the memory does.

use std::error::Error as _;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use futures_util::StreamExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::shares::{Share, Shares};

/// Bytes of a body that count against no share: most requests are shorter, and connections are
/// counted.
const UNCOUNTED_BYTES: usize = 16 << 10;

/// A body that ends with [`TooLate`] when it has not come within its time.
pub(crate) struct InTime {
    body: Incoming,
    until: Instant,
    /// Set when there is something to wait for.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl InTime {
    pub(crate) fn new(body: Incoming, within: Duration) -> Self {
        Self { body, until: Instant::now() + within, waiting: None }
    }
}

impl HttpBody for InTime {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let until = self.until;
        ready!(self.waiting.get_or_insert_with(|| Box::pin(sleep_until(until))).as_mut().poll(context));
        Poll::Ready(Some(Err(Box::new(TooLate))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body did not come within its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body did not come in time")]
pub(crate) struct TooLate;

/// Why there is no whole body.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Longer than allowed.
    TooLong,
    /// Too slow.
    TooLate,
    /// Too many others are under way, of this peer or of all.
    NoRoom,
    /// The connection broke off, or what came is not HTTP.
    Cut(axum::Error),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the body is too long"),
            Self::TooLate => TooLate.fmt(f),
            Self::NoRoom => f.write_str("too many requests are under way"),
            Self::Cut(error) => error.fmt(f),
        }
    }
}

/// Reads a body of at most `most` bytes to its end. What it takes is the peer's share `name` until
/// the second value is dropped.
///
/// # Errors
/// [`Broken`].
pub(crate) async fn whole(body: Body, most: usize, shares: &Arc<Shares>, name: &str) -> Result<(Bytes, Share), Broken> {
    let mut share = shares.open(name);
    if body.size_hint().lower() > most as u64 {
        return Err(Broken::TooLong);
    }
    // Not by what is announced: only what has come takes memory.
    let mut read = Vec::new();
    let mut frames = body.into_data_stream();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| if is_late(&error) { Broken::TooLate } else { Broken::Cut(error) })?;
        let before = read.len();
        let now = before + frame.len();
        if now > most {
            return Err(Broken::TooLong);
        }
        if !share.grow(now.saturating_sub(UNCOUNTED_BYTES) - before.saturating_sub(UNCOUNTED_BYTES)) {
            return Err(Broken::NoRoom);
        }
        read.extend_from_slice(&frame);
    }
    Ok((read.into(), share))
}

fn is_late(error: &axum::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<TooLate>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_under_way_is_bounded_for_each_peer_and_short_bodies_are_not_counted() {
        let shares = Shares::new(300_000, 200_000);
        let read = async |bytes: usize, name: &str| whole(Body::from(vec![0; bytes]), 150_000, &shares, name).await;
        let (long, held) = read(150_000, "a").await.expect("room");
        assert_eq!(long.len(), 150_000);
        assert!(matches!(read(150_000, "a").await, Err(Broken::NoRoom)));
        assert!(read(UNCOUNTED_BYTES, "a").await.is_ok(), "short ones still come through");
        let other = read(150_000, "b").await.expect("another peer has a share of its own");
        assert!(matches!(read(150_000, "c").await, Err(Broken::NoRoom)), "of what there is in all");
        drop((held, other));
        assert!(read(150_000, "a").await.is_ok());
        assert!(matches!(read(150_001, "a").await, Err(Broken::TooLong)));
    }
}
