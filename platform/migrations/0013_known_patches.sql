-- Patches that scans and installations have spoken of, by the baseline that judged. The baseline
-- says of which operating system they are.
CREATE TABLE known_patches (
    baseline_id      TEXT   NOT NULL,
    -- Package, architecture and version.
    title            TEXT   NOT NULL,
    kb_id            TEXT   NOT NULL,
    classification   TEXT   NOT NULL,
    severity         TEXT   NOT NULL,
    compliance_level TEXT   NOT NULL,
    -- APPROVED, EXPLICIT_REJECTED, PENDING_APPROVAL, or empty: the baseline does not speak of it.
    deployment       TEXT   NOT NULL,
    first_seen_at    BIGINT NOT NULL,
    last_seen_at     BIGINT NOT NULL,
    PRIMARY KEY (baseline_id, title)
);
