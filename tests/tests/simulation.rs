//! A thousand seeds of the simulation, or as many as `PATCHWAVE_SEEDS` says, from `PATCHWAVE_SEED` on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use patchwave_tests::simulation::world::ensure_eventful;
use patchwave_tests::simulation::{Summary, run};

/// Seeds that `make test` runs.
const SEEDS: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`, not a number")))
}

#[test]
fn every_seed_holds_every_invariant() {
    let first = number("PATCHWAVE_SEED");
    let count = number("PATCHWAVE_SEEDS").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let first = first.unwrap_or(0);
    let next = AtomicU64::new(first);
    let total = Mutex::new(Summary::default());
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    match runtime.block_on(run(seed, count == 1)) {
                        Ok(one) => {
                            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                            total.steps += one.steps;
                            total.crashes += one.crashes;
                            total.faults += one.faults;
                            total.executions += one.executions;
                            total.commands += one.commands;
                            total.gates += one.gates;
                            total.window_executions += one.window_executions;
                        }
                        Err(error) => failures
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(format!("{error:#}\n  replay it with: make simulate SEED={seed}")),
                    }
                }
            });
        }
    });
    let total = *total.lock().unwrap();
    println!("{count} seeds: {total:?}");
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    assert!(
        failures.is_empty(),
        "{} of {count} seeds failed:\n{}",
        failures.len(),
        failures[..failures.len().min(10)].join("\n")
    );
    if count >= 100 {
        ensure_eventful(&total, usize::try_from(count).unwrap()).unwrap();
    }
}
