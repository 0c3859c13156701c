//! What zypper's exit codes mean (zypper(8), EXIT CODES).

/// What an exit code says about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Done, and nothing else to say (0); or patches are available, which is no news (100, 101).
    Done,
    /// Done; one of the installed patches takes effect at the next start (102).
    RebootNeeded,
    /// Done; the package manager itself was patched, and the rest is to be asked for again (103).
    RestartNeeded,
    /// Installed, but scripts of some packages failed (107).
    ScriptFailed,
    /// Done with what could be had: some repository could not be refreshed (106).
    ReposSkipped,
    /// Not done: nothing provides what was asked for (104), what it needs cannot be had (4), or an
    /// error at installing (8). Another selection may go better.
    Refused,
    /// Not done: another program holds the lock (7).
    Locked,
    /// Stopped from outside: by a signal (105), or killed.
    Interrupted,
    /// Not done, and no selection would go better: a bug (1), wrong arguments (2, 3), missing
    /// rights (5), no repositories (6), or a code that we do not know.
    Unusable,
}

/// The meaning of an exit code; no code means that a signal ended the program.
pub(super) const fn meaning(code: Option<i32>) -> Meaning {
    match code {
        Some(0 | 100 | 101) => Meaning::Done,
        Some(102) => Meaning::RebootNeeded,
        Some(103) => Meaning::RestartNeeded,
        Some(106) => Meaning::ReposSkipped,
        Some(107) => Meaning::ScriptFailed,
        Some(4 | 8 | 104) => Meaning::Refused,
        Some(7) => Meaning::Locked,
        Some(105) | None => Meaning::Interrupted,
        Some(_) => Meaning::Unusable,
    }
}

#[cfg(test)]
mod tests {
    use super::Meaning::{
        Done, Interrupted, Locked, RebootNeeded, Refused, ReposSkipped, RestartNeeded, ScriptFailed, Unusable,
    };
    use super::meaning;

    #[test]
    fn every_documented_exit_code_has_its_meaning() {
        for (code, name, expected) in [
            (0, "ZYPPER_EXIT_OK", Done),
            (1, "ZYPPER_EXIT_ERR_BUG", Unusable),
            (2, "ZYPPER_EXIT_ERR_SYNTAX", Unusable),
            (3, "ZYPPER_EXIT_ERR_INVALID_ARGS", Unusable),
            (4, "ZYPPER_EXIT_ERR_ZYPP", Refused),
            (5, "ZYPPER_EXIT_ERR_PRIVILEGES", Unusable),
            (6, "ZYPPER_EXIT_NO_REPOS", Unusable),
            (7, "ZYPPER_EXIT_ZYPP_LOCKED", Locked),
            (8, "ZYPPER_EXIT_ERR_COMMIT", Refused),
            (100, "ZYPPER_EXIT_INF_UPDATE_NEEDED", Done),
            (101, "ZYPPER_EXIT_INF_SEC_UPDATE_NEEDED", Done),
            (102, "ZYPPER_EXIT_INF_REBOOT_NEEDED", RebootNeeded),
            (103, "ZYPPER_EXIT_INF_RESTART_NEEDED", RestartNeeded),
            (104, "ZYPPER_EXIT_INF_CAP_NOT_FOUND", Refused),
            (105, "ZYPPER_EXIT_ON_SIGNAL", Interrupted),
            (106, "ZYPPER_EXIT_INF_REPOS_SKIPPED", ReposSkipped),
            (107, "ZYPPER_EXIT_INF_RPM_SCRIPT_FAILED", ScriptFailed),
            (99, "none", Unusable),
        ] {
            assert_eq!(meaning(Some(code)), expected, "{code} {name}");
        }
        assert_eq!(meaning(None), Interrupted);
    }
}
