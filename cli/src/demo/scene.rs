//! What the demo sets up and looks at, all through the API.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use patchwave_schemas::NodeId;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::fleet::REAL_GROUP;
use crate::client::Client;
use crate::events::EventReader;
use crate::output::Output;

/// Time between two looks at something that is about to appear.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Operating systems of the simulated nodes, and of most machines the demo is tried on.
const SYSTEMS: [&str; 3] = ["DEBIAN", "UBUNTU", "RASPBIAN"];
/// Patches of this machine that are listed at most.
const PATCHES_SHOWN: usize = 8;

/// A patch group of the demo.
pub(super) struct Group {
    /// Its name.
    pub(super) name: &'static str,
    /// Simulated nodes in it.
    pub(super) nodes: usize,
    /// Days until a patch is approved for it.
    delay: u32,
    schedule: &'static str,
    time_zone: &'static str,
    concurrency: &'static str,
    errors: &'static str,
    /// Whether one of its patches fails.
    pub(super) meets_bad_patch: bool,
}

/// From the first to be patched to the last.
pub(super) const GROUPS: [Group; 3] = [
    Group {
        name: "canary",
        nodes: 10,
        delay: 0,
        schedule: "cron(0 2 ? * TUE#2 *)",
        time_zone: "Europe/Berlin",
        concurrency: "2",
        errors: "0",
        meets_bad_patch: false,
    },
    Group {
        name: "staging",
        nodes: 20,
        delay: 7,
        schedule: "cron(0 2 ? * TUE#3 *)",
        time_zone: "Europe/Berlin",
        concurrency: "3",
        errors: "10%",
        meets_bad_patch: true,
    },
    Group {
        name: "production",
        nodes: 30,
        delay: 14,
        schedule: "cron(30 3 ? * SUN#4 *)",
        time_zone: "America/New_York",
        concurrency: "20%",
        errors: "5%",
        meets_bad_patch: false,
    },
];

/// The API, and where to say what is done with it.
pub(super) struct Scene<'a> {
    pub(super) client: &'a Client,
    pub(super) output: Output,
}

/// A window that was created.
pub(super) struct DemoWindow {
    id: String,
}

