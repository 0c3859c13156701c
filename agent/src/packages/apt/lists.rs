//! apt's lists: which versions of the installed packages the archives offer.
//!
//! Lists are read as a stream and never held: of an archive's tens of thousands of entries only
//! those of installed packages, at least as new as what is installed, are kept.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use patchwave_engine::baseline::{InstalledPackage, Origin};
use patchwave_engine::versions::deb;

use super::super::PackageError;
use super::deb822::{Line, Next, for_each_line_wanted, text};
use super::release::{self, Archive};
use super::root::AptRoot;
use super::sources::{self, Source};

/// Bytes read at a time, from the file and from the decompressor.
const BUFFER_BYTES: usize = 32 * 1024;

/// One version that some archive offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) architecture: String,
    pub(super) version: String,
    pub(super) section: String,
    pub(super) priority: String,
    pub(super) origins: Vec<Arc<Origin>>,
    /// apt's priority: the highest among its archives.
    pub(super) pin: i32,
    /// Modification time of the oldest list that has it.
    pub(super) listed_at: Option<Timestamp>,
}

/// Offers by package name. Only names that are installed have an entry.
pub(super) type Offers = HashMap<String, Vec<Offer>>;

/// Reads the lists of every enabled source.
pub(super) fn offers(root: &AptRoot, installed: &[InstalledPackage]) -> Result<Offers, PackageError> {
    let mut collector = Collector::new(installed);
    let directory = root.lists();
    let names = file_names(&directory)?;
    let mut read_already: Vec<&str> = Vec::new();
    for source in sources::sources(root)? {
        let archive = release::archive(&directory, &source)?;
        for (name, component) in packages_files(&names, &source) {
            // The same archive may be named by two sources.
            if read_already.contains(&name) {
                continue;
            }
            read_already.push(name);
            let path = directory.join(name);
            let read = |source| PackageError::Read { path: path.clone(), source };
            let list = List::new(&archive, component, modified(&path));
            collector.read(open(&path).map_err(read)?, &list).map_err(read)?;
        }
    }
    Ok(collector.offers)
}

fn file_names(directory: &Path) -> Result<Vec<String>, PackageError> {
    let read = |source| PackageError::Read { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        // A fresh system has never fetched any.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(read)?,
    };
    let mut names: Vec<String> = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(read)?;
    names.sort();
    Ok(names)
}

/// The lists of a source, each with its component. Where a list is there both plain and
/// compressed, the plain one comes first in the sorted names and is the one apt uses.
fn packages_files<'n, 's>(names: &'n [String], source: &'s Source) -> Vec<(&'n str, &'s str)> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    let mut stems: Vec<&str> = Vec::new();
    for name in names {
        let Some(rest) = name.strip_prefix(&source.release_prefix) else { continue };
        let component = if source.components.is_empty() {
            (rest == "Packages" || rest.starts_with("Packages.")).then_some("")
        } else {
            source.components.iter().map(String::as_str).find(|component| {
                let after = rest.strip_prefix(&component.replace('/', "_")).and_then(|r| r.strip_prefix("_binary-"));
                after.and_then(|r| r.split_once("_Packages")).is_some_and(|(arch, extension)| {
                    !arch.contains('_') && (extension.is_empty() || extension.starts_with('.'))
                })
            })
        };
        let Some(component) = component else { continue };
        let stem = name.split_once("Packages.").map_or(name.as_str(), |(before, _)| &name[..before.len() + 8]);
        if !stems.contains(&stem) {
            stems.push(stem);
            found.push((name, component));
        }
    }
    found
}

fn modified(path: &Path) -> Option<Timestamp> {
    Timestamp::try_from(fs::metadata(path).ok()?.modified().ok()?).ok()
}

/// Opens a list, decompressing by the extension of its name.
fn open(path: &PathBuf) -> io::Result<Box<dyn BufRead>> {
    let file = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
    let reader: Box<dyn io::Read> = match path.extension().and_then(|extension| extension.to_str()) {
        Some("lz4") => Box::new(lz4_flex::frame::FrameDecoder::new(file)),
        Some("gz") => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Some("xz") => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(file)),
        Some(other @ ("zst" | "bz2" | "lzma")) => {
            let message = format!("compression `{other}` is not supported, allowed are none, lz4, gz and xz");
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        _ => return Ok(Box::new(file)),
    };
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, reader)))
}

