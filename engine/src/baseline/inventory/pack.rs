//! An inventory as it travels: the lines of its entries below one with the node's profile,
//! compressed (zlib) and in base64.
//!
//! Nothing is put into tables first: what thousands of versions have in common lies within the
//! compressor's window of 32 KiB, because entries are in order of their names.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::super::package::NodeProfile;
use super::Inventory;

/// Bytes of a packed inventory at most. The 3,000 packages of a large system take about a tenth.
pub const PACKED_BYTES_MAX: usize = 1 << 20;
/// Bytes that one may unpack to: what comes from a node may be made to grow.
const UNPACKED_BYTES_MAX: u64 = 32 << 20;

/// What was packed, without having looked at the entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The node as far as a baseline asks.
    pub node: NodeProfile,
    /// The lines of the entries, see [`Entry::from_line`](super::Entry::from_line).
    pub lines: Vec<String>,
}

/// Why a packed inventory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Longer than anything that is packed here.
    #[error("a packed inventory has {bytes} bytes; allowed are {PACKED_BYTES_MAX}")]
    TooLong {
        /// What it has.
        bytes: usize,
    },
    /// Not base64.
    #[error("a packed inventory is not base64")]
    Text(#[source] base64::DecodeError),
    /// Not compressed UTF-8, or too much of it.
    #[error("a packed inventory cannot be unpacked to at most {UNPACKED_BYTES_MAX} bytes of text")]
    Compressed(#[source] std::io::Error),
    /// Its first line is no profile.
    #[error("a packed inventory does not begin with the node's profile")]
    Profile(#[source] serde_json::Error),
}

impl Inventory {
    /// The inventory as it travels.
    ///
    /// # Errors
    /// [`PackError::TooLong`]: the node is judged again by asking it.
    pub fn pack(&self) -> Result<String, PackError> {
        let written = "memory can be written to";
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        serde_json::to_writer(&mut encoder, &self.node).expect("a profile can be written as JSON");
        for entry in self.entries() {
            encoder.write_all(b"\n").expect(written);
            encoder.write_all(entry.to_line().as_bytes()).expect(written);
        }
        let text = BASE64_STANDARD_NO_PAD.encode(encoder.finish().expect(written));
        if text.len() > PACKED_BYTES_MAX { Err(PackError::TooLong { bytes: text.len() }) } else { Ok(text) }
    }
}

/// Takes a packed inventory apart into its lines.
///
/// # Errors
/// [`PackError`].
pub fn unpack(text: &str) -> Result<Unpacked, PackError> {
    if text.len() > PACKED_BYTES_MAX {
        return Err(PackError::TooLong { bytes: text.len() });
    }
    let bytes = BASE64_STANDARD_NO_PAD.decode(text).map_err(PackError::Text)?;
    let mut lines = String::new();
    let mut decoder = ZlibDecoder::new(bytes.as_slice()).take(UNPACKED_BYTES_MAX + 1);
    decoder.read_to_string(&mut lines).map_err(PackError::Compressed)?;
    if lines.len() as u64 > UNPACKED_BYTES_MAX {
        return Err(PackError::Compressed(std::io::ErrorKind::FileTooLarge.into()));
    }
    let mut lines = lines.lines();
    let node = serde_json::from_str(lines.next().unwrap_or_default()).map_err(PackError::Profile)?;
    Ok(Unpacked { node, lines: lines.map(str::to_owned).collect() })
}
