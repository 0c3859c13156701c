//! `softwareupdate --history`: what was installed, and when.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// One update that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installed {
    pub(super) name: String,
    /// Empty where the table has none.
    pub(super) version: String,
    pub(super) at: Option<Timestamp>,
}

impl Installed {
    /// In the form of labels: `Command Line Tools for Xcode-15.3`.
    pub(super) fn id(&self) -> String {
        if self.version.is_empty() { self.name.clone() } else { format!("{}-{}", self.name, self.version) }
    }
}

/// Reads the table; of several lines on one update the last. Its dates are in the Mac's own time
/// zone, which is `zone`.
pub(super) fn parse(output: &str, zone: &TimeZone) -> Vec<Installed> {
    let mut all: Vec<Installed> = Vec::new();
    let lines = output.lines().skip_while(|line| !line.starts_with("------"));
    for line in lines.skip(1) {
        // Columns are apart by two spaces or more; names hold single ones.
        let mut cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        let Some(name) = cells.next() else { continue };
        let rest: Vec<&str> = cells.collect();
        let (version, date) = match rest.as_slice() {
            [version, date, ..] => (*version, *date),
            [only] if moment(only, zone).is_some() => ("", *only),
            [only] => (*only, ""),
            [] => ("", ""),
        };
        let installed = Installed { name: name.to_owned(), version: version.to_owned(), at: moment(date, zone) };
        all.retain(|known| (&known.name, &known.version) != (&installed.name, &installed.version));
        all.push(installed);
    }
    all
}

/// `01/23/2024, 09:12:33`.
fn moment(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let moment = DateTime::strptime("%m/%d/%Y, %H:%M:%S", text).ok()?;
    Some(moment.to_zoned(zone.clone()).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::parse;

    #[test]
    fn table_is_understood() {
        let text = include_str!("../../../tests/data/macos-15.softwareupdate-history.modelled.stdout");
        let seen: Vec<String> = parse(text, &TimeZone::UTC)
            .iter()
            .map(|i| format!("{} | {}", i.id(), i.at.map(|at| at.to_string()).unwrap_or_default()))
            .collect();
        let expected: Vec<&str> =
            include_str!("../../../tests/data/macos-15.softwareupdate-history.expected").lines().collect();
        assert_eq!(seen, expected);
        assert!(parse("No history\n", &TimeZone::UTC).is_empty());
    }
}
