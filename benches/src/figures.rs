//! Collecting figures: a Markdown table for people, JSON for programs.

use std::io::Write as _;
use std::path::PathBuf;

use serde::Serialize;

/// One line of the result.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// What was measured, over how much.
    pub(crate) what: String,
    /// The value: the median where it was measured several times.
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What it is to be, if it is to be anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<String>,
    /// Every repeat.
    pub(crate) repeats: Vec<f64>,
}

/// Everything measured in this run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    figures: Vec<Figure>,
}

impl Figures {
    /// Notes the median of repeats, and returns it.
    pub(crate) fn add(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        goal: Option<&str>,
        repeats: &[f64],
    ) -> f64 {
        let value = median(repeats);
        let figure =
            Figure { what: what.into(), value, unit, goal: goal.map(str::to_owned), repeats: repeats.to_vec() };
        say(&format!("  {}: {} {}", figure.what, plain(figure.value), figure.unit));
        self.figures.push(figure);
        value
    }

    /// Prints the table and writes `bench.json` beside the programs' directory.
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "| what | median | unit | goal | repeats |\n| --- | --: | --- | --- | --- |")?;
        for figure in &self.figures {
            let repeats: Vec<_> = figure.repeats.iter().map(|value| plain(*value)).collect();
            let goal = figure.goal.as_deref().unwrap_or("");
            let (what, value) = (&figure.what, plain(figure.value));
            writeln!(out, "| {what} | {value} | {} | {goal} | {} |", figure.unit, repeats.join(", "))?;
        }
        let path = json_path()?;
        std::fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        say(&format!("written to {}", path.display()));
        Ok(())
    }
}

/// `target/bench.json`, wherever the target directory is.
fn json_path() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).unwrap_or(&program);
    Ok(target.join("bench.json"))
}

/// Says what goes on, on standard error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

fn plain(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
