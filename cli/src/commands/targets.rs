//! Arguments that say which nodes: shared by commands, window targets and window tasks.

use clap::Args;
use serde_json::Value;

use super::pairs::{self, Pair, parse_pair};

/// Which nodes. Conditions on different keys must all hold; of the values of one key, any suffices.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which nodes")]
pub(crate) struct TargetArgs {
    /// A node by its id; several with commas; repeatable
    #[arg(long = "node", value_name = "NODE", value_delimiter = ',')]
    nodes: Vec<String>,
    /// Nodes with this tag; several values with commas; repeatable
    #[arg(long = "tag", value_name = "KEY=VALUE,…", value_parser = parse_pair)]
    tags: Vec<Pair>,
    /// Nodes of this patch group; repeatable
    #[arg(long = "patch-group", value_name = "NAME")]
    patch_groups: Vec<String>,
    /// Nodes of this resource group
    #[arg(long = "group", value_name = "NAME")]
    group: Option<String>,
    /// A target in SSM's words, such as `tag-key=env`, or as the AWS CLI has it: `Key=tag:env,Values=a,b`
    #[arg(long = "target", alias = "targets", value_name = "KEY=VALUE,…", value_parser = parse_target)]
    targets: Vec<Pair>,
}

impl TargetArgs {
    /// Whether nothing was given.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
            && self.tags.is_empty()
            && self.patch_groups.is_empty()
            && self.group.is_none()
            && self.targets.is_empty()
    }

    /// Whether a resource group is among them.
    pub(super) fn has_group(&self) -> bool {
        self.group.is_some() || self.targets.iter().any(|target| target.key.starts_with("resource-groups:"))
    }

    /// SSM's `Targets`.
    pub(super) fn targets(&self) -> Value {
        let nodes = (!self.nodes.is_empty()).then(|| ("InstanceIds".to_owned(), self.nodes.clone()));
        let tags = self.tags.iter().map(|pair| (format!("tag:{}", pair.key), pairs::split(&pair.value)));
        let patch_groups = self.patch_groups.iter().map(|name| ("tag:Patch Group".to_owned(), vec![name.clone()]));
        let group = self.group.iter().map(|name| ("resource-groups:Name".to_owned(), vec![name.clone()]));
        let targets = self.targets.iter().map(|pair| (pair.key.clone(), pairs::split(&pair.value)));
        pairs::key_values(nodes.into_iter().chain(tags).chain(patch_groups).chain(group).chain(targets))
    }
}

/// Reads `KEY=V1,V2` or `Key=KEY,Values=V1,V2`.
fn parse_target(text: &str) -> Result<Pair, String> {
    let shorthand = text.strip_prefix("Key=").and_then(|rest| rest.split_once(",Values="));
    match shorthand {
        Some((key, value)) if !key.is_empty() => Ok(Pair { key: key.to_owned(), value: value.to_owned() }),
        Some(_) => Err("expected Key=KEY,Values=VALUE,…".to_owned()),
        None => parse_pair(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_on_one_key_are_joined() {
        let args = TargetArgs {
            nodes: vec!["mi-1".to_owned(), "mi-2".to_owned()],
            patch_groups: vec!["canary".to_owned(), "staging".to_owned()],
            targets: vec![
                parse_target("Key=tag:env,Values=a,b").expect("valid"),
                parse_target("tag:env=c").expect("valid"),
            ],
            ..TargetArgs::default()
        };
        assert_eq!(
            args.targets(),
            json!([
                {"Key": "InstanceIds", "Values": ["mi-1", "mi-2"]},
                {"Key": "tag:Patch Group", "Values": ["canary", "staging"]},
                {"Key": "tag:env", "Values": ["a", "b", "c"]},
            ])
        );
    }

    #[test]
    fn a_target_without_key_is_refused() {
        for text in ["", "=x", "env", "Key=,Values=a"] {
            assert!(parse_target(text).is_err(), "{text}");
        }
    }
}
