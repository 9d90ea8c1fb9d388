//! What is authorized is what is served: requests that say one thing to the authorizer and another to the handler.

use http::HeaderValue;

use super::*;

fn node(name: &str) -> UserInfo {
    UserInfo {
        name: format!("system:node:{name}"),
        groups: vec![knarr_auth::authz::node::NODES_GROUP.into()],
        ..UserInfo::default()
    }
}

fn person(name: &str) -> UserInfo {
    UserInfo {
        name: name.into(),
        ..UserInfo::default()
    }
}

impl Cluster {
    async fn call_as(&self, user: UserInfo, method: Method, uri: &str, body: Value) -> Reply {
        let bytes = match body {
            Value::Null => Bytes::new(),
            body => Bytes::from(body.to_string()),
        };
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", "application/json")
            .body(Full::new(bytes))
            .expect("a request");
        let mut service = self.server.client_service(user);
        let response = tokio::time::timeout(DEADLINE, service.call(request))
            .await
            .expect("an answer in time")
            .expect("infallible");
        reply(response).await
    }

    /// Grants `ann` a rule, in a namespace or everywhere.
    async fn grant(&self, namespace: &str, verbs: &[&str], groups: &[&str], resources: &[&str]) {
        let (kinds, kind, place) = match namespace {
            "" => ("cluster", "Cluster", String::new()),
            namespace => ("", "", format!("/namespaces/{namespace}")),
        };
        let base = format!("/apis/rbac.authorization.k8s.io/v1{place}");
        let rule = json!({"verbs": verbs, "apiGroups": groups, "resources": resources});
        let name = format!("ann-{}", fastrand::u64(..));
        let role = json!({"metadata": {"name": name}, "rules": [rule]});
        self.create(&format!("{base}/{kinds}roles"), role).await;
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": format!("{kind}Role"), "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}],
        });
        self.create(&format!("{base}/{kinds}rolebindings"), binding)
            .await;
        self.settled().await;
    }

    async fn ann(&self, method: Method, uri: &str, body: Value) -> Reply {
        self.call_as(person("ann"), method, uri, body).await
    }

    /// A pod on `node1` that mounts the Secret `mine`; a Secret `theirs` beside it.
    async fn pod_with_secret(&self) {
        let secrets = "/api/v1/namespaces/default/secrets";
        for name in ["mine", "theirs"] {
            self.create(secrets, configmap(name)).await;
        }
        let accounts = "/api/v1/namespaces/default/serviceaccounts";
        self.create(accounts, configmap("default")).await;
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {
                "nodeName": "node1",
                "containers": [{"name": "c", "image": "i"}],
                "volumes": [{"name": "v", "secret": {"secretName": "mine"}}],
            },
        });
        self.create("/api/v1/namespaces/default/pods", pod).await;
        self.settled().await;
    }

    /// Authorizers judge by the cache, which has what was written once a read of it waited.
    async fn settled(&self) {
        assert_eq!(self.get("/api/v1/namespaces/default").await.code, 200);
    }
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().into_iter().flatten();
    items
        .filter_map(|i| i["metadata"]["name"].as_str())
        .collect()
}

#[tokio::test]
async fn a_node_lists_what_its_selector_names_in_whatever_form() {
    let cluster = Cluster::new().await;
    cluster.pod_with_secret().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let asked = async |query: &str| {
        let uri = format!("{secrets}?{query}");
        cluster
            .call_as(node("node1"), Method::GET, &uri, Value::Null)
            .await
    };
    for query in [
        "fieldSelector=metadata.name%3Dmine",
        "field%53elector=metadata.name%3Dmine",
    ] {
        let found = asked(query).await;
        assert_eq!(
            (found.code, names(&found.body)),
            (200, vec!["mine"]),
            "{query}"
        );
    }
    for query in [
        "",
        "fieldSelector&fieldSelector=metadata.name%3Dmine",
        "fieldSelector=&fieldSelector=metadata.name%3Dmine",
        "field%53elector=&fieldSelector=metadata.name%3Dmine",
        "field%53elector=metadata.name%3Dtheirs&fieldSelector=metadata.name%3Dmine",
        "fieldSelector=metadata.name%3Dtheirs",
        "fieldSelector=metadata.name!%3Dmine",
        "fieldSelector=metadata.name%3Dmine%zz",
        "fieldSelector=metadata.name%3Dmine&a=%ff",
        "fieldSelector=x&fieldSelector=metadata.name%3Dmine",
    ] {
        let found = asked(query).await;
        assert!(
            matches!(found.code, 400 | 403),
            "{query}: {} {}",
            found.code,
            found.body
        );
    }
}

