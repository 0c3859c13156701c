-- Executions of automations and state machines, and what they ask of the world.

-- Texts of definitions by their SHA-256: an execution keeps the one it began with, whatever becomes
-- of the name.
CREATE TABLE workflow_definitions (
    definition_id TEXT PRIMARY KEY,
    content       TEXT NOT NULL
);

CREATE TABLE state_machines (
    name          TEXT   PRIMARY KEY,
    definition_id TEXT   NOT NULL,
    revision      BIGINT NOT NULL,
    machine_type  TEXT   NOT NULL,
    role_arn      TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);

CREATE TABLE workflows (
    workflow_id        TEXT   PRIMARY KEY,
    kind               TEXT   NOT NULL,
    definition_name    TEXT   NOT NULL,
    definition_version TEXT   NOT NULL,
    definition_id      TEXT   NOT NULL,
    name               TEXT   NOT NULL,
    status             TEXT   NOT NULL,
    input              TEXT   NOT NULL,
    output             TEXT,
    error              TEXT,
    cause              TEXT,
    started_at         BIGINT NOT NULL,
    ended_at           BIGINT,
    -- The engine's state where it is one value; a state machine has frames instead.
    state              TEXT   NOT NULL,
    -- How many events its history has.
    history_events     BIGINT NOT NULL,
    -- The call that it answers when it ends.
    parent_token       TEXT,
    -- What else was asked for, as JSON.
    record             TEXT   NOT NULL
);
CREATE INDEX workflows_by_definition ON workflows (kind, definition_name, started_at);
CREATE INDEX workflows_by_time ON workflows (kind, started_at);

-- What has happened to an execution and was not yet applied. The key makes a repeated event one.
CREATE TABLE workflow_inbox (
    workflow_id TEXT   NOT NULL,
    event_key   TEXT   NOT NULL,
    arrived_at  BIGINT NOT NULL,
    -- When a sweep says again that it waits.
    due_at      BIGINT NOT NULL,
    event       TEXT   NOT NULL,
    PRIMARY KEY (workflow_id, event_key)
);
CREATE INDEX workflow_inbox_by_due ON workflow_inbox (due_at);

-- The lines of control of a state machine: itself, branches, iterations.
CREATE TABLE workflow_frames (
    workflow_id TEXT   NOT NULL,
    frame_id    TEXT   NOT NULL,
    parent_id   TEXT   NOT NULL,
    ordinal     BIGINT NOT NULL,
    ended       BIGINT NOT NULL,
    frame       TEXT   NOT NULL,
    output      TEXT,
    PRIMARY KEY (workflow_id, frame_id)
);
CREATE INDEX workflow_frames_by_parent ON workflow_frames (workflow_id, parent_id, ordinal);

CREATE TABLE workflow_history (
    workflow_id TEXT   NOT NULL,
    event_id    BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    event       TEXT   NOT NULL,
    PRIMARY KEY (workflow_id, event_id)
);

-- The steps of an automation, as people are shown them.
CREATE TABLE workflow_steps (
    workflow_id TEXT   NOT NULL,
    step_id     TEXT   NOT NULL,
    ordinal     BIGINT NOT NULL,
    status      TEXT   NOT NULL,
    record      TEXT   NOT NULL,
    PRIMARY KEY (workflow_id, step_id)
);
CREATE INDEX workflow_steps_by_order ON workflow_steps (workflow_id, ordinal);

-- What was asked of others. Stored before it is asked, under a token that follows from its cause.
CREATE TABLE calls (
    token             TEXT   PRIMARY KEY,
    -- Who waits: an execution, or a window's task.
    owner_kind        TEXT   NOT NULL,
    owner_id          TEXT   NOT NULL,
    -- What the owner knows it by.
    about             TEXT   NOT NULL,
    call              TEXT   NOT NULL,
    state             TEXT   NOT NULL,
    -- The command or execution that it became.
    reference         TEXT,
    requested_at      BIGINT NOT NULL,
    -- It is given up then.
    deadline_at       BIGINT,
    heartbeat_seconds BIGINT,
    -- Whoever makes it has until then; after it somebody else may.
    lease_until       BIGINT NOT NULL,
    attempts          BIGINT NOT NULL,
    ended_at          BIGINT,
    outcome           TEXT,
    -- Whether the owner has taken note of its end.
    noted             BIGINT NOT NULL
);
CREATE INDEX calls_by_owner ON calls (owner_kind, owner_id, noted);
-- Few rows at any time.
CREATE INDEX calls_by_reference ON calls (reference) WHERE ended_at IS NULL;
CREATE INDEX calls_waiting ON calls (lease_until) WHERE state = 'Pending';
