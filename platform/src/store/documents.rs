//! Documents of the operator's own, and their versions. What a content may say is `engine`'s rule;
//! here is only what was accepted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::tags::Taggable;
use super::{Error, Store, Tx, from_json, get, instant, millis, sql, to_json};

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Unique; case matters.
    pub name: String,
    /// For people.
    pub display_name: Option<String>,
    /// SSM's `TargetType`: kept and shown.
    pub target_type: Option<String>,
    /// Which version is run when none is named.
    pub default_version: i64,
    /// The highest number given to a version so far; that version may be gone.
    pub last_version: i64,
    /// The highest number of a version that is there. Follows from the versions: it is read and not
    /// written.
    pub latest_version: i64,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A version of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentVersion {
    /// The document.
    pub name: String,
    /// From 1.
    pub version: i64,
    /// Unique within the document.
    pub version_name: Option<String>,
    /// `JSON` or `YAML`.
    pub format: String,
    /// As it was given.
    pub content: String,
    /// The same as JSON.
    pub definition: Value,
    /// SHA-256 of the content, in hex.
    pub content_hash: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A document as lists show it: without contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentSummary {
    /// The document.
    pub document: Document,
    /// Name of its default version.
    pub version_name: Option<String>,
    /// Format of its default version.
    pub format: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// Which version of a document is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionSelector<'a> {
    /// The default version.
    Default,
    /// The one with the highest number.
    Latest,
    /// The one with this number.
    Number(i64),
    /// The one with this name.
    Named(&'a str),
}

impl<'a> VersionSelector<'a> {
    /// Reads SSM's `DocumentVersion`: `$DEFAULT`, `$LATEST` or a number; absence means the default.
    /// A text that is none of these selects a version that does not exist.
    #[must_use]
    pub fn of(version: Option<&'a str>) -> Self {
        match version {
            None | Some("$DEFAULT") => Self::Default,
            Some("$LATEST") => Self::Latest,
            Some(number) => Self::Number(number.parse().unwrap_or(0)),
        }
    }
}

/// What is written of a document.
const DOCUMENT: &str = "name, display_name, target_type, default_version, last_version, created_at";
/// What is read of one, of `documents d`.
const READ: &str = "d.name, d.display_name, d.target_type, d.default_version, d.last_version, d.created_at,
    (SELECT COALESCE(MAX(n.version), 0) FROM document_versions n WHERE n.name = d.name) AS latest_version";
const VERSION: &str = "name, version, version_name, format, content, definition, content_hash, created_at";

impl Tx {
    /// Adds a document without versions, or replaces what is said of it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_document(&mut self, document: &Document) -> Result<(), Error> {
        sqlx::query(sql(format!(
            "INSERT INTO documents ({DOCUMENT}) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (name) DO UPDATE SET display_name = excluded.display_name,
                 target_type = excluded.target_type, default_version = excluded.default_version,
                 last_version = excluded.last_version"
        )))
        .bind(&document.name)
        .bind(document.display_name.as_deref())
        .bind(document.target_type.as_deref())
        .bind(document.default_version)
        .bind(document.last_version)
        .bind(millis(document.created_at))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store a document"))
    }

    /// Adds a document that is not there yet.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the name is taken, [`Error::Database`].
    pub async fn add_document(&mut self, document: &Document) -> Result<(), Error> {
        let added = sqlx::query(sql(format!(
            "INSERT INTO documents ({DOCUMENT}) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO NOTHING"
        )))
        .bind(&document.name)
        .bind(document.display_name.as_deref())
        .bind(document.target_type.as_deref())
        .bind(document.default_version)
        .bind(document.last_version)
        .bind(millis(document.created_at))
        .execute(self.connection())
        .await
        .map_err(Error::doing("store a document"))?;
        if added.rows_affected() == 0 {
            return Err(Error::Conflict { what: format!("document `{}`", document.name) });
        }
        Ok(())
    }

    /// Adds a version. The caller holds the document.
    ///
    /// # Errors
    /// [`Error::Database`], also when the number is taken.
    pub async fn add_document_version(&mut self, version: &DocumentVersion) -> Result<(), Error> {
        sqlx::query(sql(format!("INSERT INTO document_versions ({VERSION}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")))
            .bind(&version.name)
            .bind(version.version)
            .bind(version.version_name.as_deref())
            .bind(&version.format)
            .bind(&version.content)
            .bind(to_json(&version.definition))
            .bind(&version.content_hash)
            .bind(millis(version.created_at))
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("store a version of a document"))
    }

    /// Reads a document, locking it until the transaction ends.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn lock_document(&mut self, name: &str) -> Result<Option<Document>, Error> {
        let lock = self.dialect().for_update();
        sqlx::query(sql(format!("SELECT {READ} FROM documents d WHERE d.name = $1{lock}")))
            .bind(name)
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("read a document"))?
            .map(|row| document_of(&row))
            .transpose()
    }

    /// Reads a version; `None` when there is none, or no such document.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn document_version(
        &mut self,
        name: &str,
        selector: VersionSelector<'_>,
    ) -> Result<Option<DocumentVersion>, Error> {
        read_version(self.connection(), name, selector).await
    }

    /// Removes one version of a document. Whether it may go is the caller's business.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn delete_document_version(&mut self, name: &str, version: i64) -> Result<(), Error> {
        sqlx::query("DELETE FROM document_versions WHERE name = $1 AND version = $2")
            .bind(name)
            .bind(version)
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("delete a version of a document"))
    }

    /// Removes a document with all its versions. What was sent before runs on: a command carries
    /// its document with it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn delete_document(&mut self, name: &str) -> Result<(), Error> {
        for table in ["document_versions", "documents"] {
            sqlx::query(sql(format!("DELETE FROM {table} WHERE name = $1")))
                .bind(name)
                .execute(self.connection())
                .await
                .map_err(Error::doing("delete a document"))?;
        }
        Ok(())
    }
}

