//! `baseline`: which patches are approved.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use super::pairs::key_values;
use super::request::Request;
use super::window::elements;
use crate::table;

/// Patch baselines.
#[derive(Debug, Subcommand)]
pub enum BaselineCommand {
    /// Create a baseline; prints its id
    Create(Box<CreateArgs>),
    /// List the baselines
    List {
        /// Only baselines for this operating system, such as `DEBIAN`
        #[arg(long, value_name = "OS")]
        operating_system: Option<String>,
        /// Only one's own (`Self`) or the predefined ones (`AWS`)
        #[arg(long)]
        owner: Option<String>,
        /// Only baselines whose name starts so
        #[arg(long)]
        name_prefix: Option<String>,
    },
    /// Show a baseline
    Show {
        /// Id of the baseline
        baseline: String,
    },
    /// Change a baseline; what is not given stays as it is, lists are replaced
    Update(Box<UpdateArgs>),
    /// Show what a change would change on the whole fleet, as last scanned; saves nothing
    Preview(Box<super::baseline_preview::PreviewArgs>),
    /// Delete baselines that no patch group uses
    Delete {
        /// Ids of the baselines
        #[arg(required = true)]
        baselines: Vec<String>,
    },
    /// Show the default baseline of an operating system, or make one the default of its own
    Default {
        /// The baseline to make the default
        baseline: Option<String>,
        /// The operating system whose default to show
        #[arg(long, value_name = "OS", conflicts_with = "baseline", default_value = "DEBIAN")]
        operating_system: String,
    },
}

/// Arguments of `baseline create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Name: 3 to 128 letters, digits, `_`, `-` and `.`
    name: String,
    /// Operating system, such as `DEBIAN`, `UBUNTU` or `REDHAT_ENTERPRISE_LINUX`
    #[arg(long, value_name = "OS")]
    operating_system: String,
    /// Makes a repetition of this call return the same baseline
    #[arg(long, value_name = "TOKEN")]
    client_token: Option<String>,
    #[command(flatten)]
    rules: RuleArgs,
}

/// Arguments of `baseline update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Id of the baseline
    baseline: String,
    /// Name
    #[arg(long)]
    name: Option<String>,
    /// Replace the baseline: what is not given becomes absent
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    rules: RuleArgs,
}

/// What is approved and rejected. Filters and a delay make one approval rule.
#[derive(Debug, Args)]
pub(super) struct RuleArgs {
    /// Description
    #[arg(long)]
    description: Option<String>,
    /// Approve by rule: so many days after release, 0 to 360
    #[arg(long, value_name = "DAYS", help_heading = "The approval rule")]
    approve_after_days: Option<u16>,
    /// Approve by rule: what was released up to this day
    #[arg(long, value_name = "YYYY-MM-DD", help_heading = "The approval rule", conflicts_with = "approve_after_days")]
    approve_until_date: Option<String>,
    /// Only this product; repeatable
    #[arg(long = "product", value_name = "NAME", help_heading = "The approval rule")]
    products: Vec<String>,
    /// Only this classification; repeatable
    #[arg(long = "classification", value_name = "NAME", help_heading = "The approval rule")]
    classifications: Vec<String>,
    /// Only this severity; repeatable
    #[arg(long = "severity", value_name = "NAME", help_heading = "The approval rule")]
    severities: Vec<String>,
    /// Only this priority (Debian family); repeatable
    #[arg(long = "priority", value_name = "NAME", help_heading = "The approval rule")]
    priorities: Vec<String>,
    /// Only this section (Debian family); repeatable
    #[arg(long = "section", value_name = "NAME", help_heading = "The approval rule")]
    sections: Vec<String>,
    /// Level given to what the rule approves, such as `CRITICAL`
    #[arg(long, value_name = "LEVEL", help_heading = "The approval rule")]
    compliance_level: Option<String>,
    /// Let patches that are not security-related qualify (Linux)
    #[arg(long, help_heading = "The approval rule")]
    enable_non_security: bool,
    /// Several rules in SSM's JSON (`{"PatchRules": […]}`) instead of the options of one
    #[arg(long, value_name = "JSON", value_parser = parse_json, help_heading = "The approval rule",
          conflicts_with_all = ["approve_after_days", "approve_until_date"])]
    approval_rules: Option<Value>,
    /// Approve this patch by name; repeatable
    #[arg(long = "approve", value_name = "PATCH")]
    approved: Vec<String>,
    /// Reject this patch by name; repeatable
    #[arg(long = "reject", value_name = "PATCH")]
    rejected: Vec<String>,
    /// Rejected patches are not even allowed as dependencies
    #[arg(long)]
    block_rejected: bool,
}

fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

impl RuleArgs {
    pub(super) fn add_to(self, request: Request) -> Request {
        let rules = self.approval_rules.clone().or_else(|| self.rule());
        request
            .maybe("Description", self.description)
            .maybe("ApprovalRules", rules)
            .unless_empty("ApprovedPatches", self.approved)
            .unless_empty("RejectedPatches", self.rejected)
            .maybe("RejectedPatchesAction", self.block_rejected.then_some("BLOCK"))
    }

