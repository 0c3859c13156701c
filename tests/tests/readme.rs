//! The documents against the repository: examples that are really there, links that lead somewhere,
//! command lines that the program understands, settings as they are.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use patchwave::args::Cli;
use patchwave::config::{DEFAULTS, Setting};

/// Directories that are not in the repository.
const SKIPPED: &[&str] = &[".git", "target"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every Markdown file, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    gather(root(), &mut found);
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        assert!(found.iter().any(|(path, _)| *path == root().join(name)), "{name} is missing");
    }
    found
}

fn gather(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !SKIPPED.contains(&path.file_name().unwrap().to_str().unwrap()) {
                gather(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// Fenced blocks: the line before the fence, the language, and the lines inside.
fn blocks(text: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut before = "";
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside: String =
                lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            found.push((before.to_owned(), language.to_owned(), inside));
        }
        before = line;
    }
    found
}

/// The text without its fenced blocks and inline code, where brackets are no links.
fn prose(text: &str) -> String {
    let mut prose = String::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            // Code inside of a link's text goes, the link stays.
            prose.extend(line.split('`').step_by(2));
            prose.push('\n');
        }
    }
    prose
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if !fenced && line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            found.push(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    found
}

/// Words of the commands in one line of shell, quotes taken off. Expansions stay as they are
/// written, and `$(…)` is entered.
fn shell_commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '$') if characters.peek() == Some(&'(') => {
                characters.next();
                word = None;
                commands.push(Vec::new());
            }
            (None, '#') if word.is_none() => break,
            (None, ' ' | '|' | ';' | '&' | ')') => {
                commands.last_mut().unwrap().extend(word.take());
                if c != ' ' {
                    commands.push(Vec::new());
                }
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "a quote is not closed: {line}");
    commands.last_mut().unwrap().extend(word);
    commands.retain(|words| !words.is_empty());
    commands
}

#[test]
fn examples_are_the_files_they_name() {
    let readme = readme();
    let mut compared = 0;
    for (before, language, inside) in blocks(&readme) {
        let named = before.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        if let Some(path) = named.filter(|path| path.contains('/') && !language.is_empty()) {
            let file = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(inside, file, "README.md shows another {path} than there is");
            compared += 1;
        }
    }
    assert_eq!(compared, 1, "the README shows deploy/examples/patch_now.py");
}

#[test]
fn relative_links_lead_to_files_and_headings() {
    let mut faults = Vec::new();
    let mut followed = 0;
    for (path, text) in documents() {
        for rest in prose(&text).split("](").skip(1) {
            let target = rest.split(')').next().unwrap();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            if !file.exists() {
                faults.push(format!("{}: {target}: there is no such file", path.display()));
            } else if !anchor.is_empty() && !anchors(&fs::read_to_string(&file).unwrap()).iter().any(|a| a == anchor) {
                faults.push(format!("{}: {target}: there is no such heading", path.display()));
            }
        }
    }
    assert!(followed > 20, "only {followed} links were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn command_lines_are_understood_by_the_program() {
    let mut faults = Vec::new();
    let mut understood = 0;
    for (path, text) in documents() {
        for (_, language, inside) in blocks(&text) {
            if language != "sh" {
                continue;
            }
            for command in inside.lines().flat_map(shell_commands) {
                let Some(start) = command.iter().position(|word| word == "patchwave") else { continue };
                match Cli::try_parse_from(&command[start..]) {
                    Ok(_) => understood += 1,
                    Err(error) => faults.push(format!("{}: {}\n{error}", path.display(), command.join(" "))),
                }
            }
        }
    }
    assert!(understood > 15, "only {understood} command lines were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn table_of_settings_is_the_register_of_settings() {
    let defaults: toml::Table = DEFAULTS.parse().unwrap();
    let readme = readme();
    let rows: Vec<_> = readme.lines().filter(|line| line.starts_with("| `--")).collect();
    assert_eq!(rows.len(), Setting::ALL.len());
    for (row, setting) in rows.iter().zip(Setting::ALL) {
        let default = match &defaults[setting.key()] {
            toml::Value::String(text) if text.is_empty() => "none".to_owned(),
            toml::Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let begins = format!("| `{}` | `{}` | {default} |", setting.flag(), setting.variable());
        assert!(row.starts_with(&begins), "the row is\n{row}\nand should begin with\n{begins}");
    }
}

#[test]
fn shell_lines_are_taken_apart() {
    let words = shell_commands(r#"id=$(patchwave node tag "$x" 'Patch Group=a b' | head)  # patchwave no"#);
    assert_eq!(words, [vec!["patchwave", "node", "tag", "$x", "Patch Group=a b"], vec!["head"]]);
}
