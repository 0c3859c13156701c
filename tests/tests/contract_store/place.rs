//! Where a case keeps its store.

use patchwave_platform::store::Store;
use patchwave_tests::servers::shared;

/// A database of a case's own, empty and without tables.
pub(crate) struct Place {
    url: String,
    _directory: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("patchwave.db").display());
        Self { url, _directory: Some(directory) }
    }

    pub(crate) fn postgres() -> Self {
        Self { url: shared().unwrap().database("contract_store").unwrap(), _directory: None }
    }

    /// Opens the store as a process does; a second call is a second process.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.url).await.unwrap()
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}
