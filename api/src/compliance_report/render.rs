//! Rows as CSV or JSON.
//!
//! Names of machines and patches come from nodes, and reports are opened in spreadsheets, which take
//! what begins with `=`, `+`, `-` or `@` for a formula: in CSV such a text gets an apostrophe in front,
//! which spreadsheets take for the mark of a text. JSON has everything as it is.

use serde::Deserialize;
use serde_json::{Map, Value};

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Format {
    /// RFC 4180, with a line of headings.
    Csv,
    /// A list of objects whose members are called as the columns are.
    Json,
}

impl Format {
    pub(super) const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}

/// Writes rows that have as many values as there are columns: texts, numbers, or nothing.
pub(super) fn render(
    format: Format,
    columns: &[&str],
    rows: &[Vec<Value>],
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    match format {
        Format::Json => {
            let object = |row: &Vec<Value>| {
                columns.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned()).collect::<Map<_, _>>()
            };
            Ok(serde_json::to_string_pretty(&rows.iter().map(object).collect::<Vec<_>>())?)
        }
        Format::Csv => {
            let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
            writer.write_record(columns)?;
            for row in rows {
                writer.write_record(row.iter().map(cell))?;
            }
            Ok(String::from_utf8(writer.into_inner()?)?)
        }
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => defused(text),
        other => other.to_string(),
    }
}

/// A text that no spreadsheet takes for a formula. Blanks in front do not make it one less.
fn defused(text: &str) -> String {
    let is_formula = text.trim_start().starts_with(['=', '+', '-', '@']) || text.starts_with(['\t', '\r', '\n']);
    if is_formula { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn csv_is_quoted_and_nothing_in_it_is_a_formula() {
        let rows = [
            vec![json!(1), json!("a, \"b\""), Value::Null],
            vec![json!(-2), json!("=HYPERLINK(\"x\")"), json!(" @SUM(1)")],
            vec![json!(3), json!("-1+1"), json!("host-1")],
        ];
        let text = render(Format::Csv, &["Index", "Name", "Other"], &rows).unwrap();
        let expected = "Index,Name,Other\r\n1,\"a, \"\"b\"\"\",\r\n-2,\"'=HYPERLINK(\"\"x\"\")\",' @SUM(1)\r\n\
            3,'-1+1,host-1\r\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn json_has_texts_as_they_are() {
        let text = render(Format::Json, &["Index", "Name"], &[vec![json!(1), json!("=1")]]).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!([{ "Index": 1, "Name": "=1" }]));
        assert_eq!(render(Format::Json, &["Index"], &[]).unwrap(), "[]");
    }
}
