//! Who has rights in one namespace has none elsewhere, and cannot make more of them.

use super::*;

const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/own/rolebindings";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/own/roles";
const GROUP: &str = "rbac.authorization.k8s.io";

/// Of what is in a namespace, what its administrators (ClusterRole `admin`) may not do: upstream's `viewRules`, `editRules` and
/// `system:aggregate-to-admin` (plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go) leave it out.
const NOT_OF_ADMINS: Allowed = &[
    ("create", &["/bindings", "/pods/binding"]),
    (
        "create delete deletecollection patch update",
        &[
            "/endpoints",
            "/limitranges",
            "/podtemplates",
            "/resourcequotas",
            "apps/controllerrevisions",
            "certificates.k8s.io/podcertificaterequests",
            "discovery.k8s.io/endpointslices",
            "example.com/widgets",
            "storage.k8s.io/csistoragecapacities",
        ],
    ),
    (
        "get list watch",
        &[
            "/podtemplates",
            "certificates.k8s.io/podcertificaterequests",
            "example.com/widgets",
            "storage.k8s.io/csistoragecapacities",
        ],
    ),
    (
        "get",
        &[
            "/pods/ephemeralcontainers",
            "/pods/resize",
            "certificates.k8s.io/podcertificaterequests/status",
            "example.com/widgets/scale",
            "example.com/widgets/status",
        ],
    ),
    (
        "patch update",
        &[
            "/persistentvolumeclaims/status",
            "/pods/ephemeralcontainers",
            "/pods/resize",
            "/pods/status",
            "/replicationcontrollers/status",
            "/resourcequotas/status",
            "/services/status",
            "apps/daemonsets/status",
            "apps/deployments/status",
            "apps/replicasets/status",
            "apps/statefulsets/status",
            "autoscaling/horizontalpodautoscalers/status",
            "batch/cronjobs/status",
            "batch/jobs/status",
            "certificates.k8s.io/podcertificaterequests/status",
            "example.com/widgets/scale",
            "example.com/widgets/status",
            "networking.k8s.io/ingresses/status",
            "policy/poddisruptionbudgets/status",
            "resource.k8s.io/resourceclaims/status",
        ],
    ),
];

fn of_user(name: &str) -> Value {
    json!([{"apiGroup": GROUP, "kind": "User", "name": name}])
}

fn cluster_role(name: &str) -> Value {
    json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": name})
}

impl Cluster {
    /// A namespace `own`, in which `ann` has ClusterRoles.
    async fn with_rights_of(roles: &[&str]) -> Cluster {
        let cluster = cluster().await;
        for namespace in ["own", "other"] {
            cluster
                .create("/api/v1/namespaces", configmap(namespace))
                .await;
        }
        // Without it nobody makes pods.
        let accounts = "/api/v1/namespaces/own/serviceaccounts";
        cluster.create(accounts, configmap("default")).await;
        for role in roles {
            let binding = json!({
                "metadata": {"name": role.replace(':', "-")}, "roleRef": cluster_role(role), "subjects": of_user("ann"),
            });
            cluster.create(BINDINGS, binding).await;
        }
        // Authorizers judge by the cache, which has what was written once a read of it waited.
        assert_eq!(cluster.get("/api/v1/namespaces/own").await.code, 200);
        cluster
    }

