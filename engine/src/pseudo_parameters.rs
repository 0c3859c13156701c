//! The pseudo parameters of a maintenance window's tasks: `{{TARGET_ID}}` and its like.
//!
//! What is between braces and is none of them stays as it is: a document's own parameters are written
//! the same way. Filled in once; what is filled in is not looked at again.

use std::collections::BTreeMap;

/// Their names (SSM).
pub const NAMES: [&str; 9] = [
    "WINDOW_ID",
    "WINDOW_TASK_ID",
    "WINDOW_TARGET_ID",
    "WINDOW_EXECUTION_ID",
    "TASK_EXECUTION_ID",
    "INVOCATION_ID",
    "TARGET_TYPE",
    "TARGET_ID",
    "RESOURCE_ID",
];

/// Fills a text in. One that has no value here becomes empty.
#[must_use]
pub fn fill(text: &str, values: &BTreeMap<&str, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let named = after.split_once("}}").filter(|(name, _)| NAMES.contains(&name.trim()));
        match named {
            Some((name, behind)) => {
                out.push_str(values.get(name.trim()).map_or("", String::as_str));
                rest = behind;
            }
            None => {
                out.push_str("{{");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pseudo_parameter_is_filled_in_and_nothing_else() {
        let values: BTreeMap<&str, String> = NAMES.iter().map(|name| (*name, format!("<{name}>"))).collect();
        for name in NAMES {
            assert_eq!(fill(&format!("a{{{{{name}}}}}b"), &values), format!("a<{name}>b"));
            assert_eq!(fill(&format!("{{{{ {name} }}}}"), &values), format!("<{name}>"));
        }
        for text in ["{{ Own }}", "{{", "{{}}", "{TARGET_ID}", "{{TARGET_ID", "é {{ x }} }}"] {
            assert_eq!(fill(text, &values), text);
        }
        // What is filled in is not looked at again, and what has no value is empty.
        let tricky = BTreeMap::from([("TARGET_ID", "{{RESOURCE_ID}}".to_owned())]);
        assert_eq!(fill("{{TARGET_ID}}/{{RESOURCE_ID}}", &tricky), "{{RESOURCE_ID}}/");
        assert_eq!(fill("{{ {{TARGET_ID}}", &BTreeMap::from([("TARGET_ID", "t".to_owned())])), "{{ t");
    }
}
