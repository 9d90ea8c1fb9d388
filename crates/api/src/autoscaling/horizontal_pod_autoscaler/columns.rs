//! The column that says what an autoscaler measures and aims at.

use knarr_meta::object::{at, i64_at, list_at, str_at};
use serde_json::Value;

/// Metrics that are shown; of more it is said how many there are.
const SHOWN: usize = 2;

pub(super) fn targets(object: &Value) -> String {
    let metrics = list_at(object, &["spec", "metrics"]);
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let statuses = list_at(object, &["status", "currentMetrics"]);
    let all = metrics.iter().enumerate();
    let texts = all.map(|(index, metric)| target(metric, statuses.get(index)));
    let texts: Vec<String> = texts.take(SHOWN).collect();
    let shown = texts.join(", ");
    match metrics.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn target(metric: &Value, status: Option<&Value>) -> String {
    let source = match str_at(metric, &["type"]) {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let wanted = |field| at(metric, &[source, "target", field]).filter(|value| !value.is_null());
    let current = |field| {
        let value = status.and_then(|status| at(status, &[source, "current", field]));
        let text = value.and_then(Value::as_str);
        text.unwrap_or("<unknown>").to_owned()
    };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let average = wanted("averageValue");
    match source {
        "external" | "object" if average.is_some() => {
            format!("{}/{} (avg)", current("averageValue"), text(average))
        }
        "external" | "object" => format!("{}/{}", current("value"), text(wanted("value"))),
        "pods" => format!("{}/{}", current("averageValue"), text(average)),
        _ => {
            let name = str_at(metric, &[source, "name"]);
            if average.is_some() {
                return format!("{name}: {}/{}", current("averageValue"), text(average));
            }
            let percent = |percent: Option<i64>, none: &str| {
                percent.map_or_else(|| none.to_owned(), |percent| format!("{percent}%"))
            };
            let used = status
                .and_then(|status| i64_at(status, &[source, "current", "averageUtilization"]));
            let wanted = i64_at(metric, &[source, "target", "averageUtilization"]);
            format!(
                "{name}: {}/{}",
                percent(used, "<unknown>"),
                percent(wanted, "<auto>")
            )
        }
    }
}
