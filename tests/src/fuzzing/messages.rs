//! Messages from the bus, and the ids in them.

use patchwave_schemas::catalogue::MESSAGES;
use patchwave_schemas::envelope::Head;
use patchwave_schemas::{BaselineId, CommandId, NodeId, WindowExecutionId, WindowId, WindowTargetId};

use super::text;

/// The body of a message, read as every type of message.
///
/// At most one type takes it; what was taken is written in one form, which is taken again and
/// written the same.
///
/// # Panics
/// When that does not hold.
pub fn message(data: &[u8]) {
    let head = Head::from_bytes(data);
    let mut taken = 0;
    for entry in MESSAGES {
        match entry.reencode(data) {
            Ok(written) => {
                taken += 1;
                assert!(head.is_ok(), "{} was read, its head was not", entry.message_type);
                let again = entry.reencode(&written);
                let again = again.unwrap_or_else(|error| panic!("{}: own words: {error}", entry.message_type));
                assert_eq!(again, written, "{}: written twice, in two forms", entry.message_type);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert!(taken <= 1, "{taken} types take one message");
}

/// An id of any kind: what is read is written as it was, or in lower case.
///
/// # Panics
/// When that does not hold.
pub fn ids(data: &[u8]) {
    let Some(text) = text(data) else { return };
    macro_rules! check {
        ($($kind:ident),*) => {
            $(if let Ok(id) = text.parse::<$kind>() {
                let written = id.to_string();
                assert!(written.eq_ignore_ascii_case(text) || text.len() != written.len(), "{text} became {written}");
                assert_eq!(written.parse::<$kind>().ok(), Some(id), "{written}");
            })*
        };
    }
    check!(BaselineId, CommandId, NodeId, WindowExecutionId, WindowId, WindowTargetId);
}
