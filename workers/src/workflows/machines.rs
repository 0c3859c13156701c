//! Definitions that were read before. They never change under their id, so any process may keep them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use patchwave_engine::states::Machine;

/// Definitions that are kept; when there are more, all are forgotten and read again.
const KEPT_MAX: usize = 64;

/// The machine of a definition's text, which is valid: it was checked before it was stored.
///
/// # Errors
/// The first fault, when this version no longer accepts what an earlier one did.
pub(super) fn machine(definition_id: &str, text: &str) -> Result<Arc<Machine>, String> {
    static KEPT: OnceLock<Mutex<HashMap<String, Arc<Machine>>>> = OnceLock::new();
    let kept = KEPT.get_or_init(Mutex::default);
    let known = kept.lock().unwrap_or_else(PoisonError::into_inner).get(definition_id).cloned();
    if let Some(machine) = known {
        return Ok(machine);
    }
    let read = Machine::parse(text)
        .map_err(|faults| faults.first().map_or_else(|| "no definition".to_owned(), ToString::to_string))?;
    let machine = Arc::new(read);
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= KEPT_MAX {
        kept.clear();
    }
    kept.insert(definition_id.to_owned(), Arc::clone(&machine));
    Ok(machine)
}
