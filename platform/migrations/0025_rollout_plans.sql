-- Rollout plans: how a rollout is cut into waves, by name. A command keeps what its plan said when it
-- was launched.
CREATE TABLE rollout_plans (
    name        TEXT   PRIMARY KEY,
    description TEXT   NOT NULL,
    definition  TEXT   NOT NULL,
    created_at  BIGINT NOT NULL
);
