//! What apt-get says it would do (`apt-get -s`).

/// A simulated transaction.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// What would be installed or upgraded, dependencies included.
    pub(super) installs: Vec<Planned>,
    /// Names of what would be removed.
    pub(super) removals: Vec<String>,
}

/// One package of a plan.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) architecture: String,
    pub(super) version: String,
}

impl Plan {
    /// Reads the lines `Inst name [old] (new origins [arch])` and `Remv name [old]`.
    pub(super) fn parse(output: &str) -> Self {
        let mut plan = Self::default();
        for line in output.lines() {
            if let Some(rest) = line.strip_prefix("Inst ") {
                plan.installs.extend(planned(rest));
            } else if let Some(rest) = line.strip_prefix("Remv ") {
                plan.removals.extend(rest.split_whitespace().next().map(str::to_owned));
            }
        }
        plan
    }
}

fn planned(rest: &str) -> Option<Planned> {
    let (name, rest) = rest.split_once(' ')?;
    let (_, inside) = rest.split_once('(')?;
    let (inside, _) = inside.split_once(')')?;
    let (version, rest) = inside.split_once(' ').unwrap_or((inside, ""));
    let architecture = rest.rsplit_once('[').and_then(|(_, tail)| tail.split_once(']')).map_or("", |(arch, _)| arch);
    // A package of a foreign architecture is written `name:arch`.
    let name = name.split(':').next().unwrap_or(name);
    Some(Planned { name: name.to_owned(), architecture: architecture.to_owned(), version: version.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::Plan;

    const RECORDED: &str = include_str!("../../../tests/data/debian-12.apt-get-s-upgrade.stdout");
    const EXPECTED: &str = include_str!("../../../tests/data/debian-12.apt-get-s-upgrade.expected");

    #[test]
    fn recorded_plan_is_understood() {
        let plan = Plan::parse(RECORDED);
        let seen: Vec<String> =
            plan.installs.iter().map(|p| format!("{} {} {}", p.name, p.architecture, p.version)).collect();
        assert_eq!(seen, EXPECTED.lines().collect::<Vec<_>>());
        assert!(plan.removals.is_empty());
    }

    #[test]
    fn new_foreign_and_removed_packages_are_told_apart() {
        let plan = Plan::parse(
            "Reading package lists...\nRemv old-thing [1.0]\n\
             Inst libc6:i386 [2.35-1] (2.35-2 Ubuntu:22.04/jammy-updates [i386])\n\
             Inst brand-new (1.0 stable [all])\nInst no-archive (3)\nConf brand-new (1.0 stable [all])\nInst broken\n",
        );
        let seen: Vec<_> =
            plan.installs.iter().map(|p| (p.name.as_str(), p.architecture.as_str(), p.version.as_str())).collect();
        assert_eq!(seen, [("libc6", "i386", "2.35-2"), ("brand-new", "all", "1.0"), ("no-archive", "", "3")]);
        assert_eq!(plan.removals, ["old-thing"]);
    }
}
