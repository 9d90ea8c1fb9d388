use prost::Message as _;
use serde_json::Value;

use super::*;

mod gnostic;

/// Of the program's own kinds; made once for all tests.
fn documents() -> &'static Documents {
    static DOCUMENTS: OnceLock<Documents> = OnceLock::new();
    DOCUMENTS.get_or_init(|| Documents::new(&Kinds::built_in(), None))
}

fn parse(document: &Document) -> Value {
    serde_json::from_slice(&document.inflate().unwrap()).unwrap()
}

fn deployment_path() -> &'static str {
    "/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
}

fn names(parameters: &Value) -> Vec<&str> {
    parameters
        .as_array()
        .unwrap()
        .iter()
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect()
}

/// Every `$ref` in a document, as the JSON pointer it is.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == "$ref" => found.push(text),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn assert_references_resolve(document: &Value) {
    let mut found = Vec::new();
    references(document, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        assert!(
            document
                .pointer(reference.trim_start_matches('#'))
                .is_some(),
            "{reference}"
        );
    }
}

#[test]
fn v2_describes_every_kind() {
    let document = parse(documents().v2_json());
    assert_eq!(document["swagger"], "2.0");
    assert_references_resolve(&document);
    let patch = &document["paths"][deployment_path()]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        serde_json::json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(
        names(&patch["parameters"]),
        ["body", "dryRun", "fieldManager", "fieldValidation", "force"]
    );
    let definitions = &document["definitions"];
    let deployment = &definitions["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(
        deployment["x-kubernetes-group-version-kind"],
        serde_json::json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
    let containers = &definitions["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert_eq!(
        containers["items"]["$ref"],
        "#/definitions/io.k8s.api.core.v1.Container"
    );
    assert_eq!(
        definitions["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"],
        "TCP"
    );
    assert_eq!(
        definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"],
        "int-or-string"
    );
    for kind in crate::built_in_kinds() {
        assert!(
            definitions[&*kind.definition].is_object(),
            "{}",
            kind.definition
        );
        if kind.verbs.contains(&crate::kind::Verb::List) {
            assert!(
                definitions[format!("{}List", kind.definition)].is_object(),
                "{}List",
                kind.definition
            );
        }
    }
}

#[test]
fn every_patch_takes_the_parameters_that_kubectl_looks_for() {
    let document = parse(documents().v2_json());
    let mut patches = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let connects = |method: &str| item[method]["x-kubernetes-action"] == "connect";
        if let (Some(patch), false) = (item.get("patch"), connects("patch")) {
            patches += 1;
            let names = names(&patch["parameters"]);
            for wanted in ["dryRun", "fieldManager", "fieldValidation", "force"] {
                assert!(names.contains(&wanted), "{wanted} of {path}");
            }
            assert!(
                patch["x-kubernetes-group-version-kind"]["kind"].is_string(),
                "{path}"
            );
        }
        for method in ["post", "put"] {
            if let (Some(operation), false) = (item.get(method), connects(method)) {
                assert!(
                    names(&operation["parameters"]).contains(&"fieldValidation"),
                    "{method} {path}"
                );
            }
        }
    }
    assert!(patches > 10, "{patches} paths with PATCH");
}

#[test]
fn operation_names_are_unique() {
    let document = parse(documents().v2_json());
    let mut seen = std::collections::HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            if let Some(id) = operation.get("operationId") {
                assert!(seen.insert(id.clone()), "{id} at {path}");
            }
        }
    }
}