#[tokio::test]
async fn the_old_watch_form_only_watches() {
    let cluster = Cluster::new().await;
    cluster.pod_with_secret().await;
    cluster
        .grant("", &["get", "list", "watch"], &["*"], &["*"])
        .await;
    let pod = "namespaces/default/pods/p";
    for (method, path, code) in [
        (Method::POST, format!("{pod}/exec?command=id"), 404),
        (Method::GET, format!("{pod}/exec?command=id"), 404),
        (Method::POST, format!("{pod}/attach"), 404),
        (Method::POST, "nodes/node1/proxy/run".to_owned(), 404),
        (Method::DELETE, pod.to_owned(), 405),
        (Method::PATCH, pod.to_owned(), 405),
        (Method::POST, "namespaces/default/pods".to_owned(), 405),
        (
            Method::GET,
            format!("{pod}?fieldSelector=metadata.name%3Dq"),
            400,
        ),
        (
            Method::GET,
            format!("{pod}?fieldSelector=spec.nodeName%3Dnode1"),
            400,
        ),
    ] {
        let found = cluster
            .ann(
                method.clone(),
                &format!("/api/v1/watch/{path}"),
                Value::Null,
            )
            .await;
        assert_eq!(found.code, code, "{method} {path}: {}", found.body);
    }
}

#[tokio::test]
async fn rights_in_a_namespace_reach_no_other() {
    let cluster = Cluster::new().await;
    cluster.grant("default", &["*"], &["*"], &["*"]).await;
    for (method, path) in [
        (
            Method::GET,
            "/api/v1/namespaces/default/namespaces/kube-system",
        ),
        (Method::GET, "/api/v1/namespaces/default/namespaces"),
        (
            Method::DELETE,
            "/api/v1/namespaces/default/namespaces/kube-public",
        ),
        (
            Method::PUT,
            "/api/v1/namespaces/default/namespaces/kube-public/finalize",
        ),
        (Method::GET, "/api/v1/namespaces/default/nodes"),
        (
            Method::GET,
            "/api/v1/namespaces/default%2F..%2Fkube-system/configmaps",
        ),
        (
            Method::GET,
            "/api/v1/namespaces/default/../kube-system/configmaps",
        ),
    ] {
        let found = cluster.ann(method.clone(), path, Value::Null).await;
        assert!(
            matches!(found.code, 403 | 404),
            "{method} {path}: {}",
            found.code
        );
    }
    let own = cluster
        .ann(Method::GET, "/api/v1/namespaces/default", Value::Null)
        .await;
    assert_eq!(own.code, 200, "{}", own.body);
    let there = cluster.get("/api/v1/namespaces/kube-public").await;
    assert!(there.body["metadata"]["deletionTimestamp"].is_null());
}

#[tokio::test]
async fn a_verb_does_what_it_says() {
    let cluster = Cluster::new().await;
    cluster.pod_with_secret().await;
    cluster
        .grant(
            "",
            &["create", "update", "patch", "delete"],
            &["*"],
            &["pods/log", "pods/status"],
        )
        .await;
    let log = "/api/v1/namespaces/default/pods/p/log";
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let found = cluster.ann(method.clone(), log, json!({})).await;
        assert_eq!(found.code, 405, "{method}: {}", found.body);
    }
}

