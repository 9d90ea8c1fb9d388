use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn pages_stay_at_the_revision_of_the_first() {
    let cluster = Cluster::new().await;
    for name in ["a", "b", "c", "d"] {
        cluster.create(CONFIGMAPS, configmap(name)).await;
    }
    let first = cluster.get(&format!("{CONFIGMAPS}?limit=2")).await.body;
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("items");
        items
            .iter()
            .map(|i| i["metadata"]["name"].as_str().unwrap_or("").to_owned())
            .collect()
    };
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 2);
    cluster.create(CONFIGMAPS, configmap("bb")).await;
    cluster
        .call(Method::DELETE, &format!("{CONFIGMAPS}/d"), Value::Null)
        .await;
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let second = cluster
        .get(&format!("{CONFIGMAPS}?limit=2&continue={token}"))
        .await
        .body;
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(version(&second), version(&first));
    assert_eq!(second["metadata"].get("continue"), None);
    let now = cluster.get(CONFIGMAPS).await.body;
    assert_eq!(names(&now), ["a", "b", "bb", "c"]);
    let exact = format!(
        "{CONFIGMAPS}?resourceVersion={}&resourceVersionMatch=Exact",
        version(&first)
    );
    assert_eq!(names(&cluster.get(&exact).await.body), ["a", "b", "c", "d"]);
}

