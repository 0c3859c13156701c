//! What is packed comes back whole, and what was damaged is refused.

use std::sync::Arc;

use jiff::Timestamp;
use patchwave_schemas::node::OperatingSystem;

use super::super::{AvailableVersion, InstalledPackage, NodeProfile, Origin, Patch, predefined};
use super::{Entry, Found, Inventory, PACKED_BYTES_MAX, PackError, unpack};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn debian() -> NodeProfile {
    NodeProfile { operating_system: OperatingSystem::Debian, version: "12".into(), codename: "bookworm".into() }
}

fn installed(name: &str, architecture: &str) -> InstalledPackage {
    InstalledPackage {
        name: name.into(),
        architecture: architecture.into(),
        version: "1.0-1".into(),
        section: "libs".into(),
        priority: "optional".into(),
        ..InstalledPackage::default()
    }
}

fn available(name: &str, version: &str, origin: &Arc<Origin>) -> AvailableVersion {
    AvailableVersion {
        name: name.into(),
        architecture: "amd64".into(),
        version: version.into(),
        section: "libs".into(),
        priority: "optional".into(),
        origins: vec![Arc::clone(origin)],
        released_at: Some(at(1_700_000_000)),
        ..AvailableVersion::default()
    }
}

fn security() -> Arc<Origin> {
    Arc::new(Origin {
        archive: "stable-security".into(),
        codename: "bookworm-security".into(),
        origin: "Debian".into(),
        label: "Debian-Security".into(),
        site: "security.debian.org".into(),
        component: "main".into(),
        trusted: true,
    })
}

#[test]
fn an_entry_comes_back_as_it_was_but_for_when_it_was_installed() {
    let package = InstalledPackage { held: true, installed_at: Some(at(5)), ..installed("zlib1g", "amd64") };
    let unknown_release =
        AvailableVersion { released_at: None, first_seen: Some(at(7)), ..available("zlib1g", "1.1", &security()) };
    let known_release = AvailableVersion { first_seen: Some(at(7)), ..available("zlib1g", "1.2", &security()) };
    let entry = Entry::Package {
        installed: vec![package.clone(), installed("zlib1g", "i386")],
        available: vec![unknown_release.clone(), known_release.clone()],
    };
    let expected = Entry::Package {
        installed: vec![InstalledPackage { installed_at: None, ..package }, installed("zlib1g", "i386")],
        available: vec![unknown_release, AvailableVersion { first_seen: None, ..known_release }],
    };
    let line = entry.to_line();
    assert_eq!(Entry::from_line(&line).unwrap(), expected);
    assert_eq!(expected.to_line(), line, "the line is canonical");
    let patch = Entry::Patch(Box::new(Patch { id: "KB1".into(), held: true, ..Patch::default() }));
    assert_eq!(Entry::from_line(&patch.to_line()).unwrap(), patch);
}

#[test]
fn what_is_unpacked_is_judged_as_the_node_judged_it() {
    let packages = vec![installed("zlib1g", "amd64"), installed("a\nb", "amd64"), installed("zlib1g", "i386")];
    let offers = vec![available("zlib1g", "1.1", &security()), available("not-there", "2", &security())];
    let (_, rules) = predefined(OperatingSystem::Debian);
    let now = at(1_800_000_000);
    let there = super::super::evaluate(&rules, &debian(), &packages, &offers, now);
    let packed = Inventory::of_packages(debian(), packages, offers).pack().unwrap();
    let unpacked = unpack(&packed).unwrap();
    assert_eq!((&unpacked.node, unpacked.lines.len()), (&debian(), 3));
    let mut decisions = Vec::new();
    let mut not_applicable = 0;
    for line in &unpacked.lines {
        let evaluation = Entry::from_line(line).unwrap().evaluate(&rules, &unpacked.node, now);
        not_applicable += evaluation.not_applicable_count;
        decisions.extend(evaluation.decisions);
    }
    let sorted = |mut decisions: Vec<super::super::Decision>| {
        decisions.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
        decisions
    };
    assert_eq!(sorted(decisions), sorted(there.decisions));
    assert_eq!((not_applicable, there.not_applicable_count), (1, 1));
}

#[test]
fn three_thousand_packages_stay_far_below_the_limit() {
    let origin = security();
    // Versions with digits that do not repeat: nothing here is easier to compress than in the field.
    let version = |index: usize| format!("{}.{}-{}", index % 7, index * 7_919 % 10_007, index * 104_729 % 997);
    let name = |index: usize| format!("lib{:x}-{}", index * 2_654_435_761 % 4_294_967_291, index % 13);
    let packages =
        (0..3_000).map(|index| InstalledPackage { version: version(index), ..installed(&name(index), "amd64") });
    let offers = (0..3_000).flat_map(|index| {
        [index, index + 5_000].map(|seed| AvailableVersion {
            released_at: Some(at(1_700_000_000 + (seed as i64 % 40) * 86_400)),
            ..available(&name(index), &version(seed), &origin)
        })
    });
    let inventory = Inventory::of_packages(debian(), packages.collect(), offers.collect());
    let bytes = inventory.pack().unwrap().len();
    assert!(bytes < PACKED_BYTES_MAX / 5, "{bytes} bytes");
}

#[test]
fn what_no_agent_packed_is_refused() {
    assert!(matches!(unpack("!"), Err(PackError::Text(_))));
    assert!(matches!(unpack("AAAA"), Err(PackError::Compressed(_))));
    assert!(matches!(unpack(&"A".repeat(PACKED_BYTES_MAX + 1)), Err(PackError::TooLong { .. })));
    let bomb = Inventory {
        node: NodeProfile { version: "0".repeat(40 << 20), ..debian() },
        found: Found::Patches(Vec::new()),
    };
    assert!(matches!(unpack(&bomb.pack().unwrap()), Err(PackError::Compressed(_))));
    let nothing = Inventory { node: debian(), found: Found::Patches(Vec::new()) };
    assert_eq!(unpack(&nothing.pack().unwrap()).unwrap().lines, Vec::<String>::new());
}
