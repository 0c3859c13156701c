//! What dnf or yum says it would do (`--assumeno`).

/// A transaction as it was planned.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// What would be installed or upgraded, dependencies included.
    pub(super) installs: Vec<Planned>,
    /// Names of what would be removed; not of what something else replaces.
    pub(super) removals: Vec<String>,
}

/// One package of a plan.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) architecture: String,
    pub(super) version: String,
}

/// What the rows below a heading are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heading {
    Installs,
    Removals,
    Neither,
}

impl Plan {
    /// Reads the table `Package Architecture Version Repository Size` with its headings. A row whose
    /// columns do not fit is continued on further lines, which are indented deeper.
    pub(super) fn parse(output: &str) -> Self {
        let mut plan = Self::default();
        let mut heading = Heading::Neither;
        let mut row: Vec<&str> = Vec::new();
        for line in output.lines().skip_while(|line| !line.starts_with("====")) {
            if line.starts_with("Transaction Summary") {
                break;
            }
            let depth = line.len() - line.trim_start().len();
            if depth <= 1 || line.trim_start().starts_with("replacing ") {
                plan.add(heading, &row);
                row.clear();
            }
            match depth {
                0 if line.ends_with(':') => heading = heading_of(line),
                0 => {}
                _ if line.trim_start().starts_with("replacing ") => {}
                _ => row.extend(line.split_whitespace()),
            }
        }
        plan.add(heading, &row);
        plan
    }

    fn add(&mut self, heading: Heading, row: &[&str]) {
        let [name, architecture, version, ..] = *row else { return };
        match heading {
            Heading::Installs => self.installs.push(Planned {
                name: name.to_owned(),
                architecture: architecture.to_owned(),
                version: version.to_owned(),
            }),
            Heading::Removals => self.removals.push(name.to_owned()),
            Heading::Neither => {}
        }
    }

    /// What would be removed for good. A kernel too many, which gives way to a newer one in the same
    /// transaction, is none.
    pub(super) fn real_removals(&self) -> impl Iterator<Item = &str> {
        let replaced = |name: &&str| self.installs.iter().any(|planned| planned.name == *name);
        self.removals.iter().map(String::as_str).filter(move |name| !replaced(name))
    }
}

fn heading_of(line: &str) -> Heading {
    // `Installing:`, `Installing dependencies:`, `Installing weak dependencies:`, yum's `Installing for
    // dependencies:` and so on.
    if ["Installing", "Upgrading", "Updating", "Reinstalling", "Downgrading"].iter().any(|word| line.starts_with(word))
    {
        Heading::Installs
    } else if line.starts_with("Removing") {
        Heading::Removals
    } else {
        Heading::Neither
    }
}

#[cfg(test)]
mod tests {
    use super::Plan;

    fn check(recorded: &str, expected: &str) {
        let plan = Plan::parse(recorded);
        let mut seen: Vec<String> =
            plan.installs.iter().map(|p| format!("{} {} {}", p.name, p.architecture, p.version)).collect();
        seen.extend(plan.removals.iter().map(|name| format!("removes {name}")));
        seen.extend(plan.real_removals().map(|name| format!("really removes {name}")));
        assert_eq!(seen, expected.lines().collect::<Vec<_>>());
    }

    #[test]
    fn recorded_plans_are_understood() {
        check(
            include_str!("../../../tests/data/rocky-9.dnf-assumeno.stdout"),
            include_str!("../../../tests/data/rocky-9.dnf-assumeno.expected"),
        );
        check("Error: nothing\n", "");
    }

    #[test]
    fn rows_that_older_tools_cut_are_put_together() {
        check(
            "================\n Package   Arch   Version   Repository   Size\n================\nUpdating:\n\
             \x20a-package-with-a-long-name\n                  noarch\n                  1:2-1.el7   base   5 k\n\
             Removing for dependencies:\n b                x86_64  1-1   @base  1 M\n\nTransaction Summary\n====\n",
            "a-package-with-a-long-name noarch 1:2-1.el7\nremoves b\nreally removes b",
        );
    }
}
