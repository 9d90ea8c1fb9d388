//! Who may do what: anonymous callers, RBAC, service-account tokens, reviews.

use anyhow::{Context, Result, ensure};
use knarr_testkit::Identity;
use serde_json::{Value, json};

use super::{Caller, send};

pub async fn anonymous(api: &Caller<'_>) -> Result<()> {
    let nobody = api.cluster.client_as(&Identity::Anonymous).await?;
    for path in ["/healthz", "/livez", "/readyz"] {
        send(&nobody, "GET", path, &[], "").await?.is(200)?;
    }
    for path in ["/api", "/api/v1/namespaces", "/metrics", "/nothing"] {
        send(&nobody, "GET", path, &[], "")
            .await?
            .fails(401, "Unauthorized", "Unauthorized")?;
    }
    let forged = api
        .cluster
        .client_as(&Identity::Token("x.y.z".to_owned()))
        .await?;
    send(&forged, "GET", "/api/v1/namespaces", &[], "")
        .await?
        .fails(401, "Unauthorized", "Unauthorized")?;
    Ok(())
}

pub async fn rbac(api: &Caller<'_>) -> Result<()> {
    let jane = api
        .cluster
        .client_as(&Identity::Impersonated("jane".to_owned()))
        .await?;
    let pods = api.core("pods");
    let denied = |verb: &str, resource: &str, group: &str, scope: &str| {
        format!(
            "User \"jane\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {scope}"
        )
    };
    let here = format!("in the namespace \"{}\"", api.namespace);
    let answer = send(&jane, "GET", &pods, &[], "").await?;
    let message = format!("pods is forbidden: {}", denied("list", "pods", "", &here));
    let answer = answer.fails(403, "Forbidden", &message)?;
    ensure!(
        answer.body["details"] == json!({"kind": "pods"}),
        "{}",
        answer.text
    );
    let cases = [
        (
            "GET",
            "/api/v1/nodes/a".to_owned(),
            "nodes \"a\"",
            denied("get", "nodes", "", "at the cluster scope"),
        ),
        (
            "GET",
            format!("{pods}?watch=1"),
            "pods",
            denied("watch", "pods", "", &here),
        ),
        (
            "DELETE",
            api.apps("deployments/a"),
            "deployments.apps \"a\"",
            denied("delete", "deployments", "apps", &here),
        ),
        (
            "GET",
            api.core("pods/a/log"),
            "pods \"a\"",
            denied("get", "pods/log", "", &here),
        ),
        (
            "DELETE",
            pods.clone(),
            "pods",
            denied("deletecollection", "pods", "", &here),
        ),
    ];
    for (method, path, subject, reason) in cases {
        let message = format!("{subject} is forbidden: {reason}");
        send(&jane, method, &path, &[], "")
            .await?
            .fails(403, "Forbidden", &message)?;
    }
    let metrics = "forbidden: User \"jane\" cannot get path \"/metrics\"";
    send(&jane, "GET", "/metrics", &[], "")
        .await?
        .fails(403, "Forbidden", metrics)?;

    grant(
        api,
        "jane-reads",
        &["get", "list"],
        &json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}),
    )
    .await?;
    allowed(&jane, &pods).await?;
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}});
    send(&jane, "POST", &pods, &[super::JSON], &object.to_string())
        .await?
        .is(403)?;
    // Nobody gives away more than they have.
    let role = role("wide", &["*"]);
    let roles = format!(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
        api.namespace
    );
    send(&jane, "POST", &roles, &[super::JSON], &role.to_string())
        .await?
        .is(403)?;
    Ok(())
}

fn role(name: &str, verbs: &[&str]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}],
    })
}

async fn grant(api: &Caller<'_>, name: &str, verbs: &[&str], subject: &Value) -> Result<()> {
    let base = format!(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{}",
        api.namespace
    );
    api.post(&format!("{base}/roles"), &role(name, verbs))
        .await?
        .is(201)?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [subject],
    });
    api.post(&format!("{base}/rolebindings"), &binding)
        .await?
        .is(201)?;
    Ok(())
}

/// A new role holds as soon as the authorizer has seen it.
async fn allowed(client: &kube::Client, path: &str) -> Result<()> {
    knarr_testkit::eventually_async(crate::support::SOON, "the new role holds", async || {
        send(client, "GET", path, &[], "").await?.is(200).map(drop)
    })
    .await
}

