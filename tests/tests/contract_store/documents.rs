//! Documents of the operator's own and their versions.

use patchwave_platform::store::documents::{Document, DocumentSummary, DocumentVersion, VersionSelector};
use patchwave_platform::store::tags::Taggable;
use patchwave_platform::store::{Error, Store};
use serde_json::json;

use crate::fixtures::{at, tags};
use crate::place::Place;

contract! {
    a_document_comes_back_with_the_version_that_is_asked_for,
    a_documents_name_is_given_once,
    a_version_number_is_given_once,
    a_deleted_document_is_gone_with_its_versions,
}

pub(crate) fn document(name: &str) -> Document {
    Document {
        name: name.to_owned(),
        display_name: Some("it's \"ours\" 🐎".to_owned()),
        target_type: None,
        default_version: 1,
        last_version: 1,
        latest_version: 11,
        created_at: at(1),
    }
}

pub(crate) fn version(name: &str, number: i64) -> DocumentVersion {
    DocumentVersion {
        name: name.to_owned(),
        version: number,
        version_name: (number != 2).then(|| format!("v{number}")),
        format: "YAML".to_owned(),
        content: format!("# {number}\nsteps: it's"),
        definition: json!({ "steps": "it's", "list": [1, null] }),
        content_hash: format!("{number:064x}"),
        created_at: at(number),
    }
}

async fn filled(place: &Place) -> Store {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    for name in ["b", "a"] {
        tx.add_document(&document(name)).await.unwrap();
        for number in [1, 2, 11] {
            tx.add_document_version(&version(name, number)).await.unwrap();
        }
    }
    tx.put_document(&Document { default_version: 2, last_version: 11, ..document("a") }).await.unwrap();
    tx.commit().await.unwrap();
    store
}

async fn a_document_comes_back_with_the_version_that_is_asked_for(place: Place) {
    let store = filled(&place).await;
    for (selector, number) in [
        (VersionSelector::of(None), Some(2)),
        (VersionSelector::of(Some("$DEFAULT")), Some(2)),
        (VersionSelector::of(Some("$LATEST")), Some(11)),
        (VersionSelector::of(Some("1")), Some(1)),
        (VersionSelector::of(Some("3")), None),
        (VersionSelector::of(Some("x")), None),
        (VersionSelector::Named("v11"), Some(11)),
        (VersionSelector::Named("v2"), None),
    ] {
        let expected = number.map(|number| version("a", number));
        assert_eq!(store.document_version("a", selector).await.unwrap(), expected, "{selector:?}");
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.document_version("a", selector).await.unwrap(), expected, "{selector:?}");
    }
    assert_eq!(store.document_version("c", VersionSelector::Default).await.unwrap(), None);
    let changed = Document { default_version: 2, last_version: 11, ..document("a") };
    assert_eq!(store.document("a").await.unwrap(), Some(changed.clone()));
    let mut tx = store.begin().await.unwrap();
    tx.set_tags(Taggable::Document, "b", &tags(&[("team", "web")])).await.unwrap();
    assert_eq!(tx.tags(Taggable::Document, "b").await.unwrap(), tags(&[("team", "web")]));
    tx.commit().await.unwrap();
    let summary = |document: &Document, version_name: Option<&str>, pairs: &[(&str, &str)]| DocumentSummary {
        document: document.clone(),
        version_name: version_name.map(str::to_owned),
        format: "YAML".to_owned(),
        tags: tags(pairs),
    };
    let both = [summary(&changed, None, &[]), summary(&document("b"), Some("v1"), &[("team", "web")])];
    assert_eq!(store.documents_after("", 2).await.unwrap(), both);
    assert_eq!(store.documents_after("", 1).await.unwrap(), both[..1]);
    assert_eq!(store.documents_after("a", 2).await.unwrap(), both[1..]);
    let versions = store.document_versions("b").await.unwrap();
    assert_eq!(versions, [version("b", 1), version("b", 2), version("b", 11)]);
}

async fn a_documents_name_is_given_once(place: Place) {
    let store = filled(&place).await;
    let mut tx = store.begin().await.unwrap();
    let error = tx.add_document(&document("a")).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    assert!(error.to_string().contains("`a`"), "{error}");
}

async fn a_version_number_is_given_once(place: Place) {
    let store = filled(&place).await;
    let mut tx = store.begin().await.unwrap();
    tx.add_document_version(&version("a", 11)).await.unwrap_err();
}

async fn a_deleted_document_is_gone_with_its_versions(place: Place) {
    let store = filled(&place).await;
    let mut tx = store.begin().await.unwrap();
    tx.delete_document_version("b", 2).await.unwrap();
    tx.delete_document("a").await.unwrap();
    assert_eq!(tx.lock_document("a").await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(store.document_versions("a").await.unwrap(), []);
    assert_eq!(store.document_versions("b").await.unwrap(), [version("b", 1), version("b", 11)]);
    assert_eq!(store.documents_after("", 9).await.unwrap().len(), 1);
    // The latest version is one that is there.
    let mut tx = store.begin().await.unwrap();
    tx.delete_document_version("b", 11).await.unwrap();
    let left = tx.lock_document("b").await.unwrap().expect("the document is there");
    assert_eq!((left.last_version, left.latest_version), (1, 1));
}
