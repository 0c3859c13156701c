-- Documents of the operator's own. A version never changes, and its number is never given again.

CREATE TABLE documents (
    name            TEXT   PRIMARY KEY,
    display_name    TEXT,
    target_type     TEXT,
    default_version BIGINT NOT NULL,
    -- The highest number given so far, whether that version is still there or not.
    last_version    BIGINT NOT NULL,
    created_at      BIGINT NOT NULL
);

CREATE TABLE document_versions (
    name         TEXT   NOT NULL,
    version      BIGINT NOT NULL,
    version_name TEXT,
    -- JSON or YAML: how the content is written.
    format       TEXT   NOT NULL,
    content      TEXT   NOT NULL,
    -- The content as JSON, which is what is run.
    definition   TEXT   NOT NULL,
    -- SHA-256 of the content, in hex.
    content_hash TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (name, version)
);