    async fn as_ann(&self, headers: &[(&str, &str)], how: &str, uri: &str, body: Value) -> Reply {
        let (method, content_type) = match how {
            "APPLY" => ("PATCH", "application/apply-patch+yaml"),
            "MERGE" => ("PATCH", "application/merge-patch+json"),
            "JSON" => ("PATCH", "application/json-patch+json"),
            method => (method, "application/json"),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", content_type);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("a request");
        let ann = user("ann", &["system:authenticated"]).user;
        let mut service = self.server.client_service(ann);
        let answer = tokio::time::timeout(DEADLINE, service.call(request)).await;
        reply(answer.expect("in time").expect("infallible")).await
    }
}

fn ann() -> Asker {
    user("ann", &["system:authenticated"])
}

/// The roles that make up `admin`, which a controller puts together.
const ADMIN: &[&str] = &[
    "system:aggregate-to-admin",
    "system:aggregate-to-edit",
    "system:aggregate-to-view",
];

#[tokio::test]
async fn all_rights_in_a_namespace_are_none_elsewhere() {
    let cluster = Cluster::with_rights_of(&["cluster-admin"]).await;
    assert_refused(&cluster, &ann(), &[OF_AUTHENTICATED]).await;
    // In it there is nothing that is refused.
    for question in questions(&cluster, "own").await {
        if question.uri.contains("/namespaces/own/") {
            let code = code(&cluster, &ann(), &question).await;
            assert!(!matches!(code, 401 | 403), "{question:?}: {code}");
        }
    }
}

#[tokio::test]
async fn administrators_of_a_namespace_may_what_upstreams_may() {
    let cluster = Cluster::with_rights_of(ADMIN).await;
    assert_refused(&cluster, &ann(), &[OF_AUTHENTICATED]).await;
    let mut refused = BTreeSet::new();
    for question in questions(&cluster, "own").await {
        if !question.uri.contains("/namespaces/own/") {
            continue;
        }
        if matches!(code(&cluster, &ann(), &question).await, 401 | 403) {
            refused.insert((question.verb, question.of));
        }
    }
    let wanted: BTreeSet<(String, String)> = NOT_OF_ADMINS
        .iter()
        .flat_map(|(verbs, resources)| {
            let verbs = verbs.split(' ');
            verbs.flat_map(|verb| resources.iter().map(move |of| (verb, *of)))
        })
        .map(|(verb, of)| (verb.to_owned(), of.to_owned()))
        .collect();
    let unexpected: Vec<_> = refused.difference(&wanted).collect();
    let missing: Vec<_> = wanted.difference(&refused).collect();
    assert!(
        unexpected.is_empty() && missing.is_empty(),
        "refused: {unexpected:#?}\nallowed: {missing:#?}"
    );
}

fn role(rule: Value) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": [rule]})
}

fn binding(name: &str, role: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": cluster_role(role), "subjects": of_user("ann"),
    })
}

#[tokio::test]
async fn nobody_makes_more_of_the_rights_they_have() {
    let cluster = Cluster::with_rights_of(ADMIN).await;
    let rule = |verbs: Value, group: &str, of: &str| json!({"verbs": verbs, "apiGroups": [group], "resources": [of]});
    let held = rule(json!(["get", "delete"]), "", "pods");
    cluster.create(ROLES, role(held.clone())).await;
    let of_others = json!({
        "metadata": {"name": "theirs"}, "roleRef": cluster_role("cluster-admin"), "subjects": of_user("bob"),
    });
    cluster.create(BINDINGS, of_others).await;
    let (r, theirs) = (format!("{ROLES}/r"), format!("{BINDINGS}/theirs"));
    for more in [
        rule(json!(["*"]), "*", "*"),
        rule(json!(["*"]), "", "pods"),
        rule(json!(["get"]), "", "nodes"),
        rule(json!(["create"]), "", "pods/binding"),
        rule(json!(["update"]), "", "pods/status"),
        rule(json!(["impersonate"]), "", "users"),
        rule(json!(["escalate"]), GROUP, "roles"),
        rule(json!(["bind"]), GROUP, "clusterroles"),
        rule(json!(["approve"]), "certificates.k8s.io", "signers"),
    ] {
        let mut other = role(more.clone());
        other["metadata"]["name"] = "other".into();
        for (how, uri, body) in [
            ("POST", ROLES, other.clone()),
            ("PUT", &format!("{ROLES}/other"), other.clone()),
            ("APPLY", &format!("{ROLES}/other?fieldManager=a"), other),
            ("PUT", &r, role(more.clone())),
            ("MERGE", &r, json!({"rules": [more]})),
            (
                "JSON",
                &r,
                json!([{"op": "add", "path": "/rules/-", "value": more}]),
            ),
            (
                "APPLY",
                &format!("{r}?fieldManager=a&force=true"),
                role(more),
            ),
        ] {
            let found = cluster.as_ann(&[], how, uri, body).await;
            let message = found.body["message"].as_str().unwrap_or_default();
            assert_eq!(found.code, 403, "{how} {uri}: {}", found.body);
            assert!(
                message.contains("is attempting to grant RBAC permissions not currently held"),
                "{message}"
            );
        }
    }
    for (how, uri, body) in [
        ("POST", BINDINGS, binding("mine", "cluster-admin")),
        ("POST", BINDINGS, binding("mine", "system:node")),
        (
            "PUT",
            &format!("{BINDINGS}/mine"),
            binding("mine", "cluster-admin"),
        ),
        (
            "APPLY",
            &format!("{BINDINGS}/mine?fieldManager=a"),
            binding("mine", "cluster-admin"),
        ),
        ("MERGE", &theirs, json!({"subjects": of_user("ann")})),
        ("PUT", &theirs, binding("theirs", "cluster-admin")),
    ] {
        let found = cluster.as_ann(&[], how, uri, body).await;
        assert_eq!(found.code, 403, "{how} {uri}: {}", found.body);
    }
    // What they have they may give.
    for (how, uri, body) in [
        (
            "PUT",
            r.as_str(),
            role(rule(json!(["list"]), "apps", "deployments")),
        ),
        (
            "POST",
            BINDINGS,
            binding("mine", "system:aggregate-to-edit"),
        ),
        (
            "MERGE",
            &theirs,
            json!({"metadata": {"finalizers": ["a.io/b"]}}),
        ),
        ("DELETE", &theirs, Value::Null),
    ] {
        let found = cluster.as_ann(&[], how, uri, body).await;
        assert!(found.code < 300, "{how} {uri}: {}", found.body);
    }
}

