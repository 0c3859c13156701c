//! A list of entries as text: ascending ids, the difference to the one before as LEB128, in base64.
//!
//! A thousand entries of a fleet of one kind take about two bytes each.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;

/// Why a list cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    #[error(transparent)]
    Text(#[from] base64::DecodeError),
    #[error("a difference is cut off or longer than 63 bits")]
    Number,
}

/// Writes ids in ascending order.
pub(super) fn encode(ids: &[i64]) -> String {
    let mut bytes = Vec::with_capacity(ids.len() * 2);
    let mut before = 0;
    for id in ids {
        let mut rest = id.abs_diff(before);
        before = *id;
        while rest >= 0x80 {
            bytes.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        bytes.push(rest.to_le_bytes()[0]);
    }
    BASE64_STANDARD_NO_PAD.encode(bytes)
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(text: &str) -> Result<Vec<i64>, ListError> {
    let bytes = BASE64_STANDARD_NO_PAD.decode(text)?;
    let mut ids = Vec::with_capacity(bytes.len());
    let (mut id, mut difference, mut shift) = (0_i64, 0_i64, 0);
    for byte in bytes {
        if shift > 56 {
            return Err(ListError::Number);
        }
        difference |= i64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            id = id.checked_add(difference).ok_or(ListError::Number)?;
            ids.push(id);
            (difference, shift) = (0, 0);
        }
    }
    if shift == 0 { Ok(ids) } else { Err(ListError::Number) }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn ids_come_back() {
        for ids in [vec![], vec![1], vec![1, 2, 3, 130, 131, 20_000, 1 << 40], vec![127, 255, 256]] {
            assert_eq!(decode(&encode(&ids)).unwrap(), ids);
        }
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for text in ["!", "gA", "////////////////"] {
            assert!(decode(text).is_err(), "{text}");
        }
    }
}
