//! The Amazon States Language: what a state machine is, and what each event makes of an execution.
//!
//! Pure. An execution is a set of frames: the execution itself, one for each branch of a Parallel and
//! one for each iteration of a Map. [`step`] takes one frame and one event; what is to be done
//! follows as effects, which whoever holds the store carries out after storing the frame. So the
//! stored driver, the one of the command line and the simulation share every rule.
//!
//! | phase | Start | Due | CallEnded | TimedOut | ChildEnded | Collected |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | New | runs | – | – | – | – | – |
//! | Waiting | – | goes on | – | – | – | – |
//! | Pausing (before a retry) | – | tries again | – | – | – | – |
//! | Calling | – | – | goes on, or retries, catches, fails | retries, catches, fails | – | – |
//! | Children | – | – | – | – | counts; spawns, collects, fails | – |
//! | Collecting | – | – | – | – | – | goes on |
//! | Ended | – | – | – | – | – | – |
//!
//! "–" is a late or repeated event: it is recognised by the visit and attempt that it names and changes
//! nothing. Between two phases that wait for somebody a frame runs through any number of states, up
//! to [`TRANSITIONS_MAX`] in one step; then it asks to be continued.
//!
//! - `machine`: the definition; `read`: reading and checking it; `place`: line and column of a fault.
//! - `data`: paths, payload templates, inputs and outputs; `intrinsics`: the functions in templates.
//! - `choice`: the rules of Choice states.
//! - `resource`: what a Task asks of the world.
//! - `frame`: frames, events and effects; `step`: the transitions; `retry`: Retry and Catch.

mod choice;
mod data;
mod frame;
mod history;
mod intrinsics;
mod machine;
mod place;
mod read;
mod resource;
mod retry;
mod step;

pub use frame::{Children, Context, Effect, Event, Frame, Phase, ROOT, Step, child_prefix, root};
pub use machine::{Fault, Machine};
pub use step::step;

/// Bytes of a definition (Step Functions: 1 MB).
pub const DEFINITION_BYTES_MAX: usize = 1_048_576;
/// Bytes of an input, output or result (Step Functions: 256 KiB).
pub const PAYLOAD_BYTES_MAX: usize = 262_144;
/// States that one step runs through before it asks to be continued.
pub const TRANSITIONS_MAX: u32 = 200;
/// States that one frame may enter: what ends a loop that nothing else does. Step Functions bounds the
/// events of an execution by 25,000; a Map's iterations are frames of their own and count apart.
pub const VISITS_MAX: u64 = 25_000;
/// Iterations of a Map that run at a time where it says nothing, or more (Step Functions, inline).
pub const MAP_CONCURRENCY_MAX: u64 = 40;
/// States within states.
const NESTING_MAX: usize = 32;
