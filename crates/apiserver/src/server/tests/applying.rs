//! Server-side apply and managed fields, through the whole chain.

use super::*;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

fn deployment(spec: Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": spec,
    })
}

fn spec(containers: Value) -> Value {
    json!({
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}},
    })
}

fn full(replicas: i64) -> Value {
    let mut spec = spec(json!([{"name": "web", "image": "i"}]));
    spec["replicas"] = json!(replicas);
    deployment(spec)
}

impl Cluster {
    async fn apply(&self, uri: &str, parameters: &str, config: Value) -> Reply {
        let uri = format!("{uri}?{parameters}");
        self.typed(Method::PATCH, &uri, "application/apply-patch+yaml", config)
            .await
    }

    /// Who owns what, a line each, without times.
    async fn owners(&self, uri: &str) -> String {
        owners(&self.get(uri).await.body)
    }
}

fn owners(object: &Value) -> String {
    let mut out = String::new();
    for entry in object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let text = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
        let set = knarr_apply::Set::from_json(&entry["fieldsV1"]).expect("fieldsV1");
        out.push_str(&format!(
            "{} {} {} {}\n",
            text("manager"),
            text("operation"),
            text("apiVersion"),
            text("subresource")
        ));
        for path in set.paths() {
            out.push_str(&format!("  {path}\n"));
        }
    }
    out
}

fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_creates_changes_and_removes() {
    let cluster = Cluster::new().await;
    let made = cluster.apply(WEB, "fieldManager=me", full(3)).await;
    assert_eq!(made.code, 201, "{}", made.body);
    expect_test::expect![[r#"
        me Apply apps/v1 -
          .spec.replicas
          .spec.selector
          .spec.template.metadata.labels.app
          .spec.template.spec.containers[name="web"]
          .spec.template.spec.containers[name="web"].image
          .spec.template.spec.containers[name="web"].name
    "#]]
    .assert_eq(&owners(&made.body));
    let again = cluster.apply(WEB, "fieldManager=me", full(3)).await;
    assert_eq!(
        (again.code, &again.body),
        (200, &made.body),
        "nothing is written"
    );
    let mut less = full(3);
    less["spec"].as_object_mut().unwrap().remove("replicas");
    less["spec"]["template"]["spec"]["containers"] = json!([{"name": "other", "image": "i"}]);
    let changed = cluster.apply(WEB, "fieldManager=me", less).await;
    assert_eq!(changed.code, 200, "{}", changed.body);
    assert_eq!(changed.body["spec"]["replicas"], 1, "the default is back");
    let containers = &changed.body["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().map(Vec::len), Some(1), "{containers}");
    assert_ne!(version(&changed.body), version(&made.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_own_is_a_conflict() {
    let cluster = Cluster::new().await;
    let uri = format!("{DEPLOYMENTS}?fieldManager=creator");
    cluster.create(&uri, full(1)).await;
    let only = deployment(json!({"replicas": 5}));
    let refused = cluster.apply(WEB, "fieldManager=me", only.clone()).await;
    assert_eq!(refused.code, 409);
    assert_eq!(
        refused.body["details"]["causes"][0]["reason"],
        "FieldManagerConflict"
    );
    assert_eq!(
        refused.body["message"],
        "Apply failed with 1 conflict: conflict with \"creator\" using apps/v1: .spec.replicas"
    );
    let forced = cluster
        .apply(WEB, "fieldManager=me&force=true", only.clone())
        .await;
    assert_eq!(forced.code, 200, "{}", forced.body);
    assert!(
        owners(&forced.body).starts_with("me Apply apps/v1 -\n  .spec.replicas\ncreator Update")
    );
    // Somebody changes it by an update: it is theirs.
    let uri = format!("{WEB}?fieldManager=other");
    let merged = cluster.merge(&uri, json!({"spec": {"replicas": 7}})).await;
    assert!(owners(&merged.body).contains("other Update apps/v1 -\n  .spec.replicas\n"));
    assert_eq!(cluster.apply(WEB, "fieldManager=me", only).await.code, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_object_is_owned_as_upstream_shows_it() {
    let cluster = Cluster::new().await;
    let request = Request::post(DEPLOYMENTS)
        .header("user-agent", "kubectl/v1.37.0 (linux/amd64) kubernetes/abc")
        .body(Full::new(Bytes::from(full(2).to_string())))
        .expect("a request");
    let made = reply(cluster.send(request).await).await.body;
    expect_test::expect_file!["golden/managed.txt"].assert_eq(&owners(&made));
    let same = cluster.call(Method::PUT, WEB, made.clone()).await;
    assert_eq!(same.body, made, "a no-op writes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_scale_have_their_own_managers() {
    let cluster = Cluster::new().await;
    cluster.apply(WEB, "fieldManager=me", full(1)).await;
    let mut status = deployment(json!({"replicas": 9}));
    status["status"] = json!({"replicas": 1});
    let uri = format!("{WEB}/status");
    let applied = cluster.apply(&uri, "fieldManager=it", status).await;
    assert_eq!(applied.code, 200, "{}", applied.body);
    assert_eq!(applied.body["spec"]["replicas"], 1);
    assert!(owners(&applied.body).contains("it Apply apps/v1 status\n  .status.replicas\n"));
    let scale = json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "web"},
        "spec": {"replicas": 4},
    });
    let uri = format!("{WEB}/scale");
    let refused = cluster
        .apply(&uri, "fieldManager=scaler", scale.clone())
        .await;
    assert_eq!(
        refused.body["message"],
        "Apply failed with 1 conflict: conflict with \"me\": .spec.replicas"
    );
    let put = cluster
        .call(Method::PUT, &format!("{uri}?fieldManager=scaler"), scale)
        .await;
    assert_eq!(put.code, 200, "{}", put.body);
    let owners = cluster.owners(WEB).await;
    assert!(
        owners.contains("scaler Update apps/v1 scale\n  .spec.replicas\n"),
        "{owners}"
    );
    let me = owners.split("it Apply").next().unwrap_or_default();
    assert!(!me.contains(".spec.replicas"), "{owners}");
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_can_be_reset_and_are_not_by_accident() {
    let cluster = Cluster::new().await;
    let mut object = configmap("a");
    object["data"] = json!({"x": "a"});
    let made = cluster
        .create(&format!("{CONFIGMAPS}?fieldManager=me"), object)
        .await;
    let uri = format!("{CONFIGMAPS}/a");
    let before = owners(&made);
    assert!(before.starts_with("me Update v1 -\n"), "{before}");
    let kept = cluster
        .merge(&uri, json!({"metadata": {"managedFields": null}}))
        .await;
    assert_eq!(owners(&kept.body), before);
    let reset = cluster
        .merge(&uri, json!({"metadata": {"managedFields": [{}]}}))
        .await;
    assert_eq!(reset.body["metadata"].get("managedFields"), None);
    let later = cluster.merge(&uri, json!({"data": {"x": "y"}})).await;
    assert_eq!(owners(&later.body), "", "untracked until it is applied");
    let mut config = configmap("a");
    config["apiVersion"] = json!("v1");
    config["kind"] = json!("ConfigMap");
    config["data"] = json!({"x": "y"});
    let applied = cluster.apply(&uri, "fieldManager=me", config).await;
    assert_eq!(applied.code, 200, "{}", applied.body);
    let owners = owners(&applied.body);
    assert!(
        owners.contains("before-first-apply Update v1 -\n"),
        "{owners}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_runs_apply_and_keep_nothing() {
    let cluster = Cluster::new().await;
    let dry = cluster
        .apply(WEB, "fieldManager=me&dryRun=All", full(1))
        .await;
    assert_eq!(dry.code, 201, "{}", dry.body);
    assert_eq!(cluster.get(WEB).await.code, 404);
    let made = cluster.apply(WEB, "fieldManager=me", full(1)).await;
    let dry = cluster
        .apply(WEB, "fieldManager=me&dryRun=All", full(2))
        .await;
    assert_eq!(dry.body["spec"]["replicas"], 2);
    assert_eq!(cluster.get(WEB).await.body, made.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn applies_that_cannot_be_are_refused_in_upstreams_words() {
    let cluster = Cluster::new().await;
    cluster.apply(WEB, "fieldManager=me", full(1)).await;
    let mut table = String::new();
    let long = "x".repeat(129);
    let mut managed = full(1);
    managed["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    let mut unknown = full(1);
    unknown["spec"]["replica"] = json!(1);
    let mut twice = full(1);
    let container = json!({"name": "web", "image": "i"});
    twice["spec"]["template"]["spec"]["containers"] = json!([container, container]);
    let mut stale = full(2);
    stale["metadata"]["resourceVersion"] = json!("1");
    let mut with_uid = full(1);
    with_uid["metadata"]["name"] = json!("new");
    with_uid["metadata"]["uid"] = json!("mine");
    let new = format!("{DEPLOYMENTS}/new");
    let status = format!("{DEPLOYMENTS}/new/status");
    for (uri, parameters, config) in [
        (WEB, "", full(1)),
        (WEB, &*format!("fieldManager={long}"), full(1)),
        (WEB, "fieldManager=a%09b", full(1)),
        (
            WEB,
            "fieldManager=me",
            json!({"apiVersion": "apps/v1", "kind": "DaemonSet"}),
        ),
        (WEB, "fieldManager=me", json!([1])),
        (WEB, "fieldManager=me", managed),
        (WEB, "fieldManager=me", unknown),
        (WEB, "fieldManager=me", twice),
        (WEB, "fieldManager=me", stale),
        (&new, "fieldManager=me", full(1)),
        (&new, "fieldManager=me", with_uid),
        (&status, "fieldManager=me", full(1)),
    ] {
        let reply = cluster.apply(uri, parameters, config).await;
        let parameters = parameters.replace(&long, "xxx…");
        let message = reply.body["message"].as_str().unwrap_or_default();
        let reason = reply.body["reason"].as_str().unwrap_or("-");
        table.push_str(&format!(
            "{uri}?{parameters}\n  {} {reason} {message}\n",
            reply.code
        ));
    }
    let forced = cluster.merge(&format!("{WEB}?force=true"), json!({})).await;
    table.push_str(&format!(
        "merge patch, force\n  {}\n",
        forced.body["message"]
    ));
    let cbor = "application/apply-patch+cbor";
    let cbor = cluster.typed(Method::PATCH, WEB, cbor, full(1)).await;
    table.push_str(&format!("CBOR\n  {} {}\n", cbor.code, cbor.body["message"]));
    expect_test::expect_file!["golden/apply_errors.txt"].assert_eq(&table);
}

/// What is too large only with who owns it is stored without.
#[tokio::test(flavor = "multi_thread")]
async fn managers_do_not_make_an_object_too_large() {
    let cluster = Cluster::new().await;
    let mut object = configmap("large");
    let data: serde_json::Map<String, Value> = (0..70_000)
        .map(|index| (format!("k{index:05}"), json!("")))
        .collect();
    object["data"] = Value::Object(data);
    let made = cluster.create(CONFIGMAPS, object).await;
    assert_eq!(made["metadata"].get("managedFields"), None);
    let uri = format!("{CONFIGMAPS}/large");
    let changed = cluster.merge(&uri, json!({"data": {"k00000": "x"}})).await;
    assert_eq!(changed.code, 200, "{}", changed.body["message"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_there_twice_is_refused_where_that_is_asked_for() {
    let cluster = Cluster::new().await;
    let text =
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: \"1\"\n  x: \"2\"\n";
    let send = |validation: &str| {
        let uri = format!("{CONFIGMAPS}/a?fieldManager=me&fieldValidation={validation}");
        Request::patch(uri)
            .header("content-type", "application/apply-patch+yaml")
            .body(Full::new(Bytes::from(text)))
            .expect("a request")
    };
    let why = "error converting YAML to JSON: yaml: unmarshal errors:\n  line 7: key \"x\" already set in map";
    let strict = reply(cluster.send(send("Strict")).await).await;
    assert_eq!(
        (strict.code, strict.body["message"].as_str()),
        (400, Some(&*format!("error strict decoding patch: {why}")))
    );
    let warned = reply(cluster.send(send("Warn")).await).await;
    assert_eq!(warned.body["data"]["x"], "2", "the last one counts");
    // What would be told has two lines, which no header can have.
    assert!(!warned.headers.contains_key("warning"));
    let ignored = reply(cluster.send(send("Ignore")).await).await;
    assert!(!ignored.headers.contains_key("warning"));
}

/// Objects of one kind in two groups: each version's fields are those of its managers.
#[tokio::test(flavor = "multi_thread")]
async fn managers_of_two_versions_share_an_object() {
    let cluster = Cluster::new().await;
    let uri = "/apis/events.k8s.io/v1/namespaces/default/events/e";
    let event = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example.com/c",
        "reportingInstance": "c-0",
        "action": "Test",
        "reason": "Tested",
        "type": "Normal",
        "note": "hello",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
    });
    let made = cluster.apply(uri, "fieldManager=new", event).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert!(
        owners(&made.body).contains("  .note\n"),
        "{}",
        owners(&made.body)
    );
    let old = "/api/v1/namespaces/default/events/e?fieldManager=old";
    let changed = cluster.merge(old, json!({"message": "bye"})).await;
    assert_eq!(changed.code, 200, "{}", changed.body);
    let owners = owners(&changed.body);
    assert!(owners.contains("old Update v1 -\n  .message\n"), "{owners}");
    assert!(!owners.contains("  .note\n"), "{owners}");
    assert!(owners.contains("  .regarding\n"), "{owners}");
}

/// What was found to change nothing is not computed again; nothing that might make it otherwise is missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_applied_again_sees_what_came_between() {
    let cluster = Cluster::new().await;
    let again = || cluster.apply(WEB, "fieldManager=me", full(3));
    let made = again().await.body;
    for _ in 0..3 {
        let reply = again().await;
        assert_eq!((reply.code, &reply.body), (200, &made));
    }
    let registry = &cluster.server.core.registry;
    assert_eq!(registry.repeats.answered(), 2, "the first finds it out");

    // Another manager, or another configuration, is another apply.
    let other = cluster.apply(WEB, "fieldManager=other", full(3)).await;
    assert_ne!(version(&other.body), version(&made));
    let conflict = cluster.apply(WEB, "fieldManager=third", full(4)).await;
    assert_eq!(conflict.code, 409);

    // Others change it: what this manager wants comes back.
    let labels = json!({"metadata": {"labels": {"new": "1"}}, "spec": {"paused": true}});
    let uri = format!("{WEB}?fieldManager=hand");
    let patched = cluster.merge(&uri, labels).await;
    assert_eq!(patched.code, 200);
    let kept = again().await;
    assert_eq!(kept.body["metadata"]["labels"]["new"], "1");
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "hand"}]}}}});
    let strategic = "application/strategic-merge-patch+json";
    cluster.typed(Method::PATCH, &uri, strategic, image).await;
    let conflict = again().await;
    assert_eq!(conflict.code, 409, "{}", conflict.body);
    let forced = cluster
        .apply(WEB, "fieldManager=me&force=true", full(3))
        .await;
    let containers = &forced.body["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers[0]["image"], "i");

    // Another object of the name.
    cluster.call(Method::DELETE, WEB, Value::Null).await;
    let anew = again().await;
    assert_eq!(anew.code, 201, "{}", anew.body);
}

/// Admission looks at the rest of the cluster, so it is asked each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_applied_again_is_admitted_again() {
    let cluster = Cluster::new().await;
    for _ in 0..3 {
        let reply = cluster.apply(WEB, "fieldManager=me", full(3)).await;
        assert!(reply.code < 202, "{}", reply.body);
    }
    let warned = json!({"metadata": {"labels": {"pod-security.kubernetes.io/warn": "restricted"}}});
    let labelled = cluster.merge("/api/v1/namespaces/default", warned).await;
    assert_eq!(labelled.code, 200);
    for _ in 0..2 {
        let reply = cluster.apply(WEB, "fieldManager=me", full(3)).await;
        assert_eq!(reply.code, 200);
        let warnings = format!("{:?}", reply.headers.get_all("warning"));
        assert!(warnings.contains("would violate PodSecurity"), "{warnings}");
    }
}

/// Upstream compares lists that are one value by what is in memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_nothing_in_it_is_a_change_of_the_list_around_it() {
    let cluster = Cluster::new().await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    let role = |rule: Value| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "it"}, "rules": [rule],
        })
    };
    let without = json!({"nonResourceURLs": ["/a"], "verbs": ["get"]});
    let mut with = without.clone();
    with["resources"] = json!([]);
    let made = cluster
        .create(&format!("{roles}?fieldManager=one"), role(with.clone()))
        .await;
    let rules_of = |object: &Value| {
        let text = owners(object);
        let before = text.split("  .rules\n").next().unwrap_or_default();
        let manager = before.lines().rfind(|line| !line.starts_with(' '));
        let name = manager.and_then(|line| line.split(' ').next());
        name.unwrap_or_default().to_owned()
    };
    assert_eq!(rules_of(&made), "one");
    let put = async |manager: &str, rule: &Value| {
        let uri = format!("{roles}/it?fieldManager={manager}");
        cluster.call(Method::PUT, &uri, role(rule.clone())).await
    };
    let same = put("two", &without).await;
    assert_eq!((same.code, rules_of(&same.body)), (200, "one".to_owned()));
    let other = put("two", &with).await;
    assert_eq!((other.code, rules_of(&other.body)), (200, "two".to_owned()));
    assert_eq!(other.body["rules"], json!([without]));
}
