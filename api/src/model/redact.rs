//! What of a request may be kept: everything but what may be secret, by the model's shapes and by
//! the names of members that carry scripts.

use serde_json::{Map, Value, json};

use super::Model;
use super::shape::Kind;

/// Parameters of documents that say what is done and hold no secrets.
const PLAIN_PARAMETERS: [&str; 3] = ["Operation", "RebootOption", "SnapshotId"];
/// Members that may hold passwords though the model does not call them sensitive: scripts, and what
/// people write beside them.
const COVERED: [&str; 4] = ["Content", "TaskParameters", "Payload", "Comment"];

/// The members of a request without what may be secret: what the model calls sensitive, the
/// parameters and contents of documents, and members that the model does not know are replaced by
/// what `mac` makes of them. Secrets of access keys are left out altogether.
pub(crate) fn redacted(
    service: &str,
    operation: &str,
    members: &Map<String, Value>,
    mac: &dyn Fn(&Value) -> Value,
) -> Value {
    let model = Model::get();
    let cover = Cover { model, mac };
    match model.input(service, operation).map(|input| &model.shape(input).kind) {
        Some(Kind::Members(known)) => cover.members(known, members),
        _ => members.iter().map(|(name, value)| (name.clone(), mac(value))).collect(),
    }
}

/// Whether a request of this operation may hold something that is not recorded. What is said of
/// such a request may quote it.
pub(crate) fn may_hold_secrets(service: &str, operation: &str) -> bool {
    fn reaches<'m>(model: &'m Model, name: &'m str, seen: &mut Vec<&'m str>) -> bool {
        if seen.contains(&name) {
            return false;
        }
        seen.push(name);
        let shape = model.shape(name);
        shape.sensitive
            || match &shape.kind {
                Kind::Members(members) => members
                    .0
                    .iter()
                    .any(|member| COVERED.contains(&member.name.as_str()) || reaches(model, &member.shape, seen)),
                Kind::List(item) => reaches(model, item, seen),
                Kind::Map(key, item) => reaches(model, key, seen) || reaches(model, item, seen),
                Kind::Type(_) => false,
            }
    }
    let model = Model::get();
    model.input(service, operation).is_none_or(|input| reaches(model, input, &mut Vec::new()))
}

struct Cover<'a> {
    model: &'a Model,
    mac: &'a dyn Fn(&Value) -> Value,
}

impl Cover<'_> {
    fn members(&self, known: &super::shape::Members, given: &Map<String, Value>) -> Value {
        let keep = |(name, value): (&String, &Value)| {
            let shape = known.0.iter().find(|member| member.name == *name).map(|member| member.shape.as_str());
            let kept = match (name.as_str(), value, shape) {
                (name, _, _) if name.contains("Secret") || name.contains("Password") => json!("(not recorded)"),
                ("Parameters", Value::Object(parameters), Some(_)) => parameters
                    .iter()
                    .map(|(name, value)| {
                        let plain = PLAIN_PARAMETERS.contains(&name.as_str());
                        (name.clone(), if plain { value.clone() } else { (self.mac)(value) })
                    })
                    .collect(),
                (name, value, Some(shape)) if !COVERED.contains(&name) => self.value(shape, value),
                (_, value, _) => (self.mac)(value),
            };
            (name.clone(), kept)
        };
        given.iter().map(keep).collect()
    }

    fn value(&self, name: &str, value: &Value) -> Value {
        let shape = self.model.shape(name);
        match (&shape.kind, value) {
            _ if shape.sensitive => (self.mac)(value),
            (Kind::Members(known), Value::Object(given)) => self.members(known, given),
            (Kind::List(item), Value::Array(items)) => items.iter().map(|one| self.value(item, one)).collect(),
            (Kind::Map(key, item), Value::Object(entries)) if !self.model.shape(key).sensitive => {
                entries.iter().map(|(key, one)| (key.clone(), self.value(item, one))).collect()
            }
            (Kind::Type(scalar), _) if scalar.takes(value) => value.clone(),
            _ => (self.mac)(value),
        }
    }
}
