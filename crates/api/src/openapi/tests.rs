mod merged;
mod protobuf;

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

/// Names of parameters, those that a document only refers to as well.
fn names<'d>(document: &'d Value, parameters: &'d Value) -> Vec<&'d str> {
    let parameters = parameters.as_array().unwrap().iter();
    let resolved = parameters.map(|parameter| match parameter["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => parameter,
    });
    resolved
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
    assert!(document["parameters"].as_object().unwrap().len() > 20);
    let patch = &document["paths"][deployment_path()]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        serde_json::json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(
        names(&document, &patch["parameters"]),
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
    let port = &definitions["io.k8s.api.core.v1.ContainerPort"]["properties"];
    assert!(port["protocol"].get("default").is_none(), "as upstream's");
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
            let names = names(&document, &patch["parameters"]);
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
                    in_all(&document, item, operation).contains(&"fieldValidation"),
                    "{method} {path}"
                );
            }
        }
    }
    assert!(patches > 10, "{patches} paths with PATCH");
}

/// Names of the parameters of an operation, also of those that all operations of its path have.
fn in_all<'d>(document: &'d Value, item: &'d Value, operation: &'d Value) -> Vec<&'d str> {
    let lists = [&item["parameters"], &operation["parameters"]];
    let lists = lists.into_iter().filter(|list| list.is_array());
    lists.flat_map(|list| names(document, list)).collect()
}

/// Operations as upstream's installer of routes makes them.
#[test]
fn operations_are_upstreams() {
    let document = parse(documents().v2_json());
    let cases: [(&str, &str, &str, &[&str]); 9] = [
        (
            "/api/v1/namespaces/{namespace}/pods/{name}/proxy/{path}",
            "options",
            "connectCoreV1OptionsNamespacedPodProxyWithPath",
            &["name", "namespace", "path", "path"],
        ),
        (
            "/api/v1/namespaces/{namespace}/pods/{name}/exec",
            "post",
            "connectCoreV1PostNamespacedPodExec",
            &[
                "command",
                "container",
                "name",
                "namespace",
                "stderr",
                "stdin",
                "stdout",
                "tty",
            ],
        ),
        (
            "/api/v1/namespaces/{namespace}/pods/{name}/portforward",
            "get",
            "connectCoreV1GetNamespacedPodPortforward",
            &["name", "namespace", "ports"],
        ),
        (
            "/apis/apps/v1/watch/namespaces/{namespace}/deployments/{name}",
            "get",
            "watchAppsV1NamespacedDeployment",
            &[
                "allowWatchBookmarks",
                "continue",
                "fieldSelector",
                "labelSelector",
                "limit",
                "name",
                "namespace",
                "pretty",
                "resourceVersion",
                "resourceVersionMatch",
                "sendInitialEvents",
                "shardSelector",
                "timeoutSeconds",
                "watch",
            ],
        ),
        (
            "/apis/apps/v1/namespaces/{namespace}/deployments",
            "delete",
            "deleteAppsV1CollectionNamespacedDeployment",
            &[
                "namespace",
                "pretty",
                "body",
                "continue",
                "dryRun",
                "fieldSelector",
                "gracePeriodSeconds",
                "ignoreStoreReadErrorWithClusterBreakingPotential",
                "labelSelector",
                "limit",
                "orphanDependents",
                "propagationPolicy",
                "resourceVersion",
                "resourceVersionMatch",
                "sendInitialEvents",
                "shardSelector",
                "timeoutSeconds",
            ],
        ),
        (
            "/api/v1/namespaces/{name}/finalize",
            "put",
            "replaceCoreV1NamespaceFinalize",
            &[
                "dryRun",
                "fieldManager",
                "fieldValidation",
                "name",
                "pretty",
                "body",
            ],
        ),
        (
            "/apis/rbac.authorization.k8s.io/",
            "get",
            "getRbacAuthorizationAPIGroup",
            &[],
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/",
            "get",
            "getRbacAuthorizationV1APIResources",
            &[],
        ),
        ("/version/", "get", "getCodeVersion", &[]),
    ];
    for (path, method, id, parameters) in cases {
        let item = &document["paths"][path];
        let operation = &item[method];
        assert_eq!(operation["operationId"], id, "{method} {path}");
        let mut found = in_all(&document, item, operation);
        let mut wanted = parameters.to_vec();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{method} {path}");
    }
    let answers = |path: &str| {
        document["paths"][path]["delete"]["responses"]["200"]["schema"]["$ref"].clone()
    };
    assert_eq!(
        answers("/apis/resource.k8s.io/v1/deviceclasses/{name}"),
        "#/definitions/io.k8s.api.resource.v1.DeviceClass"
    );
    assert_eq!(
        answers(deployment_path()),
        "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.Status"
    );
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
fn v3_has_a_document_a_group_version() {
    let body = documents().v3_index();
    let index = body["paths"].as_object().unwrap();
    let paths: Vec<&str> = index.keys().map(String::as_str).collect();
    assert!(paths.is_sorted());
    for wanted in [
        ".well-known/openid-configuration",
        "api",
        "api/v1",
        "apis",
        "apis/apps",
        "apis/apps/v1",
        "version",
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
    let version = parse(documents().v3_document("version").unwrap());
    assert!(version["paths"]["/version/"]["get"].is_object());
    let keys = parse(documents().v3_document("openid/v1/jwks").unwrap());
    assert!(keys["components"].get("schemas").is_none(), "as upstream's");
    assert!(keys["components"]["securitySchemes"].is_object());
}

#[test]
fn v3_of_apps_serves_explain_and_apply() {
    let document = parse(documents().v3_document("apis/apps/v1").unwrap());
    assert_eq!(document["openapi"], "3.0.0");
    let patch = &document["paths"][deployment_path()]["patch"];
    assert_eq!(
        names(&document, &patch["parameters"]),
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
    let properties = |of: &str| schemas[&format!("io.k8s.api.core.v1.{of}")]["properties"].clone();
    assert_eq!(properties("ContainerPort")["protocol"]["default"], "TCP");
    assert_eq!(properties("ContainerPort")["containerPort"]["default"], 0);
    assert_eq!(properties("Container")["name"]["default"], "");
    assert_eq!(
        properties("Container")["resources"]["default"],
        serde_json::json!({})
    );
    assert!(properties("Container")["image"].get("default").is_none());
    let options = &schemas["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"];
    assert_eq!(
        options["x-kubernetes-group-version-kind"],
        serde_json::json!([
            {"group": "", "version": "v1", "kind": "DeleteOptions"},
            {"group": "apps", "version": "v1", "kind": "DeleteOptions"},
        ])
    );
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
