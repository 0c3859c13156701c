//! How long a page of a large listing takes: 50 nodes out of 100,000, on PostgreSQL.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use patchwave_platform::store::Store;
use patchwave_schemas::NodeId;
use patchwave_schemas::node::{NodeFacts, OperatingSystem};
use patchwave_schemas::report::NodeConnected;
use patchwave_schemas::topology::node_queue;
use patchwave_tests::fleet::{Role, System, Urls};
use serde_json::{Value, json};

use crate::figures::{Figures, say};

/// Pages that are timed.
const PAGES: usize = 500;
/// Nodes that are stored in one transaction.
const STORED_TOGETHER: usize = 2_000;
/// Time between two requests: an operator's pace, and below the API's own limit.
const PAUSE: Duration = Duration::from_millis(30);

/// Pages of nodes, one after the other, each with the token of the one before.
pub(crate) async fn pages(figures: &mut Figures, nodes: usize, repeats: usize) -> anyhow::Result<()> {
    say(&format!("pages of 50 out of {nodes} nodes"));
    let system = System::start(Urls::shared("bench-read")?, &[Role::Api]).await?;
    let store = Store::open(system.urls().store.as_deref().context("no database")?).await?;
    fill(&store, nodes).await?;
    let (mut medians, mut p99s) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        let mut input = json!({ "MaxResults": 50 });
        let mut millis = Vec::with_capacity(PAGES);
        for _ in 0..PAGES {
            let started = Instant::now();
            let page = system.api().call("DescribeInstanceInformation", &input).await?;
            millis.push(started.elapsed().as_secs_f64() * 1_000.0);
            match page.get("NextToken") {
                Some(Value::String(token)) => input["NextToken"] = json!(token),
                _ => input = json!({ "MaxResults": 50 }),
            }
            tokio::time::sleep(PAUSE).await;
        }
        millis.sort_by(f64::total_cmp);
        medians.push(millis[PAGES / 2]);
        p99s.push(millis[PAGES * 99 / 100]);
    }
    figures.add(format!("50 of {nodes} nodes over the API, median"), "ms", None, &medians);
    figures.add(format!("50 of {nodes} nodes over the API, 99th percentile"), "ms", Some("< 20"), &p99s);
    Ok(())
}

async fn fill(store: &Store, nodes: usize) -> anyhow::Result<()> {
    let hello = |number: usize| {
        let node_id = NodeId::from_bits(number as u128 + 1);
        NodeConnected {
            address: node_queue(&node_id, "s"),
            session: "s".to_owned(),
            fingerprint: None,
            policy: None,
            facts: NodeFacts {
                node_id,
                computer_name: format!("host-{number}"),
                operating_system: OperatingSystem::Debian,
                platform_name: "Debian GNU/Linux".to_owned(),
                platform_version: "12".to_owned(),
                agent_version: "0.1.0".to_owned(),
                ip_address: Some("192.0.2.1".to_owned()),
                simulated: true,
                tags: [("Patch Group".to_owned(), format!("group-{}", number % 10))].into(),
            },
        }
    };
    for first in (0..nodes).step_by(STORED_TOGETHER) {
        let hellos: Vec<_> = (first..nodes.min(first + STORED_TOGETHER)).map(hello).collect();
        let mut tx = store.begin().await?;
        tx.nodes_connected(&hellos, Timestamp::now()).await?;
        tx.commit().await?;
    }
    Ok(())
}
