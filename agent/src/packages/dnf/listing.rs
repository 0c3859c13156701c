//! The versions that yum 3 knows, by its own list: it keeps metadata as a database.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use super::super::PackageError;
use super::super::rpm::installed::evr;
use super::super::rpm::primary::Offer;
use super::cache::Cached;
use super::root::DnfRoot;

/// Calls `each` with every version that the tool lists of the cached repositories.
///
/// # Errors
/// [`PackageError::Run`] and [`PackageError::Failed`].
pub(super) fn read(root: &DnfRoot, cached: &[Cached], mut each: impl FnMut(&str, Offer)) -> Result<(), PackageError> {
    let program = || format!("{} list", root.tool().program());
    let failed = |source| PackageError::Run { program: program(), source };
    let places: HashMap<&str, usize> =
        cached.iter().enumerate().map(|(place, cached)| (cached.repository.id.as_str(), place)).collect();
    let mut command = root.command()?;
    // The installed ones too: that a repository has what is installed is seen from them.
    command.args(["-C", "-q", "--showduplicates", "list", "all"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    let output = child.stdout.take().expect("standard output was asked for");
    let mut row = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line.map_err(failed)?;
        // A row that does not fit goes on in lines that are indented.
        if !line.starts_with(char::is_whitespace) {
            offer(&row, &places, &mut each);
            row.clear();
        }
        row.extend(line.split_whitespace().map(str::to_owned));
    }
    offer(&row, &places, &mut each);
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(PackageError::Failed { program: program(), status: status.to_string(), message: "no message".to_owned() })
}

/// A row is `name.architecture [epoch:]version-release repository`, with `@` before the repository
/// that an installed version came from.
fn offer(row: &[String], places: &HashMap<&str, usize>, each: &mut impl FnMut(&str, Offer)) {
    let [package, version, repository] = row else { return };
    let Some(place) = places.get(repository.trim_start_matches('@')) else { return };
    let Some((name, architecture)) = package.rsplit_once('.') else { return };
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let Some((version, release)) = rest.rsplit_once('-') else { return };
    let version = evr(epoch, version, release);
    each(name, Offer { architecture: architecture.to_owned(), version, built_at: None, repository: *place });
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::offer;

    #[test]
    fn rows_of_known_repositories_are_offers() {
        let places = HashMap::from([("amzn2-core", 0), ("amzn2extra-docker", 1)]);
        let mut seen = Vec::new();
        for row in [
            "bash.x86_64 4.2.46-34.amzn2 @amzn2-core",
            "bash.x86_64 4.2.46-35.amzn2.0.1 amzn2-core",
            "docker.x86_64 0:25.0.3-1.amzn2 amzn2extra-docker",
            "bind-libs.x86_64 32:9.11.4-26.P2.amzn2.13 amzn2-core",
            "vim.x86_64 1-1 installed",
            "Available Packages",
        ] {
            let row: Vec<String> = row.split_whitespace().map(str::to_owned).collect();
            offer(&row, &places, &mut |name, o| {
                seen.push(format!("{name} {} {} {}", o.architecture, o.version, o.repository))
            });
        }
        assert_eq!(
            seen,
            [
                "bash x86_64 4.2.46-34.amzn2 0",
                "bash x86_64 4.2.46-35.amzn2.0.1 0",
                "docker x86_64 25.0.3-1.amzn2 1",
                "bind-libs x86_64 32:9.11.4-26.P2.amzn2.13 0"
            ]
        );
    }
}
