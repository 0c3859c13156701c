//! What the artifact store promises, asked of each kind that needs no other program.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use patchwave_platform::artifacts::{Artifacts, ArtifactsError};

struct Backend {
    artifacts: Artifacts,
    _directory: Option<tempfile::TempDir>,
}

impl Backend {
    fn memory() -> Self {
        Self { artifacts: Artifacts::open("memory:").unwrap(), _directory: None }
    }

    fn file() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Made when missing.
        let url = format!("file://{}/artifacts", directory.path().display());
        Self { artifacts: Artifacts::open(&url).unwrap(), _directory: Some(directory) }
    }
}

async fn what_was_put_is_got(backend: Backend) {
    let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    backend.artifacts.put("commands/1/stdout.txt", content.clone()).await.unwrap();
    backend.artifacts.put("commands/1/empty", Vec::new()).await.unwrap();
    assert_eq!(backend.artifacts.get("commands/1/stdout.txt").await.unwrap(), content);
    assert_eq!(backend.artifacts.get("commands/1/empty").await.unwrap(), b"");
}

async fn putting_again_replaces(backend: Backend) {
    backend.artifacts.put("a", b"long old content".to_vec()).await.unwrap();
    backend.artifacts.put("a", b"new".to_vec()).await.unwrap();
    assert_eq!(backend.artifacts.get("a").await.unwrap(), b"new");
}

async fn a_missing_key_is_named(backend: Backend) {
    let error = backend.artifacts.get("a/b").await.unwrap_err();
    assert!(matches!(&error, ArtifactsError::NotFound { key } if key == "a/b"), "{error}");
}

async fn lists_hold_whole_parts_only(backend: Backend) {
    for key in ["a/2", "a/1", "ab/1", "c"] {
        backend.artifacts.put(key, b"x".to_vec()).await.unwrap();
    }
    assert_eq!(backend.artifacts.list("a").await.unwrap(), ["a/1", "a/2"]);
    assert_eq!(backend.artifacts.list("").await.unwrap(), ["a/1", "a/2", "ab/1", "c"]);
    assert_eq!(backend.artifacts.list("none").await.unwrap(), Vec::<String>::new());
}

async fn keys_that_could_leave_the_store_are_refused(backend: Backend) {
    for key in ["../outside", "/etc/passwd", "a/../../b", ""] {
        for error in [
            backend.artifacts.put(key, b"x".to_vec()).await.unwrap_err(),
            backend.artifacts.get(key).await.unwrap_err(),
        ] {
            assert!(matches!(error, ArtifactsError::Key { .. }), "{key}: {error}");
        }
    }
    assert_eq!(backend.artifacts.list("").await.unwrap(), Vec::<String>::new());
}

macro_rules! contract {
    ($($case:ident,)*) => {
        contract!(@adapter memory, $($case,)*);
        contract!(@adapter file, $($case,)*);
    };
    (@adapter $adapter:ident, $($case:ident,)*) => {
        mod $adapter {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(super::Backend::$adapter()).await;
                }
            )*
        }
    };
}

contract! {
    what_was_put_is_got,
    putting_again_replaces,
    a_missing_key_is_named,
    lists_hold_whole_parts_only,
    keys_that_could_leave_the_store_are_refused,
}
