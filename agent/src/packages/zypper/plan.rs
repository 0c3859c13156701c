//! What zypper says it would do (`--dry-run`), and what it said when it did it.

use super::xml::{Item, read};

/// What a call of `zypper --xmlout install` printed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Packages that come in or change their version, dependencies included.
    pub(super) installs: Vec<Planned>,
    /// Names of packages that go.
    pub(super) removals: Vec<String>,
    /// Packages whose scripts failed, as `name-version-release.arch`, with what was said.
    pub(super) script_failures: Vec<(String, String)>,
    /// The first problem that the solver saw, else the first error.
    complaint: Option<String>,
}

/// One package of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) architecture: String,
    pub(super) version: String,
}

impl Said {
    /// Reads a whole output; of one that was cut off what is there.
    pub(super) fn parse(output: &str) -> Self {
        let mut said = Self::default();
        let mut section = String::new();
        let mut problem = None;
        let mut error = None;
        // What broke the stream is no news: the exit code has said how it ended.
        let _ = read(output.as_bytes(), |item| match item {
            Item::Start(element) if element.name.starts_with("to-") => section = element.name,
            Item::Start(element) if element.name == "solvable" && element.attribute("type") == "package" => {
                let value = |key| element.attribute(key).to_owned();
                if section.starts_with("to-remove") {
                    said.removals.push(value("name"));
                } else {
                    let (name, architecture, version) = (value("name"), value("arch"), value("edition"));
                    said.installs.push(Planned { name, architecture, version });
                }
            }
            Item::End(element, text) => match element.name.as_str() {
                "description" if problem.is_none() => {
                    problem = text.lines().find_map(|line| line.trim().strip_prefix("Problem: ")).map(str::to_owned);
                }
                "message" => {
                    if element.attribute("type") == "error" && error.is_none() {
                        error = text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
                    }
                    said.script_failures.extend(text.lines().filter_map(script_failure));
                }
                _ => {}
            },
            Item::Start(_) => {}
        });
        said.complaint = problem.or(error);
        said
    }

    /// Why it was not done, in a line.
    pub(super) fn complaint(&self, exit: &str) -> String {
        self.complaint.clone().unwrap_or_else(|| format!("zypper ended with {exit} and no message"))
    }
}

/// rpm's own words on a script that failed: `warning: %post(a-1-1.noarch) scriptlet failed, exit
/// status 1`, or `error: lua script failed: [string "%post(a-1-1.noarch)"]:1: …`, which zypper
/// itself does not count as a failure.
fn script_failure(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let failed = line.contains("scriptlet failed") || line.contains("script failed");
    let (_, rest) = line.split_once('%').filter(|_| failed)?;
    let (_, rest) = rest.split_once('(')?;
    let (package, _) = rest.split_once(')')?;
    let said = line.trim_start_matches("warning: ").trim_start_matches("error: ");
    Some((package.to_owned(), said.to_owned()))
}

/// The name within `name-version-release.arch`.
pub(super) fn name_of(package: &str) -> &str {
    package.rsplitn(3, '-').nth(2).unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use super::{Said, name_of};

    #[test]
    fn what_comes_what_goes_and_why_not_are_told_apart() {
        let said = Said::parse(
            "<stream><message type='info'>Resolving</message><install-summary packages-to-change='3'>\n<to-upgrade>\n\
             <solvable type='package' name='pw-v' edition='2-1' arch='noarch' edition-old='1-1'><description>Problem: \
             of its own</description></solvable>\n</to-upgrade><to-install><solvable type='package' name='pw-w' \
             edition='1-1' arch='x86_64'/><solvable type='patch' name='P' edition='1' arch='noarch'/></to-install>\
             <to-remove><solvable type='package' name='pw-o' edition='1-1' arch='noarch'/></to-remove>\
             </install-summary></stream>",
        );
        let installs: Vec<String> =
            said.installs.iter().map(|p| format!("{} {} {}", p.name, p.version, p.architecture)).collect();
        assert_eq!(installs, ["pw-v 2-1 noarch", "pw-w 1-1 x86_64"]);
        assert_eq!(said.removals, ["pw-o"]);
    }

    #[test]
    fn solvers_problem_says_more_than_an_error() {
        let said = Said::parse(
            "<stream><message type=\"error\">late\n</message><prompt id=\"1\">\n<description>Problem: nothing provides \
             pw-nowhere needed by pw-c-2-1.noarch\n Solution 1: deinstallation\n</description></prompt></stream>",
        );
        assert_eq!(said.complaint("4"), "nothing provides pw-nowhere needed by pw-c-2-1.noarch");
        let said =
            Said::parse("<stream><message type=\"error\">\nNo provider of &apos;x&apos; found.\n</message></stream>");
        assert_eq!(said.complaint("104"), "No provider of 'x' found.");
        assert_eq!(Said::parse("").complaint("exit status: 1"), "zypper ended with exit status: 1 and no message");
    }

    #[test]
    fn failed_scripts_are_found_whatever_the_interpreter() {
        let said = Said::parse(
            "<stream><message type=\"info\">Additional rpm output:\nerror: lua script failed: [string \
             &quot;%post(pw-b-2-1.noarch)&quot;]:1: no\nwarning: %posttrans(a-b-2.0-1.x86_64) scriptlet failed, exit status 127\n\
             warning: something else\n</message></stream>",
        );
        let packages: Vec<&str> = said.script_failures.iter().map(|(package, _)| name_of(package)).collect();
        assert_eq!(packages, ["pw-b", "a-b"]);
        assert_eq!(said.script_failures[1].1, "%posttrans(a-b-2.0-1.x86_64) scriptlet failed, exit status 127");
    }
}
