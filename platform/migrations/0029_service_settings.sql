-- Settings of the whole control plane that were changed by the API; what is not here has its default.
CREATE TABLE service_settings (
    setting_id  TEXT   PRIMARY KEY,
    value       TEXT   NOT NULL,
    modified_at BIGINT NOT NULL
);
