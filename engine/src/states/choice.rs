//! The rules of Choice states.

use jiff::Timestamp;
use serde_json::Value;

use super::data::{Scope, check_path};
use super::machine::escaped;
use crate::calls::Failure;

/// Rules within rules.
const NESTING_MAX: usize = 32;
/// Rules in one list.
const RULES_MAX: usize = 1_000;

/// A rule, or a combination of rules.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    And(Vec<Rule>),
    Or(Vec<Rule>),
    Not(Box<Rule>),
    Test { variable: String, operator: Operator, with: With },
}

/// What a variable is compared with.
#[derive(Debug, Clone)]
pub(super) enum With {
    Value(Value),
    Path(String),
}

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Equals,
    LessThan,
    GreaterThan,
    LessThanEquals,
    GreaterThanEquals,
}

/// What values of a comparison are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    String,
    Numeric,
    Timestamp,
    Boolean,
}

/// The operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Compare(Sort, Order),
    StringMatches,
    IsNull,
    IsPresent,
    IsNumeric,
    IsString,
    IsBoolean,
    IsTimestamp,
}

impl Operator {
    /// The operator of a member, and whether the member names a path to compare with.
    fn of(name: &str) -> Option<(Self, bool)> {
        let test = match name {
            "StringMatches" => Self::StringMatches,
            "IsNull" => Self::IsNull,
            "IsPresent" => Self::IsPresent,
            "IsNumeric" => Self::IsNumeric,
            "IsString" => Self::IsString,
            "IsBoolean" => Self::IsBoolean,
            "IsTimestamp" => Self::IsTimestamp,
            _ => {
                let (bare, by_path) = name.strip_suffix("Path").map_or((name, false), |bare| (bare, true));
                let sorts = [
                    ("String", Sort::String),
                    ("Numeric", Sort::Numeric),
                    ("Timestamp", Sort::Timestamp),
                    ("Boolean", Sort::Boolean),
                ];
                let (sort, order) =
                    sorts.into_iter().find_map(|(word, sort)| Some((sort, bare.strip_prefix(word)?)))?;
                let order = match order {
                    "Equals" => Order::Equals,
                    "LessThan" => Order::LessThan,
                    "GreaterThan" => Order::GreaterThan,
                    "LessThanEquals" => Order::LessThanEquals,
                    "GreaterThanEquals" => Order::GreaterThanEquals,
                    _ => return None,
                };
                if sort == Sort::Boolean && order != Order::Equals {
                    return None;
                }
                return Some((Self::Compare(sort, order), by_path));
            }
        };
        Some((test, false))
    }

    /// Whether a literal is something to compare with.
    fn takes(self, value: &Value) -> bool {
        match self {
            Self::Compare(Sort::Numeric, _) => value.is_number(),
            Self::Compare(Sort::Timestamp, _) => instant(value).is_some(),
            Self::Compare(Sort::Boolean, _) => value.is_boolean(),
            Self::Compare(Sort::String, _) | Self::StringMatches => value.is_string(),
            _ => value.is_boolean(),
        }
    }
}

impl Rule {
    /// Reads a rule. One at the top has a `Next`, one within another has none.
    pub(super) fn parse(value: &Value, top: bool) -> Result<Self, (String, String)> {
        Self::read(value, top, 0)
    }

