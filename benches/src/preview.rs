//! How long it takes to say what a changed baseline would change on a stored fleet: 10,000 nodes
//! with 1,000 packages each, no two of which have the same inventory.
//!
//! The fleet is 200 images; an image has a thousand of 1,500 package names, each at one of five
//! versions, and every node of it differs from it in ten packages of its own. It is stored by the
//! code that stores reports, and read and judged by the code that answers PreviewPatchBaseline.

use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use jiff::Timestamp;
use patchwave_engine::baseline::{AvailableVersion, InstalledPackage, Inventory, NodeProfile, Origin, predefined};
use patchwave_platform::store::baselines::predefined_id;
use patchwave_platform::store::{Durability, Store};
use patchwave_schemas::command::PatchOperation;
use patchwave_schemas::node::{NodeFacts, OperatingSystem};
use patchwave_schemas::report::{NodeConnected, NodeScanned};
use patchwave_schemas::{CommandId, NodeId};

use crate::figures::{Figures, say};

const PACKAGES: usize = 1_000;
const NAMES: usize = 1_500;
const VERSIONS: u64 = 5;
const IMAGES: usize = 200;
/// Packages of a node that are at another version than on its image.
const DRIFT: usize = 10;
/// Reports that are stored in one transaction.
const STORED_TOGETHER: usize = 250;
/// Seconds that the whole may take.
const GOAL: f64 = 2.0;

/// Numbers that look random and are the same in every run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// What every node is offered of one name: all five versions, every third name's as security updates.
fn offers(origins: &[Arc<Origin>; 2], name: usize, from: u64) -> impl Iterator<Item = AvailableVersion> + use<'_> {
    let origin = &origins[usize::from(name.is_multiple_of(3))];
    (from..=VERSIONS).map(move |version| AvailableVersion {
        name: format!("package-{name}"),
        architecture: "amd64".to_owned(),
        version: format!("{version}.{}-1+deb12u{version}", name % 17),
        section: "libs".to_owned(),
        priority: ["optional", "important"][name % 2].to_owned(),
        origins: vec![Arc::clone(origin)],
        released_at: Timestamp::from_second(1_700_000_000 + (name % 97) as i64 * 86_400 + version as i64 * 604_800)
            .ok(),
        ..AvailableVersion::default()
    })
}

fn inventory(origins: &[Arc<Origin>; 2], node: usize) -> Inventory {
    let mut of_image = Numbers((node % IMAGES) as u64 + 1);
    let first = of_image.below((NAMES - PACKAGES) as u64) as usize;
    let mut versions: Vec<u64> = (0..PACKAGES).map(|_| 1 + of_image.below(VERSIONS)).collect();
    let mut own = Numbers(1_000_000 + node as u64);
    for _ in 0..DRIFT {
        let package = own.below(PACKAGES as u64) as usize;
        versions[package] = 1 + own.below(VERSIONS);
    }
    let (mut installed, mut available) = (Vec::with_capacity(PACKAGES), Vec::new());
    for (name, version) in (first..).zip(versions) {
        installed.push(InstalledPackage {
            name: format!("package-{name}"),
            architecture: "amd64".to_owned(),
            version: format!("{version}.{}-1+deb12u{version}", name % 17),
            section: "libs".to_owned(),
            priority: ["optional", "important"][name % 2].to_owned(),
            installed_at: Timestamp::from_second(1_600_000_000 + own.below(100_000_000) as i64).ok(),
            ..InstalledPackage::default()
        });
        available.extend(offers(origins, name, version));
    }
    let version = if node % IMAGES < IMAGES / 2 { ("12", "bookworm") } else { ("13", "trixie") };
    let node = NodeProfile {
        operating_system: OperatingSystem::Debian,
        version: version.0.to_owned(),
        codename: version.1.to_owned(),
    };
    Inventory::of_packages(node, installed, available)
}

