//! Content lines: `NAME;PARAMETER=VALUE:VALUE`, unfolded.

use super::fault::{Fault, quoted};

/// Parameters of one property. None has nearly as many.
const PARAMETERS_MAX: usize = 32;

/// A property as it was written, with its name in capitals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it starts, from 1.
    pub(super) number: usize,
    pub(super) name: String,
    /// Names in capitals, values without quotes.
    pub(super) parameters: Vec<(String, String)>,
    pub(super) value: String,
}

impl Line {
    /// The value of a parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A fault of this line, which it names by its property.
    pub(super) fn fault(&self, problem: impl std::fmt::Display) -> Fault {
        Fault::new(self.number, format!("{} {problem}", self.name))
    }

    /// The value as text, without its escapes.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(self.value.len());
        let mut rest = self.value.chars();
        while let Some(character) = rest.next() {
            match character {
                '\\' => match rest.next() {
                    Some('n' | 'N') => text.push('\n'),
                    Some(escaped) => text.push(escaped),
                    None => {}
                },
                other => text.push(other),
            }
        }
        text
    }
}

/// Splits a text into its properties. A line that begins with a space or a tab belongs to the one
/// before it.
pub(super) fn unfold(text: &str) -> Vec<Result<Line, Fault>> {
    let mut unfolded: Vec<(usize, String)> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        match (line.strip_prefix([' ', '\t']), unfolded.last_mut()) {
            (Some(rest), Some((_, before))) => before.push_str(rest),
            _ if line.trim().is_empty() => {}
            _ => unfolded.push((index + 1, line.to_owned())),
        }
    }
    unfolded.into_iter().map(|(number, line)| read(number, &line)).collect()
}

fn read(number: usize, line: &str) -> Result<Line, Fault> {
    let malformed = || Fault::new(number, format!("{} is no property; expected NAME:VALUE", quoted(line)));
    let name_end = line.find([';', ':']).ok_or_else(malformed)?;
    let (name, mut rest) = line.split_at(name_end);
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err(malformed());
    }
    let mut parameters = Vec::new();
    while let Some(parameter) = rest.strip_prefix(';') {
        if parameters.len() == PARAMETERS_MAX {
            return Err(Fault::new(number, format!("{name} has more than {PARAMETERS_MAX} parameters")));
        }
        let end = unquoted_end(parameter).ok_or_else(malformed)?;
        let (parameter, after) = parameter.split_at(end);
        let (key, value) = parameter.split_once('=').ok_or_else(malformed)?;
        parameters.push((key.to_ascii_uppercase(), value.trim_matches('"').to_owned()));
        rest = after;
    }
    let value = rest.strip_prefix(':').ok_or_else(malformed)?.to_owned();
    Ok(Line { number, name: name.to_ascii_uppercase(), parameters, value })
}

/// Where a parameter ends: at the first `;` or `:` outside of quotes.
fn unquoted_end(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(index, character)| match character {
        '"' => {
            quoted = !quoted;
            None
        }
        ';' | ':' if !quoted => Some(index),
        _ => None,
    })
}
