-- What lists are read by.

-- Patches by title, whichever baseline judged; and those that nobody has spoken of for long.
CREATE INDEX known_patches_by_title ON known_patches (title);
CREATE INDEX known_patches_by_last_seen ON known_patches (last_seen_at);

-- What was known of nodes that have been removed since.
DELETE FROM patch_states WHERE node_id NOT IN (SELECT node_id FROM nodes);
DELETE FROM inventory_items WHERE node_id NOT IN (SELECT node_id FROM nodes);
DELETE FROM compliance_reports WHERE node_id NOT IN (SELECT node_id FROM nodes);
