-- Functions that executions and windows' tasks may call, by name.
CREATE TABLE functions (
    name            TEXT   PRIMARY KEY,
    -- Where Lambda's Invoke interface is: what stands before /2015-03-31.
    url             TEXT   NOT NULL,
    timeout_seconds BIGINT NOT NULL,
    description     TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
