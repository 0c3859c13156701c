//! What is installed, by rpm's own word.
//!
//! The database has had four formats in the lifetimes of the systems that are supported, so it is
//! not read here: `rpm -qa` knows its own.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use patchwave_engine::baseline::InstalledPackage;
use patchwave_engine::versions::rpm;

use super::super::PackageError;

/// Fields that cannot hold a tab, one package a line.
const FORMAT: &str = "%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\t%{INSTALLTIME}\\n";

/// Name that rpm gives to imported keys, which are no packages.
const KEYS: &str = "gpg-pubkey";

/// Lists what is installed; `rpm` is the program, told where the database is.
///
/// Packages that may be there several times over, as kernels are, are listed with every version.
///
/// # Errors
/// [`PackageError::Run`] and [`PackageError::Failed`].
pub(in crate::packages) fn installed(mut rpm: Command) -> Result<Vec<InstalledPackage>, PackageError> {
    let program = || "rpm -qa".to_owned();
    let run = |source| PackageError::Run { program: program(), source };
    rpm.args(["-qa", "--queryformat", FORMAT]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = rpm.spawn().map_err(run)?;
    let output = child.stdout.take().expect("standard output was asked for");
    let packages = parse(BufReader::new(output));
    let ended = child.wait_with_output().map_err(run)?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        let message = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("no message").to_owned();
        return Err(PackageError::Failed { program: program(), status: ended.status.to_string(), message });
    }
    packages.map_err(run)
}

fn parse(output: impl BufRead) -> std::io::Result<Vec<InstalledPackage>> {
    let mut packages: Vec<InstalledPackage> = Vec::new();
    for line in output.lines() {
        packages.extend(package(&line?));
    }
    packages.sort_by(|a, b| {
        let by_name = (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture));
        by_name.then_with(|| rpm::compare_evr(&b.version, &a.version))
    });
    Ok(packages)
}

fn package(line: &str) -> Option<InstalledPackage> {
    let mut fields = line.split('\t');
    let mut next = || fields.next();
    let (name, epoch, version, release) = (next()?, next()?, next()?, next()?);
    let (architecture, installed_at) = (next()?, next()?);
    if name == KEYS {
        return None;
    }
    Some(InstalledPackage {
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        version: evr(epoch, version, release),
        installed_at: installed_at.parse().ok().and_then(|second| Timestamp::from_second(second).ok()),
        ..InstalledPackage::default()
    })
}

/// `epoch:version-release`, with the epoch only when it is not zero: as people and dnf write it.
pub(in crate::packages) fn evr(epoch: &str, version: &str, release: &str) -> String {
    let epoch = epoch.trim();
    if epoch.is_empty() || epoch == "(none)" || epoch.bytes().all(|digit| digit == b'0') {
        format!("{version}-{release}")
    } else {
        format!("{epoch}:{version}-{release}")
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn every_kernel_is_listed_newest_first_and_keys_are_no_packages() {
        let output = "bash\t0\t5.1.8\t9.el9\tx86_64\t1700000000\n\
            kernel\t0\t5.14.0\t362.el9\tx86_64\t1700000001\nkernel\t0\t5.14.0\t70.el9\tx86_64\t1600000001\n\
            gpg-pubkey\t0\t350d275d\t6279464b\t(none)\t1700000000\n\
            dhcp-libs\t12\t4.4.2\t19.b1.el9\tx86_64\tnever\nglibc\t0\t2.34\t1.el9\ti686\t1\nglibc\t0\t2.34\t1.el9\tx86_64\t1\nodd line\n";
        let packages = parse(output.as_bytes()).unwrap();
        let seen: Vec<_> = packages.iter().map(|p| format!("{}.{} {}", p.name, p.architecture, p.version)).collect();
        assert_eq!(
            seen,
            [
                "bash.x86_64 5.1.8-9.el9",
                "dhcp-libs.x86_64 12:4.4.2-19.b1.el9",
                "glibc.i686 2.34-1.el9",
                "glibc.x86_64 2.34-1.el9",
                "kernel.x86_64 5.14.0-362.el9",
                "kernel.x86_64 5.14.0-70.el9"
            ]
        );
        assert_eq!(packages[0].installed_at.unwrap().as_second(), 1_700_000_000);
        assert_eq!(packages[1].installed_at, None);
    }
}
