//! What our PowerShell script answers.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::PackageError;

/// The system itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct System {
    /// For instance `Microsoft Windows Server 2022 Standard`.
    pub(super) caption: String,
}

/// The answer to a search.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Found {
    pub(super) system: System,
    /// Something installed takes effect at the next start.
    pub(super) reboot_required: bool,
    pub(super) updates: Vec<Update>,
    /// Newest first.
    pub(super) history: Vec<Event>,
}

/// One update, needed or there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Update {
    #[serde(rename = "UpdateID")]
    pub(super) update_id: String,
    pub(super) title: String,
    pub(super) is_installed: bool,
    pub(super) is_hidden: bool,
    pub(super) reboot_required: bool,
    pub(super) eula_accepted: bool,
    pub(super) can_request_user_input: bool,
    pub(super) msrc_severity: Option<String>,
    pub(super) last_deployment_change_time: Option<Timestamp>,
    #[serde(rename = "KBArticleIDs")]
    pub(super) kb_article_ids: Vec<String>,
    #[serde(rename = "CveIDs")]
    pub(super) cve_ids: Vec<String>,
    #[serde(rename = "SecurityBulletinIDs")]
    pub(super) security_bulletin_ids: Vec<String>,
    #[serde(rename = "SupersededUpdateIDs")]
    pub(super) superseded_update_ids: Vec<String>,
    pub(super) categories: Vec<Category>,
    /// `Driver` or `Software`.
    #[serde(rename = "Type")]
    pub(super) kind: String,
}

/// One category of an update.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Category {
    #[serde(rename = "CategoryID")]
    pub(super) category_id: String,
    pub(super) name: String,
    /// `UpdateClassification`, `Product`, `ProductFamily` or `Company`.
    #[serde(rename = "Type")]
    pub(super) kind: String,
    pub(super) parent: Option<String>,
}

/// One entry of the history.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Event {
    #[serde(rename = "UpdateID")]
    pub(super) update_id: String,
    pub(super) date: Option<Timestamp>,
    /// 1: installation, 2: removal.
    pub(super) operation: i32,
    pub(super) result_code: i32,
}

/// The answer to an installation.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Installed {
    pub(super) results: Vec<UpdateResult>,
}

/// How one update went.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct UpdateResult {
    #[serde(rename = "UpdateID")]
    pub(super) update_id: String,
    /// `Download` or `Install`.
    pub(super) step: String,
    /// The agent's `OperationResultCode`.
    pub(super) result_code: i32,
    #[serde(rename = "HResult")]
    pub(super) h_result: i32,
}

impl UpdateResult {
    /// Why the update is not there, if it is not: 2 is success, 3 success with errors.
    pub(super) fn failure(&self) -> Option<String> {
        let word = match self.result_code {
            2 | 3 => return None,
            0 => "not started",
            1 => "still in progress",
            4 => "failed",
            5 => "aborted",
            _ => "ended in a way that is not documented",
        };
        let step = if self.step == "Download" { "the download" } else { "the installation" };
        Some(format!("{step} {word} (result code {}, HRESULT {:#010x})", self.result_code, self.h_result))
    }
}

/// Reads an answer. Windows PowerShell may put a byte order mark before it.
///
/// # Errors
/// [`PackageError::Failed`] naming what is wrong with it.
pub(super) fn parse<T: DeserializeOwned>(operation: &str, bytes: &[u8]) -> Result<T, PackageError> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|error| PackageError::Failed {
        program: format!("windows-update.ps1 {operation}"),
        status: "an answer that is not understood".to_owned(),
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Found, UpdateResult, parse};

    #[test]
    fn every_result_code_has_its_meaning() {
        let failure = |result_code, h_result| {
            UpdateResult { result_code, h_result, step: "Install".into(), ..UpdateResult::default() }.failure()
        };
        assert_eq!(failure(2, 0), None);
        assert_eq!(failure(3, 0x0024_0005), None);
        assert_eq!(
            failure(4, -2_145_124_329).as_deref(),
            Some("the installation failed (result code 4, HRESULT 0x80240017)")
        );
        for (code, word) in [(0, "not started"), (1, "still in progress"), (5, "aborted"), (9, "not documented")] {
            assert!(failure(code, 0).is_some_and(|why| why.contains(word)), "{code}");
        }
    }

    #[test]
    fn answer_may_have_a_mark_before_it_and_must_be_json() {
        let found: Found =
            parse("Search", b"\xEF\xBB\xBF{\"Updates\":[{\"UpdateID\":\"a\",\"MsrcSeverity\":null}]}").unwrap();
        assert_eq!(found.updates[0].update_id, "a");
        let error = parse::<Found>("Search", b"Search-Updates : no").unwrap_err().to_string();
        assert!(
            error.starts_with("`windows-update.ps1 Search` ended with an answer that is not understood"),
            "{error}"
        );
    }
}
