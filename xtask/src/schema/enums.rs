//! The values that fields may have, and the texts that end with them: what the released documents leave out and a server shows
//! (`kubectl explain`). They are in the Go file that upstream generates its served documents from.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::go;

/// In the module of Kubernetes.
const GENERATED: &str = "pkg/generated/openapi/zz_generated.openapi.go";
/// Functions by the beginnings of their names, and of the definitions that they make.
const PACKAGES: [(&str, &str); 4] = [
    ("schema_k8sio_api_", "io.k8s.api."),
    (
        "schema_pkg_apis_meta_",
        "io.k8s.apimachinery.pkg.apis.meta.",
    ),
    (
        "schema_pkg_apis_apiextensions_",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.",
    ),
    (
        "schema_pkg_apis_apiregistration_",
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.",
    ),
];
/// What begins the list of values in a description.
const LIST: &str = "\n\nPossible enum values:";

/// What is said of a field.
#[derive(Debug, Default, PartialEq, Eq)]
struct Field {
    /// Of the field, or of its elements.
    values: Vec<String>,
    /// Its description, where that lists them.
    description: Option<String>,
}

/// Adds `enum`, of fields and of their elements, and the descriptions that list values: those released lack their end, and the
/// white space before it.
pub fn add(definitions: &mut Map<String, Value>) -> Result<()> {
    let path = go::SUITE.source_of("k8s.io/kubernetes")?.join(GENERATED);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let fields = read(&text);
    ensure!(!fields.is_empty(), "no values in {}", path.display());
    for ((definition, name), field) in fields {
        let known = definitions.get_mut(&definition);
        let Some(known) = known.and_then(|known| known["properties"].get_mut(&name)) else {
            continue;
        };
        match known.get_mut("items") {
            Some(items) => items["enum"] = json!(field.values),
            None => known["enum"] = json!(field.values),
        }
        if let Some(description) = field.description {
            known["description"] = description.into();
        }
    }
    Ok(())
}

fn read(text: &str) -> BTreeMap<(String, String), Field> {
    let mut fields = BTreeMap::new();
    let (mut definition, mut name, mut description) = (None, "", None);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("func ") {
            definition = definition_of(rest);
        }
        let Some(definition) = &definition else {
            continue;
        };
        let trimmed = line.trim_start_matches('\t');
        let depth = line.len() - trimmed.len();
        if depth == 5 && trimmed.starts_with('"') {
            name = trimmed.split('"').nth(1).unwrap_or_default();
            description = None;
        } else if let Some(literal) = trimmed.strip_prefix("Description: ") {
            let text: Option<String> = serde_json::from_str(literal.trim_end_matches(',')).ok();
            description = text.filter(|text| text.contains(LIST)).or(description);
        } else if let Some(literal) = trimmed.strip_prefix("Enum:") {
            let values = literal.split('"').skip(1).step_by(2);
            let field = Field {
                values: values.map(str::to_owned).collect(),
                description: description.take(),
            };
            fields.insert((definition.clone(), name.to_owned()), field);
        }
    }
    fields
}

/// `schema_k8sio_api_core_v1_Pod(ref ...` makes `io.k8s.api.core.v1.Pod`.
fn definition_of(function: &str) -> Option<String> {
    let (function, _) = function.split_once('(')?;
    PACKAGES.iter().find_map(|(prefix, package)| {
        let rest = function.strip_prefix(prefix)?;
        Some(format!("{package}{}", rest.replace('_', ".")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_their_fields() {
        let fields = read(
            "func schema_k8sio_api_core_v1_Pod(ref common.ReferenceCallback) common.OpenAPIDefinition {\n\
             \t\t\t\t\t\"policy\": {\n\
             \t\t\t\t\t\t\tDescription: \"What.\\n\\nPossible enum values:\\n - `\\\"A\\\"` is one\",\n\
             \t\t\t\t\t\t\tEnum:        []interface{}{\"A\", \"B\"},\n\
             \t\t\t\t\t\"modes\": {\n\
             \t\t\t\t\t\t\tDescription: \"Which.\",\n\
             \t\t\t\t\t\t\t\t\t\tEnum:   []interface{}{\"\", \"C\"},\n\
             func schema_elsewhere_v1_Pod(ref common.ReferenceCallback) common.OpenAPIDefinition {\n\
             \t\t\t\t\t\t\tEnum:        []interface{}{\"D\"},\n",
        );
        let pod = "io.k8s.api.core.v1.Pod".to_owned();
        let policy = Field {
            values: vec!["A".to_owned(), "B".to_owned()],
            description: Some("What.\n\nPossible enum values:\n - `\"A\"` is one".to_owned()),
        };
        let modes = Field {
            values: vec![String::new(), "C".to_owned()],
            description: None,
        };
        let wanted = [
            ((pod.clone(), "modes".to_owned()), modes),
            ((pod, "policy".to_owned()), policy),
        ];
        assert_eq!(fields, BTreeMap::from(wanted));
    }
}