impl Cluster {
    /// The bytes of an answer, as far as they are a text.
    async fn text(&self, uri: &str, accept: &str) -> String {
        let request = Request::builder().uri(uri).header("accept", accept);
        let request = request.body(Full::default()).expect("a request");
        let body = self.send(request).await.into_body();
        let bytes = body.collect().await.expect("a body").to_bytes();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Whether it is an annotation in an answer; whose it is, is another matter.
fn shows(answer: &str, annotation: &str) -> bool {
    let owned = format!("f:{annotation}");
    answer.replace(&owned, "").contains(annotation)
}

/// Upstream keeps it in a field of its own, which metadata alone has not: in no form.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_alone_lacks_what_is_no_annotation_upstream() {
    const SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
    const GENERATION: &str = "deprecated.daemonset.template.generation";
    let cluster = Cluster::new().await;
    let set = |annotations: Value| {
        let labels = json!({"app": "a"});
        json!({"metadata": {"name": "a", "annotations": annotations}, "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "b"}]}}}})
    };
    let made = cluster.create(SETS, set(json!({}))).await;
    assert_eq!(made["metadata"]["annotations"], json!({GENERATION: "1"}));
    let one = format!("{SETS}/a");
    let forms = |kind: &str| {
        let form = format!("as={kind};v=v1;g=meta.k8s.io");
        ["json", "yaml", "vnd.kubernetes.protobuf"].map(|code| format!("application/{code};{form}"))
    };
    let mut seen = 0;
    for (uri, kind) in [
        (&*one, "PartialObjectMetadata"),
        (SETS, "PartialObjectMetadataList"),
    ] {
        for form in forms(kind) {
            let text = cluster.text(uri, &form).await;
            assert!(
                text.contains("creationTimestamp") || form.contains("protobuf"),
                "{form}: {text}"
            );
            assert!(!shows(&text, GENERATION), "{form}: {text}");
            seen += 1;
        }
    }
    assert_eq!(seen, 6);
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (uri, wanted) in [
        (one.clone(), false),
        (format!("{SETS}?includeObject=Object"), true),
    ] {
        let shown = cluster.text(&uri, table).await;
        assert_eq!(shows(&shown, GENERATION), wanted, "{uri}: {shown}");
    }
    // Others stay.
    let patch = json!({"metadata": {"annotations": {"mine": "yes"}}});
    cluster.merge(&one, patch).await;
    let form = forms("PartialObjectMetadata")[0].clone();
    let shown = cluster.get_as(&one, &form).await.body;
    assert_eq!(shown["metadata"]["annotations"], json!({"mine": "yes"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_see_transitions_of_their_selector() {
    let cluster = Cluster::new().await;
    let list = cluster.get(CONFIGMAPS).await.body;
    let from = version(&list);
    let mut watch = cluster
        .watch(&format!(
            "{CONFIGMAPS}?watch=1&labelSelector=app%3Dx&resourceVersion={from}"
        ))
        .await;
    let url = format!("{CONFIGMAPS}/a");
    cluster.create(CONFIGMAPS, configmap("a")).await;
    cluster
        .merge(&url, json!({"metadata": {"labels": {"app": "x"}}}))
        .await;
    cluster.merge(&url, json!({"data": {"k": "v"}})).await;
    cluster
        .merge(&url, json!({"metadata": {"labels": {"app": "y"}}}))
        .await;
    cluster
        .merge(&url, json!({"metadata": {"labels": {"app": "x"}}}))
        .await;
    cluster.call(Method::DELETE, &url, Value::Null).await;
    for (n, kind) in [
        (2, "ADDED"),
        (3, "MODIFIED"),
        (4, "DELETED"),
        (5, "ADDED"),
        (6, "DELETED"),
    ] {
        assert_eq!(watch.short().await, format!("{kind} a {}", from + n));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_a_revision_to_come_is_sent_nothing_up_to_it() {
    let cluster = Cluster::new().await;
    let from = version(&cluster.get(CONFIGMAPS).await.body);
    let watch = async |ahead: u64| {
        let query = format!("watch=1&resourceVersion={}", from + ahead);
        cluster.watch(&format!("{CONFIGMAPS}?{query}")).await
    };
    let (mut one, mut two) = (watch(1).await, watch(2).await);
    for name in ["a", "b", "c"] {
        cluster.create(CONFIGMAPS, configmap(name)).await;
    }
    assert_eq!(one.short().await, format!("ADDED b {}", from + 2));
    assert_eq!(one.short().await, format!("ADDED c {}", from + 3));
    assert_eq!(two.short().await, format!("ADDED c {}", from + 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_end_after_their_timeout_and_at_shutdown() {
    let cluster = Cluster::new().await;
    let mut watch = cluster
        .watch(&format!("{CONFIGMAPS}?watch=1&timeoutSeconds=1"))
        .await;
    assert_eq!(watch.next().await, None);
    let mut watch = cluster.watch(&format!("{CONFIGMAPS}?watch=1")).await;
    cluster.server.core.registry.cache.stop();
    assert_eq!(watch.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_outlives_a_restart() {
    let cluster = Cluster::new().await;
    let from = version(&cluster.get(CONFIGMAPS).await.body);
    let made = cluster.create(CONFIGMAPS, configmap("a")).await;
    let changed = cluster
        .merge(&format!("{CONFIGMAPS}/a"), json!({"data": {"k": "v"}}))
        .await
        .body;
    let Cluster { server, dir } = cluster;
    let token = CancellationToken::new();
    token.cancel();
    server.run(token).await.expect("an orderly end");
    let cluster = Cluster {
        server: open(dir.path()).await,
        dir,
    };
    assert_eq!(cluster.get(&format!("{CONFIGMAPS}/a")).await.body, changed);
    let mut watch = cluster
        .watch(&format!("{CONFIGMAPS}?watch=1&resourceVersion={from}"))
        .await;
    let after = cluster.create(CONFIGMAPS, configmap("b")).await;
    assert_eq!(watch.short().await, format!("ADDED a {}", version(&made)));
    assert_eq!(
        watch.short().await,
        format!("MODIFIED a {}", version(&changed))
    );
    assert_eq!(watch.short().await, format!("ADDED b {}", version(&after)));
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_history_is_gone() {
    let cluster = Cluster::new().await;
    let from = version(&cluster.get(CONFIGMAPS).await.body);
    for name in ["a", "b", "c"] {
        cluster.create(CONFIGMAPS, configmap(name)).await;
    }
    let page = cluster.get(&format!("{CONFIGMAPS}?limit=1")).await.body;
    cluster.create(CONFIGMAPS, configmap("e")).await;
    let Cluster { server, dir } = cluster;
    let token = CancellationToken::new();
    token.cancel();
    server.run(token).await.expect("an orderly end");
    // After a restart the ring is empty: what is old comes from the store, or not at all.
    let cluster = Cluster {
        server: open(dir.path()).await,
        dir,
    };
    cluster.create(CONFIGMAPS, configmap("d")).await;
    // The feed itself must not be behind what goes.
    cluster
        .server
        .core
        .registry
        .cache
        .fresh()
        .await
        .expect("a cache that keeps up");
    let store = &cluster.server.core.registry.store;
    store
        .compact(store.revision().await.expect("a revision"))
        .await
        .expect("compaction");
    let mut watch = cluster
        .watch(&format!("{CONFIGMAPS}?watch=1&resourceVersion={from}"))
        .await;
    let event = watch.next().await.expect("an event");
    assert_eq!(
        (&event["type"], &event["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(watch.next().await, None);
    let token = page["metadata"]["continue"].as_str().expect("a token");
    let expired = cluster.get(&format!("{CONFIGMAPS}?continue={token}")).await;
    assert_eq!(
        (expired.code, &expired.body["reason"]),
        (410, &json!("Expired"))
    );
    let token = expired.body["metadata"]["continue"]
        .as_str()
        .expect("a token that goes on");
    let rest = cluster.get(&format!("{CONFIGMAPS}?continue={token}")).await;
    assert_eq!(rest.code, 200, "{}", rest.body);
    let names: Vec<&str> = rest.body["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|i| i["metadata"]["name"].as_str())
        .collect();
    assert_eq!((rest.code, names), (200, vec!["b", "c", "d", "e"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_list_that_has_not_changed_expire_all_the_same() {
    let cluster = Cluster::new().await;
    for name in ["a", "b"] {
        cluster.create(CONFIGMAPS, configmap(name)).await;
    }
    let first = cluster.get(&format!("{CONFIGMAPS}?limit=1")).await.body;
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let goes_on = cluster.get(&format!("{CONFIGMAPS}?continue={token}")).await;
    assert_eq!(goes_on.code, 200);
    // Something else goes on.
    let secret = json!({"metadata": {"name": "s"}});
    cluster
        .create("/api/v1/namespaces/default/secrets", secret)
        .await;
    let registry = &cluster.server.core.registry;
    registry.cache.fresh().await.expect("a cache that keeps up");
    let newest = registry.store.revision().await.expect("a revision");
    registry.store.compact(newest).await.expect("compaction");
    let expired = cluster.get(&format!("{CONFIGMAPS}?continue={token}")).await;
    assert_eq!(expired.code, 410, "{}", expired.body);
    let token = expired.body["metadata"]["continue"]
        .as_str()
        .expect("a token that goes on");
    let rest = cluster.get(&format!("{CONFIGMAPS}?continue={token}")).await;
    assert_eq!(rest.body["items"][0]["metadata"]["name"], "b");
    assert_ne!(
        rest.body["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shapes_are_negotiated() {
    let cluster = Cluster::new().await;
    cluster
        .create(
            CONFIGMAPS,
            json!({"metadata": {"name": "a"}, "data": {"k": "v"}}),
        )
        .await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let got = cluster.get_as(CONFIGMAPS, table).await.body;
    assert_eq!(
        (&got["kind"], &got["apiVersion"]),
        (&json!("Table"), &json!("meta.k8s.io/v1"))
    );
    let columns: Vec<&str> = got["columnDefinitions"]
        .as_array()
        .expect("columns")
        .iter()
        .filter_map(|c| c["name"].as_str())
        .collect();
    assert_eq!(columns, ["Name", "Data", "Age"]);
    assert_eq!(
        got["rows"][0]["cells"].as_array().map(|c| c[..2].to_vec()),
        Some(vec![json!("a"), json!(1)])
    );
    assert_eq!(got["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let got = cluster
        .get_as(&format!("{CONFIGMAPS}?includeObject=Object"), table)
        .await
        .body;
    assert_eq!(got["rows"][0]["object"]["data"]["k"], "v");
    let got = cluster
        .get_as(&format!("{CONFIGMAPS}?includeObject=None"), table)
        .await
        .body;
    assert_eq!(got["rows"][0].get("object"), Some(&Value::Null));
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let got = cluster.get_as(CONFIGMAPS, partial).await.body;
    assert_eq!(
        (&got["kind"], got["items"][0].get("data")),
        (&json!("PartialObjectMetadataList"), None)
    );
    let got = cluster
        .get_as(&format!("{CONFIGMAPS}/a"), "application/yaml")
        .await;
    assert_eq!(got.headers["content-type"], "application/yaml");
    assert!(
        got.body
            .as_str()
            .is_some_and(|text| text.contains("\ndata:\n  k: v\n")),
        "{}",
        got.body
    );
    let got = cluster.get_as(CONFIGMAPS, "application/cbor").await;
    assert_eq!(
        (got.code, &got.body["reason"]),
        (406, &json!("NotAcceptable"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_served_in_both_groups() {
    let cluster = Cluster::new().await;
    let event = json!({
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reason": "Started", "message": "text", "type": "Normal",
    });
    cluster
        .create("/api/v1/namespaces/default/events", event)
        .await;
    let served = cluster
        .get("/apis/events.k8s.io/v1/namespaces/default/events/e")
        .await
        .body;
    assert_eq!(
        (&served["apiVersion"], &served["note"]),
        (&json!("events.k8s.io/v1"), &json!("text"))
    );
    assert_eq!(served["regarding"]["name"], "p");
    let list = cluster.get("/apis/events.k8s.io/v1/events").await.body;
    assert_eq!(
        (&list["apiVersion"], &list["items"][0]["note"]),
        (&json!("events.k8s.io/v1"), &json!("text"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_discovery_answer() {
    let cluster = Cluster::new().await;
    let ready = cluster.get("/readyz?verbose").await;
    assert_eq!(ready.code, 200);
    assert!(
        ready
            .body
            .as_str()
            .is_some_and(|t| t.ends_with("readyz check passed\n")),
        "{}",
        ready.body
    );
    assert_eq!(cluster.get("/livez/etcd").await.body, "ok");
    assert_eq!(cluster.get("/livez/nope").await.code, 404);
    assert_eq!(
        cluster.get("/version").await.body["gitVersion"],
        "v1.37.2+knarr"
    );
    let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let found = cluster.get_as("/apis", v2).await;
    assert_eq!(found.headers["content-type"], v2);
    assert_eq!(
        found.body["items"][0]["versions"][0]["freshness"],
        "Current"
    );
    let etag = found.headers["etag"].to_str().expect("ASCII").to_owned();
    let request = Request::get("/apis")
        .header("accept", v2)
        .header("if-none-match", etag);
    let again = cluster
        .send(request.body(Full::default()).expect("a request"))
        .await;
    assert_eq!(again.status(), 304);
    let metrics = cluster.get("/metrics").await.body;
    let metrics = metrics.as_str().expect("text");
    assert!(
        metrics.contains("apiserver_resource_objects{group=\"\",resource=\"namespaces\"} 4\n"),
        "{metrics}"
    );
}

/// The end of a feed that panicked is the drop of what it held.
#[tokio::test]
async fn a_dead_feed_is_seen_by_health() {
    let cluster = Cluster::new().await;
    assert_eq!(cluster.get("/livez").await.code, 200);
    let (core, stop) = (cluster.server.core.clone(), cluster.server.stop.clone());
    drop(FeedEnd(core, stop.clone()));
    assert_eq!(cluster.get("/livez").await.code, 500);
    assert_eq!(cluster.get("/readyz").await.code, 500);
    assert!(stop.is_cancelled(), "the server ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_lists_show_more_than_those_of_single_objects() {
    const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
    const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
    let cluster = Cluster::new().await;
    for name in ["b", "a", "c"] {
        let is_default = (name == "b").to_string();
        let key = "storageclass.kubernetes.io/is-default-class";
        let meta = json!({"name": name, "annotations": {key: is_default}});
        let class = json!({"metadata": meta, "provisioner": "x.io/p"});
        cluster.create(CLASSES, class).await;
    }
    for (name, precedence) in [("a", 30), ("b", 20), ("c", 30)] {
        let spec = json!({
            "matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": "exempt"},
        });
        let schema = json!({"metadata": {"name": name}, "spec": spec});
        cluster.create(SCHEMAS, schema).await;
    }
    let form = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let one = format!("{CLASSES}/b");
    for include in ["Metadata", "Object", "None"] {
        for (uri, wanted) in [
            (CLASSES, vec!["a", "b (default)", "c"]),
            (&one, vec!["b"]),
            (SCHEMAS, vec!["b", "a", "c"]),
        ] {
            let uri = format!("{uri}?includeObject={include}");
            let got = cluster.get_as(&uri, form).await.body;
            let rows = got["rows"].as_array().expect("rows");
            let names = rows.iter().filter_map(|r| r["cells"][0].as_str());
            // Others are the server's own.
            let ours = |name: &&str| ["a", "b", "c"].contains(&name.trim_end_matches(" (default)"));
            let names: Vec<&str> = names.filter(ours).collect();
            assert_eq!(names, wanted, "{uri}");
        }
    }
}
