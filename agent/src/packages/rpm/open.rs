//! Opening a metadata file, decompressing it by the extension of its name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Bytes read at a time, from the file and from the decompressor.
const BUFFER_BYTES: usize = 32 * 1024;

/// Opens a file for reading what is in it.
///
/// # Errors
/// As of the file, and `Unsupported` for a compression that is not read here.
pub(in crate::packages) fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let file = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
    let reader: Box<dyn Read> = match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Some("xz") => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(file)),
        Some("zst") => Box::new(ruzstd::decoding::StreamingDecoder::new(file).map_err(io::Error::other)?),
        Some(other @ ("bz2" | "zck" | "lzma" | "sqlite")) => {
            let message = format!("compression `{other}` is not supported, allowed are none, gz, xz and zst");
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        _ => return Ok(Box::new(file)),
    };
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, reader)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read as _, Write as _};

    use super::open;

    #[test]
    fn every_compression_that_repositories_use_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let text = "<metadata/>".repeat(10_000);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(text.as_bytes()).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(text.as_bytes()).unwrap();
        let zst = ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
        for (name, bytes) in [
            ("a.xml", text.clone().into_bytes()),
            ("a.xml.gz", gz.finish().unwrap()),
            ("a.xml.xz", xz.finish().unwrap()),
            ("a.xml.zst", zst),
        ] {
            let path = directory.path().join(name);
            fs::write(&path, bytes).unwrap();
            let mut read = String::new();
            open(&path).unwrap().read_to_string(&mut read).unwrap();
            assert!(read == text, "{name}");
        }
    }

    #[test]
    fn other_compression_is_named_with_what_is_allowed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.xml.zck");
        fs::write(&path, "").unwrap();
        let error = open(&path).err().expect("zchunk is not read");
        assert_eq!(error.to_string(), "compression `zck` is not supported, allowed are none, gz, xz and zst");
    }
}
