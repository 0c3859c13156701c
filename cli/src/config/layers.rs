//! Where settings come from, and which source wins.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::fault::Fault;
use super::setting::Setting;
use super::url::redact;
use super::{DEFAULTS, FILE};

/// Where a setting's value was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An option on the command line.
    Flag(&'static str),
    /// A variable in the environment.
    Variable(&'static str),
    /// The configuration file.
    File(PathBuf),
    /// `config.default.toml`.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(variable) => f.write_str(variable),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What the program was given.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// From options and variables, the winner of the two.
    pub given: Vec<(Setting, Origin, String)>,
    /// The configuration file, if one was named or found, as text.
    pub file: Option<(PathBuf, String)>,
}

impl Sources {
    /// Reads the file that was named, or [`FILE`] if none was and it exists.
    ///
    /// # Errors
    /// A fault when the file that was named cannot be read.
    pub fn read_file(&mut self, named: Option<PathBuf>) -> Result<(), Fault> {
        let is_named = named.is_some();
        let path = named.unwrap_or_else(|| PathBuf::from(FILE));
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                self.file = Some((path, text));
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_named => Ok(()),
            Err(error) => Err(Fault {
                subject: format!("configuration file `{}`", path.display()),
                reason: error.to_string(),
                expected: "a readable TOML file".to_owned(),
            }),
        }
    }
}

/// Every setting's winning value, unchecked, and where it comes from.
#[derive(Debug, Clone)]
pub struct Effective {
    values: BTreeMap<Setting, (String, Origin)>,
}

impl Effective {
    /// Takes every setting from the first source that has it.
    ///
    /// The faults are those of the sources themselves: unknown keys, values that are no text.
    #[must_use]
    pub fn gather(sources: &Sources) -> (Self, Vec<Fault>) {
        let mut faults = Vec::new();
        let mut values = BTreeMap::new();
        for (setting, value) in read_toml(DEFAULTS, &Origin::Default, &mut faults) {
            values.insert(setting, (value, Origin::Default));
        }
        if let Some((path, text)) = &sources.file {
            let origin = Origin::File(path.clone());
            for (setting, value) in read_toml(text, &origin, &mut faults) {
                values.insert(setting, (value, origin.clone()));
            }
        }
        for (setting, origin, value) in &sources.given {
            values.insert(*setting, (value.clone(), origin.clone()));
        }
        (Self { values }, faults)
    }

    /// A setting's value.
    #[must_use]
    pub fn value(&self, setting: Setting) -> &str {
        self.values.get(&setting).map_or("", |(value, _)| value)
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self, setting: Setting) -> &Origin {
        self.values.get(&setting).map_or(&Origin::Default, |(_, origin)| origin)
    }

    /// A fault of a setting's value.
    pub(super) fn fault(&self, setting: Setting, reason: impl Into<String>) -> Fault {
        Fault {
            subject: format!("{} = `{}` (from {})", setting.key(), redact(self.value(setting)), self.origin(setting)),
            reason: reason.into(),
            expected: setting.allowed().to_owned(),
        }
    }
}

fn read_toml(text: &str, origin: &Origin, faults: &mut Vec<Fault>) -> Vec<(Setting, String)> {
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => {
            // Without the line itself, which may hold a password.
            let line = error.span().map_or(1, |span| text.get(..span.start).unwrap_or("").lines().count().max(1));
            faults.push(Fault {
                subject: format!("{origin}, line {line}"),
                reason: error.message().to_owned(),
                expected: "TOML, one `key = \"value\"` a line".to_owned(),
            });
            return Vec::new();
        }
    };
    let mut values = Vec::new();
    for (key, value) in table {
        let Some(setting) = Setting::of_key(&key) else {
            let known: Vec<&str> = Setting::ALL.iter().map(|setting| setting.key()).collect();
            faults.push(Fault {
                subject: format!("{key} = `{}` (from {origin})", redact(&shown(&value))),
                reason: "unknown key".to_owned(),
                expected: format!("one of {}", known.join(", ")),
            });
            continue;
        };
        match value {
            toml::Value::String(value) => values.push((setting, value)),
            toml::Value::Integer(number) if setting.is_number() => values.push((setting, number.to_string())),
            other => faults.push(Fault {
                subject: format!("{key} = `{}` (from {origin})", redact(&shown(&other))),
                reason: format!("this is a TOML {}", other.type_str()),
                expected: format!("a string: {}", setting.allowed()),
            }),
        }
    }
    values
}

/// A value of any type, short; what is inside of tables and lists is left out, as it may be secret.
fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Table(_) => "{…}".to_owned(),
        toml::Value::Array(_) => "[…]".to_owned(),
        other => other.to_string(),
    }
}
