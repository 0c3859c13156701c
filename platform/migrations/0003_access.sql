-- Who may call the API, and what was done.

-- One row: says whether a master key is the one that this store's secrets were sealed with.
CREATE TABLE master_key_checks (
    check_id TEXT PRIMARY KEY,
    mac      TEXT NOT NULL
);

CREATE TABLE access_keys (
    access_key_id TEXT   PRIMARY KEY,
    -- Sealed together with id, role, policy and state: none of them can be altered alone. Empty
    -- once the key is deleted.
    secret        TEXT   NOT NULL,
    role          TEXT   NOT NULL,
    -- Tags and their allowed values as JSON; NULL: every node.
    policy        TEXT,
    description   TEXT   NOT NULL,
    enabled       BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    created_by    TEXT   NOT NULL,
    last_used_at  BIGINT,
    deleted_at    BIGINT
);

-- Signatures that a change was made with, until they are too old to be accepted anyway.
CREATE TABLE used_signatures (
    signature  TEXT   PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX used_signatures_by_expiry ON used_signatures (expires_at);

-- Only ever added to. Each entry's MAC covers the entry and the MAC before it.
CREATE TABLE audit_entries (
    seq     BIGINT PRIMARY KEY,
    at      BIGINT NOT NULL,
    actor   TEXT   NOT NULL,
    source  TEXT   NOT NULL,
    action  TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    detail  TEXT   NOT NULL,
    outcome TEXT   NOT NULL,
    mac     TEXT   NOT NULL
);

-- One row: where the log ends. Whoever appends holds it, so entries have no gaps.
CREATE TABLE audit_head (
    head_id BIGINT PRIMARY KEY,
    seq     BIGINT NOT NULL,
    mac     TEXT   NOT NULL
);
INSERT INTO audit_head (head_id, seq, mac) VALUES (1, 0, '');
