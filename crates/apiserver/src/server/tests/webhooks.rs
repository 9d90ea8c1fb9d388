//! Webhooks in the whole chain: what they see of each kind of request, and what comes of their answers.

use knarr_auth::UserInfo;
use knarr_webhook::testing::{Reaction, Server as Hook, allow, patch, refuse};

use super::*;

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1";

fn hook(server: &Hook, path: &str, resources: &[&str], more: &Value) -> Value {
    let mut hook = json!({
        "name": "judge.example.com",
        "clientConfig": server.config(path),
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": 5,
        "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["v1"], "resources": resources}],
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        hook[field] = value.clone();
    }
    hook
}

impl Cluster {
    /// As an administrator: the server's own requests are not judged.
    async fn admin(&self, method: Method, uri: &str, body: Value) -> Reply {
        let user = UserInfo {
            name: "admin".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..UserInfo::default()
        };
        let bytes = match body.is_null() {
            true => Bytes::new(),
            false => Bytes::from(body.to_string()),
        };
        let content_type = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", content_type)
            .body(Full::new(bytes))
            .expect("a request");
        let mut service = self.server.client_service(user);
        let answer = tokio::time::timeout(DEADLINE, service.call(request)).await;
        reply(answer.expect("an answer in time").expect("infallible")).await
    }

    /// With what pods need of a namespace.
    async fn with_account() -> Cluster {
        let cluster = Cluster::new().await;
        let account = json!({"metadata": {"name": "default"}});
        cluster
            .create("/api/v1/namespaces/default/serviceaccounts", account)
            .await;
        cluster
    }

    async fn judged_by(&self, kind: &str, hook: Value) {
        let resource = format!("{CONFIGURATIONS}/{}s", kind.to_lowercase());
        let body = json!({"kind": kind, "metadata": {"name": "judge"}, "webhooks": [hook]});
        self.create(&resource, body).await;
    }
}

pub fn message(reply: &Reply) -> &str {
    reply.body["message"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_is_judged_as_what_it_is() {
    let cluster = Cluster::with_account().await;
    // It refuses everything, and says what it saw.
    let server = Hook::start(&[], |_, review| {
        let request = &review["request"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let seen = [
            text(&request["operation"]),
            text(&request["resource"]["resource"]),
            text(&request["subResource"]),
            text(&request["kind"]["kind"]),
            text(&request["object"]["kind"]),
            text(&request["oldObject"]["kind"]),
            text(&request["options"]["kind"]),
        ];
        let status = json!({"message": seen.join(" "), "code": 403});
        Reaction::Answer(refuse(review, json!({"status": status})))
    })
    .await;
    cluster.create(CONFIGMAPS, configmap("a")).await;
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    cluster.create("/api/v1/namespaces/default/pods", pod).await;
    let deployment = json!({"metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }});
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    cluster.create(deployments, deployment).await;
    cluster
        .judged_by(
            "ValidatingWebhookConfiguration",
            hook(&server, "/", &["*/*"], &json!({})),
        )
        .await;
    let pod = "/api/v1/namespaces/default/pods/p";
    let scale = json!({"spec": {"replicas": 3}});
    let label = json!({"metadata": {"labels": {"x": "y"}}});
    for (method, uri, body, wanted) in [
        (
            Method::POST,
            CONFIGMAPS.to_owned(),
            configmap("b"),
            "CREATE configmaps  ConfigMap ConfigMap  CreateOptions",
        ),
        (
            Method::PUT,
            format!("{CONFIGMAPS}/a"),
            configmap("a"),
            "UPDATE configmaps  ConfigMap ConfigMap ConfigMap UpdateOptions",
        ),
        (
            Method::PATCH,
            format!("{CONFIGMAPS}/a"),
            label.clone(),
            "UPDATE configmaps  ConfigMap ConfigMap ConfigMap UpdateOptions",
        ),
        (
            Method::DELETE,
            format!("{CONFIGMAPS}/a"),
            Value::Null,
            "DELETE configmaps  ConfigMap  ConfigMap DeleteOptions",
        ),
        (
            Method::DELETE,
            CONFIGMAPS.to_owned(),
            Value::Null,
            "DELETE configmaps  ConfigMap  ConfigMap DeleteOptions",
        ),
        (
            Method::PATCH,
            format!("{deployments}/d/scale"),
            scale,
            "UPDATE deployments scale Scale Scale Scale UpdateOptions",
        ),
        (
            Method::PATCH,
            format!("{deployments}/d/status"),
            label,
            "UPDATE deployments status Deployment Deployment Deployment UpdateOptions",
        ),
        (
            Method::POST,
            format!("{pod}/attach?container=c&stdout=true"),
            Value::Null,
            "CONNECT pods attach PodAttachOptions PodAttachOptions  ",
        ),
        (
            Method::POST,
            format!("{pod}/exec?command=ls"),
            Value::Null,
            "CONNECT pods exec PodExecOptions PodExecOptions  ",
        ),
        (
            Method::GET,
            format!("{pod}/proxy/x"),
            Value::Null,
            "CONNECT pods proxy PodProxyOptions PodProxyOptions  ",
        ),
    ] {
        let told = cluster.admin(method.clone(), &uri, body).await;
        let denied = "admission webhook \"judge.example.com\" denied the request: ";
        assert_eq!(
            message(&told),
            format!("{denied}{wanted}"),
            "{method} {uri}"
        );
        assert_eq!(told.code, 403);
    }
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let told = cluster
        .admin(Method::POST, &format!("{pod}/eviction"), eviction)
        .await;
    assert!(
        message(&told).ends_with("CREATE pods eviction Eviction Eviction  CreateOptions"),
        "{}",
        message(&told)
    );
    // Whoever may, removes the configuration.
    let gone = format!("{CONFIGURATIONS}/validatingwebhookconfigurations/judge");
    assert_eq!(
        cluster.admin(Method::DELETE, &gone, Value::Null).await.code,
        200
    );
    assert_eq!(
        cluster
            .admin(Method::POST, CONFIGMAPS, configmap("b"))
            .await
            .code,
        201
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_changes_gets_defaults_and_stays_where_it_was() {
    let cluster = Cluster::with_account().await;
    let server = Hook::start(&[], |path, review| {
        let operations = match path.starts_with("/move") {
            true => json!([{"op": "replace", "path": "/metadata/namespace", "value": "kube-system"}]),
            false => json!([
                {"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "s"}},
                {"op": "add", "path": "/metadata/resourceVersion", "value": "7"},
            ]),
        };
        Reaction::Answer(allow(review, patch(&operations)))
    })
    .await;
    cluster
        .judged_by(
            "MutatingWebhookConfiguration",
            hook(&server, "/", &["pods"], &json!({})),
        )
        .await;
    let pod = json!({"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pods = "/api/v1/namespaces/default/pods";
    let made = cluster.admin(Method::POST, pods, pod.clone()).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let side = &made.body["spec"]["containers"][1];
    assert_eq!(
        side["terminationMessagePath"], "/dev/termination-log",
        "{}",
        made.body
    );
    let change = json!({"webhooks": [hook(&server, "/move", &["pods"], &json!({}))]});
    let uri = format!("{CONFIGURATIONS}/mutatingwebhookconfigurations/judge");
    assert_eq!(cluster.admin(Method::PATCH, &uri, change).await.code, 200);
    let refused = cluster.admin(Method::POST, pods, pod).await;
    assert_eq!(refused.code, 400, "{}", refused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_for_another_version_sees_the_object_in_that_version() {
    let cluster = Cluster::new().await;
    let server = Hook::start(&[], |_, review| {
        let (request, object) = (&review["request"], &review["request"]["object"]);
        assert_eq!(request["resource"]["group"], "events.k8s.io");
        assert_eq!(request["requestResource"]["group"], "");
        assert_eq!(object["apiVersion"], "events.k8s.io/v1");
        let operations = json!([{"op": "add", "path": "/note", "value": format!("{}!", object["note"].as_str().unwrap_or("?"))}]);
        Reaction::Answer(allow(review, patch(&operations)))
    })
    .await;
    let rules = json!({"matchPolicy": "Equivalent", "rules": [{
        "operations": ["CREATE"], "apiGroups": ["events.k8s.io"], "apiVersions": ["v1"], "resources": ["events"],
    }]});
    cluster
        .judged_by(
            "MutatingWebhookConfiguration",
            hook(&server, "/", &["events"], &rules),
        )
        .await;
    let event = json!({
        "metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}, "message": "hello", "reason": "r",
    });
    let made = cluster
        .admin(Method::POST, "/api/v1/namespaces/default/events", event)
        .await;
    assert_eq!(
        (made.code, &made.body["message"]),
        (201, &json!("hello!")),
        "{}",
        made.body
    );
}
