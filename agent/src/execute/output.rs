//! What a step prints, kept within the limits of a report whatever the step does.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Ends a text that was cut (SSM's words).
const TRUNCATED: &str = "--output truncated--";

/// Bytes read at a time.
const CHUNK_BYTES: usize = 8 * 1024;

/// The first `chars_max` characters of `text`; when it is cut, the end says so.
#[must_use]
pub(super) fn limited(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}{TRUNCATED}", &text[..end]),
    }
}

/// Reads a stream to its end and keeps its first `chars_max` characters.
///
/// The rest is read and dropped, so that the writer is neither held up nor killed by a full pipe.
pub(super) struct Capture {
    kept: Vec<u8>,
    bytes_max: usize,
    chars_max: usize,
}

impl Capture {
    pub(super) fn new(chars_max: usize) -> Self {
        // Four bytes is the longest character; one more than fits shows that there was more.
        Self { kept: Vec::new(), bytes_max: (chars_max + 1) * 4, chars_max }
    }

    /// Reads on. Dropping the future loses nothing that was read.
    pub(super) async fn read(&mut self, mut stream: impl AsyncRead + Unpin) {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match stream.read(&mut chunk).await {
                // A pipe that cannot be read is as good as closed.
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    let room = self.bytes_max.saturating_sub(self.kept.len());
                    self.kept.extend_from_slice(&chunk[..count.min(room)]);
                }
            }
        }
    }

    /// What was kept, as text.
    pub(super) fn into_text(self) -> String {
        limited(&String::from_utf8_lossy(&self.kept), self.chars_max)
    }
}

/// An error with everything behind it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_within_the_limit_is_untouched() {
        assert_eq!(limited("äöü", 3), "äöü");
    }

    #[test]
    fn longer_text_is_cut_between_characters_and_says_so() {
        assert_eq!(limited("äöüß", 3), "äöü--output truncated--");
    }

    #[tokio::test]
    async fn endless_output_is_kept_in_bounds() {
        let stream = vec![b'x'; 1_000_000];
        let mut capture = Capture::new(10);
        capture.read(stream.as_slice()).await;
        assert!(capture.kept.capacity() < 1_000, "{}", capture.kept.capacity());
        assert_eq!(capture.into_text(), "xxxxxxxxxx--output truncated--");
    }
}
