use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

/// This server's own document.
struct Own(Value);

impl Base for Own {
    fn has_path(&self, path: &str) -> bool {
        self.0["paths"].get(path).is_some()
    }

    fn definition(&self, name: &str) -> Option<Value> {
        self.0["definitions"].get(name).cloned()
    }

    fn parameter(&self, name: &str) -> Option<Value> {
        self.0["parameters"].get(name).cloned()
    }
}

/// The answer of a path is of this definition, and it has a shared parameter.
fn item(definition: &str) -> Value {
    let reference = format!("#/definitions/{definition}");
    json!({
        "get": {"responses": {"200": {"description": "OK", "schema": {"$ref": reference}}}},
        "parameters": [{"$ref": "#/parameters/limit"}],
    })
}

fn schema(properties: &[(&str, &str)]) -> Value {
    let mut all = json!({});
    for (name, ty) in properties {
        all[name] = match ty.strip_prefix('#') {
            Some(of) => json!({"$ref": format!("#/definitions/{of}")}),
            None => json!({"type": ty}),
        };
    }
    json!({"type": "object", "properties": all})
}

fn limit(ty: &str) -> Value {
    json!({"limit": {"in": "query", "name": "limit", "type": ty}})
}

fn own() -> Own {
    Own(json!({
        "paths": {"/apis/a/v1/own": item("Meta")},
        "definitions": {"Meta": schema(&[("name", "string")])},
        "parameters": limit("integer"),
    }))
}

fn server(paths: &[(&str, &str)], definitions: &Value, parameters: &Value) -> Vec<u8> {
    let mut items = json!({});
    for (path, of) in paths {
        items[path] = item(of);
    }
    let document = json!({"swagger": "2.0", "paths": items, "definitions": definitions, "parameters": parameters});
    document.to_string().into_bytes()
}

fn part(document: &[u8]) -> Part {
    Part::read(document, "a", "v1").expect("a document")
}

/// What parts add, a piece a line.
fn check(parts: &[Part], wanted: &Expect) {
    let mut added = Added::default();
    for part in parts {
        added.add(&own(), part).expect("a part");
    }
    let mut text = String::new();
    for pieces in [&added.paths, &added.definitions, &added.parameters] {
        for (name, piece) in pieces {
            text.push_str(&format!("{name} {piece}\n"));
        }
    }
    wanted.assert_eq(&text);
}

#[test]
fn only_paths_of_the_group_version_are_taken_and_what_they_refer_to() {
    let paths = [
        ("/apis/a/v1/things", "Thing"),
        ("/apis/a/v1/", "Thing"),
        ("/apis/a/v1", "Other"),
        ("/apis/a/", "Other"),
        ("/apis/a/v1beta1/things", "Other"),
        ("/apis/b/v1/things", "Other"),
        ("/version", "Other"),
    ];
    let definitions = json!({
        "Thing": schema(&[("spec", "#Spec"), ("self", "#Thing")]),
        "Spec": schema(&[("a", "string")]),
        "Other": schema(&[("b", "string")]),
        "Unused": schema(&[("c", "string")]),
    });
    let document = server(&paths, &definitions, &limit("integer"));
    check(
        &[part(&document)],
        &expect![[r##"
            /apis/a/v1/ {"get":{"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/Thing"}}}},"parameters":[{"$ref":"#/parameters/limit"}]}
            /apis/a/v1/things {"get":{"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/Thing"}}}},"parameters":[{"$ref":"#/parameters/limit"}]}
            Spec {"properties":{"a":{"type":"string"}},"type":"object"}
            Thing {"properties":{"self":{"$ref":"#/definitions/Thing"},"spec":{"$ref":"#/definitions/Spec"}},"type":"object"}
        "##]],
    );
}

#[test]
fn a_path_that_is_there_stays_and_takes_its_definitions_along() {
    let paths = [("/apis/a/v1/own", "Gone"), ("/apis/a/v1/more", "More")];
    let definitions =
        json!({"Gone": schema(&[("a", "string")]), "More": schema(&[("b", "string")])});
    let document = server(&paths, &definitions, &limit("integer"));
    let second = server(
        &paths[1..],
        &json!({"More": schema(&[])}),
        &limit("integer"),
    );
    check(
        &[part(&document), part(&second)],
        &expect![[r##"
            /apis/a/v1/more {"get":{"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/More"}}}},"parameters":[{"$ref":"#/parameters/limit"}]}
            More {"properties":{"b":{"type":"string"}},"type":"object"}
        "##]],
    );
}

