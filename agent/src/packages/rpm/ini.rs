//! The INI files of dnf and yum: `dnf.conf`, `.repo` files, plugins' configuration.

/// A section with its settings, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::packages) struct Section {
    /// The name between the brackets.
    pub(in crate::packages) name: String,
    settings: Vec<(String, String)>,
}

impl Section {
    /// The value of a setting, the last where it is given twice.
    pub(in crate::packages) fn get(&self, key: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A setting that is yes or no, in any of the spellings.
    pub(in crate::packages) fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)?.to_ascii_lowercase().as_str() {
            "1" | "yes" | "true" | "on" | "enabled" => Some(true),
            "0" | "no" | "false" | "off" | "disabled" => Some(false),
            _ => None,
        }
    }

    /// The words of a setting, separated by white space, commas or line ends; of each of `keys`,
    /// which are names of the same thing.
    pub(in crate::packages) fn words(&self, keys: &[&str]) -> Vec<String> {
        let values = keys.iter().filter_map(|key| self.get(key));
        let words = values.flat_map(|value| value.split([' ', '\t', '\n', ',']));
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }
}

/// The sections of a file. What is no section, setting or continued line is left out, as dnf does.
pub(in crate::packages) fn parse(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            sections.push(Section { name: name.trim().to_owned(), settings: Vec::new() });
            continue;
        }
        let Some(section) = sections.last_mut() else { continue };
        if line.starts_with(char::is_whitespace) {
            // A value goes on as long as lines are indented.
            if let Some((_, value)) = section.settings.last_mut() {
                value.push('\n');
                value.push_str(trimmed);
            }
        } else if let Some((key, value)) = line.split_once('=') {
            section.settings.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sections_settings_and_continued_lines_are_read() {
        let sections = parse(
            "stray=1\n[main]\n# no\ngpgcheck = True\nExclude=kernel* , php-*\n  more*\n; no\n\n[ base ]\nenabled=0\nname=a=b\nodd\n",
        );
        assert_eq!(sections.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["main", "base"]);
        assert_eq!(sections[0].flag("gpgcheck"), Some(true));
        assert_eq!(sections[0].words(&["excludepkgs", "exclude"]), ["kernel*", "php-*", "more*"]);
        assert_eq!((sections[1].flag("enabled"), sections[1].get("name")), (Some(false), Some("a=b")));
        assert_eq!(sections[1].flag("name"), None);
    }
}
