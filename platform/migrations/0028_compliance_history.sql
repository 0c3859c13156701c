-- How the nodes of each patch group stood, an hour at a time.
CREATE TABLE compliance_history (
    patch_group TEXT   NOT NULL,
    -- The beginning of the hour.
    recorded_at BIGINT NOT NULL,
    -- As JSON.
    counts      TEXT   NOT NULL,
    PRIMARY KEY (patch_group, recorded_at)
);
CREATE INDEX compliance_history_by_time ON compliance_history (recorded_at, patch_group);
