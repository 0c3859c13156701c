-- One text for SQLite and PostgreSQL: TEXT for ids and JSON, BIGINT for instants
-- (milliseconds since 1970, UTC), counts and booleans (0 or 1).

CREATE TABLE nodes (
    node_id          TEXT   PRIMARY KEY,
    computer_name    TEXT   NOT NULL,
    operating_system TEXT   NOT NULL,
    platform_name    TEXT   NOT NULL,
    platform_version TEXT   NOT NULL,
    agent_version    TEXT   NOT NULL,
    ip_address       TEXT,
    simulated        BIGINT NOT NULL,
    tags             TEXT   NOT NULL,
    -- The queue its commands go to, and the connection that queue belongs to. NULL: not connected.
    address          TEXT,
    session          TEXT,
    registered_at    BIGINT NOT NULL,
    last_contact_at  BIGINT NOT NULL
);

CREATE TABLE tags (
    resource_type TEXT NOT NULL,
    resource_id   TEXT NOT NULL,
    tag_key       TEXT NOT NULL,
    tag_value     TEXT NOT NULL,
    PRIMARY KEY (resource_type, resource_id, tag_key)
);

CREATE TABLE resource_groups (
    name        TEXT   PRIMARY KEY,
    description TEXT   NOT NULL,
    query       TEXT   NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE windows (
    window_id         TEXT   PRIMARY KEY,
    name              TEXT   NOT NULL,
    enabled           BIGINT NOT NULL,
    definition        TEXT   NOT NULL,
    next_execution_at BIGINT,
    created_at        BIGINT NOT NULL,
    modified_at       BIGINT NOT NULL
);

CREATE TABLE window_targets (
    window_target_id TEXT   PRIMARY KEY,
    window_id        TEXT   NOT NULL,
    definition       TEXT   NOT NULL,
    created_at       BIGINT NOT NULL
);
CREATE INDEX window_targets_by_window ON window_targets (window_id);

CREATE TABLE window_tasks (
    window_task_id TEXT   PRIMARY KEY,
    window_id      TEXT   NOT NULL,
    definition     TEXT   NOT NULL,
    created_at     BIGINT NOT NULL
);
CREATE INDEX window_tasks_by_window ON window_tasks (window_id);

CREATE TABLE window_executions (
    window_execution_id TEXT   PRIMARY KEY,
    window_id           TEXT   NOT NULL,
    scheduled_at        BIGINT NOT NULL,
    started_at          BIGINT NOT NULL,
    ended_at            BIGINT,
    cutoff_at           BIGINT NOT NULL,
    end_at              BIGINT NOT NULL,
    status              TEXT   NOT NULL,
    status_details      TEXT   NOT NULL,
    reason              TEXT   NOT NULL,
    -- The engine's state machine, and the window with its targets as they were at the start.
    state               TEXT   NOT NULL,
    snapshot            TEXT   NOT NULL
);
CREATE INDEX window_executions_by_window ON window_executions (window_id, scheduled_at);

CREATE TABLE task_executions (
    task_execution_id   TEXT   PRIMARY KEY,
    window_execution_id TEXT   NOT NULL,
    window_task_id      TEXT   NOT NULL,
    -- Position in the execution's state machine.
    ordinal             BIGINT NOT NULL,
    priority            BIGINT NOT NULL,
    status              TEXT   NOT NULL,
    status_details      TEXT   NOT NULL,
    command_id          TEXT,
    started_at          BIGINT,
    ended_at            BIGINT,
    definition          TEXT   NOT NULL
);
CREATE INDEX task_executions_by_execution ON task_executions (window_execution_id, ordinal);

CREATE TABLE commands (
    command_id               TEXT   PRIMARY KEY,
    document_name            TEXT   NOT NULL,
    requested_at             BIGINT NOT NULL,
    expires_at               BIGINT NOT NULL,
    finished_at              BIGINT,
    -- The request as SSM's Command shows it, and the document with its parameters filled in.
    request                  TEXT   NOT NULL,
    document                 TEXT   NOT NULL,
    window_execution_id      TEXT,
    task_execution_id        TEXT,
    status                   TEXT   NOT NULL,
    status_details           TEXT   NOT NULL,
    target_count             BIGINT NOT NULL,
    completed_count          BIGINT NOT NULL,
    error_count              BIGINT NOT NULL,
    delivery_timed_out_count BIGINT NOT NULL,
    -- The engine's rollout: the one row that is locked to change any of its invocations.
    rollout                  TEXT   NOT NULL
);
CREATE INDEX commands_by_time ON commands (requested_at);
-- Few rows at any time: what a returning node is looked up in.
CREATE INDEX commands_active ON commands (command_id) WHERE finished_at IS NULL;

CREATE TABLE command_baselines (
    command_id   TEXT NOT NULL,
    baseline_key TEXT NOT NULL,
    snapshot     TEXT NOT NULL,
    PRIMARY KEY (command_id, baseline_key)
);

-- No index names `state`: on PostgreSQL an update that touches no indexed column rewrites one page.
CREATE TABLE invocations (
    command_id      TEXT   NOT NULL,
    node_id         TEXT   NOT NULL,
    -- Order of release.
    ordinal         BIGINT NOT NULL,
    baseline_key    TEXT,
    state           TEXT   NOT NULL,
    -- Times the command was handed to the bus.
    attempts        BIGINT NOT NULL,
    -- When it was first handed over, and when last.
    released_at     BIGINT,
    delivered_at    BIGINT,
    deadline_at     BIGINT,
    finished_at     BIGINT,
    -- The node's word came after the deadline had decided.
    late_report     BIGINT NOT NULL,
    report          TEXT,
    PRIMARY KEY (command_id, node_id)
);
CREATE INDEX invocations_by_ordinal ON invocations (command_id, ordinal);

CREATE TABLE patch_baselines (
    baseline_id      TEXT   PRIMARY KEY,
    name             TEXT   NOT NULL,
    operating_system TEXT   NOT NULL,
    predefined       BIGINT NOT NULL,
    definition       TEXT   NOT NULL,
    created_at       BIGINT NOT NULL,
    modified_at      BIGINT NOT NULL
);

CREATE TABLE default_baselines (
    operating_system TEXT PRIMARY KEY,
    baseline_id      TEXT NOT NULL
);

CREATE TABLE patch_groups (
    patch_group      TEXT   NOT NULL,
    operating_system TEXT   NOT NULL,
    baseline_id      TEXT   NOT NULL,
    registered_at    BIGINT NOT NULL,
    PRIMARY KEY (patch_group, operating_system)
);

CREATE TABLE patch_states (
    node_id                   TEXT   PRIMARY KEY,
    patch_group               TEXT   NOT NULL,
    baseline_id               TEXT   NOT NULL,
    snapshot_id               TEXT   NOT NULL,
    command_id                TEXT   NOT NULL,
    operation                 TEXT   NOT NULL,
    reboot_option             TEXT,
    started_at                BIGINT NOT NULL,
    finished_at               BIGINT NOT NULL,
    last_no_reboot_install_at BIGINT,
    counts                    TEXT   NOT NULL,
    patches                   TEXT   NOT NULL
);
CREATE INDEX patch_states_by_group ON patch_states (patch_group);

CREATE TABLE timers (
    timer_key TEXT   PRIMARY KEY,
    due_at    BIGINT NOT NULL,
    timer     TEXT   NOT NULL
);
CREATE INDEX timers_by_due ON timers (due_at);

CREATE TABLE outbox (
    message_id   TEXT   PRIMARY KEY,
    message_type TEXT   NOT NULL,
    routing_key  TEXT   NOT NULL,
    body         TEXT   NOT NULL,
    -- When a sweep may publish it again: the process that wrote it is given time to do so first.
    due_at       BIGINT NOT NULL
);
CREATE INDEX outbox_by_due ON outbox (due_at);

CREATE TABLE notifications (
    notification_id TEXT   PRIMARY KEY,
    topic           TEXT   NOT NULL,
    subject         TEXT   NOT NULL,
    message         TEXT   NOT NULL,
    raised_at       BIGINT NOT NULL,
    published_at    BIGINT
);
CREATE INDEX notifications_by_topic ON notifications (topic, raised_at);
CREATE INDEX notifications_unpublished ON notifications (raised_at) WHERE published_at IS NULL;

CREATE TABLE dead_letters (
    dead_letter_id TEXT   PRIMARY KEY,
    queue          TEXT   NOT NULL,
    reason         TEXT   NOT NULL,
    body           TEXT   NOT NULL,
    buried_at      BIGINT NOT NULL
);

CREATE TABLE client_tokens (
    operation    TEXT   NOT NULL,
    client_token TEXT   NOT NULL,
    request      TEXT   NOT NULL,
    response     TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (operation, client_token)
);
