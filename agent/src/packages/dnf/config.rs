//! What dnf and yum are told: repositories, what to leave out, locked versions.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::PackageError;
use super::super::rpm::ini::{self, Section};
use super::root::DnfRoot;

/// Where `.repo` files are when the configuration does not say.
const REPOSITORIES: [&str; 3] = ["etc/yum.repos.d", "etc/yum/repos.d", "etc/distro.repos.d"];
/// The main configuration, dnf's before yum's.
const MAIN: [&str; 3] = ["etc/dnf/dnf.conf", "etc/yum/yum.conf", "etc/yum.conf"];
/// Where the plugin that locks versions is configured.
const VERSION_LOCK: [&str; 2] = ["etc/dnf/plugins/versionlock.conf", "etc/yum/pluginconf.d/versionlock.conf"];
/// dnf's priority of a repository that says none; lower comes first.
const PRIORITY: i64 = 99;
/// dnf's cost of a repository that says none.
const COST: i64 = 1000;
/// How long dnf takes metadata for current when the configuration does not say.
const EXPIRES: Duration = Duration::from_hours(48);

/// An enabled repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repository {
    pub(super) id: String,
    /// Only the repositories of the lowest priority that have a name offer it.
    pub(super) priority: i64,
    pub(super) cost: i64,
    /// Its metadata is current for so long; absent when for ever.
    pub(super) expires: Option<Duration>,
    /// The system works without it.
    pub(super) optional: bool,
}

/// What matters here of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Config {
    /// The enabled ones, in the order of files and sections.
    pub(super) repositories: Vec<Repository>,
    /// Patterns of what the administrator leaves out, for all repositories and for each.
    pub(super) excludes: Vec<String>,
    /// Something is left out by naming what is not.
    pub(super) includes: bool,
    /// Lines of the version lock, comments left out.
    pub(super) locks: Vec<String>,
    /// Where metadata is cached.
    pub(super) cache: PathBuf,
}

impl Config {
    /// Reads it.
    ///
    /// # Errors
    /// [`PackageError::Read`] for a file that is there and cannot be read.
    pub(super) fn read(root: &DnfRoot) -> Result<Self, PackageError> {
        let main_file = MAIN.iter().map(|path| root.path(path)).find(|path| path.is_file());
        let mut sections = match main_file {
            Some(path) => ini::parse(&read(&path)?.unwrap_or_default()),
            None => Vec::new(),
        };
        let main = sections.iter().position(|section| section.name == "main").map(|at| sections.remove(at));
        let main = main.unwrap_or_default();
        let directories: Vec<PathBuf> = match (root.sources(), main.words(&["reposdir"])) {
            (Some(sources), _) => {
                sections.clear();
                vec![sources.to_owned()]
            }
            (None, named) if named.is_empty() => REPOSITORIES.iter().map(|path| root.path(path)).collect(),
            (None, named) => named.iter().map(|path| root.path(path)).collect(),
        };
        for path in repository_files(&directories)? {
            sections.extend(ini::parse(&read(&path)?.unwrap_or_default()));
        }
        // dnf does not take `[main]` of a `.repo` file for a repository.
        sections.retain(|section| section.name != "main" && section.flag("enabled") != Some(false));

        let excluding = ["excludepkgs", "exclude"];
        let mut excludes = main.words(&excluding);
        excludes.extend(sections.iter().flat_map(|section| section.words(&excluding)));
        let includes = std::iter::once(&main).chain(&sections).any(|s| !s.words(&["includepkgs"]).is_empty());
        let cache = match (root.sources(), main.get("cachedir"), root.tool()) {
            (Some(_), ..) => root.path(super::root::SOURCES_CACHE),
            // yum's has variables in it, which are found by looking.
            (None, Some(path), _) => root.path(path.split("/$").next().unwrap_or(path)),
            (None, None, super::root::Tool::Dnf) => root.path("var/cache/dnf"),
            (None, None, super::root::Tool::Yum) => root.path("var/cache/yum"),
        };
        Ok(Self {
            repositories: sections.iter().map(|section| repository(section, &main)).collect(),
            excludes,
            includes,
            locks: locks(root)?,
            cache,
        })
    }
}

