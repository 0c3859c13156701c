-- How many nodes may be in an installation that may restart them, in all rollouts together. One row;
-- 0 is no limit. It is locked to release such an invocation while there is a limit.
CREATE TABLE reboot_limit (
    limit_id    BIGINT PRIMARY KEY,
    concurrency BIGINT NOT NULL
);
INSERT INTO reboot_limit (limit_id, concurrency) VALUES (1, 0);

-- How many of them each rollout has in flight. An invocation leaves with its ending, at the latest
-- at its deadline, so a node that never comes back does not keep a slot.
CREATE TABLE reboot_slots (
    command_id TEXT   PRIMARY KEY,
    used       BIGINT NOT NULL
);
