-- Which version of the baseline judged; 0 where nobody said so, as with rules of a command's own.
ALTER TABLE patch_states ADD COLUMN baseline_version BIGINT NOT NULL DEFAULT 0;
-- When the node is to be judged again from its stored inventory: a waiting period ends, or the
-- baseline was changed.
ALTER TABLE patch_states ADD COLUMN recheck_at BIGINT;
-- When it last was, since the report.
ALTER TABLE patch_states ADD COLUMN recomputed_at BIGINT;
CREATE INDEX patch_states_by_recheck ON patch_states (recheck_at);

-- What each version of each baseline last made of a node: a scan by another baseline takes nothing
-- away here.
CREATE TABLE baseline_states (
    node_id          TEXT   NOT NULL,
    baseline_id      TEXT   NOT NULL,
    baseline_version BIGINT NOT NULL,
    finished_at      BIGINT NOT NULL,
    recomputed_at    BIGINT,
    counts           TEXT   NOT NULL,
    -- The patches that do not comply, as JSON.
    wrong            TEXT   NOT NULL,
    PRIMARY KEY (node_id, baseline_id, baseline_version)
);
CREATE INDEX baseline_states_by_age ON baseline_states (finished_at);
