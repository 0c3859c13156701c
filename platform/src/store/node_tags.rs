//! Tags of nodes as rows of `node_tags`, which lists find nodes by.
//!
//! The truth is the column `nodes.tags`. Triggers keep the rows like it in the transaction that
//! changes it; older programs that run on during an upgrade thereby keep them, too. Nothing else
//! may write them.

use std::collections::HashSet;

use super::{Dialect, from_json, to_json};

/// Adds the triggers, and the rows of nodes that are there, if that was not done before. Runs in
/// the transaction that holds the file.
///
/// A key or value may hold NUL, as JSON has it; the rows, like all texts of the store, do not.
pub(super) const SQLITE: &str = r"
INSERT INTO node_tags (tag_key, node_id, tag_value)
    SELECT t.key, nodes.node_id, t.value FROM nodes, json_each(replace(nodes.tags, '\u0000', '\ufffd')) AS t
    WHERE NOT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = 'node_tags_added')
    ON CONFLICT DO NOTHING;
CREATE TRIGGER IF NOT EXISTS node_tags_added AFTER INSERT ON nodes WHEN NEW.tags <> '{}' BEGIN
    INSERT INTO node_tags (tag_key, node_id, tag_value)
        SELECT t.key, NEW.node_id, t.value FROM json_each(replace(NEW.tags, '\u0000', '\ufffd')) AS t
        WHERE true ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER IF NOT EXISTS node_tags_changed AFTER UPDATE OF tags ON nodes WHEN NEW.tags <> OLD.tags BEGIN
    DELETE FROM node_tags WHERE node_id = OLD.node_id;
    INSERT INTO node_tags (tag_key, node_id, tag_value)
        SELECT t.key, NEW.node_id, t.value FROM json_each(replace(NEW.tags, '\u0000', '\ufffd')) AS t
        WHERE true ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER IF NOT EXISTS node_tags_removed AFTER DELETE ON nodes BEGIN
    DELETE FROM node_tags WHERE node_id = OLD.node_id;
END;
";

/// The same on PostgreSQL. Programs that start together wait for each other; later starts find the
/// trigger and touch nothing.
pub(super) const POSTGRES: &str = r"DO $$ BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('patchwave node tags'));
    IF EXISTS (SELECT 1 FROM pg_trigger WHERE tgrelid = 'nodes'::regclass AND tgname = 'node_tags_kept') THEN
        RETURN;
    END IF;
    CREATE OR REPLACE FUNCTION keep_node_tags() RETURNS trigger LANGUAGE plpgsql AS $keep$ BEGIN
        IF TG_OP = 'UPDATE' AND NEW.tags = OLD.tags THEN
            RETURN NULL;
        END IF;
        IF TG_OP <> 'INSERT' THEN
            DELETE FROM node_tags WHERE node_id = OLD.node_id;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            INSERT INTO node_tags (tag_key, node_id, tag_value)
                SELECT t.key, NEW.node_id, t.value
                FROM json_each_text(replace(NEW.tags, '\u0000', '\ufffd')::json) AS t
                ON CONFLICT DO NOTHING;
        END IF;
        RETURN NULL;
    END $keep$;
    LOCK TABLE nodes IN SHARE ROW EXCLUSIVE MODE;
    CREATE TRIGGER node_tags_kept AFTER INSERT OR UPDATE OF tags OR DELETE ON nodes
        FOR EACH ROW EXECUTE FUNCTION keep_node_tags();
    INSERT INTO node_tags (tag_key, node_id, tag_value)
        SELECT t.key, nodes.node_id, t.value
        FROM nodes, json_each_text(replace(nodes.tags, '\u0000', '\ufffd')::json) AS t
        ON CONFLICT DO NOTHING;
END $$";

/// Values that are each looked up by themselves, in the order of nodes; more are found together and
/// sorted.
const EACH_MAX: usize = 8;

/// A key or value as the rows have it.
pub(super) fn as_row(text: &str) -> String {
    // The triggers replace escapes in JSON; so does this, to the letter.
    let json = to_json(text).replace("\\u0000", "\\ufffd");
    from_json("node_tags", &json).unwrap_or_else(|_| text.to_owned())
}

/// What a list of nodes by a tag is read from: one statement for each entry, whose rows together,
/// in order, are the list. A node has one value of a key, so none is read twice.
pub(super) fn lookups(values: &[String]) -> Vec<Vec<String>> {
    let distinct: HashSet<&String> = values.iter().collect();
    if values.is_empty() || distinct.len() > EACH_MAX {
        return vec![values.to_vec()];
    }
    distinct.into_iter().map(|value| vec![value.clone()]).collect()
}

/// The condition that a row of `node_tags` has a key and one of some values; with none any. Adds its
/// parameters; the first one's number is `$2`.
pub(super) fn condition(
    alias: &str,
    key: &str,
    values: &[String],
    dialect: Dialect,
    parameters: &mut Vec<String>,
) -> String {
    parameters.push(as_row(key));
    let mut text = format!("{alias}.tag_key = ${}", parameters.len() + 1);
    match values {
        [] => {}
        [value] => {
            parameters.push(as_row(value));
            text.push_str(&format!(" AND {alias}.tag_value = ${}", parameters.len() + 1));
        }
        _ => {
            let rows: Vec<_> = values.iter().map(|value| serde_json::json!({ "wanted": as_row(value) })).collect();
            parameters.push(to_json(&rows));
            let source = dialect.rows("w", parameters.len() + 1, &[("wanted", super::Column::Text)]);
            text.push_str(&format!(" AND {alias}.tag_value IN (SELECT w.wanted FROM {source})"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{as_row, lookups};

    #[test]
    fn texts_are_looked_for_as_the_triggers_write_them() {
        for (text, row) in [("a\"b 🐎\\", "a\"b 🐎\\"), ("a\0", "a\u{fffd}"), ("\\u0000", "\\ufffd")] {
            assert_eq!(as_row(text), row, "{text:?}");
        }
    }

    #[test]
    fn few_values_are_looked_up_one_by_one() {
        let values = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        assert_eq!(lookups(&[]), [values(0)]);
        assert_eq!(lookups(&["a".to_owned(), "a".to_owned()]), [["a"]]);
        assert_eq!(lookups(&values(8)).len(), 8);
        assert_eq!(lookups(&values(9)), [values(9)]);
    }
}
