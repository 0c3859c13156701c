//! `softwareupdate --list`: what is needed, in the form since macOS 10.15 and in the one before.

/// One update that softwareupdate offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Offered {
    /// What `--install` takes.
    pub(super) label: String,
    pub(super) title: String,
    pub(super) version: String,
    /// Apple recommends it.
    pub(super) recommended: bool,
    /// It takes effect at the next start, or only by shutting down.
    pub(super) restart: bool,
}

/// Reads a list, in the order of the list. Lines that say nothing about an update are passed over.
pub(super) fn parse(output: &str) -> Vec<Offered> {
    let mut offers: Vec<Offered> = Vec::new();
    // The line after an update's first has the rest.
    let mut begun: Option<(Offered, bool)> = None;
    for line in output.lines().map(str::trim) {
        if let Some((offer, is_new_form)) = begun.take() {
            let details = if is_new_form { details(offer, line) } else { older_details(offer, line) };
            offers.push(details);
        } else if let Some(label) = line.strip_prefix("* Label: ").or_else(|| line.strip_prefix("- Label: ")) {
            begun = Some((Offered { label: label.to_owned(), ..Offered::default() }, true));
        } else if let Some(label) = line.strip_prefix("* ").or_else(|| line.strip_prefix("- ")) {
            begun = Some((Offered { label: label.to_owned(), ..Offered::default() }, false));
        }
    }
    // A label without details can still be installed.
    offers.extend(begun.map(|(offer, _)| offer));
    // It becomes an argument, and a hyphen would make it an option.
    offers.retain(|offer| !offer.label.is_empty() && !offer.label.starts_with('-'));
    offers
}

/// `Title: macOS Sequoia 15.4.1, Version: 15.4.1, Size: 3455256KiB, Recommended: YES, Action: restart,`
fn details(mut offer: Offered, line: &str) -> Offered {
    const KEYS: [&str; 5] = ["Title: ", "Version: ", "Size: ", "Recommended: ", "Action: "];
    for key in KEYS {
        let Some(at) = line.find(key) else { continue };
        let rest = &line[at + key.len()..];
        // A title may hold commas; a value ends where the next key begins.
        let end = KEYS.iter().filter_map(|next| rest.find(&format!(", {next}"))).min().unwrap_or(rest.len());
        let value = rest[..end].trim().trim_end_matches(',').trim();
        match key {
            "Title: " => value.clone_into(&mut offer.title),
            "Version: " => value.clone_into(&mut offer.version),
            "Recommended: " => offer.recommended = value.eq_ignore_ascii_case("yes"),
            "Action: " => offer.restart = is_restart(value),
            _ => {}
        }
    }
    offer
}

/// `macOS 10.14.1 Update (10.14.1), 199140K [recommended] [restart]`, and before that
/// `iPhoto, 2.0, 34100K [recommended]`.
fn older_details(mut offer: Offered, line: &str) -> Offered {
    let (head, flags) = line.split_once('[').map_or((line, ""), |(head, flags)| (head, flags));
    offer.recommended = flags.contains("recommended");
    offer.restart = is_restart(flags);
    let head = head.trim().trim_end_matches(',');
    let head = head.rsplit_once(',').map_or(head, |(head, _size)| head).trim();
    let (title, version) = match head.rsplit_once('(') {
        Some((title, version)) => (title, version.trim_end_matches(')')),
        None => head.rsplit_once(',').unwrap_or((head, "")),
    };
    title.trim().trim_end_matches(',').clone_into(&mut offer.title);
    version.trim().clone_into(&mut offer.version);
    offer
}

fn is_restart(text: &str) -> bool {
    text.contains("restart") || text.contains("shut down")
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn seen(text: &str) -> Vec<String> {
        parse(text)
            .into_iter()
            .map(|o| {
                let flags = [(o.recommended, "recommended"), (o.restart, "restart")];
                let flags: Vec<&str> = flags.into_iter().filter_map(|(set, name)| set.then_some(name)).collect();
                format!("{} | {} | {} | {}", o.label, o.title, o.version, flags.join("+"))
            })
            .collect()
    }

    #[test]
    fn both_forms_of_the_list_are_understood() {
        let expected: Vec<&str> =
            include_str!("../../../tests/data/macos-15.softwareupdate-list.expected").lines().collect();
        assert_eq!(seen(include_str!("../../../tests/data/macos-15.softwareupdate-list.modelled.stdout")), expected);
        let expected: Vec<&str> =
            include_str!("../../../tests/data/macos-10.14.softwareupdate-list.expected").lines().collect();
        assert_eq!(seen(include_str!("../../../tests/data/macos-10.14.softwareupdate-list.modelled.stdout")), expected);
    }

    #[test]
    fn nothing_new_and_nonsense_offer_nothing() {
        for text in [
            "Software Update Tool\n\nFinding available software\nNo new software available.\n",
            "",
            "* \n",
            "* --all\n x\n",
        ] {
            assert!(parse(text).is_empty(), "{text}");
        }
    }
}
