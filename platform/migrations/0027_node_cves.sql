-- Vulnerabilities that a patch would mend which a node does not have in force: what is in
-- patch_states.patches, to be found by the vulnerability. Filled by reports, and when nodes are judged
-- again.
CREATE TABLE node_cves (
    cve_id           TEXT NOT NULL,
    node_id          TEXT NOT NULL,
    title            TEXT NOT NULL,
    kb_id            TEXT NOT NULL,
    state            TEXT NOT NULL,
    compliance_level TEXT NOT NULL,
    PRIMARY KEY (cve_id, node_id, title)
);
CREATE INDEX node_cves_by_node ON node_cves (node_id, cve_id, title);
