//! Tables for people, made from the API's JSON.
//!
//! Plain aligned columns without colour or frame: they read the same in a terminal, in a mail and
//! through `grep`. What came from a node is shown with its control characters made visible, so
//! that a host name cannot drive the operator's terminal.

use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde_json::Value;

use crate::times;

/// What an absent value looks like.
const ABSENT: &str = "-";

/// One column: its heading and what it shows of a row.
pub struct Column {
    heading: &'static str,
    show: Box<dyn Fn(&Value) -> String>,
}

/// A member of the row, as it is.
#[must_use]
pub fn member(heading: &'static str, name: &'static str) -> Column {
    computed(heading, move |row| text(&row[name]))
}

/// A member of the row that is an instant, relative to now.
#[must_use]
pub fn ago(heading: &'static str, name: &'static str) -> Column {
    let now = Timestamp::now();
    computed(heading, move |row| match times::instant(&row[name]) {
        Some(instant) => times::relative(instant, now),
        None => text(&row[name]),
    })
}

/// Whatever `show` makes of the row.
pub fn computed(heading: &'static str, show: impl Fn(&Value) -> String + 'static) -> Column {
    Column { heading, show: Box::new(show) }
}

/// Lines up `rows` under the columns' headings.
#[must_use]
pub fn rows<'a>(columns: &[Column], rows: impl IntoIterator<Item = &'a Value>) -> String {
    let mut table = plain();
    table.set_header(columns.iter().map(|column| column.heading).collect::<Vec<_>>());
    for row in rows {
        table.add_row(columns.iter().map(|column| visible(&(column.show)(row))).collect::<Vec<_>>());
    }
    render(table)
}

/// Shows one object, a member a line. Members that are instants are shown as such.
#[must_use]
pub fn details(object: &Value) -> String {
    let mut table = plain();
    let now = Timestamp::now();
    for (name, value) in object.as_object().into_iter().flatten() {
        let shown = match times::instant(value).filter(|_| is_time(name)) {
            Some(instant) => {
                // Text is in the window's own zone; numbers have none.
                let absolute = value.as_str().map_or_else(|| times::absolute(instant), str::to_owned);
                format!("{absolute} ({})", times::relative(instant, now))
            }
            None => text(value),
        };
        table.add_row([format!("{name}:"), visible(&shown)]);
    }
    render(table)
}

/// A value in a cell: scalars as they are, lists joined, flat objects as `name=value`, others as JSON.
#[must_use]
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => ABSENT.to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) if text.is_empty() => ABSENT.to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => ABSENT.to_owned(),
        Value::Array(items) if items.iter().all(is_key_and_values) => {
            items.iter().map(key_and_values).collect::<Vec<_>>().join(" ")
        }
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(members) if members.is_empty() => ABSENT.to_owned(),
        Value::Object(members) if members.values().all(is_flat) => {
            members.iter().map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(", ")
        }
        Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// Scalars and lists of scalars: tags and parameters are made of them.
fn is_flat(value: &Value) -> bool {
    match value {
        Value::Object(_) => false,
        Value::Array(items) => !items.iter().any(|item| item.is_array() || item.is_object()),
        _ => true,
    }
}

/// SSM's targets and filters: `{"Key": …, "Values": […]}`.
fn is_key_and_values(value: &Value) -> bool {
    value["Key"].is_string() && value["Values"].is_array()
}

fn key_and_values(value: &Value) -> String {
    let values: Vec<String> = value["Values"].as_array().into_iter().flatten().map(text).collect();
    format!("{}={}", text(&value["Key"]), values.join(","))
}

/// Which of the API's members are instants, by their names.
fn is_time(name: &str) -> bool {
    ["Date", "Time", "DateTime", "ExpiresAfter", "At"].iter().any(|end| name.ends_with(end))
}

/// `text` with line breaks and other control characters made visible.
fn visible(text: &str) -> String {
    if text.chars().any(char::is_control) {
        text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
    } else {
        text.to_owned()
    }
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn render(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up_under_their_headings() {
        let windows = [
            json!({"WindowId": "mw-1", "Name": "nightly", "Enabled": true}),
            json!({"WindowId": "mw-22", "Name": "x", "Enabled": false}),
        ];
        let columns =
            [member("ID", "WindowId"), member("NAME", "Name"), member("ON", "Enabled"), member("NEXT", "Next")];
        let expected = "\
ID     NAME     ON   NEXT
mw-1   nightly  yes  -
mw-22  x        no   -";
        assert_eq!(rows(&columns, &windows), expected);
    }

    #[test]
    fn no_rows_leave_the_headings() {
        assert_eq!(rows(&[member("ID", "Id"), member("NAME", "Name")], []), "ID  NAME");
    }

    #[test]
    fn targets_read_as_conditions() {
        let targets = json!([{"Key": "tag:env", "Values": ["a", "b"]}, {"Key": "InstanceIds", "Values": ["mi-1"]}]);
        assert_eq!(text(&targets), "tag:env=a,b InstanceIds=mi-1");
    }

    #[test]
    fn tags_and_parameters_read_as_pairs() {
        assert_eq!(text(&json!({"Patch Group": "canary", "env": "a"})), "Patch Group=canary, env=a");
        assert_eq!(text(&json!({"Operation": ["Scan"]})), "Operation=Scan");
        assert_eq!(text(&json!({"Rules": {"a": 1}})), r#"{"Rules":{"a":1}}"#);
    }

    #[test]
    fn control_characters_from_a_node_are_shown_not_obeyed() {
        let row = json!({"ComputerName": "evil\u{1b}[2J\nhost"});
        assert_eq!(rows(&[member("NAME", "ComputerName")], [&row]), "NAME\nevil\\u{1b}[2J\\nhost");
    }

    #[test]
    fn details_show_epoch_seconds_as_instants() {
        let shown = details(&json!({"CreatedDate": 1_549_998_326.764, "Name": "n"}));
        assert!(shown.starts_with("CreatedDate:  2019-02-12 19:05:26Z ("), "{shown}");
        assert!(shown.ends_with("Name:         n"), "{shown}");
    }
}
