//! As much of JSON Schema as docs/openapi.yaml uses. A keyword or pattern that is not known here is a failure, so that
//! the document cannot promise what is not checked.

use serde_json::Value as Json;

/// Where a value differs from a schema; `None` if it does not.
pub(super) fn difference(document: &Json, schema: &Json, value: &Json, place: &str) -> Option<String> {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let wrong = match keyword.as_str() {
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                let target = document.pointer(pointer).unwrap_or_else(|| panic!("{place}: no {pointer}"));
                difference(document, target, value, place)
            }
            "type" => type_difference(rule, value, place),
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .filter(|_| value.is_object())
                .find(|name| value.get(name.as_str().unwrap()).is_none())
                .map(|name| format!("{place}: {name} is missing")),
            "properties" => {
                rule.as_object().unwrap().iter().find_map(|(name, schema)| {
                    difference(document, schema, value.get(name)?, &format!("{place}.{name}"))
                })
            }
            "additionalProperties" => {
                assert_eq!(rule, false, "{place}");
                let known = schema["properties"].as_object().unwrap();
                let mut names = value.as_object().into_iter().flat_map(|object| object.keys());
                names.find(|name| !known.contains_key(*name)).map(|name| format!("{place}: {name} is not described"))
            }
            "items" => value
                .as_array()
                .into_iter()
                .flatten()
                .enumerate()
                .find_map(|(number, item)| difference(document, rule, item, &format!("{place}[{number}]"))),
            "enum" => {
                (!rule.as_array().unwrap().contains(value)).then(|| format!("{place}: {value} is none of {rule}"))
            }
            "pattern" => value
                .as_str()
                .filter(|text| !matches(rule.as_str().unwrap(), text))
                .map(|text| format!("{place}: {text:?} does not match {rule}")),
            "minimum" => value
                .as_f64()
                .filter(|number| *number < rule.as_f64().unwrap())
                .map(|number| format!("{place}: {number} is less than {rule}")),
            "maximum" => value
                .as_f64()
                .filter(|number| *number > rule.as_f64().unwrap())
                .map(|number| format!("{place}: {number} is more than {rule}")),
            "maxProperties" => value
                .as_object()
                .filter(|object| object.len() as u64 > rule.as_u64().unwrap())
                .map(|object| format!("{place}: {} properties", object.len())),
            "description" | "contentEncoding" => None,
            other => panic!("{place}: the keyword {other} is not checked"),
        };
        if wrong.is_some() {
            return wrong;
        }
    }
    None
}

fn type_difference(rule: &Json, value: &Json, place: &str) -> Option<String> {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{place}: no type {other}"),
    };
    let fits = match rule {
        Json::String(name) => is(name),
        names => names.as_array().unwrap().iter().any(|name| is(name.as_str().unwrap())),
    };
    (!fits).then(|| format!("{place}: {value} is not of type {rule}"))
}

fn matches(pattern: &str, text: &str) -> bool {
    let hex = |length| text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match pattern {
        "^[0-9]+$" => digits(text),
        "^-?[0-9]+$" => digits(text.strip_prefix('-').unwrap_or(text)),
        "^[0-9a-f]{32}$" => hex(32),
        "^[0-9a-f]{16}$" => hex(16),
        other => panic!("the pattern {other} is not checked"),
    }
}

#[test]
fn a_difference_is_found() {
    let schema = serde_json::json!({
        "type": "object", "additionalProperties": false, "required": ["id"],
        "properties": {"id": {"type": "string", "pattern": "^[0-9]+$"}, "kinds": {"type": "array", "items": {"enum": [1]}}},
    });
    let check = |value: Json| difference(&Json::Null, &schema, &value, "it").is_none();
    assert!(check(serde_json::json!({"id": "12", "kinds": [1, 1]})));
    for wrong in [
        serde_json::json!([]),
        serde_json::json!({}),
        serde_json::json!({"id": 12}),
        serde_json::json!({"id": "a"}),
        serde_json::json!({"id": "1", "more": 1}),
        serde_json::json!({"id": "1", "kinds": [1, 2]}),
    ] {
        assert!(!check(wrong.clone()), "{wrong}");
    }
}