#[tokio::test]
async fn nobody_acts_as_others_without_the_right_to() {
    let cluster = Cluster::with_rights_of(ADMIN).await;
    for namespace in ["own", "other"] {
        let uri = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        cluster.create(&uri, configmap("builder")).await;
    }
    let own = ("impersonate-user", "system:serviceaccount:own:builder");
    let with = |name: &'static str, value: &'static str| vec![own, (name, value)];
    for (headers, code) in [
        (vec![own], 200),
        (with("impersonate-group", "system:masters"), 403),
        (with("impersonate-group", "system:serviceaccounts"), 403),
        (with("impersonate-uid", "1"), 403),
        (with("impersonate-extra-scopes", "all"), 403),
        (
            vec![("impersonate-user", "system:serviceaccount:other:builder")],
            403,
        ),
        (
            vec![(
                "impersonate-user",
                "system:serviceaccount:kube-system:default",
            )],
            403,
        ),
        (vec![("impersonate-user", "system:node:test")], 403),
        (vec![("impersonate-user", "bob")], 403),
        (vec![("impersonate-user", "ann")], 403),
    ] {
        let found = cluster.as_ann(&headers, "GET", "/api", Value::Null).await;
        assert_eq!(found.code, code, "{headers:?}: {}", found.body);
    }
    for (namespace, code) in [("own", 201), ("other", 403), ("kube-system", 403)] {
        let uri = format!("/api/v1/namespaces/{namespace}/serviceaccounts/builder/token");
        let request = json!({"spec": {"audiences": ["a"]}});
        let found = cluster.as_ann(&[], "POST", &uri, request).await;
        assert_eq!(found.code, code, "{namespace}: {}", found.body);
    }
}

#[tokio::test]
async fn what_a_body_names_is_where_it_was_sent() {
    let cluster = Cluster::with_rights_of(ADMIN).await;
    let pod = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (uri, body) in [
        ("/api/v1/namespaces/own/configmaps", json!({})),
        ("/api/v1/namespaces/own/pods", pod),
        (
            ROLES,
            role(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})),
        ),
        (BINDINGS, binding("mine", "system:aggregate-to-view")),
    ] {
        let mut body = body;
        body["metadata"] = json!({"name": "a", "namespace": "other"});
        let found = cluster.as_ann(&[], "POST", uri, body).await;
        assert_eq!(found.code, 400, "{uri}: {}", found.body);
    }
    // Nobody learns of rights elsewhere.
    let review = |namespace: &str| {
        let asked = json!({"namespace": namespace, "verb": "get", "resource": "pods"});
        json!({"spec": {"user": "bob", "resourceAttributes": asked}})
    };
    let uri = "/apis/authorization.k8s.io/v1/namespaces/own/localsubjectaccessreviews";
    for (namespace, code) in [("own", 201), ("other", 422), ("", 422)] {
        let found = cluster.as_ann(&[], "POST", uri, review(namespace)).await;
        assert_eq!(found.code, code, "{namespace}: {}", found.body);
    }
}
