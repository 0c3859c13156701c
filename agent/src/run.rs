//! One command on one node, as the node sees it.
//!
//! Pure: [`step`] reads no clock and does no I/O, so the agent, its recovery after a crash and the
//! seeded simulation share it. The caller journals what follows from a step, then acts.
//!
//! | state      | received | turn          | cancel     | reboot    | ended    | confirmed | restarted        |
//! | ---------- | -------- | ------------- | ---------- | --------- | -------- | --------- | ---------------- |
//! | Unknown    | Waiting¹ | –             | Finished   | –         | –        | –         | –                |
//! | Waiting    | same     | Started²      | Finished   | –         | –        | –         | same, queued     |
//! | Started    | same     | –             | Cancelling | Rebooting | Finished | –         | Started³         |
//! | Cancelling | same     | –             | same       | Cancelling| Finished | –         | Finished         |
//! | Rebooting  | same     | –             | same       | –         | Finished | –         | Started, resumed |
//! | Finished   | same     | –             | same       | –         | –        | Confirmed | same, sent again |
//! | Confirmed  | same     | –             | same       | –         | –        | same      | same             |
//!
//! ¹ or Finished, refused. ² or the same until `not_before`, or Finished when it is too late.
//! ³ or Finished when it was restarted too often.

use jiff::Timestamp;
use patchwave_schemas::report::{Outcome, StepResult};

/// Times a run may be taken up after the agent died in it.
///
/// One restart is an update or a reboot from outside; a third means that the run kills the agent.
pub const ATTEMPTS_MAX: u32 = 3;

/// When a run may start; from its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Must not start before.
    pub not_before: Timestamp,
    /// Must not start after.
    pub not_after: Timestamp,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Never heard of.
    Unknown,
    /// Journaled; waits for its turn or its time.
    Waiting(Terms),
    /// Being executed, for the `attempts`-th time (1 is the first).
    Started {
        /// Times it was taken up.
        attempts: u32,
    },
    /// Being executed, and told to stop.
    Cancelling,
    /// Waits for the node to come back.
    Rebooting {
        /// Times it was taken up.
        attempts: u32,
    },
    /// Has ended; its report is not confirmed yet.
    Finished,
    /// Has ended and the report is on the bus. Kept so that a late duplicate is recognised.
    Confirmed,
}

/// What happens to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its message arrived, for the first time or again.
    Received {
        /// When it may start.
        terms: Terms,
        /// Why this node does not take it, if so.
        refusal: Option<String>,
    },
    /// Nothing else is running on the node, and it is the first in the queue.
    Turn,
    /// Somebody wants it stopped.
    Cancel,
    /// A step needs the node to restart.
    RebootNeeded,
    /// Its last step has ended.
    Ended,
    /// Its report is on the bus.
    Confirmed,
    /// The agent has started and found the run in its journal.
    Restarted,
}

/// What is to be done after a step. There is never more than one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Put it at the end of the queue.
    Enqueue,
    /// Give it its turn again at this time.
    WaitUntil(Timestamp),
    /// Execute the document from its start.
    Execute,
    /// Take up what the dead agent was doing, or report that it cannot be taken up.
    Recover,
    /// Judge the step that needed the restart, and go on behind it.
    Resume,
    /// Stop the processes of the run.
    Kill,
    /// Restart the node.
    Reboot,
    /// Report an end without execution.
    Conclude(Outcome, String),
    /// Report what the execution brought.
    Report,
    /// Send the report again.
    Resend,
}

/// An event that cannot happen in a state: a mistake of the caller, never of a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a run that is {state:?} cannot meet {event:?}")]
pub struct IllegalEvent {
    /// The state it was in.
    pub state: Run,
    /// What was said to have happened.
    pub event: Event,
}

