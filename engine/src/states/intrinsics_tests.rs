//! Every intrinsic function, what it refuses, and what bounds it.

use std::cell::Cell;

use serde_json::{Map, Value, json};

use super::*;

fn call(text: &str, input: &Value) -> Result<Value, String> {
    let (variables, draws) = (Map::new(), Cell::new(7));
    let context = || json!({ "Execution": { "Id": "e" } });
    let scope = Scope::new(input, &variables, &context, &draws);
    parse(text)?.call(&scope).map_err(|failure| format!("{}: {}", failure.error, failure.cause))
}

#[test]
fn every_function_does_what_its_name_says() {
    let input = json!({ "a": [1, 2, 3, 3, "x"], "o": { "k": 1, "l": 2 }, "p": { "l": 3 }, "s": "a.b,,c" });
    for (text, expected) in [
        ("States.Format('{} has {}', 'x', 3)", json!("x has 3")),
        ("States.Format('\\{{}\\} it\\'s', $.a[0])", json!("{1} it's")),
        ("States.StringToJson('{\"a\":[1]}')", json!({ "a": [1] })),
        ("States.JsonToString($.p)", json!("{\"l\":3}")),
        ("States.Array()", json!([])),
        ("States.Array(1, true, null, 'x', $.p.l, $$.Execution.Id)", json!([1, true, null, "x", 3, "e"])),
        ("States.ArrayPartition($.a, 2)", json!([[1, 2], [3, 3], ["x"]])),
        ("States.ArrayContains($.a, 'x')", json!(true)),
        ("States.ArrayContains($.a, 4)", json!(false)),
        ("States.ArrayRange(1, 9, 2)", json!([1, 3, 5, 7, 9])),
        ("States.ArrayRange(3, 1, -1)", json!([3, 2, 1])),
        ("States.ArrayRange(3, 1, 1)", json!([])),
        ("States.ArrayGetItem($.a, 4)", json!("x")),
        ("States.ArrayLength($.a)", json!(5)),
        ("States.ArrayUnique($.a)", json!([1, 2, 3, "x"])),
        ("States.Base64Encode('Data to encode')", json!("RGF0YSB0byBlbmNvZGU=")),
        ("States.Base64Decode('RGF0YSB0byBlbmNvZGU=')", json!("Data to encode")),
        ("States.Hash('input data', 'SHA-1')", json!("aaff4a450a104cd177d28d18d74485e8cae074b7")),
        ("States.Hash('', 'MD5')", json!("d41d8cd98f00b204e9800998ecf8427e")),
        ("States.JsonMerge($.o, $.p, false)", json!({ "k": 1, "l": 3 })),
        ("States.MathAdd(111, -1)", json!(110)),
        ("States.StringSplit($.s, '.,')", json!(["a", "b", "c"])),
        ("States.Format('{}', States.ArrayLength(States.Array(1, 2)))", json!("2")),
        ("States.ArrayLength($['a'])", json!(5)),
    ] {
        assert_eq!(call(text, &input), Ok(expected), "{text}");
    }
}

#[test]
fn random_numbers_are_within_their_bounds_and_the_same_in_a_replay() {
    for _ in 0..2 {
        let drawn = call("States.MathRandom(5, 8)", &Value::Null).unwrap();
        assert!((5..8).contains(&drawn.as_i64().unwrap()), "{drawn}");
        assert_eq!(drawn, call("States.MathRandom(5, 8)", &Value::Null).unwrap());
    }
    assert_eq!(call("States.MathRandom(1, 999, 3)", &Value::Null), call("States.MathRandom(1, 999, 3)", &Value::Null));
    let id = call("States.UUID()", &Value::Null).unwrap();
    assert_eq!(id.as_str().unwrap().parse::<uuid::Uuid>().unwrap().get_version_num(), 4, "{id}");
}

#[test]
fn what_cannot_be_read_is_refused_before_anything_runs() {
    for (text, part) in [
        ("States.Nothing()", "there are Format"),
        ("States.Format()", "allowed are 1 to 100"),
        ("States.UUID(1)", "allowed are 0 to 0"),
        ("States.Format('a", "closing quote"),
        ("States.Format('a') b", "stands behind"),
        ("States.Format('a' 'b')", "`,` or `)`"),
        ("States.Array(a)", "is no argument"),
        ("States.Array($.[)", "not a JSONPath"),
        ("Format('a')", "begins with"),
    ] {
        let problem = parse(text).unwrap_err();
        assert!(problem.contains(part), "{text}: {problem}");
    }
    let deep = format!("{}1{}", "States.Array(".repeat(11), ")".repeat(11));
    assert!(parse(&deep).unwrap_err().contains("10 deep"));
}

#[test]
fn what_would_grow_without_bound_fails() {
    for text in [
        "States.ArrayRange(1, 1000000000, 1)",
        "States.ArrayRange(1, 5, 0)",
        "States.ArrayRange(-9223372036854775807, 9223372036854775807, 1)",
        "States.ArrayPartition($.a, 0)",
        "States.MathAdd(9223372036854775807, 1)",
        "States.MathRandom(3, 3)",
        "States.ArrayGetItem($.a, 9)",
        "States.JsonMerge($, $, true)",
        "States.StringToJson('{')",
        "States.Base64Decode('/w==')",
        "States.Hash('a', 'CRC')",
        "States.Format('{}')",
        "States.Format('x', 1)",
    ] {
        let problem = call(text, &json!({ "a": [] })).unwrap_err();
        assert!(problem.starts_with("States.IntrinsicFailure"), "{text}: {problem}");
    }
    let long = json!({ "t": "x".repeat(200_000) });
    assert!(call("States.Format('{}{}', $.t, $.t)", &long).unwrap_err().contains("262144"));
}