impl Store {
    /// Reads a document.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn document(&self, name: &str) -> Result<Option<Document>, Error> {
        sqlx::query(sql(format!("SELECT {READ} FROM documents d WHERE d.name = $1")))
            .bind(name)
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read a document"))?
            .map(|row| document_of(&row))
            .transpose()
    }

    /// Reads documents with their tags, by name, those behind `after`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn documents_after(&self, after: &str, limit: u32) -> Result<Vec<DocumentSummary>, Error> {
        let rows = sqlx::query(sql(format!(
            "SELECT {READ}, v.version_name, v.format
             FROM documents d JOIN document_versions v ON v.name = d.name AND v.version = d.default_version
             WHERE d.name > $1 ORDER BY d.name LIMIT {limit}"
        )))
        .bind(after)
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read documents"))?;
        let mut found = rows
            .iter()
            .map(|row| {
                Ok(DocumentSummary {
                    document: document_of(row)?,
                    version_name: get(row, "version_name")?,
                    format: get(row, "format")?,
                    tags: BTreeMap::new(),
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let names: Vec<&str> = found.iter().map(|one| one.document.name.as_str()).collect();
        let mut tags = self.tags_of(Taggable::Document, &names).await?;
        for one in &mut found {
            one.tags = tags.remove(&one.document.name).unwrap_or_default();
        }
        Ok(found)
    }

    /// Reads a version; `None` when there is none, or no such document.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn document_version(
        &self,
        name: &str,
        selector: VersionSelector<'_>,
    ) -> Result<Option<DocumentVersion>, Error> {
        let mut connection = self.reader().acquire().await.map_err(Error::doing("read a document"))?;
        read_version(&mut connection, name, selector).await
    }

    /// Reads every version of a document, by number.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn document_versions(&self, name: &str) -> Result<Vec<DocumentVersion>, Error> {
        sqlx::query(sql(format!("SELECT {VERSION} FROM document_versions WHERE name = $1 ORDER BY version")))
            .bind(name)
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read the versions of a document"))?
            .iter()
            .map(version_of)
            .collect()
    }
}

async fn read_version(
    connection: &mut AnyConnection,
    name: &str,
    selector: VersionSelector<'_>,
) -> Result<Option<DocumentVersion>, Error> {
    let select = format!("SELECT {VERSION} FROM document_versions WHERE name = $1");
    let text = match selector {
        VersionSelector::Default => {
            format!("{select} AND version = (SELECT default_version FROM documents WHERE name = $1)")
        }
        VersionSelector::Latest => format!("{select} ORDER BY version DESC LIMIT 1"),
        VersionSelector::Number(_) => format!("{select} AND version = $2"),
        VersionSelector::Named(_) => format!("{select} AND version_name = $2"),
    };
    let query = sqlx::query(sql(text)).bind(name);
    let query = match selector {
        VersionSelector::Default | VersionSelector::Latest => query,
        VersionSelector::Number(number) => query.bind(number),
        VersionSelector::Named(version_name) => query.bind(version_name),
    };
    query
        .fetch_optional(connection)
        .await
        .map_err(Error::doing("read a version of a document"))?
        .map(|row| version_of(&row))
        .transpose()
}

fn document_of(row: &AnyRow) -> Result<Document, Error> {
    Ok(Document {
        name: get(row, "name")?,
        display_name: get(row, "display_name")?,
        target_type: get(row, "target_type")?,
        default_version: get(row, "default_version")?,
        last_version: get(row, "last_version")?,
        latest_version: get(row, "latest_version")?,
        created_at: instant(get(row, "created_at")?),
    })
}

fn version_of(row: &AnyRow) -> Result<DocumentVersion, Error> {
    Ok(DocumentVersion {
        name: get(row, "name")?,
        version: get(row, "version")?,
        version_name: get(row, "version_name")?,
        format: get(row, "format")?,
        content: get(row, "content")?,
        definition: from_json("document_versions.definition", &get::<String>(row, "definition")?)?,
        content_hash: get(row, "content_hash")?,
        created_at: instant(get(row, "created_at")?),
    })
}
