//! Shows snapshots: bars for a person, a line for each change otherwise.

use std::collections::BTreeMap;
use std::io;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::json;

use super::snapshot::{Rollout, Snapshot};
use crate::output::Output;
use crate::times;

/// Where snapshots are shown. One board may show several executions at the same time.
#[derive(Debug)]
pub struct Board {
    output: Output,
    bars: Option<MultiProgress>,
    /// The bar of each rollout, by its id.
    rollout_bars: BTreeMap<String, ProgressBar>,
    /// What was said last of each rollout and execution, by its id.
    said: BTreeMap<String, String>,
}

impl Board {
    /// A board with bars if a person is watching, else with lines on standard output.
    #[must_use]
    pub fn new(output: Output) -> Self {
        let bars = output.is_interactive().then(MultiProgress::new);
        Self { output, bars, rollout_bars: BTreeMap::new(), said: BTreeMap::new() }
    }

    /// Shows what changed since the last snapshot of the same execution or command.
    ///
    /// # Errors
    /// Standard output's.
    pub fn update(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        for rollout in &snapshot.rollouts {
            match &self.bars {
                Some(bars) => {
                    let bar = self.rollout_bars.entry(rollout.id.clone()).or_insert_with(|| bars.add(new_bar(rollout)));
                    show_on(bar, rollout);
                }
                None => self.say(rollout)?,
            }
        }
        if self.bars.is_none() && snapshot.is_execution {
            self.say_execution(snapshot)?;
        }
        Ok(())
    }

    /// Leaves the bars as they are and says how it ended.
    ///
    /// # Errors
    /// Standard output's.
    pub fn finish(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        for rollout in &snapshot.rollouts {
            if let Some(bar) = self.rollout_bars.get(&rollout.id) {
                bar.abandon();
            }
        }
        if self.bars.is_some() {
            self.output.line(&format!("{}: {}", snapshot.label, snapshot.status_text()))?;
        }
        Ok(())
    }

    /// Says something that is not data, without disturbing the bars.
    pub fn note(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| self.output.note(text)),
            None => self.output.note(text),
        }
    }

    fn say(&mut self, rollout: &Rollout) -> io::Result<()> {
        let text = rollout.text();
        if self.said.get(&rollout.id).is_some_and(|said| *said == text) {
            return Ok(());
        }
        self.said.insert(rollout.id.clone(), text.clone());
        if !self.output.is_json() {
            let now = times::absolute(Timestamp::now());
            return self.output.line(&format!("{now}  {}  {text}", rollout.label));
        }
        self.output.json_line(&rollout.raw)
    }

    fn say_execution(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let text = snapshot.status_text();
        if self.said.get(&snapshot.id).is_some_and(|said| *said == text) {
            return Ok(());
        }
        self.said.insert(snapshot.id.clone(), text.clone());
        if !self.output.is_json() {
            return self.output.line(&format!("{}  {}  {text}", times::absolute(Timestamp::now()), snapshot.label));
        }
        self.output.json_line(&json!({
            "WindowExecutionId": snapshot.id,
            "Status": snapshot.status,
            "StatusDetails": snapshot.details,
        }))
    }
}

fn new_bar(rollout: &Rollout) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix}  [{bar:30}] {msg}  {elapsed}")
        .map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("=> "));
    ProgressBar::new(rollout.targets).with_style(style).with_prefix(rollout.label.clone()).with_message(rollout.text())
}

fn show_on(bar: &ProgressBar, rollout: &Rollout) {
    bar.set_length(rollout.targets);
    bar.set_position(rollout.completed);
    bar.set_message(rollout.text());
    if rollout.is_terminal() && !bar.is_finished() {
        bar.abandon();
    }
}
