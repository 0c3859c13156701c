-- What scans saw. Entries are what nodes share: what is known of one package name, or one patch, as
-- a line of text. An inventory is a list of them; nodes of one image may share it as a whole.
CREATE TABLE inventory_entries (
    -- Counted upwards, so that lists of them are short.
    entry_id     BIGINT PRIMARY KEY,
    content_hash TEXT   NOT NULL UNIQUE,
    content      TEXT   NOT NULL,
    -- When it was last stored again, to a day or so.
    used_at      BIGINT NOT NULL
);
CREATE TABLE inventories (
    inventory_hash TEXT   PRIMARY KEY,
    -- The node's profile, as JSON.
    profile        TEXT   NOT NULL,
    -- Ids of entries in ascending order: differences as LEB128, in base64.
    entries        TEXT   NOT NULL,
    used_at        BIGINT NOT NULL
);
CREATE TABLE node_inventories (
    node_id        TEXT   PRIMARY KEY,
    inventory_hash TEXT   NOT NULL,
    -- By the node's clock.
    scanned_at     BIGINT NOT NULL
);
CREATE INDEX node_inventories_by_hash ON node_inventories (inventory_hash);
