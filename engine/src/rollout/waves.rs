//! Waves of a rollout: which part of it may be released now, and what the next part waits for.
//!
//! Pure, and beside [`super::Rollout`], which counts the invocations of later waves as held. The
//! waves are consecutive ranges of the rollout's order. One is over when nothing before the next
//! has not ended; its gate then stops the rollout, or the next wave follows after the bake time and
//! the approval. Each wait has a deadline: a bake time passes, an approval that does not come stops
//! the rollout.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Tally;

/// One wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// For people.
    pub name: String,
    /// Invocations in it.
    pub targets: u32,
    /// Of them, those that are held back.
    pub held: u32,
    /// Seconds to wait after its end.
    pub bake_seconds: u32,
    /// Percentage that must have succeeded.
    pub min_success_percent: Option<u8>,
    /// Failures that are allowed.
    pub max_failed: Option<u32>,
    /// Seconds within which somebody must approve.
    pub approval_within_seconds: Option<u32>,
}

/// What the rollout is doing about its waves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The current wave is released as limits allow.
    Open,
    /// The current wave is over; the next one waits for the bake time.
    Baking {
        /// Its end.
        until: Timestamp,
    },
    /// The bake time is over; the next wave waits for an approval.
    AwaitingApproval {
        /// When the rollout stops without it.
        until: Timestamp,
    },
    /// The gate stopped the rollout.
    Stopped {
        /// Why, for people.
        reason: String,
    },
}

/// The waves of one rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waves {
    /// In order; none is empty when planned.
    pub waves: Vec<Wave>,
    /// Index of the last wave that was opened.
    pub current: usize,
    /// What it is doing.
    pub stage: Stage,
    /// How invocations had ended when the current wave was opened.
    before: Tally,
    /// Ids of answers that were taken: one that comes twice counts once.
    answered: Vec<String>,
}

/// What happens to waves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Everything that was released has ended, so.
    Over(Tally),
    /// Time has passed. The tally is what it was at the end of the wave.
    Tick(Tally),
    /// Somebody approves or rejects.
    Answer {
        /// Recognises a repeated answer.
        id: String,
        /// Whether the next wave may follow.
        approve: bool,
        /// Who, for the reason of a stop.
        by: String,
        /// How invocations have ended.
        tally: Tally,
    },
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// So many held invocations may be released.
    Open(u32),
    /// A new wait has begun.
    Waits,
    /// Stop the rollout.
    Stop,
}

impl Waves {
    /// Waves of a rollout that has not started. Empty ones are left out; `None` when fewer than two
    /// remain, as then nothing waits for anything.
    #[must_use]
    pub fn plan(waves: impl IntoIterator<Item = Wave>) -> Option<Self> {
        let mut waves: Vec<_> = waves.into_iter().filter(|wave| wave.targets > 0).collect();
        for (index, wave) in waves.iter_mut().enumerate() {
            wave.held = if index == 0 { 0 } else { wave.targets };
        }
        (waves.len() > 1).then(|| Self {
            waves,
            current: 0,
            stage: Stage::Open,
            before: Tally::default(),
            answered: Vec::new(),
        })
    }

