//! What dnf and yum print: what they complain about, and who holds their lock.

/// The most telling lines of a tool's output, as one; without passwords of addresses.
pub(super) fn complaint(stdout: &str, stderr: &str) -> String {
    let lines: Vec<&str> =
        stderr.lines().chain(stdout.lines()).map(str::trim).filter(|line| !line.is_empty()).collect();
    // What the solver cannot satisfy it explains in the lines after `Problem`.
    let problem: Vec<&str> = lines
        .iter()
        .skip_while(|line| !line.starts_with("Problem"))
        .take_while(|line| line.starts_with("Problem") || line.starts_with("- "))
        .copied()
        .collect();
    let found = if problem.is_empty() {
        let telling =
            |prefixes: &[&str]| lines.iter().find(|line| prefixes.iter().any(|p| line.starts_with(p))).copied();
        telling(&["Error in ", "No match for argument", "Errors during downloading"])
            .or_else(|| {
                // `Error:` alone has its reason in the next line.
                let at = lines.iter().position(|line| line.starts_with("Error:") || line.starts_with("error:"))?;
                if lines[at].len() > "Error:".len() { Some(lines[at]) } else { lines.get(at + 1).copied() }
            })
            .or_else(|| lines.first().copied())
            .unwrap_or("no message")
            .to_owned()
    } else {
        problem.join(" ")
    };
    without_passwords(found.trim_start_matches("Error: "))
}

/// The same text with what stands before `@` in addresses taken out.
pub(super) fn without_passwords(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after.find(|c: char| c == '/' || c.is_whitespace() || c == '"' || c == '\'').unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(user) => {
                clean.push_str("***");
                &after[user..]
            }
            None => after,
        };
    }
    clean.push_str(rest);
    clean
}

/// The process that holds a lock, when that is why a tool gave up.
pub(super) fn lock_holder(stdout: &str, stderr: &str) -> Option<String> {
    let mut lines = stderr.lines().chain(stdout.lines());
    lines.find_map(|line| {
        // dnf: `RPMDB already locked by 12`; yum: `another copy is running as pid 12.`
        let (_, after) = line.split_once(" already locked by ").or_else(|| line.split_once("is running as pid "))?;
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then_some(digits)
    })
}

#[cfg(test)]
mod tests {
    use super::{complaint, lock_holder, without_passwords};

    #[test]
    fn what_explains_a_failure_is_picked() {
        for (stderr, expected) in [
            (
                "Error: \n Problem: cannot install the best update candidate for package a-1-1.noarch\n\
                 \x20 - nothing provides b needed by a-2-1.noarch\n(try to add '--skip-broken')\n",
                "Problem: cannot install the best update candidate for package a-1-1.noarch \
                 - nothing provides b needed by a-2-1.noarch",
            ),
            (
                "Error in PREIN scriptlet in rpm package a\nError: Transaction failed\n",
                "Error in PREIN scriptlet in rpm package a",
            ),
            ("Error: Unable to find a match: a\n", "Unable to find a match: a"),
            ("", "no message"),
        ] {
            assert_eq!(complaint("", stderr), expected);
        }
        assert_eq!(
            complaint("No match for argument: a-3-1\n", "Error: No packages marked for upgrade.\n"),
            "No match for argument: a-3-1"
        );
    }

    #[test]
    fn passwords_in_addresses_are_not_repeated() {
        assert_eq!(
            without_passwords("see https://me:se@cret@host/x and http://host/a@b"),
            "see https://***@host/x and http://host/a@b"
        );
    }

    #[test]
    fn holder_of_a_lock_is_named() {
        assert_eq!(lock_holder("", "Error: RPMDB already locked by 4321\n").as_deref(), Some("4321"));
        let yum = "Existing lock /var/run/yum.pid: another copy is running as pid 77.\n";
        assert_eq!(lock_holder(yum, "").as_deref(), Some("77"));
        assert_eq!(lock_holder("Complete!\n", ""), None);
    }
}