#[tokio::test]
async fn an_update_that_creates_needs_the_right_to_create() {
    let cluster = Cluster::new().await;
    let groups = &["coordination.k8s.io"];
    cluster.grant("", &["update"], groups, &["leases"]).await;
    let uri = "/apis/coordination.k8s.io/v1/namespaces/default/leases/a";
    let lease = json!({"metadata": {"name": "a"}, "spec": {}});
    let refused = cluster.ann(Method::PUT, uri, lease.clone()).await;
    assert_eq!(refused.code, 403, "{}", refused.body);
    cluster.grant("", &["create"], groups, &["leases"]).await;
    // It is meant for an object that is gone.
    let mut other = lease.clone();
    other["metadata"]["uid"] = "x".into();
    let refused = cluster.ann(Method::PUT, uri, other).await;
    assert_eq!(refused.code, 409, "{}", refused.body);
    let made = cluster.ann(Method::PUT, uri, lease).await;
    assert_eq!(made.code, 201, "{}", made.body);
}

#[tokio::test]
async fn a_header_that_cannot_be_understood_is_refused() {
    let cluster = Cluster::new().await;
    for (name, value, code) in [
        ("impersonate-user", &b"j\xfcrgen"[..], 400),
        ("impersonate-user", "jürgen".as_bytes(), 403),
        ("impersonate-user", b"", 400),
        ("impersonate-group", b"devs\xff", 400),
        ("impersonate-extra-%zz", b"a", 400),
        ("impersonate-users", b"ann", 400),
        ("accept", b"application/json\xff", 400),
        ("content-type", b"application/json\xff", 400),
        ("accept-language", b"\xff", 200),
    ] {
        let mut request = Request::get("/api/v1/namespaces/default/secrets")
            .body(Full::default())
            .expect("a request");
        let name: http::HeaderName = name.parse().expect("a name");
        let value = HeaderValue::from_bytes(value).expect("a value");
        request.headers_mut().insert(name.clone(), value.clone());
        let answer = reply(cluster.send(request).await).await;
        assert_eq!(answer.code, code, "{name}: {value:?}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_refused_service_gives_back_nothing_of_others() {
    let cluster = Cluster::new().await;
    let services = "/api/v1/namespaces/default/services";
    let dns = "/api/v1/namespaces/kube-system/services/kube-dns";
    let ip = cluster.get(dns).await.body["spec"]["clusterIP"].clone();
    for spec in [
        json!({"ports": [{"port": 80}], "clusterIP": "10.43.0.77", "clusterIPs": ["10.43.0.77", ip]}),
        json!({"ports": [{"port": 80}], "clusterIP": "10.43.0.77", "clusterIPs": ["10.43.0.77", ip], "ipFamilyPolicy": "PreferDualStack"}),
        json!({"ports": [{"port": 0}], "clusterIP": ip}),
    ] {
        let thief = json!({"metadata": {"name": "thief"}, "spec": spec});
        let refused = cluster.call(Method::POST, services, thief).await;
        assert_eq!(refused.code, 422, "{}", refused.body);
        let thief = json!({"metadata": {"name": "thief"}, "spec": {"ports": [{"port": 80}], "clusterIP": ip}});
        let refused = cluster.call(Method::POST, services, thief).await;
        assert_eq!(refused.code, 422, "{}", refused.body);
        let message = refused.body["message"].as_str().unwrap_or_default();
        assert!(
            message.contains("provided IP is already allocated"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_binding_keeps_its_preconditions_and_gates() {
    let cluster = Cluster::new().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    cluster.create(accounts, configmap("default")).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |name: &str, gates: Value| {
        json!({
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "i"}], "schedulingGates": gates},
        })
    };
    cluster
        .create(pods, pod("gated", json!([{"name": "a.io/wait"}])))
        .await;
    let free = cluster.create(pods, pod("free", json!([]))).await;
    let bind = async |name: &str, meta: Value, target: &str| {
        let mut binding =
            json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": target}});
        for (field, value) in meta.as_object().into_iter().flatten() {
            binding["metadata"][field] = value.clone();
        }
        let uri = format!("{pods}/{name}/binding");
        let reply = cluster.call(Method::POST, &uri, binding).await;
        (
            reply.code,
            reply.body["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    let unnamed = json!({"metadata": {"name": "a/b"}, "target": {"kind": "Node", "name": "n"}});
    let all = "/api/v1/namespaces/default/bindings";
    let reply = cluster.call(Method::POST, all, unnamed).await;
    let why = r#"Name parameter invalid: "a/b": may not contain '/'"#;
    assert_eq!(
        (reply.code, reply.body["message"].as_str()),
        (400, Some(why))
    );
    for (name, meta, target, code, why) in [
        (
            "gated",
            json!({}),
            "n",
            409,
            "pod gated has non-empty .spec.schedulingGates",
        ),
        (
            "free",
            json!({"resourceVersion": "1"}),
            "n",
            409,
            "ResourceVersion in precondition: 1",
        ),
        (
            "free",
            json!({"uid": "x"}),
            "n",
            409,
            "UID in precondition: x",
        ),
        (
            "free",
            json!({"namespace": "kube-system"}),
            "n",
            400,
            "the namespace of the provided object",
        ),
        (
            "free",
            json!({}),
            "no/node",
            422,
            "target.name: Invalid value",
        ),
        ("free", json!({}), "", 422, "target.name: Required value"),
    ] {
        let (found, message) = bind(name, meta, target).await;
        assert_eq!(found, code, "{message}");
        assert!(message.contains(why), "{message}");
    }
    let version = free["metadata"]["resourceVersion"].clone();
    let meta = json!({"resourceVersion": version, "uid": free["metadata"]["uid"], "labels": {"zone": "a"}});
    assert_eq!(bind("free", meta, "n").await.0, 201);
    let bound = cluster.get(&format!("{pods}/free")).await.body;
    assert_eq!(
        (
            &bound["spec"]["nodeName"],
            &bound["metadata"]["labels"]["zone"]
        ),
        (&json!("n"), &json!("a"))
    );
}

#[tokio::test]
async fn a_precondition_of_the_wrong_type_is_no_leave_to_delete() {
    let cluster = Cluster::new().await;
    cluster.create(CONFIGMAPS, configmap("a")).await;
    let uri = format!("{CONFIGMAPS}/a");
    for options in [
        json!({"preconditions": {"uid": 5}}),
        json!({"preconditions": {"uid": "x"}}),
        json!({"preconditions": "x"}),
        json!({"dryRun": "All"}),
        json!({"gracePeriodSeconds": "0"}),
    ] {
        let refused = cluster.call(Method::DELETE, &uri, options.clone()).await;
        assert!(
            matches!(refused.code, 400 | 409),
            "{options}: {}",
            refused.body
        );
    }
    assert_eq!(cluster.get(&uri).await.code, 200);
    // Options that are not there, as Go writes them, ask for nothing.
    let none = Request::delete(&uri)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(b"null")))
        .expect("a request");
    assert_eq!(cluster.send(none).await.status(), 200);
    assert_eq!(cluster.get(&uri).await.code, 404);
}

#[tokio::test]
async fn events_answer_the_labels_of_both_groups() {
    let cluster = Cluster::new().await;
    let event = json!({
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Why", "type": "Normal", "reportingComponent": "tester", "reportingInstance": "i",
    });
    cluster
        .create("/api/v1/namespaces/default/events", event)
        .await;
    let core = "/api/v1/namespaces/default/events";
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    for (base, selector, found) in [
        (
            core,
            "reportingComponent=tester,involvedObject.kind=Pod",
            Ok(1),
        ),
        (core, "source=tester", Ok(1)),
        (core, "reportingComponent=other", Ok(0)),
        (core, "reportingController=tester", Err(400)),
        (core, "regarding.kind=Pod", Err(400)),
        (
            events,
            "reportingController=tester,regarding.kind=Pod",
            Ok(1),
        ),
        (events, "regarding.name=q", Ok(0)),
        (events, "metadata.name=e,reason=Why,type=Normal", Ok(1)),
        (events, "involvedObject.kind=Pod", Err(400)),
        (events, "reportingComponent=tester", Err(400)),
    ] {
        let encoded = selector.replace('=', "%3D").replace(',', "%2C");
        let reply = cluster
            .get(&format!("{base}?fieldSelector={encoded}"))
            .await;
        let got = match reply.code {
            200 => Ok(names(&reply.body).len()),
            code => Err(code),
        };
        assert_eq!(got, found, "{base} {selector}: {}", reply.body);
    }
}
