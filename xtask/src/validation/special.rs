//! Requests that no mutation comes to: a table beside the objects.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::{
    client::{JSON, Request},
    objects::Example,
};

const TEXT: &str = include_str!("special.yaml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    label: String,
    /// Of whose kind it is.
    kind: String,
    method: String,
    path: String,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    accept: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: Value,
    /// A body that is no JSON.
    #[serde(default)]
    text: Option<String>,
}

/// The requests about these examples, in their order.
pub fn all<'e>(examples: &[&'e Example]) -> Result<Vec<(&'e Example, Request)>> {
    let rows: Vec<Row> = serde_yaml_ng::from_str(TEXT).context("special.yaml")?;
    let mut requests = Vec::new();
    for row in rows {
        if let Some(example) = examples.iter().find(|example| example.kind == row.kind) {
            requests.push((*example, request(row)?));
        }
    }
    Ok(requests)
}

fn request(row: Row) -> Result<Request> {
    let (verb, method) = match row.method.as_str() {
        "POST" => ("create", "POST"),
        "PUT" => ("update", "PUT"),
        "PATCH" => ("patch", "PATCH"),
        "DELETE" => ("delete", "DELETE"),
        "GET" => ("get", "GET"),
        other => anyhow::bail!("{other} is no method that is tried"),
    };
    let mut request = Request::new(verb, method, row.path).label(row.label);
    if method != "GET" {
        let body = row.text.unwrap_or_else(|| row.body.to_string());
        request = request.body(row.format.as_deref().unwrap_or(JSON), body);
    }
    if let Some(format) = row.accept {
        request = request.accept(&format);
    }
    for (name, value) in row.headers {
        // Few, once a run: names of headers are kept for ever.
        request.headers.push((&*name.leak(), value));
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::objects;

    #[test]
    fn each_row_is_about_an_object() {
        let rows: Vec<Row> = serde_yaml_ng::from_str(TEXT).unwrap();
        let examples = objects::all().unwrap();
        let examples: Vec<&Example> = examples.iter().collect();
        assert_eq!(all(&examples).unwrap().len(), rows.len());
    }

    /// Of kinds that have no object to make others from.
    #[test]
    fn kinds_without_an_object_are_asked_about() {
        let rows: Vec<Row> = serde_yaml_ng::from_str(TEXT).unwrap();
        let bindings = rows.iter().filter(|row| row.body["kind"] == "Binding");
        assert!(bindings.count() > 10);
        let components = rows
            .iter()
            .filter(|row| row.path.starts_with("/api/v1/componentstatuses"));
        assert!(components.count() > 10);
    }
}
