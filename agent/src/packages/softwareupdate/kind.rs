//! What kind of update one is. Apple's tool does not say, so its title has to.

/// SSM's CLASSIFICATION of an update on a Mac that runs `node_version`.
///
/// `Security`: updates that say so (Security Update, Rapid Security Response, Background Security
/// Improvement), those of the running macOS and of Safari, in which Apple ships its security fixes,
/// and the data of its malware scanners. `Upgrade`: another macOS than the running one. Everything
/// else is `Recommended` or, where Apple does not recommend it, `Optional`.
pub(super) fn classification(title: &str, version: &str, recommended: bool, node_version: &str) -> &'static str {
    let is_system = ["macOS ", "OS X ", "Mac OS X "].iter().any(|name| title.starts_with(name));
    if title.contains("Security") {
        "Security"
    } else if is_system && !version.is_empty() && !node_version.is_empty() && release(version) != release(node_version)
    {
        "Upgrade"
    } else if is_system || ["Safari", "XProtect", "Gatekeeper", "MRT"].iter().any(|name| title.starts_with(name)) {
        "Security"
    } else if recommended {
        "Recommended"
    } else {
        "Optional"
    }
}

/// What makes a macOS another one: the first number since 11, the first two before.
fn release(version: &str) -> Vec<&str> {
    let numbers: Vec<&str> = version.split(['.', ' ']).collect();
    let count = if numbers.first() == Some(&"10") { 2 } else { 1 };
    numbers.into_iter().take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::classification;

    #[test]
    fn kind_is_told_by_title_and_version() {
        for (title, version, recommended, node, expected) in [
            ("macOS Sequoia 15.4.1", "15.4.1", true, "15.3", "Security"),
            ("macOS Sequoia 15.4.1", "15.4.1", true, "14.7.5", "Upgrade"),
            ("macOS 10.14.6 Update", "10.14.6", true, "10.14.1", "Security"),
            ("macOS Catalina 10.15", "10.15", true, "10.14.6", "Upgrade"),
            ("Security Update 2021-004 (Mojave)", "10.14.6", true, "10.14.6", "Security"),
            ("macOS Background Security Improvement (a)", "26.3.1 (a)", true, "26.3.1", "Security"),
            ("Safari", "18.4.1", true, "15.3", "Security"),
            ("XProtectPlistConfigData", "5287", true, "15.3", "Security"),
            ("Command Line Tools for Xcode", "16.3", true, "15.3", "Recommended"),
            ("Pro Video Formats", "2.3.3", false, "15.3", "Optional"),
        ] {
            assert_eq!(classification(title, version, recommended, node), expected, "{title} on {node}");
        }
    }
}