/// What all entries of one list share.
struct List {
    origin: Arc<Origin>,
    security: bool,
    pin: i32,
    modified: Option<Timestamp>,
}

impl List {
    fn new(archive: &Archive, component: &str, modified: Option<Timestamp>) -> Self {
        let origin = Origin { component: component.to_owned(), ..archive.origin.clone() };
        Self { security: origin.is_security(), origin: Arc::new(origin), pin: archive.priority, modified }
    }
}

struct Collector<'a> {
    /// The oldest installed version of each name: what is older is of no interest.
    oldest: HashMap<&'a [u8], &'a str>,
    offers: Offers,
}

/// The fields of the entry being read.
#[derive(Default)]
struct Entry {
    name: Vec<u8>,
    version: String,
    architecture: String,
    section: String,
    priority: String,
    phased_out: bool,
}

impl<'a> Collector<'a> {
    fn new(installed: &'a [InstalledPackage]) -> Self {
        let mut oldest: HashMap<&[u8], &str> = HashMap::with_capacity(installed.len());
        for package in installed {
            let version = oldest.entry(package.name.as_bytes()).or_insert(&package.version);
            if deb::compare(&package.version, version).is_lt() {
                *version = &package.version;
            }
        }
        Self { oldest, offers: Offers::new() }
    }

    fn read(&mut self, input: impl BufRead, list: &List) -> io::Result<()> {
        let mut entry = Entry::default();
        for_each_line_wanted(input, |line| {
            match line {
                Line::Field(b"Package", value) => {
                    if !self.oldest.contains_key(value) {
                        return Next::End;
                    }
                    entry.name = value.to_vec();
                }
                Line::Field(b"Version", value) => entry.version = text(value),
                Line::Field(b"Architecture", value) => entry.architecture = text(value),
                Line::Field(b"Section", value) => entry.section = text(value),
                Line::Field(b"Priority", value) => entry.priority = text(value),
                Line::Field(b"Phased-Update-Percentage", value) => entry.phased_out = value != b"100",
                Line::End => self.keep(std::mem::take(&mut entry), list),
                Line::Field(..) | Line::Continued(_) => {}
            }
            Next::Line
        })
    }