/// Stores the fleet and previews a change of its baseline.
pub(crate) async fn fleet(figures: &mut Figures, nodes: usize, repeats: usize) -> anyhow::Result<()> {
    say(&format!("preview of a baseline over {nodes} stored nodes with {PACKAGES} packages each"));
    let directory = tempfile::tempdir()?;
    let url = format!("sqlite://{}", directory.path().join("store.db").display());
    let store = Store::open_with(&url, Durability::None).await?;
    let now = Timestamp::from_second(1_800_000_000)?;
    store.ensure_predefined_baselines(now).await?;
    let baseline = predefined_id("AWS-DebianDefaultPatchBaseline");
    let started = Instant::now();
    fill(&store, nodes, now).await?;
    say(&format!("  stored after {:.1} s", started.elapsed().as_secs_f64()));

    let (_, before) = predefined(OperatingSystem::Debian);
    let mut after = before.clone();
    after.rejected_patches = vec!["package-1*".to_owned()];
    after.approval_rules.patch_rules[0].approve_after_days = Some(30);
    let threads = std::thread::available_parallelism()?.get();
    let (mut whole, mut reading, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repeats {
        let started = Instant::now();
        let stored = store.fleet_of(&baseline, OperatingSystem::Debian, None).await?;
        let read = started.elapsed().as_secs_f64();
        let entries = stored.fleet.lines.len();
        let comparison = stored.fleet.compare(&before, &after, now, threads)?;
        let took = started.elapsed().as_secs_f64();
        ensure!(comparison.nodes.len() == nodes, "only {} of {nodes} nodes were judged", comparison.nodes.len());
        let distinct: std::collections::HashSet<_> = stored.fleet.nodes.iter().map(|node| &node.entries).collect();
        let changed = comparison.nodes.iter().filter(|node| node.changed > 0).count();
        ensure!(changed > 0 && !comparison.patches.is_empty(), "the change changes nothing");
        say(&format!(
            "  {} distinct inventories of {entries} distinct entries; {changed} nodes and {} patches change",
            distinct.len(),
            comparison.patches.len()
        ));
        whole.push(took);
        reading.push(read);
        ratios.push(took / GOAL);
    }
    figures.add(format!("preview over {nodes} nodes, SQLite, {threads} threads"), "s", Some("≤ 2"), &whole);
    figures.add(format!("preview over {nodes} nodes: reading the store alone"), "s", None, &reading);
    figures.add(format!("preview over {nodes} nodes ÷ goal"), "ratio", Some("≤ 1"), &ratios);
    Ok(())
}

async fn fill(store: &Store, nodes: usize, now: Timestamp) -> anyhow::Result<()> {
    let origin = |archive: &str| Origin {
        archive: archive.to_owned(),
        codename: archive.to_owned(),
        origin: "Debian".to_owned(),
        label: "Debian".to_owned(),
        site: "deb.debian.org".to_owned(),
        component: "main".to_owned(),
        trusted: true,
    };
    let origins = [Arc::new(origin("stable")), Arc::new(origin("stable-security"))];
    let id = |number: usize| NodeId::from_bits(number as u128 + 1);
    for first in (0..nodes).step_by(STORED_TOGETHER) {
        let numbers = first..nodes.min(first + STORED_TOGETHER);
        let hello = |number: usize| NodeConnected {
            address: patchwave_schemas::topology::node_queue(&id(number), "s"),
            session: "s".to_owned(),
            fingerprint: None,
            policy: None,
            facts: NodeFacts {
                node_id: id(number),
                computer_name: format!("host-{number}"),
                operating_system: OperatingSystem::Debian,
                platform_name: "Debian GNU/Linux".to_owned(),
                platform_version: "12".to_owned(),
                agent_version: "0.1.0".to_owned(),
                ip_address: None,
                simulated: true,
                tags: [("Patch Group".to_owned(), format!("group-{}", number % 10))].into(),
            },
        };
        let report = |number: usize| {
            anyhow::Ok(NodeScanned {
                node_id: id(number),
                command_id: CommandId::derived("preview"),
                baseline_id: predefined_id("AWS-DebianDefaultPatchBaseline"),
                snapshot_id: String::new(),
                patch_group: String::new(),
                operation: PatchOperation::Scan,
                reboot_option: None,
                started_at: now,
                finished_at: now,
                patches: Vec::new(),
                not_applicable_count: 0,
                inventory: Some(inventory(&origins, number).pack()?),
                next_change: None,
                baseline_version: 0,
            })
        };
        let hellos: Vec<_> = numbers.clone().map(hello).collect();
        let reports = numbers.map(report).collect::<anyhow::Result<Vec<_>>>()?;
        let mut tx = store.begin().await?;
        tx.nodes_connected(&hellos, now).await?;
        tx.put_inventories(&reports, now).await?;
        tx.commit().await?;
    }
    Ok(())
}
