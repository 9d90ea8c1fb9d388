use super::*;

/// What differs from run to run, made the same.
fn golden(mut object: Value) -> String {
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["uid", "creationTimestamp", "resourceVersion"] {
            if meta
                .get(field)
                .and_then(Value::as_str)
                .is_some_and(|v| !v.is_empty())
            {
                meta.insert(field.into(), json!("<set>"));
            }
        }
    }
    let managers = object.pointer_mut("/metadata/managedFields");
    for manager in managers.and_then(Value::as_array_mut).into_iter().flatten() {
        manager["time"] = json!("<set>");
    }
    serde_json::to_string_pretty(&object).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_complete_objects() {
    let cluster = Cluster::new().await;
    let made = cluster
        .create("/api/v1/namespaces/default/services", json!({
            "metadata": {"name": "web", "uid": "mine", "generation": 7},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}], "clusterIP": "10.43.0.99"},
        }))
        .await;
    expect_test::expect_file!["golden/service.json"].assert_eq(&golden(made));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_upstreams_words() {
    let cluster = Cluster::new().await;
    cluster.create(CONFIGMAPS, configmap("a")).await;
    let mut table = String::new();
    let a = format!("{CONFIGMAPS}/a");
    for (method, uri, body) in [
        (
            Method::GET,
            "/api/v1/namespaces/default/configmaps/nope",
            Value::Null,
        ),
        (Method::GET, "/api/v1/nope", Value::Null),
        (Method::GET, "/apis/apps/v9/deployments", Value::Null),
        (Method::POST, CONFIGMAPS, configmap("a")),
        (Method::POST, CONFIGMAPS, configmap("Bad_Name")),
        (Method::POST, CONFIGMAPS, json!({"metadata": {}})),
        (
            Method::POST,
            CONFIGMAPS,
            json!({"metadata": {"name": "b", "namespace": "other"}}),
        ),
        (
            Method::POST,
            CONFIGMAPS,
            json!({"metadata": {"name": "b", "resourceVersion": "1"}}),
        ),
        (
            Method::POST,
            CONFIGMAPS,
            json!({"kind": "Secret", "apiVersion": "v1"}),
        ),
        (
            Method::POST,
            CONFIGMAPS,
            json!({"apiVersion": "v2", "metadata": {"name": "b"}}),
        ),
        (Method::POST, CONFIGMAPS, json!({"kind": true})),
        (Method::POST, CONFIGMAPS, json!({"apiVersion": 1})),
        (Method::POST, CONFIGMAPS, json!([1])),
        (Method::POST, "/api/v1/configmaps", configmap("b")),
        (
            Method::POST,
            "/api/v1/namespaces/nope/configmaps",
            configmap("b"),
        ),
        (Method::PUT, &a, json!({"metadata": {"name": "b"}})),
        (
            Method::PUT,
            &a,
            json!({"metadata": {"name": "a", "resourceVersion": "1"}}),
        ),
        (
            Method::PUT,
            &a,
            json!({"metadata": {"name": "a", "uid": "other"}}),
        ),
        (
            Method::DELETE,
            &a,
            json!({"preconditions": {"resourceVersion": "1"}}),
        ),
        // Not the same as none: a client that forgot to fill it in must not delete what has the name by now.
        (Method::DELETE, &a, json!({"preconditions": {"uid": ""}})),
        (
            Method::DELETE,
            &a,
            json!({"preconditions": {"resourceVersion": ""}}),
        ),
        (Method::DELETE, &a, json!({"dryRun": ["Some"]})),
        (Method::DELETE, &a, json!({"propagationPolicy": "Sideways"})),
        (Method::POST, &a, configmap("a")),
        (Method::GET, "/api/v1/pods?limit=x", Value::Null),
        (Method::GET, "/api/v1/pods?continue=x", Value::Null),
        (
            Method::GET,
            "/api/v1/pods?resourceVersionMatch=Exact",
            Value::Null,
        ),
        (
            Method::GET,
            "/api/v1/pods?resourceVersion=9999999",
            Value::Null,
        ),
        (
            Method::GET,
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            Value::Null,
        ),
    ] {
        let reply = cluster.call(method.clone(), uri, body.clone()).await;
        assert_eq!(reply.body["code"], reply.code, "{method} {uri}");
        let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
        let message = text(&reply.body["message"]);
        let message = message.split(", current: ").next().unwrap_or("");
        let message = message.split("UID in object meta: ").next().unwrap_or("");
        let message = message.split("in record (").next().unwrap_or("");
        table.push_str(&format!(
            "{method} {uri} {body}\n  {} {} {message}\n",
            reply.code,
            text(&reply.body["reason"])
        ));
    }
    expect_test::expect_file!["golden/errors.txt"].assert_eq(&table);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sets_a_time_of_deletion_or_another_type() {
    let cluster = Cluster::new().await;
    cluster.create(CONFIGMAPS, configmap("a")).await;
    let a = format!("{CONFIGMAPS}/a");
    for (metadata, wanted) in [
        (
            json!({"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}),
            r#"metadata.deletionTimestamp: Invalid value: "2026-01-01T00:00:00Z": field is immutable"#,
        ),
        (
            json!({"name": "a", "deletionGracePeriodSeconds": 5}),
            "metadata.deletionGracePeriodSeconds: Invalid value: 5: field is immutable",
        ),
    ] {
        let body = json!({"metadata": metadata});
        let refused = cluster.call(Method::PUT, &a, body).await;
        let message = refused.body["message"].as_str().unwrap_or_default();
        assert_eq!(
            (refused.code, message),
            (422, &*format!("ConfigMap \"a\" is invalid: {wanted}"))
        );
    }
    for (patch, wanted) in [
        (
            json!({"kind": "Secret"}),
            Some("converting (v1.Secret) to (core.ConfigMap): unknown conversion"),
        ),
        (
            json!({"apiVersion": "apps/v1"}),
            Some(
                r#"no kind "ConfigMap" is registered for version "apps/v1" in scheme "pkg/api/legacyscheme/scheme.go:30""#,
            ),
        ),
        (json!({"kind": null}), None),
    ] {
        let answer = cluster.merge(&a, patch).await;
        let message = answer.body["message"].as_str().unwrap_or_default();
        match wanted {
            Some(why) => assert!(answer.code == 422 && message.ends_with(why), "{message}"),
            None => assert_eq!(answer.code, 200, "{message}"),
        }
    }
    let empty = cluster
        .call(
            Method::POST,
            &format!("{CONFIGMAPS}?dryRun="),
            configmap("b"),
        )
        .await;
    let message = empty.body["message"].as_str().unwrap_or_default();
    assert!(
        message.ends_with(r#"dryRun: Unsupported value: [""]: supported values: "All""#),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_asks_is_not_refused() {
    let cluster = Cluster::new().await;
    // The store is not asked.
    let body = json!({"metadata": {"name": "a", "resourceVersion": "5"}});
    let dry = format!("{CONFIGMAPS}?dryRun=All");
    assert_eq!(cluster.call(Method::POST, &dry, body).await.code, 201);
    // Objects of the cluster are in no namespace, whatever they say.
    let class = json!({"metadata": {"name": "a", "namespace": "default"}, "value": 1});
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let made = cluster.call(Method::POST, classes, class).await;
    assert_eq!(
        (made.code, made.body["metadata"].get("namespace")),
        (201, None),
        "{}",
        made.body
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_warn_or_fail() {
    let cluster = Cluster::new().await;
    let body = json!({"metadata": {"name": "a"}, "dataa": {}});
    let warned = cluster
        .call(
            Method::POST,
            &format!("{CONFIGMAPS}?dryRun=All"),
            body.clone(),
        )
        .await;
    assert_eq!(warned.code, 201);
    assert_eq!(
        warned.headers["warning"],
        "299 - \"unknown field \\\"dataa\\\"\""
    );
    let ignored = cluster
        .call(
            Method::POST,
            &format!("{CONFIGMAPS}?dryRun=All&fieldValidation=Ignore"),
            body.clone(),
        )
        .await;
    assert_eq!((ignored.code, ignored.headers.get("warning")), (201, None));
    let strict = cluster
        .call(
            Method::POST,
            &format!("{CONFIGMAPS}?fieldValidation=Strict"),
            body,
        )
        .await;
    assert_eq!(
        strict.body["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dataa\""
    );
    assert_eq!(
        cluster.get(&format!("{CONFIGMAPS}/a")).await.code,
        404,
        "nothing was written"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_errors_come_in_the_order_of_the_document() {
    let cluster = Cluster::new().await;
    let request = Request::post(format!("{CONFIGMAPS}?fieldValidation=Strict"))
        .header("content-type", "application/json")
        .body(Full::from(
            r#"{"zzz": 1, "metadata": {"name": "a", "name": "b"}, "aaa": 1, "kind": "ConfigMap", "kind": "ConfigMap"}"#,
        ))
        .expect("a request");
    let refused = reply(cluster.send(request).await).await;
    assert_eq!(
        refused.body["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"zzz\", \
         duplicate field \"metadata.name\", unknown field \"aaa\", duplicate field \"kind\""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_op_writes_do_not_write() {
    let cluster = Cluster::new().await;
    let made = cluster
        .create(
            CONFIGMAPS,
            json!({"metadata": {"name": "a"}, "data": {"k": "v"}}),
        )
        .await;
    let url = format!("{CONFIGMAPS}/a");
    let put = cluster.call(Method::PUT, &url, made.clone()).await;
    assert_eq!((put.code, put.body), (200, made.clone()));
    let patched = cluster.merge(&url, json!({"data": {"k": "v"}})).await;
    assert_eq!(patched.body, made);
    let dry = cluster
        .merge(&format!("{url}?dryRun=All"), json!({"data": {"k": "w"}}))
        .await;
    assert_eq!(
        (&dry.body["data"]["k"], version(&dry.body)),
        (&json!("w"), version(&made))
    );
    assert_eq!(cluster.get(&url).await.body, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_patches_all_land() {
    let cluster = Arc::new(Cluster::new().await);
    cluster.create(CONFIGMAPS, configmap("a")).await;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..24 {
        let cluster = cluster.clone();
        writers.spawn(async move {
            let key = format!("k{n}");
            cluster
                .merge(&format!("{CONFIGMAPS}/a"), json!({"data": {key: "v"}}))
                .await
                .code
        });
    }
    assert!(writers.join_all().await.iter().all(|code| *code == 200));
    let data = &cluster.get(&format!("{CONFIGMAPS}/a")).await.body["data"];
    assert_eq!(data.as_object().map(serde_json::Map::len), Some(24));
}

#[tokio::test(flavor = "multi_thread")]
async fn generations_count_changes_of_the_spec() {
    let cluster = Cluster::new().await;
    let url = "/apis/apps/v1/namespaces/default/deployments";
    let pod = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": pod});
    let made = cluster
        .create(
            url,
            json!({"metadata": {"name": "d"}, "spec": spec, "status": {"replicas": 9}}),
        )
        .await;
    let generation = |object: &Value| object["metadata"]["generation"].as_i64();
    assert_eq!(
        (generation(&made), &made["spec"]["replicas"]),
        (Some(1), &json!(1))
    );
    assert_eq!(
        made["status"].get("replicas"),
        None,
        "status is not the creator's"
    );
    let url = format!("{url}/d");
    let labelled = cluster
        .merge(
            &url,
            json!({"metadata": {"labels": {"x": "y"}}, "status": {"replicas": 3}}),
        )
        .await
        .body;
    assert_eq!(
        (generation(&labelled), labelled["status"].get("replicas")),
        (Some(1), None)
    );
    let scale = cluster
        .merge(&format!("{url}/scale"), json!({"spec": {"replicas": 5}}))
        .await
        .body;
    assert_eq!(
        (
            &scale["kind"],
            &scale["spec"]["replicas"],
            &scale["status"]["selector"]
        ),
        (&json!("Scale"), &json!(5), &json!("a=b"))
    );
    let status = cluster
        .merge(
            &format!("{url}/status"),
            json!({"spec": {"replicas": 7}, "status": {"replicas": 2}}),
        )
        .await
        .body;
    assert_eq!(
        (
            generation(&status),
            &status["spec"]["replicas"],
            &status["status"]["replicas"]
        ),
        (Some(2), &json!(5), &json!(2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_sealed_in_the_store() {
    let cluster = Cluster::new().await;
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}});
    cluster
        .create("/api/v1/namespaces/default/secrets", secret)
        .await;
    let store = &cluster.server.core.registry.store;
    let (_, stored) = store
        .get("/registry/secrets/default/s", None)
        .await
        .expect("a read");
    let stored = stored.expect("the secret").value;
    assert!(stored.starts_with(b"k8s:enc:aesgcm:v1:"));
    let served = cluster
        .get("/api/v1/namespaces/default/secrets/s")
        .await
        .body;
    assert_eq!(served["data"]["password"], "aHVudGVyMg==");
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_are_deleted_by_selector() {
    let cluster = Cluster::new().await;
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "x")] {
        cluster
            .create(
                CONFIGMAPS,
                json!({"metadata": {"name": name, "labels": {"app": app}}}),
            )
            .await;
    }
    let deleted = cluster
        .call(
            Method::DELETE,
            &format!("{CONFIGMAPS}?labelSelector=app%3Dx"),
            Value::Null,
        )
        .await;
    assert_eq!(
        (deleted.code, deleted.body["items"].as_array().map(Vec::len)),
        (200, Some(2))
    );
    let left = cluster.get(CONFIGMAPS).await.body;
    assert_eq!(left["items"][0]["metadata"]["name"], "b");
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn preconditions_hold_in_queries_too() {
    let cluster = Cluster::new().await;
    let made = cluster.create(CONFIGMAPS, configmap("a")).await;
    let uid = made["metadata"]["uid"].as_str().expect("a uid");
    for (query, code) in [
        ("uid=other".to_owned(), 409),
        ("resourceVersion=1".to_owned(), 409),
        // Empty ones are none, unlike in a body.
        (format!("uid={uid}&resourceVersion="), 200),
    ] {
        let uri = format!("{CONFIGMAPS}/a?{query}");
        let reply = cluster.call(Method::DELETE, &uri, Value::Null).await;
        assert_eq!(reply.code, code, "{query}: {}", reply.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_names_and_yaml() {
    let cluster = Cluster::new().await;
    let made = cluster
        .create(CONFIGMAPS, json!({"metadata": {"generateName": "x-"}}))
        .await;
    assert!(
        made["metadata"]["name"]
            .as_str()
            .is_some_and(|n| n.starts_with("x-") && n.len() == 7)
    );
    let request = Request::post(CONFIGMAPS)
        .header("content-type", "application/yaml")
        .body(Full::from(
            "metadata:\n  name: why\ndata:\n  k: 'v'\n  y: 'yes'\nimmutable: yes\n",
        ))
        .expect("a request");
    let reply = reply(cluster.send(request).await).await;
    assert_eq!((reply.code, &reply.body["data"]["k"]), (201, &json!("v")));
    assert_eq!(reply.body["immutable"], true);
    let yaml = cluster
        .get_as(&format!("{CONFIGMAPS}/why"), "application/yaml")
        .await;
    let yaml = yaml.body.as_str().unwrap_or_default().to_owned();
    let read = crate::yaml::parse(yaml.as_bytes()).expect("YAML");
    assert_eq!(read["data"], json!({"k": "v", "y": "yes"}), "{yaml}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused() {
    let cluster = Cluster::new().await;
    let mut stranger = cluster.server.client_service(UserInfo {
        name: "eve".into(),
        ..UserInfo::default()
    });
    let request = Request::get(CONFIGMAPS)
        .body(Full::<Bytes>::default())
        .expect("a request");
    let response = stranger.call(request).await.expect("infallible");
    let refused = reply(response).await;
    assert_eq!(
        (refused.code, refused.body["message"].as_str()),
        (
            403,
            Some(
                "configmaps is forbidden: User \"eve\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
            )
        )
    );
}
