-- The items of a scan by status and severity, counted once when it is stored. Empty: stored before
-- this column was there.
ALTER TABLE patch_states ADD COLUMN compliance TEXT NOT NULL DEFAULT '';

-- Compliance of other types than patches, as other programs put it. The last report counts.
CREATE TABLE compliance_reports (
    node_id         TEXT   NOT NULL,
    compliance_type TEXT   NOT NULL,
    executed_at     BIGINT NOT NULL,
    execution_id    TEXT,
    execution_type  TEXT,
    content_hash    TEXT,
    items           TEXT   NOT NULL,
    counts          TEXT   NOT NULL,
    PRIMARY KEY (node_id, compliance_type)
);
CREATE INDEX compliance_reports_by_type ON compliance_reports (compliance_type);
