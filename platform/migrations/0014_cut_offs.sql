-- Nodes whose connections to the broker are to be closed: deregistered ones, and those that are bound
-- to another machine. Stored with that decision, and removed when the broker has done it twice: at
-- once, and when no login that was let in before can still be under way.
CREATE TABLE cut_offs (
    node_id      TEXT   PRIMARY KEY,
    requested_at BIGINT NOT NULL,
    due_at       BIGINT NOT NULL
);
CREATE INDEX cut_offs_by_time ON cut_offs (due_at);
