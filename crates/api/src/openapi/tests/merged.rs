use serde_json::json;

use super::*;

const THINGS: &str = "/apis/things.example.com/v1/things";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Another server's document: it shares one definition with this server's, has another one by a name that is taken, and its own.
fn part() -> Arc<Part> {
    let own = parse(documents().v2_json());
    let mut options = own["definitions"][DELETE_OPTIONS].clone();
    options["x-kubernetes-group-version-kind"] =
        json!([{"group": "things.example.com", "kind": "DeleteOptions", "version": "v1"}]);
    let reference = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
    let mut definitions = own["definitions"].clone();
    definitions[DELETE_OPTIONS] = options;
    definitions[OBJECT_META] =
        json!({"type": "object", "properties": {"name": {"type": "string"}}});
    definitions["Thing"] = json!({
        "type": "object",
        "properties": {
            "metadata": reference(OBJECT_META),
            "name": {"type": "string", "pattern": "^a", "minLength": 1, "nullable": true},
            "size": {"type": "number", "maximum": 1.5},
            "more": {"type": "object", "additionalProperties": true},
        },
        "allOf": [{"required": ["name"]}],
    });
    let document = json!({
        "swagger": "2.0",
        "paths": {
            THINGS: {"delete": {
                "parameters": [{"in": "body", "name": "body", "schema": reference(DELETE_OPTIONS)}],
                "responses": {"200": {"description": "OK", "schema": reference("Thing")}},
            }},
            "/api/v1/pods": {"get": {"responses": {}}},
        },
        "definitions": definitions,
        "parameters": own["parameters"],
    });
    let part = Part::read(document.to_string().as_bytes(), "things.example.com", "v1");
    Arc::new(part.unwrap())
}

#[test]
fn what_others_serve_is_in_both_forms() {
    let own = parse(documents().v2_json());
    let merged = parse(&documents().merged_json(&[part()]).unwrap());
    assert_references_resolve(&merged);
    let count = |document: &Value, of: &str| document[of].as_object().unwrap().len();
    assert_eq!(count(&merged, "paths"), count(&own, "paths") + 1);
    assert_eq!(
        count(&merged, "definitions"),
        count(&own, "definitions") + 2
    );
    assert_eq!(merged["parameters"], own["parameters"]);
    assert_eq!(
        merged["paths"]["/api/v1/pods"],
        own["paths"]["/api/v1/pods"]
    );
    let definitions = &merged["definitions"];
    assert_eq!(definitions[OBJECT_META], own["definitions"][OBJECT_META]);
    let renamed = format!("{OBJECT_META}_v2");
    assert_eq!(
        definitions["Thing"]["properties"]["metadata"]["$ref"],
        format!("#/definitions/{renamed}")
    );
    let gvks = |of: &Value| {
        let gvks = of["definitions"][DELETE_OPTIONS]["x-kubernetes-group-version-kind"].clone();
        gvks.as_array().unwrap().len()
    };
    assert_eq!(gvks(&merged), gvks(&own) + 1);

    let bytes = documents()
        .merged_proto(&[part()])
        .unwrap()
        .inflate()
        .unwrap();
    let document = gnostic::Document::decode(bytes.as_slice()).unwrap();
    let all = document.definitions.unwrap().additional_properties;
    let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    let wanted: Vec<&str> = definitions
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(names, wanted);
    let thing = all.iter().find(|one| one.name == "Thing").unwrap();
    let thing = thing.value.clone().unwrap();
    assert_eq!(thing.all_of[0].required, ["name"]);
    let properties = thing.properties.unwrap().additional_properties;
    let property = |name: &str| {
        let found = properties.iter().find(|one| one.name == name);
        found.unwrap().value.clone().unwrap()
    };
    assert_eq!(
        property("metadata").r#ref,
        format!("#/definitions/{renamed}")
    );
    let name = property("name");
    assert_eq!((name.pattern.as_str(), name.min_length), ("^a", Some(1)));
    assert_eq!(property("size").maximum, Some(1.5));
    let more = property("more").additional_properties.unwrap();
    assert_eq!((more.boolean, more.schema), (Some(true), None));
    let paths = document.paths.unwrap().path;
    assert!(paths.iter().any(|item| item.name == THINGS));
}

#[test]
fn without_others_it_is_the_own_document() {
    let hash = |document: Document| document.hash;
    assert_eq!(
        hash(documents().merged_json(&[]).unwrap()),
        documents().v2_json().hash
    );
    assert_eq!(
        hash(documents().merged_proto(&[]).unwrap()),
        documents().v2_proto().hash
    );
}