#[test]
fn v2_protobuf_says_what_v2_json_says() {
    let json = parse(documents().v2_json());
    let bytes = documents().v2_proto().inflate().unwrap();
    let document = gnostic::Document::decode(bytes.as_slice()).unwrap();
    assert_eq!(document.swagger, "2.0");
    assert_eq!(document.info.unwrap().title, "Kubernetes");
    let definitions = document.definitions.unwrap().additional_properties;
    assert_eq!(
        definitions.len(),
        json["definitions"].as_object().unwrap().len()
    );
    let definition = |name: &str| {
        let found = definitions
            .iter()
            .find(|definition| definition.name == name)
            .unwrap();
        found.value.clone().unwrap()
    };

    let deployment = definition("io.k8s.api.apps.v1.Deployment");
    assert_eq!(deployment.r#type.unwrap().value, ["object"]);
    let extension = &deployment.vendor_extension[0];
    assert_eq!(extension.name, "x-kubernetes-group-version-kind");
    let gvks: Value = serde_json::from_str(&extension.value.as_ref().unwrap().yaml).unwrap();
    assert_eq!(
        gvks,
        serde_json::json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );

    let spec = definition("io.k8s.api.core.v1.PodSpec");
    assert_eq!(spec.required, ["containers"]);
    let properties = spec.properties.unwrap().additional_properties;
    let property = |name: &str| {
        properties
            .iter()
            .find(|property| property.name == name)
            .unwrap()
            .value
            .clone()
            .unwrap()
    };
    let containers = property("containers");
    assert_eq!(containers.r#type.unwrap().value, ["array"]);
    assert_eq!(
        containers.items.unwrap().schema[0].r#ref,
        "#/definitions/io.k8s.api.core.v1.Container"
    );
    let merge_key = containers
        .vendor_extension
        .iter()
        .find(|e| e.name == "x-kubernetes-patch-merge-key")
        .unwrap();
    assert_eq!(merge_key.value.as_ref().unwrap().yaml, "\"name\"");
    let selector = property("nodeSelector").additional_properties.unwrap();
    assert_eq!(selector.schema.unwrap().r#type.unwrap().value, ["string"]);

    let paths = document.paths.unwrap().path;
    assert_eq!(paths.len(), json["paths"].as_object().unwrap().len());
    let item = paths
        .iter()
        .find(|item| item.name == deployment_path())
        .unwrap()
        .value
        .clone()
        .unwrap();
    let patch = item.patch.unwrap();
    let gvk = patch
        .vendor_extension
        .iter()
        .find(|e| e.name == "x-kubernetes-group-version-kind")
        .unwrap();
    let gvk: Value = serde_json::from_str(&gvk.value.as_ref().unwrap().yaml).unwrap();
    assert_eq!(
        gvk,
        serde_json::json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let parameters: Vec<gnostic::Parameter> = patch
        .parameters
        .into_iter()
        .map(|item| item.parameter.unwrap())
        .collect();
    assert_eq!(parameters[0].body_parameter.as_ref().unwrap().name, "body");
    let query: Vec<String> = parameters
        .into_iter()
        .filter_map(|parameter| {
            Some(
                parameter
                    .non_body_parameter?
                    .query_parameter_sub_schema?
                    .name,
            )
        })
        .collect();
    assert_eq!(
        query,
        ["dryRun", "fieldManager", "fieldValidation", "force"]
    );
    let responses = patch.responses.unwrap().response_code;
    assert_eq!(responses[0].name, "200");
    let schema = responses[0]
        .value
        .clone()
        .unwrap()
        .response
        .unwrap()
        .schema
        .unwrap()
        .schema
        .unwrap();
    assert_eq!(schema.r#ref, "#/definitions/io.k8s.api.apps.v1.Deployment");
    let path = item.parameters[0]
        .parameter
        .clone()
        .unwrap()
        .non_body_parameter
        .unwrap();
    assert_eq!(path.path_parameter_sub_schema.unwrap().name, "name");
}

#[test]
fn v3_has_a_document_a_group_version() {
    let body = documents().v3_index();
    let index = body["paths"].as_object().unwrap();
    let paths: Vec<&str> = index.keys().map(String::as_str).collect();
    assert!(paths.is_sorted());
    for wanted in [
        "api/v1",
        "apis/apps/v1",
        "apis/events.k8s.io/v1",
        "apis/rbac.authorization.k8s.io/v1",
    ] {
        assert!(paths.contains(&wanted), "{wanted} in {paths:?}");
    }
    let url = body["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    let hash = &documents().v3_document("apis/apps/v1").unwrap().hash;
    assert_eq!(url, format!("/openapi/v3/apis/apps/v1?hash={hash}"));
    assert!(documents().v3_document("apis/apps/v9").is_none());
    for path in paths {
        assert_references_resolve(&parse(documents().v3_document(path).unwrap()));
    }
}

#[test]
fn v3_of_apps_serves_explain_and_apply() {
    let document = parse(documents().v3_document("apis/apps/v1").unwrap());
    assert_eq!(document["openapi"], "3.0.0");
    let patch = &document["paths"][deployment_path()]["patch"];
    assert_eq!(
        names(&patch["parameters"]),
        ["dryRun", "fieldManager", "fieldValidation", "force"]
    );
    assert_eq!(
        patch["x-kubernetes-group-version-kind"]["kind"],
        "Deployment"
    );
    assert!(patch["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    let schemas = &document["components"]["schemas"];
    let spec = &schemas["io.k8s.api.apps.v1.Deployment"]["properties"]["spec"];
    assert_eq!(
        spec["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"
    );
    assert_eq!(
        spec["description"],
        "Specification of the desired behavior of the Deployment."
    );
    let quantity = &schemas["io.k8s.apimachinery.pkg.api.resource.Quantity"];
    assert_eq!(quantity["oneOf"][1]["type"], "number");
    assert!(schemas.get("io.k8s.api.rbac.v1.Role").is_none());
}

#[test]
fn documents_are_small() {
    documents().v3_index();
    let all: usize = (documents().v3.values())
        .filter_map(|served| Some(served.document()?.gz.len()))
        .sum();
    assert!(
        documents().v2_json().gz.len() < 400_000,
        "{}",
        documents().v2_json().gz.len()
    );
    assert!(
        documents().v2_proto().gz.len() < 400_000,
        "{}",
        documents().v2_proto().gz.len()
    );
    assert!(all < 800_000, "{all}");
}

#[test]
fn documents_of_what_does_not_change_are_kept() {
    let before = documents();
    before.v3_index();
    let kinds = Kinds::built_in();
    let deployments = kinds.find("apps", "v1", "deployments").unwrap();
    let changed = Arc::new(Kind::clone(&deployments.kind));
    let kinds = kinds.replaced("apps", "deployments", &[changed]).unwrap();
    let next = Documents::new(&kinds, Some(before));
    let made = |all: &Documents, path: &str| all.v3[path].document().map(|made| made.gz.as_ptr());
    assert_eq!(made(&next, "api/v1"), made(before, "api/v1"));
    assert!(made(before, "api/v1").is_some());
    assert_eq!(
        made(&next, "apis/apps/v1"),
        None,
        "a kind of it is another one"
    );
    assert_eq!(next.v3_index(), before.v3_index());
}