/// Returns the next state and what is to be done.
///
/// # Errors
/// [`IllegalEvent`] if the event cannot happen in this state; nothing changes.
pub fn step(run: Run, event: Event, now: Timestamp) -> Result<(Run, Option<Effect>), IllegalEvent> {
    let next = match (run, event) {
        (Run::Unknown, Event::Received { refusal: Some(reason), .. }) => {
            (Run::Finished, Some(Effect::Conclude(Outcome::Refused, reason)))
        }
        (Run::Unknown, Event::Received { terms, refusal: None }) => match too_late(terms, now) {
            Some(late) => (Run::Finished, Some(late)),
            None => (Run::Waiting(terms), Some(Effect::Enqueue)),
        },
        // Delivery is at least once: whatever is known already is not taken up again.
        (known, Event::Received { .. }) => (known, None),

        (Run::Waiting(terms), Event::Turn) => match too_late(terms, now) {
            Some(late) => (Run::Finished, Some(late)),
            None if now < terms.not_before => (run, Some(Effect::WaitUntil(terms.not_before))),
            None => (Run::Started { attempts: 1 }, Some(Effect::Execute)),
        },

        // A cancellation may overtake the command it is for: then the command must not start.
        (Run::Unknown | Run::Waiting(_), Event::Cancel) => {
            (Run::Finished, Some(Effect::Conclude(Outcome::Cancelled, "cancelled before it started".to_owned())))
        }
        (Run::Started { .. }, Event::Cancel) => (Run::Cancelling, Some(Effect::Kill)),
        // Too late to matter, or already under way. A node that restarts is not held up.
        (Run::Cancelling | Run::Rebooting { .. } | Run::Finished | Run::Confirmed, Event::Cancel) => (run, None),

        (Run::Started { attempts }, Event::RebootNeeded) => (Run::Rebooting { attempts }, Some(Effect::Reboot)),
        // A cancelled run restarts nothing; its execution ends at once.
        (Run::Cancelling, Event::RebootNeeded) => (run, Some(Effect::Report)),

        (Run::Started { .. } | Run::Cancelling | Run::Rebooting { .. }, Event::Ended) => {
            (Run::Finished, Some(Effect::Report))
        }

        (Run::Finished, Event::Confirmed) => (Run::Confirmed, None),
        // A report that was sent twice is confirmed twice.
        (Run::Confirmed, Event::Confirmed) => (run, None),

        (Run::Waiting(_), Event::Restarted) => (run, Some(Effect::Enqueue)),
        (Run::Started { attempts }, Event::Restarted) if attempts >= ATTEMPTS_MAX => {
            let reason = format!("the agent was restarted {attempts} times while the command ran");
            (Run::Finished, Some(Effect::Conclude(Outcome::Failed, reason)))
        }
        (Run::Started { attempts }, Event::Restarted) => {
            (Run::Started { attempts: attempts + 1 }, Some(Effect::Recover))
        }
        (Run::Cancelling, Event::Restarted) => {
            let reason = "the agent was restarted while the command was being cancelled".to_owned();
            (Run::Finished, Some(Effect::Conclude(Outcome::Cancelled, reason)))
        }
        (Run::Rebooting { attempts }, Event::Restarted) => (Run::Started { attempts }, Some(Effect::Resume)),
        (Run::Finished, Event::Restarted) => (run, Some(Effect::Resend)),
        (Run::Confirmed, Event::Restarted) => (run, None),

        (state, event) => return Err(IllegalEvent { state, event }),
    };
    Ok(next)
}

fn too_late(terms: Terms, now: Timestamp) -> Option<Effect> {
    (now > terms.not_after).then(|| {
        let reason = format!("arrived too late: had to start by {}, it is {now}", terms.not_after);
        Effect::Conclude(Outcome::Refused, reason)
    })
}

