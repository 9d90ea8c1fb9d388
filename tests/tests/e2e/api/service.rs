//! What every client asks first: health, version, discovery, OpenAPI; and paths that do not exist.

use anyhow::{Result, ensure};

use super::Caller;

pub async fn endpoints(api: &Caller<'_>) -> Result<()> {
    for path in ["/healthz", "/livez", "/readyz"] {
        let answer = api.get(path).await?.is(200)?;
        ensure!(answer.text == "ok", "{path}: {}", answer.text);
        let verbose = api.get(&format!("{path}?verbose")).await?.is(200)?.text;
        ensure!(
            verbose.contains("[+]ping ok") && verbose.contains("check passed"),
            "{path}: {verbose}"
        );
    }
    let version = api.get("/version").await?.is(200)?.body;
    let text = version["gitVersion"].as_str().unwrap_or_default();
    ensure!(
        text.starts_with("v1.37") && version["major"] == "1" && version["minor"] == "37",
        "{version}"
    );
    let metrics = api.get("/metrics").await?.is(200)?.text;
    ensure!(
        metrics.contains("apiserver_request_total"),
        "no request counter among the metrics"
    );
    Ok(())
}

pub async fn discovery(api: &Caller<'_>) -> Result<()> {
    let core = api.get("/api/v1").await?.is(200)?.body;
    let resources = core["resources"].as_array().cloned().unwrap_or_default();
    for wanted in [
        "pods",
        "pods/log",
        "pods/exec",
        "pods/binding",
        "pods/eviction",
        "pods/status",
        "services",
        "namespaces/finalize",
        "serviceaccounts/token",
        "nodes",
        "endpoints",
        "events",
        "configmaps",
        "secrets",
    ] {
        ensure!(
            resources.iter().any(|resource| resource["name"] == wanted),
            "core/v1 has no {wanted}"
        );
    }
    let pods = resources
        .iter()
        .find(|resource| resource["name"] == "pods")
        .cloned()
        .unwrap_or_default();
    ensure!(
        pods["namespaced"] == true
            && pods["shortNames"][0] == "po"
            && pods["singularName"] == "pod",
        "{pods}"
    );
    let groups = api.get("/apis").await?.is(200)?.body;
    for wanted in [
        "apps",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "rbac.authorization.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "scheduling.k8s.io",
    ] {
        let found = groups["groups"]
            .as_array()
            .is_some_and(|all| all.iter().any(|group| group["name"] == wanted));
        ensure!(found, "no group {wanted}");
    }
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let aggregated = api
        .send("GET", "/apis", &[("accept", accept)], "")
        .await?
        .is(200)?;
    ensure!(
        aggregated.body["kind"] == "APIGroupDiscoveryList",
        "{}",
        aggregated.text
    );
    let etag = aggregated.header("etag");
    ensure!(!etag.is_empty(), "aggregated discovery has no ETag");
    let headers = [("accept", accept), ("if-none-match", etag)];
    api.send("GET", "/apis", &headers, "").await?.is(304)?;
    Ok(())
}

pub async fn openapi(api: &Caller<'_>) -> Result<()> {
    let v2 = api.get("/openapi/v2").await?.is(200)?.body;
    let pod = &v2["definitions"]["io.k8s.api.core.v1.Pod"];
    ensure!(
        pod["x-kubernetes-group-version-kind"][0]["kind"] == "Pod",
        "{pod}"
    );
    // The metrics API is another server's, though in the same process.
    let nodes = &v2["definitions"]["io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics"];
    ensure!(nodes.is_object(), "no schema of metrics: {nodes}");
    let proto = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let bytes = api
        .send("GET", "/openapi/v2", &[("accept", proto)], "")
        .await?
        .is(200)?;
    ensure!(
        bytes.text.len() > 100_000 && bytes.body.is_null(),
        "no protobuf: {} bytes",
        bytes.text.len()
    );
    let index = api.get("/openapi/v3").await?.is(200)?.body;
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    ensure!(url.contains("?hash="), "no hashed URL: {index}");
    let apps = api.get(&url).await?.is(200)?.body;
    let path = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
    let parameters = apps["paths"][path]["patch"]["parameters"].to_string();
    ensure!(
        parameters.contains("dryRun") && parameters.contains("fieldValidation"),
        "{parameters}"
    );
    Ok(())
}

pub async fn unknown(api: &Caller<'_>) -> Result<()> {
    let missing = "the server could not find the requested resource";
    api.get("/api/v1/nothings")
        .await?
        .fails(404, "NotFound", missing)?;
    api.get("/apis/nothing.example.com/v1/things")
        .await?
        .is(404)?;
    api.get("/nothing").await?.is(404)?;
    api.get(&api.core("pods/none"))
        .await?
        .fails(404, "NotFound", "pods \"none\" not found")?;
    api.get(&api.apps("deployments/none")).await?.fails(
        404,
        "NotFound",
        "deployments.apps \"none\" not found",
    )?;
    api.send("PUT", "/api/v1/namespaces", &[super::JSON], "{}")
        .await?
        .is(405)?;
    let accept = [("accept", "text/nonsense")];
    api.send("GET", &api.core("pods"), &accept, "")
        .await?
        .is(406)?;
    let kind = [("content-type", "text/nonsense")];
    api.send("POST", &api.core("configmaps"), &kind, "x")
        .await?
        .is(415)?;
    api.send("POST", &api.core("configmaps"), &[super::JSON], "{not json")
        .await?
        .is(400)?;
    Ok(())
}