    /// Invocations that are held back.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.waves.iter().map(|wave| wave.held).sum()
    }

    /// Position in the rollout's order of the first invocation that is held back.
    #[must_use]
    pub fn first_held(&self) -> i64 {
        self.waves.iter().take(self.current + 1).map(|wave| i64::from(wave.targets)).sum()
    }

    /// Index of the wave of the invocation at a position in the rollout's order.
    #[must_use]
    pub fn wave_of(&self, ordinal: i64) -> usize {
        let mut end = 0;
        let ends = self.waves.iter().map(|wave| {
            end += i64::from(wave.targets);
            end
        });
        ends.take_while(|end| *end <= ordinal).count().min(self.waves.len().saturating_sub(1))
    }

    /// When a wait ends by itself.
    #[must_use]
    pub const fn due_at(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Baking { until } | Stage::AwaitingApproval { until } => Some(until),
            Stage::Open | Stage::Stopped { .. } => None,
        }
    }

    /// Why the gate stopped the rollout, if it did.
    #[must_use]
    pub fn stopped(&self) -> Option<&str> {
        match &self.stage {
            Stage::Stopped { reason } => Some(reason),
            _ => None,
        }
    }

    /// An invocation that was held back is no more: it was cancelled by itself.
    pub fn leave(&mut self, ordinal: i64) {
        let index = self.wave_of(ordinal);
        if let Some(wave) = self.waves.get_mut(index) {
            wave.held = wave.held.saturating_sub(1);
        }
    }

    /// Returns the next state and what to do about it. What comes too late or too early is no error
    /// and changes nothing.
    #[must_use]
    pub fn step(&self, event: &Event, now: Timestamp) -> (Self, Option<Effect>) {
        let mut next = self.clone();
        let effect = match (event, &self.stage) {
            (Event::Over(tally), Stage::Open) if self.held() > 0 => Some(next.wave_over(tally, now)),
            (Event::Tick(tally), Stage::Baking { until }) if now >= *until => Some(next.baked(tally, now)),
            (Event::Tick(_), Stage::AwaitingApproval { until }) if now >= *until => {
                Some(next.stop(format!("nobody approved what follows {} in time", self.name())))
            }
            (Event::Answer { id, .. }, _) if self.answered.contains(id) => None,
            (Event::Answer { id, approve: true, tally, .. }, Stage::AwaitingApproval { until }) if now < *until => {
                next.answered.push(id.clone());
                Some(next.open_next(tally))
            }
            (Event::Answer { id, approve: false, by, .. }, Stage::AwaitingApproval { .. } | Stage::Baking { .. }) => {
                next.answered.push(id.clone());
                Some(next.stop(format!("{by} rejected what follows {}", self.name())))
            }
            _ => None,
        };
        (next, effect)
    }

    fn name(&self) -> &str {
        self.waves.get(self.current).map_or("", |wave| &wave.name)
    }

    fn wave_over(&mut self, tally: &Tally, now: Timestamp) -> Effect {
        if let Some(reason) = self.shortcoming(tally) {
            return self.stop(reason);
        }
        let seconds = self.waves[self.current].bake_seconds;
        if seconds == 0 {
            return self.baked(tally, now);
        }
        self.stage = Stage::Baking { until: now + SignedDuration::from_secs(i64::from(seconds)) };
        Effect::Waits
    }

    fn baked(&mut self, tally: &Tally, now: Timestamp) -> Effect {
        match self.waves[self.current].approval_within_seconds {
            Some(seconds) => {
                let until = now + SignedDuration::from_secs(i64::from(seconds));
                self.stage = Stage::AwaitingApproval { until };
                Effect::Waits
            }
            None => self.open_next(tally),
        }
    }

    /// Opens the next wave of which something is left.
    fn open_next(&mut self, tally: &Tally) -> Effect {
        let last = self.waves.len() - 1;
        let mut rest = self.waves.iter_mut().enumerate().skip(self.current + 1);
        let next = rest.find(|(_, wave)| wave.held > 0);
        let (index, count) = next.map_or((last, 0), |(index, wave)| (index, std::mem::take(&mut wave.held)));
        self.current = index;
        self.before = *tally;
        self.stage = Stage::Open;
        Effect::Open(count)
    }

    fn stop(&mut self, reason: String) -> Effect {
        self.stage = Stage::Stopped { reason };
        Effect::Stop
    }

    /// What the gate finds fault with in the wave that is over.
    fn shortcoming(&self, tally: &Tally) -> Option<String> {
        let wave = &self.waves[self.current];
        let failed = tally.errors() - self.before.errors();
        if let Some(most) = wave.max_failed.filter(|most| failed > *most) {
            return Some(format!("{failed} nodes of {} failed; its gate allows {most}", wave.name));
        }
        let succeeded = tally.success - self.before.success;
        // What somebody cancelled says nothing about the patches.
        let ended = (tally.ended() - tally.cancelled) - (self.before.ended() - self.before.cancelled);
        let least = wave.min_success_percent?;
        let enough = u64::from(succeeded) * 100 >= u64::from(least) * u64::from(ended);
        (!enough)
            .then(|| format!("{succeeded} of {ended} nodes of {} succeeded; its gate demands {least} %", wave.name))
    }
}

#[cfg(test)]
#[path = "waves_tests.rs"]
mod tests;