impl Scene<'_> {
    async fn ssm(&self, operation: &str, request: Value) -> anyhow::Result<Value> {
        self.client.ssm(operation, &request).await.with_context(|| operation.to_owned())
    }

    /// Waits until so many nodes are known.
    pub(super) async fn wait_for_nodes(&self, count: usize, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        let list = "InstanceInformationList";
        loop {
            let answer = self.client.ssm_all("DescribeInstanceInformation", &json!({}), list, None).await;
            let known = answer.as_ref().ok().and_then(|answer| answer[list].as_array()).map_or(0, Vec::len);
            if known >= count {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{known} of {count} nodes have enrolled in {} s", within.as_secs());
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    /// A baseline for each group and operating system, with the group's approval delay.
    pub(super) async fn create_baselines(&self) -> anyhow::Result<()> {
        for group in &GROUPS {
            for system in SYSTEMS {
                self.create_baseline(group.name, system, group.delay).await?;
            }
            self.output.line(&format!(
                "baseline {}-{}-days: everything is approved {} for {}",
                group.name,
                group.delay,
                if group.delay == 0 { "at once".to_owned() } else { format!("{} days after its release", group.delay) },
                SYSTEMS.join(", ")
            ))?;
        }
        // What this machine is missing is judged without delay.
        for system in SYSTEMS {
            self.create_baseline(REAL_GROUP, system, 0).await?;
        }
        Ok(())
    }

    async fn create_baseline(&self, group: &str, system: &str, delay: u32) -> anyhow::Result<()> {
        let rule = json!({
            "PatchFilterGroup": {"PatchFilters": [{"Key": "PRODUCT", "Values": ["*"]}]},
            "ComplianceLevel": "HIGH",
            "ApproveAfterDays": delay,
            "EnableNonSecurity": true,
        });
        let request = json!({
            "Name": format!("{group}-{delay}-days"),
            "OperatingSystem": system,
            "ApprovalRules": {"PatchRules": [rule]},
        });
        let created = self.ssm("CreatePatchBaseline", request).await?;
        let request = json!({"BaselineId": created["BaselineId"], "PatchGroup": group});
        self.ssm("RegisterPatchBaselineForPatchGroup", request).await?;
        Ok(())
    }

    /// A window for each group, with a target by tag and a task that installs.
    pub(super) async fn create_windows(&self) -> anyhow::Result<Vec<DemoWindow>> {
        let mut windows = Vec::new();
        for group in &GROUPS {
            let request = json!({
                "Name": group.name,
                "Schedule": group.schedule,
                "ScheduleTimezone": group.time_zone,
                "Duration": 3,
                "Cutoff": 1,
                "AllowUnassociatedTargets": false,
            });
            let created = self.ssm("CreateMaintenanceWindow", request).await?;
            let id = created["WindowId"].as_str().context("CreateMaintenanceWindow gave no WindowId")?.to_owned();
            let request = json!({
                "WindowId": id,
                "ResourceType": "INSTANCE",
                "Targets": [{"Key": "tag:Patch Group", "Values": [group.name]}],
            });
            let target = self.ssm("RegisterTargetWithMaintenanceWindow", request).await?;
            let request = json!({
                "WindowId": id,
                "Name": group.name,
                "TaskType": "RUN_COMMAND",
                "TaskArn": "AWS-RunPatchBaseline",
                "Targets": [{"Key": "WindowTargetIds", "Values": [target["WindowTargetId"]]}],
                "Priority": 1,
                "MaxConcurrency": group.concurrency,
                "MaxErrors": group.errors,
                "TaskInvocationParameters": {
                    "RunCommand": {
                        "Comment": format!("{}, {} simulated nodes", group.name, group.nodes),
                        "Parameters": {"Operation": ["Install"], "RebootOption": ["NoReboot"]},
                    },
                },
            });
            self.ssm("RegisterTaskWithMaintenanceWindow", request).await?;
            let window = self.ssm("GetMaintenanceWindow", json!({"WindowId": id})).await?;
            self.output.line(&format!(
                "window {}: {} in {}, next {}; {} at a time, {} errors allowed",
                group.name,
                group.schedule,
                group.time_zone,
                window["NextExecutionTime"].as_str().unwrap_or("never"),
                group.concurrency,
                group.errors
            ))?;
            windows.push(DemoWindow { id });
        }
        Ok(windows)
    }

    /// Fires a window now. Returns the execution's id.
    pub(super) async fn start(&self, window: &DemoWindow) -> anyhow::Result<String> {
        let request = json!({"WindowId": window.id, "Reason": "demo"});
        let started =
            self.client.patchwave("StartMaintenanceWindow", &request).await.context("StartMaintenanceWindow")?;
        started["WindowExecutionId"].as_str().map(str::to_owned).context("StartMaintenanceWindow gave no id")
    }

    /// Asks this machine's agent for a scan. Returns the command's id.
    pub(super) async fn scan_this_machine(&self, node: &NodeId) -> anyhow::Result<String> {
        let request = json!({
            "DocumentName": "AWS-RunPatchBaseline",
            "InstanceIds": [node],
            "Parameters": {"Operation": ["Scan"]},
            "Comment": "this machine, real, scan only",
        });
        let sent = self.ssm("SendCommand", request).await?;
        sent["Command"]["CommandId"].as_str().map(str::to_owned).context("SendCommand gave no CommandId")
    }

    /// Notifications from now on, each as one line.
    pub(super) async fn subscribe(&self) -> anyhow::Result<mpsc::UnboundedReceiver<String>> {
        let response = self.client.events(&["topics", "patchwave", "events"]).await?;
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut stream = response.bytes_stream();
            let mut events = EventReader::default();
            while let Some(Ok(bytes)) = stream.next().await {
                let Ok(complete) = events.push(&bytes) else { return };
                for told in complete.iter().filter_map(|envelope| headline(envelope)) {
                    if sender.send(told).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(receiver)
    }

    /// Waits until this machine's scan is in the inventory.
    pub(super) async fn wait_for_reports(&self, node: &NodeId, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        while self.patch_state(node).await?.is_none() {
            if Instant::now() > deadline {
                bail!("this machine's scan was not stored in {} s", within.as_secs());
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
        Ok(())
    }

    async fn patch_state(&self, node: &NodeId) -> anyhow::Result<Option<Value>> {
        let mut answer = self.ssm("DescribeInstancePatchStates", json!({"InstanceIds": [node]})).await?;
        Ok(answer["InstancePatchStates"].as_array_mut().and_then(Vec::pop))
    }

    /// Says what the scan of this machine found.
    pub(super) async fn show_this_machine(&self, node: &NodeId) -> anyhow::Result<()> {
        let Some(state) = self.patch_state(node).await? else { return Ok(()) };
        let filter = json!([{"Key": "State", "Values": ["Missing"]}]);
        let request = json!({"InstanceId": node, "Filters": filter});
        let missing = self.client.ssm_all("DescribeInstancePatches", &request, "Patches", None).await?;
        self.output.line(&format!(
            "This machine (real, scanned only): {} installed, {} missing, {} other.",
            state["InstalledCount"], state["MissingCount"], state["InstalledOtherCount"]
        ))?;
        let titles: Vec<_> =
            missing["Patches"].as_array().into_iter().flatten().filter_map(|patch| patch["Title"].as_str()).collect();
        for title in titles.iter().take(PATCHES_SHOWN) {
            self.output.line(&format!("  missing {title}"))?;
        }
        if titles.len() > PATCHES_SHOWN {
            self.output.line(&format!("  … and {} more", titles.len() - PATCHES_SHOWN))?;
        }
        Ok(())
    }
}

/// The subject of a notification's envelope.
fn headline(envelope: &str) -> Option<String> {
    let envelope: Value = serde_json::from_str(envelope).ok()?;
    Some(format!("  notification: {}", envelope["Subject"].as_str()?))
}
