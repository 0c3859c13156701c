//! A simulated fleet: the same for the same seed, and plausible.

use patchwave_engine::baseline::predefined;
use patchwave_schemas::baseline::PatchState;

use super::*;

fn options(count: usize) -> SimulationOptions {
    let groups = [("canary", 1), ("production", 9)].map(|(name, weight)| (name.to_owned(), weight));
    SimulationOptions { count, offline_share: 0.25, patch_groups: groups.to_vec(), ..SimulationOptions::default() }
}

#[test]
fn same_seed_gives_the_same_fleet_and_another_seed_another() {
    let fleet = |seed| {
        let simulation = Simulation::new(SimulationOptions { seed, ..options(50) });
        (0..50).map(|offset| simulation.facts(offset)).collect::<Vec<_>>()
    };
    assert_eq!(fleet(1), fleet(1));
    assert!(fleet(1).iter().zip(fleet(2)).all(|(one, other)| one.node_id != other.node_id));
    assert!(fleet(1).iter().all(|facts| facts.simulated));
}

#[test]
fn parts_of_one_fleet_in_several_processes_do_not_overlap() {
    let part = |first_id| Simulation::new(SimulationOptions { first_id, ..options(10) });
    let whole: Vec<_> = Simulation::new(options(20)).node_ids().collect();
    let parts: Vec<_> = part(0).node_ids().chain(part(10).node_ids()).collect();
    assert_eq!(whole, parts);
}

#[test]
fn shares_come_out_about_as_asked() {
    let simulation = Simulation::new(options(2_000));
    let offline = (0..2_000).filter(|offset| simulation.is_offline(*offset)).count();
    assert!((400..600).contains(&offline), "{offline}");
    let canaries = (0..2_000).filter(|offset| simulation.facts(*offset).tags[PATCH_GROUP_TAG] == "canary").count();
    assert!((130..270).contains(&canaries), "{canaries}");
}

#[tokio::test]
async fn bad_patch_fails_and_everything_else_is_installed() {
    let simulation = Simulation::new(options(5));
    simulation.set_bad_patch(Some("openssh-server".to_owned()));
    for offset in 0..5 {
        let facts = simulation.facts(offset);
        let (_, mut rules) = predefined(facts.operating_system);
        rules.approved_patches = vec!["*".to_owned()];
        rules.approved_patches_enable_non_security = true;
        let baseline = patchwave_schemas::baseline::BaselineSnapshot::new(
            "test",
            patchwave_schemas::BaselineId::from_bits(1),
            "test",
            rules,
        );
        use crate::execute::StepRunner as _;
        let runner = simulation.runner(offset);
        let installed = runner.install(&baseline, &|_| {}).await.expect("installed");
        let tried = installed.attempted.iter().any(|id| id.starts_with("openssh-server."));
        let failed: Vec<_> = installed.scan.patches.iter().filter(|patch| patch.state == PatchState::Failed).collect();
        assert_eq!(failed.len(), usize::from(tried), "{failed:?}");
        simulation.set_bad_patch(None);
        let repaired = runner.install(&baseline, &|_| {}).await.expect("installed");
        assert!(repaired.scan.patches.iter().all(|patch| patch.is_compliant()), "{repaired:?}");
        simulation.set_bad_patch(Some("openssh-server".to_owned()));
    }
}