pub async fn tokens(api: &Caller<'_>) -> Result<()> {
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    api.post(&api.core("serviceaccounts"), &account)
        .await?
        .is(201)?;
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600},
    });
    let made = api
        .post(&api.core("serviceaccounts/robot/token"), &request)
        .await?
        .is(201)?;
    let token = made.body["status"]["token"]
        .as_str()
        .context("no token")?
        .to_owned();
    let robot = api
        .cluster
        .client_as(&Identity::Token(token.clone()))
        .await?;
    let pods = api.core("pods");
    let user = format!("system:serviceaccount:{}:robot", api.namespace);
    let message = format!(
        "pods is forbidden: User \"{user}\" cannot list resource \"pods\" in API group \"\" in the namespace \"{}\"",
        api.namespace
    );
    send(&robot, "GET", &pods, &[], "")
        .await?
        .fails(403, "Forbidden", &message)?;
    grant(
        api,
        "robot-reads",
        &["list"],
        &json!({"kind": "ServiceAccount", "name": "robot", "namespace": api.namespace}),
    )
    .await?;
    allowed(&robot, &pods).await?;

    let review = |token: &str| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let status = api.post(path, &review(&token)).await?.is(201)?.body["status"].clone();
    ensure!(
        status["authenticated"] == true && status["user"]["username"] == user,
        "{status}"
    );
    let status = api.post(path, &review("nonsense")).await?.is(201)?.body["status"].clone();
    ensure!(status["authenticated"] != true, "{status}");

    // Another audience's token is not for this server.
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["elsewhere"]},
    });
    let made = api
        .post(&api.core("serviceaccounts/robot/token"), &request)
        .await?
        .is(201)?;
    let token = made.body["status"]["token"]
        .as_str()
        .context("no token")?
        .to_owned();
    let stranger = api.cluster.client_as(&Identity::Token(token)).await?;
    send(&stranger, "GET", &pods, &[], "").await?.is(401)?;

    // A token ends with its account.
    api.delete(&api.core("serviceaccounts/robot"))
        .await?
        .is(200)?;
    knarr_testkit::eventually_async(crate::support::SOON, "the token is refused", async || {
        send(&robot, "GET", &pods, &[], "").await?.is(401).map(drop)
    })
    .await
}

pub async fn reviews(api: &Caller<'_>) -> Result<()> {
    let cases = [
        ("system:kube-scheduler", "create", "pods", "binding", true),
        ("system:kube-scheduler", "delete", "namespaces", "", false),
        ("system:kube-proxy", "list", "services", "", true),
        ("jane", "list", "pods", "", false),
    ];
    for (user, verb, resource, subresource, allowed) in cases {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "resourceAttributes": {
                "verb": verb, "resource": resource, "subresource": subresource, "namespace": api.namespace,
            }},
        });
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let status = api.post(path, &review).await?.is(201)?.body["status"].clone();
        ensure!(
            status["allowed"] == allowed,
            "{user} {verb} {resource}/{subresource}: {status}"
        );
    }
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "delete", "resource": "nodes"}},
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let status = api.post(path, &review).await?.is(201)?.body["status"].clone();
    ensure!(status["allowed"] == true, "the administrator: {status}");
    Ok(())
}

/// Requests to the node's kubelet through the API server.
pub async fn node_proxy(api: &Caller<'_>) -> Result<()> {
    let path = "/api/v1/nodes/node/proxy";
    knarr_testkit::eventually_async(crate::support::SOON, "the kubelet answers", async || {
        api.get(&format!("{path}/healthz")).await?.is(200).map(drop)
    })
    .await?;
    let pods = api.get(&format!("{path}/pods")).await?.is(200)?.body;
    ensure!(pods["kind"] == "PodList", "{pods}");
    api.get(&format!("{path}/nothing")).await?.is(404)?;
    let jane = Identity::Impersonated("jane".to_owned());
    let jane = api.cluster.client_as(&jane).await?;
    let message = "nodes \"node\" is forbidden: User \"jane\" cannot get resource \"nodes/proxy\" in API group \"\" at the cluster scope";
    send(&jane, "GET", &format!("{path}/pods"), &[], "")
        .await?
        .fails(403, "Forbidden", message)?;
    Ok(())
}
