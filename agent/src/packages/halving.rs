//! Installing a set of versions so that one bad package does not keep the others from it.
//!
//! First everything in one transaction. If the tool refuses that or it fails, what is still missing
//! is halved, and halved again, until the bad package stands alone: it fails, the others do not. With
//! one bad package among n that takes some 2·log2(n) transactions, never more than 2·n.

use std::collections::BTreeMap;

use async_trait::async_trait;
use patchwave_engine::baseline::Decision;
use patchwave_schemas::baseline::PatchState;

use super::{InstallProgress, PackageError, ScanResult};

/// One version to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// `name.arch`, as reports have it.
    pub(super) key: String,
    pub(super) name: String,
    pub(super) architecture: String,
    pub(super) version: String,
}

/// What a scan says is to be installed.
pub(super) fn targets(scan: &ScanResult) -> Vec<Target> {
    let target = |decision: &Decision| {
        Some(Target {
            key: format!("{}.{}", decision.name, decision.architecture),
            name: decision.name.clone(),
            architecture: decision.architecture.clone(),
            version: decision.to_install()?.to_owned(),
        })
    };
    scan.evaluation.decisions.iter().filter_map(target).collect()
}

/// How a transaction ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The tool says that it went well; a scan decides.
    Done,
    /// Not planned, not allowed or failed: why.
    Refused(String),
}

/// A tool that installs a set of versions, all or what it can.
#[async_trait]
pub(super) trait Transact: Send {
    /// Tries these versions in one transaction.
    async fn transact(&mut self, targets: &[Target]) -> Result<Outcome, PackageError>;

    /// Those of `targets` that are not on the node yet.
    fn still_missing(&self, targets: &[Target]) -> Result<Vec<Target>, PackageError>;
}

/// Installs what can be installed; returns why the rest cannot, by `name.arch`.
///
/// # Errors
/// As of `tool`, as long as nothing was tried: what has been installed must be reported, so a lock met
/// later fails only the rest.
pub(super) async fn install_all(
    tool: &mut dyn Transact,
    targets: &[Target],
    progress: &(dyn Fn(InstallProgress) + Send + Sync),
) -> Result<BTreeMap<String, String>, PackageError> {
    let total = targets.len();
    let mut failures = BTreeMap::new();
    let mut batches: Vec<Vec<Target>> = if targets.is_empty() { Vec::new() } else { vec![targets.to_vec()] };
    let mut anything_tried = false;
    while let Some(batch) = batches.pop() {
        let left = batch.len() + batches.iter().map(Vec::len).sum::<usize>();
        progress(InstallProgress::Installing { done: total - left, total });
        match tool.transact(&batch).await {
            Ok(Outcome::Done) => {}
            Ok(Outcome::Refused(why)) => {
                tracing::warn!(packages = batch.len(), reason = %why, "a transaction failed");
                let mut missing = tool.still_missing(&batch)?;
                if let ([target], 1) = (missing.as_slice(), batch.len()) {
                    failures.insert(target.key.clone(), why);
                } else {
                    let second_half = missing.split_off(missing.len().div_ceil(2));
                    batches.extend([second_half, missing].into_iter().filter(|half| !half.is_empty()));
                }
            }
            Err(error @ PackageError::Locked { .. }) if anything_tried => {
                let rest = batches.iter().flatten().chain(&batch);
                failures.extend(rest.map(|target| (target.key.clone(), error.to_string())));
                break;
            }
            Err(error) => return Err(error),
        }
        anything_tried = true;
    }
    Ok(failures)
}

/// What was tried and is still missing has failed, for the reason noted or because `tool` did not say.
pub(super) fn mark_failures(
    scan: &mut ScanResult,
    tool: &str,
    targets: &[Target],
    failures: &BTreeMap<String, String>,
) {
    for (decision, record) in scan.evaluation.decisions.iter_mut().zip(&mut scan.patches) {
        let tried = targets.iter().any(|target| target.key == record.kb_id);
        if tried && matches!(decision.state, PatchState::Missing | PatchState::Failed) {
            let why = failures.get(&record.kb_id).cloned().unwrap_or_else(|| format!("{tool} did not install it"));
            decision.state = PatchState::Failed;
            decision.reason = format!("installation failed: {why}");
            record.state = decision.state;
            record.reason.clone_from(&decision.reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, Outcome, PackageError, Target, Transact, async_trait, install_all};

    /// Installs a batch when none of it is bad.
    struct Tool {
        bad: Vec<usize>,
        installed: Vec<String>,
        transactions: usize,
    }

    #[async_trait]
    impl Transact for Tool {
        async fn transact(&mut self, targets: &[Target]) -> Result<Outcome, PackageError> {
            self.transactions += 1;
            let bad = |target: &&Target| self.bad.iter().any(|n| target.key == n.to_string());
            if let Some(target) = targets.iter().find(bad) {
                return Ok(Outcome::Refused(format!("{} is bad", target.key)));
            }
            self.installed.extend(targets.iter().map(|target| target.key.clone()));
            Ok(Outcome::Done)
        }

        fn still_missing(&self, targets: &[Target]) -> Result<Vec<Target>, PackageError> {
            Ok(targets.iter().filter(|target| !self.installed.contains(&target.key)).cloned().collect())
        }
    }

    #[tokio::test]
    async fn bad_packages_stand_alone_in_the_end() {
        let targets: Vec<Target> = (0..64)
            .map(|n: usize| Target {
                key: n.to_string(),
                name: String::new(),
                architecture: String::new(),
                version: String::new(),
            })
            .collect();
        for (bad, transactions_max) in [(vec![], 1), (vec![17], 13), ((0..64).collect(), 128)] {
            let mut tool = Tool { bad: bad.clone(), installed: Vec::new(), transactions: 0 };
            let failures: BTreeMap<_, _> = install_all(&mut tool, &targets, &|_| {}).await.unwrap();
            assert_eq!(failures.len(), bad.len());
            assert_eq!(tool.installed.len(), 64 - bad.len());
            assert!(tool.transactions <= transactions_max, "{} transactions", tool.transactions);
            assert!(bad.iter().all(|n| failures[&n.to_string()] == format!("{n} is bad")));
        }
    }
}