    fn read(value: &Value, top: bool, depth: usize) -> Result<Self, (String, String)> {
        let here = |problem: &str| (String::new(), problem.to_owned());
        if depth > NESTING_MAX {
            return Err(here("rules within rules are allowed 32 deep"));
        }
        let members = value.as_object().ok_or_else(|| here("allowed is an object"))?;
        let beside: &[&str] = if top { &["Next", "Assign", "Comment"] } else { &["Comment"] };
        let mut rest: Vec<_> = members.iter().filter(|(name, _)| !beside.contains(&name.as_str())).collect();
        if let Some((name, inner)) = rest.iter().find(|(name, _)| matches!(name.as_str(), "And" | "Or" | "Not")) {
            if rest.len() > 1 {
                return Err(here("`And`, `Or` and `Not` stand alone in their rule"));
            }
            return Self::combined(name, inner, depth);
        }
        let variable = members.get("Variable").and_then(Value::as_str);
        let variable =
            variable.ok_or_else(|| here("`Variable` and one operator, or `And`, `Or` or `Not` are needed"))?;
        check_path(variable).map_err(|problem| ("/Variable".to_owned(), problem))?;
        rest.retain(|(name, _)| *name != "Variable");
        let [(name, operand)] = rest[..] else {
            return Err(here("exactly one operator is needed beside `Variable`"));
        };
        let below = |problem: String| (format!("/{}", escaped(name)), problem);
        let (operator, by_path) =
            Operator::of(name).ok_or_else(|| below(format!("`{name}` is no operator; see docs/state-machines.md")))?;
        let with = if by_path {
            let path = operand.as_str().ok_or_else(|| below("allowed is a JSONPath".to_owned()))?;
            check_path(path).map_err(&below)?;
            With::Path(path.to_owned())
        } else if operator.takes(operand) {
            With::Value(operand.clone())
        } else {
            return Err(below(format!("`{operand}` is nothing that {name} compares with")));
        };
        Ok(Self::Test { variable: variable.to_owned(), operator, with })
    }