fn repository(section: &Section, main: &Section) -> Repository {
    let either = |key: &str| section.get(key).or_else(|| main.get(key));
    let number = |key: &str, default| section.get(key).and_then(|value| value.parse().ok()).unwrap_or(default);
    Repository {
        id: section.name.clone(),
        priority: number("priority", PRIORITY),
        cost: number("cost", COST),
        expires: either("metadata_expire").map_or(Some(EXPIRES), duration),
        optional: section.flag("skip_if_unavailable").or_else(|| main.flag("skip_if_unavailable")) == Some(true),
    }
}

/// Seconds, or a number with `s`, `m`, `h` or `d`; nothing for `never`. What is neither is dnf's default.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim().to_ascii_lowercase();
    if text == "never" || text == "-1" {
        return None;
    }
    let (digits, seconds) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 60 * 60),
        Some(b'd') => (&text[..text.len() - 1], 24 * 60 * 60),
        _ => (text.as_str(), 1),
    };
    let number: Option<u64> = digits.trim().parse().ok();
    Some(number.map_or(EXPIRES, |number| Duration::from_secs(number.saturating_mul(seconds))))
}

/// The `.repo` files of the directories, in dnf's order.
fn repository_files(directories: &[PathBuf]) -> Result<Vec<PathBuf>, PackageError> {
    let mut files = Vec::new();
    for directory in directories {
        let failed = |source| PackageError::Read { path: directory.clone(), source };
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(failed)?,
        };
        let mut here: Vec<PathBuf> =
            entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().map_err(failed)?;
        here.retain(|path| path.extension().is_some_and(|extension| extension == "repo"));
        here.sort();
        files.extend(here);
    }
    Ok(files)
}

/// The lines of the list of locked versions, when the plugin is there and enabled.
fn locks(root: &DnfRoot) -> Result<Vec<String>, PackageError> {
    for path in VERSION_LOCK.iter().map(|path| root.path(path)) {
        let Some(text) = read(&path)? else { continue };
        let sections = ini::parse(&text);
        let Some(main) = sections.iter().find(|section| section.name == "main") else { continue };
        let Some(list) = main.get("locklist").filter(|_| main.flag("enabled") != Some(false)) else { continue };
        let text = read(&root.path(list))?.unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        return Ok(lines.map(str::to_owned).collect());
    }
    Ok(Vec::new())
}

/// The text of a file, or nothing when there is none.
fn read(path: &Path) -> Result<Option<String>, PackageError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PackageError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::{Config, duration};
    use crate::packages::dnf::DnfRoot;

    #[test]
    fn enabled_repositories_are_read_with_what_dnf_weighs() {
        let directory = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("etc/dnf/dnf.conf", "[main]\nexcludepkgs=kernel*\nskip_if_unavailable=True\nmetadata_expire=6h\n");
        write(
            "etc/yum.repos.d/b.repo",
            "[off]\nenabled=0\n[extra]\npriority=10\ncost=500\nexclude=php\nskip_if_unavailable=0\n",
        );
        write("etc/yum.repos.d/a.repo", "[base]\nenabled=1\nmetadata_expire=never\n");
        write("etc/yum.repos.d/readme.txt", "[no]\n");
        write("etc/dnf/plugins/versionlock.conf", "[main]\nenabled=1\nlocklist=/etc/dnf/plugins/versionlock.list\n");
        write("etc/dnf/plugins/versionlock.list", "# by an admin\n\nbash-0:5.1.8-9.el9.*\n!php-*\n");
        let config = Config::read(&DnfRoot::new(directory.path(), directory.path().join("state"))).unwrap();
        let seen: Vec<_> =
            config.repositories.iter().map(|r| (r.id.as_str(), r.priority, r.cost, r.expires, r.optional)).collect();
        assert_eq!(seen, [("base", 99, 1000, None, true), ("extra", 10, 500, Some(Duration::from_hours(6)), false)]);
        assert_eq!(config.excludes, ["kernel*", "php"]);
        assert!(!config.includes);
        assert_eq!(config.locks, ["bash-0:5.1.8-9.el9.*", "!php-*"]);
        assert_eq!(config.cache, directory.path().join("var/cache/dnf"));
    }

    #[test]
    fn expiry_is_read_as_dnf_writes_it() {
        for (text, expected) in [
            ("90", Some(90)),
            ("90s", Some(90)),
            ("10m", Some(600)),
            ("2h", Some(7_200)),
            ("1d", Some(86_400)),
            ("never", None),
            ("-1", None),
            ("soon", Some(172_800)),
        ] {
            assert_eq!(duration(text).map(|d| d.as_secs()), expected, "{text}");
        }
    }
}
