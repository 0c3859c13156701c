-- Tags of nodes as rows, to find nodes by. The truth is `nodes.tags`; triggers that are made when
-- the store is opened keep these rows like it, whoever writes: they are spelled differently for
-- SQLite and PostgreSQL, see platform/src/store/node_tags.rs.
CREATE TABLE node_tags (
    tag_key   TEXT NOT NULL,
    node_id   TEXT NOT NULL,
    tag_value TEXT NOT NULL,
    PRIMARY KEY (tag_key, node_id)
);
CREATE INDEX node_tags_by_value ON node_tags (tag_key, tag_value, node_id);
CREATE INDEX node_tags_by_node ON node_tags (node_id);