    fn combined(name: &str, inner: &Value, depth: usize) -> Result<Self, (String, String)> {
        if name == "Not" {
            let rule =
                Self::read(inner, false, depth + 1).map_err(|(below, problem)| (format!("/Not{below}"), problem))?;
            return Ok(Self::Not(Box::new(rule)));
        }
        let items = inner.as_array().filter(|items| (1..=RULES_MAX).contains(&items.len()));
        let items = items.ok_or_else(|| (format!("/{name}"), "a list of 1 to 1000 rules is needed".to_owned()))?;
        let mut rules = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let read = Self::read(item, false, depth + 1);
            rules.push(read.map_err(|(below, problem)| (format!("/{name}/{index}{below}"), problem))?);
        }
        Ok(if name == "And" { Self::And(rules) } else { Self::Or(rules) })
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// `States.Runtime` for a variable that is not there: Step Functions ends the execution, unless the
    /// rule asks whether it is there.
    pub(super) fn holds(&self, scope: &Scope<'_>) -> Result<bool, Failure> {
        match self {
            Self::And(rules) => {
                for rule in rules {
                    if !rule.holds(scope)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(rules) => {
                for rule in rules {
                    if rule.holds(scope)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(rule) => rule.holds(scope).map(|holds| !holds),
            Self::Test { variable, operator: Operator::IsPresent, with } => Ok(with.is(scope.find(variable).is_some())),
            Self::Test { variable, operator, with } => {
                let runtime = |failed: Failure| super::data::failure("States.Runtime", failed.cause);
                let value = scope.select(variable).map_err(runtime)?;
                let with = match with {
                    With::Value(with) => with.clone(),
                    With::Path(path) => scope.select(path).map_err(runtime)?,
                };
                Ok(test(*operator, &value, &with))
            }
        }
    }
}

impl With {
    fn is(&self, truth: bool) -> bool {
        matches!(self, Self::Value(Value::Bool(wanted)) if *wanted == truth)
    }
}

fn test(operator: Operator, value: &Value, with: &Value) -> bool {
    let is = |truth: bool| with.as_bool() == Some(truth);
    match operator {
        Operator::IsPresent => is(true),
        Operator::IsNull => is(value.is_null()),
        Operator::IsNumeric => is(value.is_number()),
        Operator::IsString => is(value.is_string()),
        Operator::IsBoolean => is(value.is_boolean()),
        Operator::IsTimestamp => is(instant(value).is_some()),
        Operator::StringMatches => match (value.as_str(), with.as_str()) {
            (Some(text), Some(pattern)) => matches(text, pattern),
            _ => false,
        },
        Operator::Compare(sort, order) => compare(sort, value, with).is_some_and(|found| match order {
            Order::Equals => found.is_eq(),
            Order::LessThan => found.is_lt(),
            Order::GreaterThan => found.is_gt(),
            Order::LessThanEquals => found.is_le(),
            Order::GreaterThanEquals => found.is_ge(),
        }),
    }
}

/// The order of two values; `None` when one of them is of another sort: such a rule does not hold.
fn compare(sort: Sort, a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    match sort {
        Sort::String => Some(a.as_str()?.cmp(b.as_str()?)),
        Sort::Boolean => Some(a.as_bool()?.cmp(&b.as_bool()?)),
        Sort::Timestamp => Some(instant(a)?.cmp(&instant(b)?)),
        Sort::Numeric => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
    }
}

fn instant(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// Whether a text matches a pattern in which `*` is any text and `\*` an asterisk.
///
/// Each `*` is tried again from its last place only, so the time is at most the product of the lengths.
fn matches(text: &str, pattern: &str) -> bool {
    #[derive(PartialEq)]
    enum Piece {
        Any,
        One(char),
    }
    let mut pieces = Vec::new();
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        pieces.push(match c {
            '*' => Piece::Any,
            '\\' => Piece::One(characters.next().unwrap_or('\\')),
            c => Piece::One(c),
        });
    }
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut piece, mut star) = (0, 0, None);
    while at < text.len() {
        match pieces.get(piece) {
            Some(Piece::Any) => {
                star = Some((piece, at));
                piece += 1;
            }
            Some(Piece::One(c)) if *c == text[at] => {
                at += 1;
                piece += 1;
            }
            _ => match star {
                Some((back, from)) => {
                    star = Some((back, from + 1));
                    piece = back + 1;
                    at = from + 1;
                }
                None => return false,
            },
        }
    }
    pieces.iter().skip(piece).all(|rest| *rest == Piece::Any)
}

#[cfg(test)]
fn rule(value: &Value) -> Result<Rule, (String, String)> {
    Rule::parse(value, true)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::{Map, json};

    use super::*;

    fn holds(rule_value: &Value, input: &Value) -> Result<bool, Failure> {
        let (variables, draws) = (Map::from_iter([("v".to_owned(), json!(3))]), Cell::new(1));
        let context = || Value::Null;
        rule(rule_value).unwrap().holds(&Scope::new(input, &variables, &context, &draws))
    }

    #[test]
    fn every_comparison_holds_where_it_should_and_nowhere_else() {
        let input = json!({
            "s": "b", "n": 2.5, "i": 3, "t": "2026-03-14T01:59:00Z", "b": true,
            "s2": "b", "n2": 2.5, "t2": "2026-03-14T02:59:00+01:00", "b2": true,
        });
        for (variable, sort, less, same, more) in [
            ("$.s", "String", json!("a"), json!("b"), json!("c")),
            ("$.n", "Numeric", json!(2), json!(2.5), json!(3)),
            (
                "$.t",
                "Timestamp",
                json!("2026-03-13T00:00:00Z"),
                json!("2026-03-14T01:59:00Z"),
                json!("2027-01-01T00:00:00Z"),
            ),
        ] {
            for (order, of_less, of_same, of_more) in [
                ("Equals", false, true, false),
                ("LessThan", false, false, true),
                ("GreaterThan", true, false, false),
                ("LessThanEquals", false, true, true),
                ("GreaterThanEquals", true, true, false),
            ] {
                for (with, expected) in [(&less, of_less), (&same, of_same), (&more, of_more)] {
                    let value = json!({ "Variable": variable, (format!("{sort}{order}")): with, "Next": "N" });
                    assert_eq!(holds(&value, &input), Ok(expected), "{value}");
                }
                let by_path = json!({ "Variable": variable, (format!("{sort}{order}Path")): format!("{variable}2"), "Next": "N" });
                assert_eq!(holds(&by_path, &input), Ok(of_same), "{by_path}");
            }
        }
        for (with, expected) in [(true, true), (false, false)] {
            assert_eq!(holds(&json!({ "Variable": "$.b", "BooleanEquals": with, "Next": "N" }), &input), Ok(expected));
        }
        assert_eq!(holds(&json!({ "Variable": "$.b", "BooleanEqualsPath": "$.b2", "Next": "N" }), &input), Ok(true));
        // Another sort never compares.
        assert_eq!(holds(&json!({ "Variable": "$.s", "NumericEquals": 1, "Next": "N" }), &input), Ok(false));
        assert_eq!(holds(&json!({ "Variable": "$v", "NumericEquals": 3, "Next": "N" }), &input), Ok(true));
    }

    #[test]
    fn every_test_of_kind_says_what_is_there() {
        let input = json!({ "null": null, "n": 1, "s": "x", "b": false, "t": "2026-03-14T01:59:00Z" });
        for (operator, yes, no) in [
            ("IsNull", "$.null", "$.n"),
            ("IsPresent", "$.null", "$.absent"),
            ("IsNumeric", "$.n", "$.s"),
            ("IsString", "$.s", "$.n"),
            ("IsBoolean", "$.b", "$.n"),
            ("IsTimestamp", "$.t", "$.s"),
        ] {
            for (variable, truth) in [(yes, true), (no, false)] {
                for wanted in [true, false] {
                    let value = json!({ "Variable": variable, (operator): wanted, "Next": "N" });
                    assert_eq!(holds(&value, &input), Ok(truth == wanted), "{value}");
                }
            }
        }
        let failed = holds(&json!({ "Variable": "$.absent", "IsNull": true, "Next": "N" }), &input).unwrap_err();
        assert_eq!(failed.error, "States.Runtime");
    }

    #[test]
    fn and_or_and_not_combine() {
        let yes = json!({ "Variable": "$", "IsNull": true });
        let no = json!({ "Variable": "$", "IsNull": false });
        for (value, expected) in [
            (json!({ "And": [yes, yes], "Next": "N" }), true),
            (json!({ "And": [yes, no], "Next": "N" }), false),
            (json!({ "Or": [no, yes], "Next": "N" }), true),
            (json!({ "Or": [no, no], "Next": "N" }), false),
            (json!({ "Not": no, "Next": "N" }), true),
            (json!({ "Not": { "And": [yes, { "Not": no }] }, "Next": "N" }), false),
        ] {
            assert_eq!(holds(&value, &Value::Null), Ok(expected), "{value}");
        }
    }

    #[test]
    fn string_matches_knows_asterisks_and_does_not_grow_with_them() {
        for (text, pattern, expected) in [
            ("log-1.txt", "log-*.txt", true),
            ("log-1.txt", "*1*", true),
            ("log-1.txt", "log", false),
            ("a*b", "a\\*b", true),
            ("axb", "a\\*b", false),
            ("a\\b", "a\\\\b", true),
            ("", "*", true),
            ("", "", true),
            ("é", "*é", true),
        ] {
            assert_eq!(matches(text, pattern), expected, "{text} {pattern}");
        }
        // Would take longer than the age of the world if every `*` were tried against every other.
        assert!(!matches(&"a".repeat(2_000), &format!("{}b", "*a".repeat(500))));
    }

    #[test]
    fn what_is_no_rule_is_refused_with_its_place() {
        for (value, place, part) in [
            (json!({ "Next": "N" }), "", "`Variable` and one operator"),
            (json!({ "Variable": "$.a", "Next": "N" }), "", "exactly one operator"),
            (json!({ "Variable": "$.a", "StringEquals": 1, "Next": "N" }), "/StringEquals", "compares"),
            (json!({ "Variable": "$.a", "StringLike": "a", "Next": "N" }), "/StringLike", "no operator"),
            (json!({ "Variable": "a", "IsNull": true, "Next": "N" }), "/Variable", "JSONPath"),
            (json!({ "And": [{ "Variable": "$", "IsNull": 1 }], "Next": "N" }), "/And/0/IsNull", "compares"),
            (json!({ "And": [], "Next": "N" }), "/And", "1 to 1000"),
            (json!({ "Variable": "$.a", "TimestampEquals": "today", "Next": "N" }), "/TimestampEquals", "compares"),
            (json!({ "Variable": "$.a", "BooleanLessThan": true, "Next": "N" }), "/BooleanLessThan", "no operator"),
        ] {
            let (found, problem) = rule(&value).unwrap_err();
            assert_eq!(found, place, "{value}");
            assert!(problem.contains(part), "{value}: {problem}");
        }
    }
}
