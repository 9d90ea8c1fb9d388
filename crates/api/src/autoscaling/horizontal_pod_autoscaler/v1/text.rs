//! JSON in annotations, byte for byte as Go writes its types: fields in the order in which they are declared.

use serde_json::{Map, Value};

/// Fields of all types that stand in annotations. Those of each are declared in this order.
const ORDER: [&str; 40] = [
    "type",
    "status",
    "lastTransitionTime",
    "reason",
    "message",
    "observedGeneration",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "target",
    "kind",
    "name",
    "apiVersion",
    "metricName",
    "metricSelector",
    "targetValue",
    "currentValue",
    "targetAverageUtilization",
    "currentAverageUtilization",
    "targetAverageValue",
    "currentAverageValue",
    "container",
    "selector",
    "averageValue",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "ScaleUp",
    "ScaleDown",
    "StabilizationWindowSeconds",
    "SelectPolicy",
    "Policies",
    "Tolerance",
    "Type",
    "Value",
    "PeriodSeconds",
];
/// A map, whose keys are sorted.
const MAP: &str = "matchLabels";

pub(super) fn of(value: &Value) -> String {
    let mut out = String::new();
    write(value, false, &mut out);
    out
}

fn write(value: &Value, is_map: bool, out: &mut String) {
    match value {
        Value::Object(map) => {
            out.push('{');
            for (index, (name, value)) in fields(map, is_map).into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                escape(name, out);
                out.push(':');
                write(value, name == MAP, out);
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(value, false, out);
            }
            out.push(']');
        }
        Value::String(text) => escape(text, out),
        other => out.push_str(&other.to_string()),
    }
}

fn fields(map: &Map<String, Value>, is_map: bool) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> = map.iter().collect();
    if !is_map {
        let place = |name: &str| ORDER.iter().position(|known| *known == name);
        fields.sort_by_key(|(name, _)| place(name).unwrap_or(ORDER.len()));
    }
    fields
}

/// Go's encoder has no characters in texts that mean something in HTML.
fn escape(text: &str, out: &mut String) {
    for letter in Value::from(text).to_string().chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_stand_as_they_are_declared() {
        let cases = [
            (
                json!([{"resource": {"targetAverageUtilization": 5, "name": "memory"}, "type": "Resource"}]),
                r#"[{"type":"Resource","resource":{"name":"memory","targetAverageUtilization":5}}]"#,
            ),
            (
                json!({"type": "Object", "object": {"averageValue": "1", "metricName": "m", "targetValue": "0",
                    "target": {"apiVersion": "v1", "kind": "A", "name": "b"},
                    "selector": {"matchExpressions": [{"values": ["x"], "operator": "In", "key": "k"}],
                        "matchLabels": {"name": "a", "kind": "b"}}}}),
                r#"{"type":"Object","object":{"target":{"kind":"A","name":"b","apiVersion":"v1"},"metricName":"m","targetValue":"0","selector":{"matchLabels":{"kind":"b","name":"a"},"matchExpressions":[{"key":"k","operator":"In","values":["x"]}]},"averageValue":"1"}}"#,
            ),
            (
                json!({"ScaleDown": null, "ScaleUp": {"Policies": [{"PeriodSeconds": 1, "Value": 2, "Type": "Pods"}], "SelectPolicy": "Max"}}),
                r#"{"ScaleUp":{"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":2,"PeriodSeconds":1}]},"ScaleDown":null}"#,
            ),
            (
                json!([{"message": "a < b && \"c\"", "reason": "R", "status": "True", "type": "T"}]),
                r#"[{"type":"T","status":"True","reason":"R","message":"a \u003c b \u0026\u0026 \"c\""}]"#,
            ),
        ];
        for (value, wanted) in cases {
            assert_eq!(of(&value), wanted);
        }
    }
}