#[test]
fn definitions_and_parameters_of_other_content_get_other_names() {
    let of = |path: &str, meta: &[(&str, &str)], ty: &str| {
        let definitions = json!({"Thing": schema(&[("metadata", "#Meta")]), "Meta": schema(meta)});
        part(&server(&[(path, "Thing")], &definitions, &limit(ty)))
    };
    check(
        &[
            of("/apis/a/v1/same", &[("name", "string")], "integer"),
            of("/apis/a/v1/other", &[("name", "integer")], "string"),
            of("/apis/a/v1/third", &[("name", "boolean")], "number"),
            of("/apis/a/v1/again", &[("name", "integer")], "string"),
        ],
        &expect![[r##"
            /apis/a/v1/again {"get":{"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/Thing"}}}},"parameters":[{"$ref":"#/parameters/limit_v2"}]}
            /apis/a/v1/other {"get":{"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/Thing"}}}},"parameters":[{"$ref":"#/parameters/limit_v2"}]}
            /apis/a/v1/same {"get":{"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/Thing"}}}},"parameters":[{"$ref":"#/parameters/limit"}]}
            /apis/a/v1/third {"get":{"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/Thing"}}}},"parameters":[{"$ref":"#/parameters/limit_v3"}]}
            Meta_v2 {"properties":{"name":{"type":"integer"}},"type":"object"}
            Meta_v3 {"properties":{"name":{"type":"boolean"}},"type":"object"}
            Thing {"properties":{"metadata":{"$ref":"#/definitions/Meta"}},"type":"object"}
            limit_v2 {"in":"query","name":"limit","type":"string"}
            limit_v3 {"in":"query","name":"limit","type":"number"}
        "##]],
    );
}

#[test]
fn references_follow_a_new_name_which_nobody_else_has() {
    let definitions = json!({
        "Meta": schema(&[("name", "integer"), ("next", "#Meta")]),
        "Meta_v2": schema(&[("first", "#Meta")]),
    });
    let document = server(
        &[("/apis/a/v1/x", "Meta"), ("/apis/a/v1/y", "Meta_v2")],
        &definitions,
        &limit("integer"),
    );
    check(
        &[part(&document)],
        &expect![[r##"
            /apis/a/v1/x {"get":{"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/Meta_v3"}}}},"parameters":[{"$ref":"#/parameters/limit"}]}
            /apis/a/v1/y {"get":{"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/Meta_v2"}}}},"parameters":[{"$ref":"#/parameters/limit"}]}
            Meta_v2 {"properties":{"first":{"$ref":"#/definitions/Meta_v3"}},"type":"object"}
            Meta_v3 {"properties":{"name":{"type":"integer"},"next":{"$ref":"#/definitions/Meta_v3"}},"type":"object"}
        "##]],
    );
}

#[test]
fn a_shared_definition_has_the_kinds_of_both() {
    let mut meta = schema(&[("name", "string")]);
    meta[GVK] = json!([
        {"group": "b", "version": "v1", "kind": "Meta"},
        {"group": "a", "version": "v1", "kind": "Meta"},
    ]);
    let document = server(
        &[("/apis/a/v1/x", "Meta")],
        &json!({"Meta": meta}),
        &limit("integer"),
    );
    check(
        &[part(&document), part(&document)],
        &expect![[r##"
            /apis/a/v1/x {"get":{"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/Meta"}}}},"parameters":[{"$ref":"#/parameters/limit"}]}
            Meta {"properties":{"name":{"type":"string"}},"type":"object","x-kubernetes-group-version-kind":[{"group":"a","kind":"Meta","version":"v1"},{"group":"b","kind":"Meta","version":"v1"}]}
        "##]],
    );
}

#[test]
fn documents_that_clients_could_not_read_are_refused() {
    let refused = |document: &[u8]| {
        let error = Part::read(document, "a", "v1").expect_err("refused");
        error.to_string()
    };
    let of = |definition: Value| {
        let definitions = json!({"Thing": definition});
        server(
            &[("/apis/a/v1/x", "Thing")],
            &definitions,
            &limit("integer"),
        )
    };
    let deep = format!("{}{{}}{}", r#"{"items":"#.repeat(200), "}".repeat(200));
    let deep = String::from_utf8(of(json!("DEEP")))
        .expect("text")
        .replace("\"DEEP\"", &deep);
    for (document, wanted) in [
        (
            b"<html>".to_vec(),
            "it is no JSON that is understood: expected value at line 1 column 1",
        ),
        (
            b"{\"paths\": 5}".to_vec(),
            "it is no JSON that is understood: invalid type: integer `5`, expected a map at line 1 column 11",
        ),
        (b"{}".to_vec(), "it is no OpenAPI document of version 2.0"),
        (
            b"{\"openapi\": \"3.0.0\"}".to_vec(),
            "it is no OpenAPI document of version 2.0",
        ),
        (of(json!({"type": "void"})), "Thing: has the type \"void\""),
        (
            of(schema(&[("a", "#Absent")])),
            "it has no Definition \"Absent\", which it refers to",
        ),
        (of(json!(5)), "Thing: is not an object"),
        (
            of(json!({"allOf": [{"$ref": "#/parameters/limit"}]})),
            "Thing: allOf.$ref is not a reference to a definition",
        ),
        (
            server(
                &[("/apis/a/v1/x", "Thing")],
                &json!({"Thing": {}}),
                &json!({}),
            ),
            "it has no Parameter \"limit\", which it refers to",
        ),
    ] {
        assert_eq!(refused(&document), wanted);
    }
    assert!(refused(deep.as_bytes()).contains("recursion limit exceeded"));
    // What is said of other group-versions is not looked at.
    let elsewhere = server(&[("/apis/b/v1/x", "Absent")], &json!({}), &json!({}));
    let nothing = Part::read(&elsewhere, "a", "v1").expect("a document");
    assert_eq!(
        nothing.select(|_| true).expect("pieces"),
        Selected::default()
    );
}
