//! The kubelet's own server, as scrapers reach it: by a service account's token, past the API server.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Caller;

const DEADLINE: Duration = Duration::from_secs(30);

/// Who reaches what of `https://NODE:10250`.
pub async fn authority(api: &Caller<'_>) -> Result<()> {
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "scraper"}});
    api.post(&api.core("serviceaccounts"), &account)
        .await?
        .is(201)?;
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "scraper"},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["nodes/metrics"]}],
    });
    api.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role)
        .await?
        .is(201)?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "scraper"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "scraper"},
        "subjects": [{"kind": "ServiceAccount", "name": "scraper", "namespace": api.namespace}],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    api.post(path, &binding).await?.is(201)?;
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600},
    });
    let made = api
        .post(&api.core("serviceaccounts/scraper/token"), &request)
        .await?
        .is(201)?;
    let token = made.body["status"]["token"].as_str().context("no token")?;
    let user = format!("system:serviceaccount:{}:scraper", api.namespace);
    let forbidden = |subresources: &str| {
        format!(
            "Forbidden (user={user}, verb=get, resource=nodes, subresource(s)=[{subresources}])"
        )
    };
    for (path, token, code, text) in [
        ("metrics", token, "200", "kubelet_running_pods".to_owned()),
        ("pods", token, "403", forbidden("pods proxy")),
        ("stats/summary", token, "403", forbidden("stats")),
        ("exec/a/b/c?command=sh", token, "403", forbidden("proxy")),
        ("metrics", "", "401", "Unauthorized".to_owned()),
        ("metrics", "nonsense", "401", "Unauthorized".to_owned()),
    ] {
        let answer = get(api, path, token)?;
        ensure!(
            answer.ends_with(code) && answer.contains(&text),
            "{path}: wanted {code} and {text:?}: {answer}"
        );
    }
    Ok(())
}

/// The body, and the status code behind it.
fn get(api: &Caller<'_>, path: &str, token: &str) -> Result<String> {
    let mut curl = api.cluster.command("curl");
    curl.args(["--silent", "--insecure", "--write-out", "%{http_code}"]);
    if !token.is_empty() {
        curl.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    curl.arg(format!("https://{}:10250/{path}", knarr_testkit::NODE_IP));
    knarr_testkit::run(curl, DEADLINE)?.success()
}
