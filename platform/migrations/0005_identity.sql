-- Who may become a node, who is one, and which keys sign what nodes are told.

CREATE TABLE activations (
    activation_id         TEXT   PRIMARY KEY,
    -- MAC of the code: the code itself is shown once and kept nowhere.
    code_mac              TEXT   NOT NULL,
    description           TEXT,
    default_instance_name TEXT,
    iam_role              TEXT   NOT NULL,
    registration_limit    BIGINT NOT NULL,
    registrations_count   BIGINT NOT NULL,
    tags                  TEXT   NOT NULL,
    created_at            BIGINT NOT NULL,
    expires_at            BIGINT NOT NULL
);
CREATE INDEX activations_by_time ON activations (created_at);

-- One row for each node that ever registered. It outlives the node, so that its id and its key
-- never come back to life.
CREATE TABLE node_identities (
    node_id         TEXT   PRIMARY KEY,
    public_key      TEXT   NOT NULL,
    fingerprint     TEXT   NOT NULL,
    activation_id   TEXT   NOT NULL,
    name            TEXT,
    iam_role        TEXT   NOT NULL,
    registered_at   BIGINT NOT NULL,
    deregistered_at BIGINT
);
CREATE UNIQUE INDEX node_identities_by_key ON node_identities (public_key);
-- What every report is checked against; few.
CREATE INDEX node_identities_cut_off ON node_identities (node_id) WHERE deregistered_at IS NOT NULL;
CREATE INDEX node_identities_by_activation ON node_identities (activation_id);

-- What a node takes by its own policy, as it said; NULL: everything.
ALTER TABLE nodes ADD COLUMN policy TEXT;

CREATE TABLE signing_keys (
    key_id         TEXT   PRIMARY KEY,
    public_key     TEXT   NOT NULL,
    -- Sealed with the master key.
    private_key    TEXT   NOT NULL,
    endorsed_by    TEXT,
    endorsement    TEXT,
    created_at     BIGINT NOT NULL,
    -- From when it signs: until then nodes learn of it.
    signs_from     BIGINT NOT NULL,
    -- From when nothing that it signed is accepted any more. NULL: not decided.
    retires_at     BIGINT
);

-- Reports that changed nothing, by reason: what somebody sent who should not have, or too late.
CREATE TABLE refused_reports (
    reason  TEXT   PRIMARY KEY,
    reports BIGINT NOT NULL
);
