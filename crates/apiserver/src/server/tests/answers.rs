//! What upstream answers to odd requests, where it takes more than one kind's rule: what is empty, of another type, or nothing.

use std::sync::atomic::Ordering;

use super::*;

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const SCALERS: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";

/// Reason and message of each cause, or the message.
fn told(reply: &Reply) -> Vec<String> {
    let causes = reply.body["details"]["causes"].as_array();
    let causes = causes.into_iter().flatten();
    let told: Vec<String> = causes
        .map(|cause| format!("{}: {}", cause["field"], cause["message"]).replace('"', ""))
        .collect();
    match told.is_empty() {
        true => vec![reply.body["message"].to_string().replace(['"', '\\'], "")],
        false => told,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn something_empty_is_a_change_where_upstream_compares_deeply() {
    let cluster = Cluster::new().await;
    let policy =
        json!({"metadata": {"name": "a"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}});
    cluster.create(POLICIES, policy).await;
    let hook = json!({"metadata": {"name": "a"}, "webhooks": [{
        "name": "a.example.com", "clientConfig": {"url": "https://a"}, "sideEffects": "None", "admissionReviewVersions": ["v1"]}]});
    cluster.create(HOOKS, hook).await;
    for (collection, patch, wanted) in [
        (POLICIES, json!({"metadata": {"labels": {}}}), 1),
        (POLICIES, json!({"spec": {"podSelector": {}}}), 1),
        (POLICIES, json!({"spec": {"ingress": []}}), 2),
        (POLICIES, json!({"spec": {"ingress": null}}), 2),
        (
            POLICIES,
            json!({"spec": {"podSelector": {"matchExpressions": []}}}),
            3,
        ),
        (HOOKS, json!({"metadata": {"labels": {"a": "b"}}}), 1),
        (
            HOOKS,
            json!({"webhooks": [{
            "name": "a.example.com", "clientConfig": {"url": "https://a"}, "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "rules": []}]}),
            2,
        ),
    ] {
        let changed = cluster
            .merge(&format!("{collection}/a"), patch.clone())
            .await;
        assert_eq!(changed.code, 200, "{}", changed.body);
        assert_eq!(changed.body["metadata"]["generation"], wanted, "{patch}");
        // Nothing empty is stored.
        assert!(!changed.body.to_string().contains("[]"), "{}", changed.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn something_empty_is_not_filled_in_and_is_somebodys() {
    let cluster = Cluster::new().await;
    let scaler = |policies: Value| {
        json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "behavior": {"scaleUp": {"policies": policies}},
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}}})
    };
    let refused = cluster.call(Method::POST, SCALERS, scaler(json!([]))).await;
    assert_eq!(
        told(&refused),
        ["spec.behavior.scaleUp.policies: Required value: must specify at least one Policy"]
    );
    cluster.create(SCALERS, scaler(Value::Null)).await;
    // A struct that somebody asks for is one, empty as it is.
    let patch = json!({"spec": {"metrics": [{"type": "External", "external": {
        "metric": {"name": "q"}, "target": {"type": "Value", "value": "1"}}}]}});
    let uri = format!("{SCALERS}/a");
    assert_eq!(
        cluster.merge(&uri, patch.clone()).await.body["metadata"]["generation"],
        2
    );
    let mut selecting = patch;
    selecting["spec"]["metrics"][0]["external"]["metric"]["selector"] = json!({});
    assert_eq!(
        cluster.merge(&uri, selecting).await.body["metadata"]["generation"],
        3
    );
    for (rules, wanted) in [(json!([]), true), (Value::Null, false)] {
        let role = json!({"metadata": {"name": format!("r{wanted}")}, "rules": rules});
        let role = cluster.create(ROLES, role).await;
        assert_eq!(role["rules"], Value::Null);
        let fields = &role["metadata"]["managedFields"][0]["fieldsV1"];
        assert_eq!(fields.get("f:rules").is_some(), wanted, "{role}");
    }
    let binding =
        json!({"metadata": {"name": "a"}, "roleRef": {"kind": "ClusterRole", "name": "a"}});
    let mut binding = cluster.create(BINDINGS, binding).await;
    binding["roleRef"] = Value::Null;
    let refused = cluster
        .call(Method::PUT, &format!("{BINDINGS}/a"), binding)
        .await;
    let fields: Vec<String> = told(&refused)
        .iter()
        .map(|told| told.split(':').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(fields, ["roleRef.kind", "roleRef.name", "roleRef"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_another_type_is_read_as_that_first() {
    let cluster = Cluster::new().await;
    let made = json!({"metadata": {"name": "a"}, "data": {"k": "a=b"}});
    cluster.create(CONFIGMAPS, made).await;
    let one = format!("{CONFIGMAPS}/a");
    let secret = cluster.merge(&one, json!({"kind": "Secret"})).await;
    assert!(
        told(&secret)[0].ends_with("illegal base64 data at input byte 1"),
        "{}",
        secret.body
    );
    let plain = cluster
        .merge(&one, json!({"kind": "Secret", "data": null}))
        .await;
    assert!(
        told(&plain)[0].ends_with("converting (v1.Secret) to (core.ConfigMap): unknown conversion"),
        "{}",
        plain.body
    );
    let labels = json!({"app": "a"});
    let set = |generation: &str| {
        json!({"metadata": {"name": "a", "annotations": {"deprecated.daemonset.template.generation": generation}}, "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "b"}]}}}})
    };
    const WHY: &str = "strconv.ParseInt: parsing *: invalid syntax";
    let refused = cluster.call(Method::POST, SETS, set("*")).await;
    assert_eq!(
        (refused.code, told(&refused)),
        (
            400,
            vec![format!(
                "DaemonSet in version v1 cannot be handled as a DaemonSet: {WHY}"
            )]
        )
    );
    cluster.create(SETS, set("1")).await;
    let patch = json!({"metadata": set("*")["metadata"]});
    for (format, code) in [(MERGE, 422), (STRATEGIC, 500)] {
        let refused = cluster
            .typed(Method::PATCH, &format!("{SETS}/a"), format, patch.clone())
            .await;
        assert_eq!(refused.code, code, "{}", refused.body);
        let why = refused.body["message"].to_string().replace(['"', '\\'], "");
        assert!(why.ends_with(WHY), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_otherwise_is_looked_at_as_it_was_sent() {
    let cluster = Cluster::new().await;
    let external = |policy: &str| json!({"metadata": {"name": "e"}, "spec": {"type": "ExternalName", "externalName": "a.b", "internalTrafficPolicy": policy}});
    let refused = cluster.call(Method::POST, SERVICES, external("1Gi")).await;
    assert_eq!(
        told(&refused),
        [
            "spec.internalTrafficPolicy: Unsupported value: \\1Gi\\: supported values: \\Cluster\\, \\Local\\"
        ]
    );
    let made = cluster.create(SERVICES, external("Local")).await;
    assert_eq!(made["spec"].get("internalTrafficPolicy"), None);
    // A job has the labels that are made for its template once it is there.
    let job = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}}})
    };
    let refused = cluster.call(Method::POST, JOBS, job("::1")).await;
    assert!(
        told(&refused)
            .iter()
            .all(|told| !told.starts_with("metadata.labels")),
        "{}",
        refused.body
    );
    let made = cluster.create(JOBS, job("a")).await;
    assert_eq!(
        made["metadata"]["labels"]["batch.kubernetes.io/job-name"],
        "a"
    );
    // Fields of what is switched off are a change of some kinds.
    let device =
        |attributes: Value| json!({"spec": {"devices": [{"name": "d", "attributes": attributes}]}});
    let mut slice = device(json!({"i": {"int": 1}}));
    slice["metadata"] = json!({"name": "s"});
    let spec = slice["spec"].as_object_mut().expect("a spec");
    spec.insert("driver".into(), json!("d.example.com"));
    spec.insert("nodeName".into(), json!("n"));
    spec.insert(
        "pool".into(),
        json!({"name": "p", "generation": 1, "resourceSliceCount": 1}),
    );
    cluster.create(SLICES, slice).await;
    let patch = device(json!({"i": {"int": 1, "ints": [1]}}));
    let changed = cluster.merge(&format!("{SLICES}/s"), patch).await;
    assert_eq!(
        changed.body["metadata"]["generation"], 2,
        "{}",
        changed.body
    );
    assert_eq!(
        changed.body["spec"]["devices"][0]["attributes"],
        json!({"i": {"int": 1}})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_that_has_no_route_is_not_warned_of() {
    let cluster = Cluster::new().await;
    cluster.create(ENDPOINTS, configmap("a")).await;
    let uri = format!("{ENDPOINTS}/a");
    for (format, code, warnings) in [("application/yaml", 415, 0), (MERGE, 200, 1)] {
        let reply = cluster.typed(Method::PATCH, &uri, format, json!({})).await;
        assert_eq!(reply.code, code);
        assert_eq!(
            reply.headers.get_all("warning").iter().count(),
            warnings,
            "{format}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_that_is_no_json_is_refused_in_upstreams_words() {
    let cluster = Cluster::new().await;
    cluster.create(CONFIGMAPS, configmap("a")).await;
    let uri = format!("{CONFIGMAPS}/a");
    let json_patch = "application/json-patch+json";
    let apply = "application/apply-patch+yaml";
    let no_list = "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp";
    for (content_type, body, message) in [
        (json_patch, "", "invalid JSON patch"),
        (json_patch, "[{]", "invalid JSON patch"),
        (json_patch, "{}", no_list),
        (MERGE, "", "invalid JSON patch"),
        (MERGE, "{} x", "invalid JSON patch"),
        (STRATEGIC, "data:", "invalid JSON patch"),
        (
            MERGE,
            "1e999",
            "error decoding patch: number out of range at line 1 column 5",
        ),
        (apply, "a: [", "error encoding patch: yaml: "),
        (
            apply,
            "{",
            "error decoding patch: error converting YAML to JSON: yaml: ",
        ),
    ] {
        let request = Request::patch(format!("{uri}?fieldManager=me"))
            .header("content-type", content_type)
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .expect("a request");
        let reply = reply(cluster.send(request).await).await;
        assert_eq!(reply.code, 400, "{content_type} {body}: {}", reply.body);
        let found = reply.body["message"].as_str().expect("a message");
        assert!(found.starts_with(message), "{content_type} {body}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_of_health_say_what_upstreams_say() {
    let cluster = Cluster::new().await;
    let health = &cluster.server.core.health;
    health.stopping.store(true, Ordering::Release);
    for (uri, code, expected) in [
        ("/livez", 200, "ok"),
        ("/livez/ping", 200, "ok"),
        (
            "/readyz/shutdown",
            500,
            "internal server error: process is shutting down\n",
        ),
        (
            "/readyz",
            500,
            "[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]informer-sync ok\n[+]poststarthook/rbac/bootstrap-roles ok\n\
             [-]shutdown failed: reason withheld\n[+]stored-objects ok\nreadyz check failed\n",
        ),
        (
            "/readyz?verbose&exclude=shutdown&exclude=b&exclude=a",
            200,
            "[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]informer-sync ok\n[+]poststarthook/rbac/bootstrap-roles ok\n\
             [+]shutdown excluded: ok\n[+]stored-objects ok\n\
             warn: some health checks cannot be excluded: no matches for \"a\",\"b\"\nreadyz check passed\n",
        ),
    ] {
        let reply = cluster.get(uri).await;
        assert_eq!((reply.code, reply.body), (code, json!(expected)), "{uri}");
    }
}

/// A name that came with a prefix counts as generated.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_taken() {
    let cluster = Cluster::new().await;
    cluster.create(CONFIGMAPS, configmap("a")).await;
    let object = json!({"metadata": {"name": "a", "generateName": "b-"}});
    for query in ["", "?dryRun=All"] {
        let uri = format!("{CONFIGMAPS}{query}");
        let reply = cluster.call(Method::POST, &uri, object.clone()).await;
        assert_eq!(
            (reply.code, &reply.body["reason"]),
            (409, &json!("AlreadyExists"))
        );
        assert_eq!(
            reply.body["message"],
            "configmaps \"a\" already exists, the server was not able to generate a unique name for the object"
        );
        assert_eq!(reply.body["details"]["retryAfterSeconds"], 1);
    }
}

/// Some kinds have nothing against the metadata of an object that is wrong otherwise, or against any finalizer.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_looked_at_by_kind() {
    const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    const EVENTS: &str = "/api/v1/namespaces/default/events";
    const STRICT_EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
    let cluster = Cluster::new().await;
    let told = async |uri: &str, object: Value| {
        let reply = cluster.call(Method::POST, uri, object).await;
        let causes = reply.body["details"]["causes"].as_array().cloned();
        let fields = causes
            .into_iter()
            .flatten()
            .map(|cause| cause["field"].clone());
        (reply.code, fields.collect::<Vec<_>>())
    };
    let wrong = json!({"spec": {"minAvailable": -1}});
    assert_eq!(
        told(BUDGETS, wrong).await,
        (422, vec![json!("spec.minAvailable")])
    );
    let nameless = json!({"spec": {"minAvailable": 1}});
    assert_eq!(
        told(BUDGETS, nameless).await,
        (422, vec![json!("metadata.name")])
    );
    let held = |more: Value| {
        let mut object = json!({"metadata": {"name": "held", "finalizers": ["plain"]}});
        let more = more.as_object().cloned().unwrap_or_default();
        object.as_object_mut().expect("a map").extend(more);
        object
    };
    let budget = held(json!({"spec": {"minAvailable": 1}}));
    assert_eq!(told(BUDGETS, budget).await.0, 201);
    let class = held(json!({"handler": "runc"}));
    assert_eq!(
        told("/apis/node.k8s.io/v1/runtimeclasses", class).await.0,
        201
    );
    let event = held(json!({"involvedObject": {"namespace": "default"}}));
    assert_eq!(told(EVENTS, event).await.0, 201);
    // The newer version of events is strict, and tells all that is wrong at once.
    let event = json!({
        "metadata": {"name": "wrong", "finalizers": ["/a", "plain"]}, "eventTime": "2026-01-01T00:00:00.000000Z",
        "regarding": {"namespace": "default"}, "action": "a", "reason": "r", "type": "Odd",
        "reportingController": "example.com/c", "reportingInstance": "i",
    });
    let (code, mut fields) = told(STRICT_EVENTS, event).await;
    fields.sort_by_key(Value::to_string);
    let wanted = ["metadata.finalizers", "metadata.finalizers[1]", "type"];
    assert_eq!((code, fields), (422, wanted.map(Value::from).to_vec()));
    let field = json!("metadata.finalizers[0]");
    assert_eq!(told(CONFIGMAPS, held(json!({}))).await, (422, vec![field]));
}