/// The outcome of a document from those of its steps: failed before timed out before cancelled.
///
/// Skipped steps count as successful (SSM).
#[must_use]
pub fn overall(steps: &[StepResult]) -> Outcome {
    [Outcome::Failed, Outcome::TimedOut, Outcome::Cancelled]
        .into_iter()
        .find(|outcome| steps.iter().any(|step| step.outcome == *outcome))
        .unwrap_or(Outcome::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    const NOW: i64 = 100;

    fn terms() -> Terms {
        Terms { not_before: at(50), not_after: at(200) }
    }

    fn received() -> Event {
        Event::Received { terms: terms(), refusal: None }
    }

    /// Every state with every event: the next state, or `None` where the pair is illegal.
    #[test]
    fn every_state_meets_every_event() {
        let waiting = Run::Waiting(terms());
        let started = Run::Started { attempts: 1 };
        let rebooting = Run::Rebooting { attempts: 1 };
        let states = [Run::Unknown, waiting, started, Run::Cancelling, rebooting, Run::Finished, Run::Confirmed];
        let table: [(Event, [Option<Run>; 7]); 7] = [
            (
                received(),
                [
                    Some(waiting),
                    Some(waiting),
                    Some(started),
                    Some(Run::Cancelling),
                    Some(rebooting),
                    Some(Run::Finished),
                    Some(Run::Confirmed),
                ],
            ),
            (Event::Turn, [None, Some(started), None, None, None, None, None]),
            (
                Event::Cancel,
                [
                    Some(Run::Finished),
                    Some(Run::Finished),
                    Some(Run::Cancelling),
                    Some(Run::Cancelling),
                    Some(rebooting),
                    Some(Run::Finished),
                    Some(Run::Confirmed),
                ],
            ),
            (Event::RebootNeeded, [None, None, Some(rebooting), Some(Run::Cancelling), None, None, None]),
            (Event::Ended, [None, None, Some(Run::Finished), Some(Run::Finished), Some(Run::Finished), None, None]),
            (Event::Confirmed, [None, None, None, None, None, Some(Run::Confirmed), Some(Run::Confirmed)]),
            (
                Event::Restarted,
                [
                    None,
                    Some(waiting),
                    Some(Run::Started { attempts: 2 }),
                    Some(Run::Finished),
                    Some(started),
                    Some(Run::Finished),
                    Some(Run::Confirmed),
                ],
            ),
        ];
        for (event, expected) in table {
            for (state, expected) in states.into_iter().zip(expected) {
                let found = step(state, event.clone(), at(NOW)).ok().map(|(next, _)| next);
                assert_eq!(found, expected, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn duplicates_have_no_effect_in_any_known_state() {
        let known = [
            Run::Waiting(terms()),
            Run::Started { attempts: 1 },
            Run::Cancelling,
            Run::Rebooting { attempts: 1 },
            Run::Finished,
            Run::Confirmed,
        ];
        for state in known {
            assert_eq!(step(state, received(), at(NOW)), Ok((state, None)));
            let refused = Event::Received { terms: terms(), refusal: Some("not for me".to_owned()) };
            assert_eq!(step(state, refused, at(NOW)), Ok((state, None)));
        }
    }

    #[test]
    fn late_command_is_refused_on_arrival_and_on_its_turn() {
        for (state, event) in [(Run::Unknown, received()), (Run::Waiting(terms()), Event::Turn)] {
            let (next, effect) = step(state, event, at(201)).expect("legal");
            assert_eq!(next, Run::Finished);
            assert!(matches!(effect, Some(Effect::Conclude(Outcome::Refused, reason)) if reason.contains("too late")));
        }
        let (next, _) = step(Run::Waiting(terms()), Event::Turn, at(200)).expect("legal");
        assert_eq!(next, Run::Started { attempts: 1 }, "the last instant is still in time");
    }

    #[test]
    fn early_command_waits_until_it_may_start() {
        let waiting = Run::Waiting(terms());
        assert_eq!(step(waiting, Event::Turn, at(49)), Ok((waiting, Some(Effect::WaitUntil(at(50))))));
    }

    #[test]
    fn run_that_kills_the_agent_is_given_up() {
        let (next, effect) = step(Run::Started { attempts: ATTEMPTS_MAX }, Event::Restarted, at(NOW)).expect("legal");
        assert_eq!(next, Run::Finished);
        assert!(matches!(effect, Some(Effect::Conclude(Outcome::Failed, _))));
    }

    #[test]
    fn failed_step_outweighs_timed_out_and_cancelled_ones() {
        let result = |outcome| StepResult {
            name: "step".to_owned(),
            outcome,
            exit_code: 0,
            started_at: at(0),
            finished_at: at(1),
            stdout: String::new(),
            stderr: String::new(),
        };
        for (steps, expected) in [
            (vec![], Outcome::Success),
            (vec![Outcome::Skipped, Outcome::Success], Outcome::Success),
            (vec![Outcome::Cancelled, Outcome::Failed, Outcome::TimedOut], Outcome::Failed),
            (vec![Outcome::Cancelled, Outcome::TimedOut], Outcome::TimedOut),
            (vec![Outcome::Success, Outcome::Cancelled], Outcome::Cancelled),
        ] {
            let steps: Vec<_> = steps.into_iter().map(result).collect();
            assert_eq!(overall(&steps), expected, "{steps:?}");
        }
    }
}
