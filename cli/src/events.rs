//! Reading server-sent events, as the API's streams of notifications are.

use crate::failure::Failure;

/// Bytes of one event. SNS allows 256 KB for a message; more is not ours.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// Takes server-sent events apart: `data:` lines until an empty line. Comments keep the connection
/// alive and are left out.
#[derive(Debug, Default)]
pub(crate) struct EventReader {
    buffer: Vec<u8>,
    data: Option<String>,
}

impl EventReader {
    /// Adds what was received and returns the data of the events that are complete.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<Vec<String>, Failure> {
        self.buffer.extend_from_slice(chunk);
        let mut complete = Vec::new();
        let mut start = 0;
        while let Some(length) = self.buffer[start..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.buffer[start..start + length]).into_owned();
            start += length + 1;
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if line.is_empty() {
                complete.extend(self.data.take());
            } else if let Some(data) = line.strip_prefix("data:") {
                let data = data.strip_prefix(' ').unwrap_or(data);
                match &mut self.data {
                    Some(known) => {
                        known.push('\n');
                        known.push_str(data);
                    }
                    None => self.data = Some(data.to_owned()),
                }
            }
        }
        self.buffer.drain(..start);
        if self.buffer.len() + self.data.as_ref().map_or(0, String::len) > EVENT_BYTES_MAX {
            return Err(Failure::failed(format!("an event is larger than {EVENT_BYTES_MAX} bytes")));
        }
        Ok(complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_being_cut_anywhere() {
        let stream = ": keep-alive\n\nevent: notification\nid: 7\ndata: {\"a\":\"é\"}\n\ndata: one\r\ndata:two\r\n\r\n";
        for size in 1..stream.len() {
            let mut reader = EventReader::default();
            let mut events = Vec::new();
            for chunk in stream.as_bytes().chunks(size) {
                events.extend(reader.push(chunk).expect("small events"));
            }
            assert_eq!(events, ["{\"a\":\"é\"}", "one\ntwo"], "chunks of {size}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut reader = EventReader::default();
        let chunk = vec![b'x'; EVENT_BYTES_MAX + 1];
        assert!(reader.push(&chunk).is_err());
    }
}