    fn keep(&mut self, entry: Entry, list: &List) {
        let Some(oldest) = self.oldest.get(entry.name.as_slice()) else { return };
        if entry.version.is_empty() || deb::compare(&entry.version, oldest).is_lt() {
            return;
        }
        // Security is never phased; for the rest a share below 100 % is somebody else's.
        let installed_already = deb::compare(&entry.version, oldest).is_eq();
        if entry.phased_out && !list.security && !installed_already {
            return;
        }
        let offers = self.offers.entry(text(&entry.name)).or_default();
        let same = |offer: &&mut Offer| offer.version == entry.version && offer.architecture == entry.architecture;
        if let Some(offer) = offers.iter_mut().find(same) {
            offer.origins.push(Arc::clone(&list.origin));
            offer.pin = offer.pin.max(list.pin);
            offer.listed_at = offer.listed_at.into_iter().chain(list.modified).min();
        } else {
            offers.push(Offer {
                architecture: entry.architecture,
                version: entry.version,
                section: entry.section,
                priority: entry.priority,
                origins: vec![Arc::clone(&list.origin)],
                pin: list.pin,
                listed_at: list.modified,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use jiff::Timestamp;
    use patchwave_engine::baseline::{InstalledPackage, Origin};

    use super::{Archive, Collector, List, open, packages_files};
    use crate::packages::apt::sources::Source;

    fn installed(name: &str, version: &str) -> InstalledPackage {
        let (name, version) = (name.to_owned(), version.to_owned());
        InstalledPackage { name, version, architecture: "amd64".into(), ..InstalledPackage::default() }
    }

    fn list(suite: &str, pin: i32, modified: i64) -> List {
        let origin = Origin { archive: suite.into(), trusted: true, ..Origin::default() };
        List::new(&Archive { origin, priority: pin }, "main", Some(Timestamp::from_second(modified).unwrap()))
    }

    fn entry(name: &str, version: &str, more: &str) -> String {
        format!("Package: {name}\nArchitecture: amd64\nVersion: {version}\nSection: net\nPriority: optional\n{more}\n")
    }

    #[test]
    fn only_what_is_installed_and_not_older_is_kept() {
        let packages = [installed("a", "2"), installed("b", "1:1")];
        let mut collector = Collector::new(&packages);
        let text =
            [entry("a", "1", ""), entry("a", "2", ""), entry("a", "3", ""), entry("b", "2", ""), entry("c", "9", "")];
        collector.read(text.concat().as_bytes(), &list("stable", 500, 7)).unwrap();
        let versions: Vec<_> = collector.offers["a"].iter().map(|o| o.version.as_str()).collect();
        assert_eq!(versions, ["2", "3"]);
        assert_eq!(collector.offers.len(), 1);
    }

    #[test]
    fn version_in_two_archives_is_one_offer_with_the_older_date() {
        let packages = [installed("a", "1")];
        let mut collector = Collector::new(&packages);
        collector.read(entry("a", "2", "").as_bytes(), &list("stable-backports", 100, 900)).unwrap();
        collector.read(entry("a", "2", "").as_bytes(), &list("stable-security", 500, 300)).unwrap();
        let [offer] = collector.offers["a"].as_slice() else { panic!("one offer") };
        assert_eq!((offer.pin, offer.listed_at), (500, Some(Timestamp::from_second(300).unwrap())));
        let archives: Vec<_> = offer.origins.iter().map(|o| o.archive.as_str()).collect();
        assert_eq!(archives, ["stable-backports", "stable-security"]);
    }

    #[test]
    fn phased_update_is_not_available_unless_it_is_security() {
        let packages = [installed("a", "1")];
        for (suite, percentage, expected) in
            [("noble-updates", "10", 0), ("noble-updates", "100", 1), ("noble-security", "10", 1)]
        {
            let mut collector = Collector::new(&packages);
            let text = entry("a", "2", &format!("Phased-Update-Percentage: {percentage}\n"));
            collector.read(text.as_bytes(), &list(suite, 500, 1)).unwrap();
            assert_eq!(collector.offers.values().flatten().count(), expected, "{suite} {percentage}");
        }
    }

    #[test]
    fn every_compression_gives_the_same_text_and_others_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let text = entry("a", "2", "").repeat(500);
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("x_Packages", text.as_bytes());
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        write("x_Packages.gz", &gz.finish().unwrap());
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(text.as_bytes()).unwrap();
        write("x_Packages.xz", &xz.finish().unwrap());
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(text.as_bytes()).unwrap();
        write("x_Packages.lz4", &lz4.finish().unwrap());
        for name in ["x_Packages", "x_Packages.gz", "x_Packages.xz", "x_Packages.lz4"] {
            let mut read = String::new();
            open(&dir.path().join(name)).unwrap().read_to_string(&mut read).unwrap();
            assert!(read == text, "{name}");
        }
        write("x_Packages.zst", b"");
        let error = open(&dir.path().join("x_Packages.zst")).err().unwrap();
        assert!(error.to_string().contains("`zst` is not supported"), "{error}");
    }

    #[test]
    fn lists_are_found_by_their_source() {
        let names: Vec<String> = [
            "h_d_dists_s_InRelease",
            "h_d_dists_s_contrib_binary-amd64_Packages.lz4",
            "h_d_dists_s_main_binary-amd64_Packages",
            "h_d_dists_s_main_binary-amd64_Packages.lz4",
            "h_d_dists_s_main_binary-i386_Packages.xz",
            "h_d_dists_s_main_dep11_Components-amd64.yml.gz",
            "h_d_dists_s_main_source_Sources.lz4",
            "h_d_dists_t_main_binary-amd64_Packages.lz4",
            "h_flat_Packages.gz",
        ]
        .map(str::to_owned)
        .into();
        let source = |prefix: &str, components: &[&str]| Source {
            release_prefix: prefix.into(),
            components: components.iter().map(|c| (*c).into()).collect(),
            site: "h".into(),
            trusted: false,
        };
        assert_eq!(
            packages_files(&names, &source("h_d_dists_s_", &["main"])),
            [("h_d_dists_s_main_binary-amd64_Packages", "main"), ("h_d_dists_s_main_binary-i386_Packages.xz", "main")]
        );
        assert_eq!(packages_files(&names, &source("h_flat_", &[])), [("h_flat_Packages.gz", "")]);
    }
}