    /// `ApprovalRules` of the one rule, if any of its options was given.
    fn rule(&self) -> Option<Value> {
        let filters = [
            ("PRODUCT", &self.products),
            ("CLASSIFICATION", &self.classifications),
            ("SEVERITY", &self.severities),
            ("PRIORITY", &self.priorities),
            ("SECTION", &self.sections),
        ];
        let filters = filters.into_iter().filter(|(_, values)| !values.is_empty());
        let filters = key_values(filters.map(|(key, values)| (key.to_owned(), values.clone())));
        let rule = Request::new()
            .maybe("ApproveAfterDays", self.approve_after_days)
            .maybe("ApproveUntilDate", self.approve_until_date.clone())
            .maybe("ComplianceLevel", self.compliance_level.clone())
            .flag("EnableNonSecurity", self.enable_non_security);
        if rule.is_empty() && filters.as_array().is_none_or(Vec::is_empty) {
            return None;
        }
        let rule = rule.set("PatchFilterGroup", json!({"PatchFilters": filters}));
        Some(json!({"PatchRules": [rule.done()]}))
    }
}

pub(super) async fn run(command: BaselineCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        BaselineCommand::Create(args) => {
            let request = Request::new()
                .set("Name", args.name)
                .set("OperatingSystem", args.operating_system)
                .maybe("ClientToken", args.client_token);
            let answer = cx.client.ssm("CreatePatchBaseline", &args.rules.add_to(request).done()).await?;
            Ok(cx.output.either(&answer, || table::text(&answer["BaselineId"]))?)
        }
        BaselineCommand::List { operating_system, owner, name_prefix } => {
            list(operating_system, owner, name_prefix, cx).await
        }
        BaselineCommand::Show { baseline } => {
            let answer = cx.client.ssm("GetPatchBaseline", &id(&baseline)).await?;
            Ok(cx.output.either(&answer, || table::details(&answer))?)
        }
        BaselineCommand::Update(args) => {
            let request =
                Request::new().set("BaselineId", args.baseline).maybe("Name", args.name).flag("Replace", args.replace);
            let answer = cx.client.ssm("UpdatePatchBaseline", &args.rules.add_to(request).done()).await?;
            Ok(cx.output.either(&answer, || table::details(&answer))?)
        }
        BaselineCommand::Preview(args) => super::baseline_preview::run(*args, cx).await,
        BaselineCommand::Delete { baselines } => {
            for baseline in baselines {
                let answer = cx.client.ssm("DeletePatchBaseline", &id(&baseline)).await?;
                cx.output.either(&answer, || table::text(&answer["BaselineId"]))?;
            }
            Ok(())
        }
        BaselineCommand::Default { baseline: Some(baseline), .. } => {
            let answer = cx.client.ssm("RegisterDefaultPatchBaseline", &id(&baseline)).await?;
            Ok(cx.output.either(&answer, || table::text(&answer["BaselineId"]))?)
        }
        BaselineCommand::Default { baseline: None, operating_system } => {
            let request = json!({"OperatingSystem": operating_system});
            let answer = cx.client.ssm("GetDefaultPatchBaseline", &request).await?;
            Ok(cx.output.either(&answer, || table::text(&answer["BaselineId"]))?)
        }
    }
}

fn id(baseline: &str) -> Value {
    json!({"BaselineId": baseline})
}

async fn list(
    operating_system: Option<String>,
    owner: Option<String>,
    name_prefix: Option<String>,
    cx: &Context,
) -> anyhow::Result<()> {
    let filters = [("OPERATING_SYSTEM", operating_system), ("OWNER", owner), ("NAME_PREFIX", name_prefix)];
    let filters = filters.into_iter().filter_map(|(key, value)| Some((key.to_owned(), vec![value?])));
    let request = Request::new().unless_empty("Filters", key_values(filters)).done();
    let answer = cx.client.ssm_all("DescribePatchBaselines", &request, "BaselineIdentities", None).await?;
    let columns = [
        table::member("ID", "BaselineId"),
        table::member("NAME", "BaselineName"),
        table::member("OPERATING SYSTEM", "OperatingSystem"),
        table::member("DEFAULT", "DefaultBaseline"),
        table::member("DESCRIPTION", "BaselineDescription"),
    ];
    Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, "BaselineIdentities")))?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        rules: RuleArgs,
    }

    fn request(line: &[&str]) -> Value {
        let line = Line::try_parse_from([&["baseline"], line].concat()).unwrap_or_else(|error| panic!("{error}"));
        line.rules.add_to(Request::new()).done()
    }

    #[test]
    fn filters_and_delay_make_one_rule() {
        assert_eq!(
            request(&["--approve-after-days", "7", "--priority", "Required", "--priority", "Important"]),
            json!({"ApprovalRules": {"PatchRules": [{
                "ApproveAfterDays": 7,
                "PatchFilterGroup": {"PatchFilters": [{"Key": "PRIORITY", "Values": ["Required", "Important"]}]},
            }]}})
        );
    }

    #[test]
    fn nothing_given_leaves_the_rules_alone() {
        assert_eq!(request(&["--reject", "linux-*"]), json!({"RejectedPatches": ["linux-*"]}));
    }
}
