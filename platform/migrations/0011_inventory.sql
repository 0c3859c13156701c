-- What other programs report about nodes, beyond what agents say of themselves. The last report of
-- a type counts.
CREATE TABLE inventory_items (
    node_id        TEXT   NOT NULL,
    type_name      TEXT   NOT NULL,
    schema_version TEXT   NOT NULL,
    -- As the reporter wrote it: seconds, UTC.
    capture_time   TEXT   NOT NULL,
    content_hash   TEXT,
    -- A JSON list of objects of texts.
    content        TEXT   NOT NULL,
    stored_at      BIGINT NOT NULL,
    PRIMARY KEY (node_id, type_name)
);
CREATE INDEX inventory_items_by_type ON inventory_items (type_name);
