//! What objects may look like: validation, field validation, defaults, allocated ports.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Caller;

fn pod(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

fn container() -> Value {
    json!({"name": "a", "image": "knarr/busybox:latest"})
}

pub async fn validation(api: &Caller<'_>) -> Result<()> {
    let long_name = "a".repeat(64);
    let cases = [
        (
            pod("a", &json!({"containers": []})),
            "Pod \"a\" is invalid: spec.containers: Required value".to_owned(),
        ),
        (
            pod("a", &json!({"containers": [{"name": "a"}]})),
            "Pod \"a\" is invalid: spec.containers[0].image: Required value".to_owned(),
        ),
        (
            pod("a", &json!({"containers": [container(), container()]})),
            "Pod \"a\" is invalid: spec.containers[1].name: Duplicate value: \"a\"".to_owned(),
        ),
        (
            pod("a", &json!({"containers": [container()], "restartPolicy": "Sometimes"})),
            "Pod \"a\" is invalid: spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"".to_owned(),
        ),
        (
            pod("Capital", &json!({"containers": [container()]})),
            "Pod \"Capital\" is invalid: metadata.name: Invalid value: \"Capital\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".to_owned(),
        ),
        (
            pod("a", &json!({"containers": [{"name": long_name, "image": "x"}]})),
            format!("Pod \"a\" is invalid: spec.containers[0].name: Invalid value: \"{long_name}\": must be no more than 63 characters"),
        ),
    ];
    for (object, message) in cases {
        api.post(&api.core("pods"), &object)
            .await?
            .fails(422, "Invalid", &message)?;
    }
    let answer = api
        .post(&api.core("pods"), &pod("a", &json!({"containers": []})))
        .await?;
    ensure!(
        answer.body["details"]
            == json!({
                "name": "a", "kind": "Pod",
                "causes": [{"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers"}],
            }),
        "{}",
        answer.text
    );
    let selector = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
        "spec": {
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "b"}}, "spec": {"containers": [container()]}},
        },
    });
    api.post(&api.apps("deployments"), &selector).await?.fails(
        422,
        "Invalid",
        "Deployment.apps \"a\" is invalid: spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`",
    )?;
    Ok(())
}

pub async fn field_validation(api: &Caller<'_>) -> Result<()> {
    let text = |name: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","wrong":1}},"data":{{"a":"1","a":"2"}},"extra":true}}"#
        )
    };
    let path = |mode: &str| format!("{}?fieldValidation={mode}", api.core("configmaps"));
    let strict = api
        .send("POST", &path("Strict"), &[super::JSON], &text("a"))
        .await?
        .is(400)?;
    let message = strict.body["message"].as_str().unwrap_or_default();
    for wanted in [
        "strict decoding error: ",
        "unknown field \"metadata.wrong\"",
        "unknown field \"extra\"",
        "duplicate field \"data.a\"",
    ] {
        ensure!(message.contains(wanted), "{wanted:?} is not in {message:?}");
    }
    ensure!(strict.body["reason"] == "BadRequest", "{}", strict.text);

    let warned = api
        .send("POST", &path("Warn"), &[super::JSON], &text("b"))
        .await?
        .is(201)?;
    let warnings: Vec<&str> = warned
        .headers
        .iter()
        .filter(|(name, _)| name == "warning")
        .map(|(_, value)| value.as_str())
        .collect();
    ensure!(
        warnings
            .iter()
            .any(|w| w.starts_with("299 - \"unknown field \\\"extra\\\"")),
        "{warnings:?}"
    );
    ensure!(
        warned.body["extra"].is_null() && warned.body["data"]["a"] == "2",
        "{}",
        warned.text
    );

    let ignored = api
        .send("POST", &path("Ignore"), &[super::JSON], &text("c"))
        .await?
        .is(201)?;
    ensure!(
        ignored.header("warning").is_empty(),
        "{:?}",
        ignored.headers
    );
    api.send("POST", &path("Sometimes"), &[super::JSON], &text("d")).await?.fails(
        422,
        "Invalid",
        "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Sometimes\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
    )?;
    Ok(())
}

pub async fn defaults(api: &Caller<'_>) -> Result<()> {
    let mut spec = json!({"containers": [container()], "nodeName": "no-such-node"});
    spec["containers"][0]["image"] = "knarr/busybox".into();
    let made = api
        .post(&api.core("pods"), &pod("a", &spec))
        .await?
        .is(201)?
        .body;
    let spec = &made["spec"];
    for (field, wanted) in [
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("schedulerName", json!("default-scheduler")),
        ("serviceAccountName", json!("default")),
        ("enableServiceLinks", json!(true)),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
        ("priority", json!(0)),
    ] {
        ensure!(spec[field] == wanted, "{field} is {}", spec[field]);
    }
    let container = &spec["containers"][0];
    ensure!(container["imagePullPolicy"] == "Always", "{container}");
    ensure!(
        container["terminationMessagePath"] == "/dev/termination-log",
        "{container}"
    );
    let mounts = container["volumeMounts"].to_string();
    ensure!(
        mounts.contains("/var/run/secrets/kubernetes.io/serviceaccount"),
        "{mounts}"
    );
    ensure!(
        spec["tolerations"].as_array().map(Vec::len) == Some(2),
        "{}",
        spec["tolerations"]
    );
    ensure!(
        made["status"]["phase"] == "Pending" && made["status"]["qosClass"] == "BestEffort",
        "{}",
        made["status"]
    );
    let created = made["metadata"]["creationTimestamp"]
        .as_str()
        .unwrap_or_default();
    ensure!(
        created.len() == "2026-01-01T00:00:00Z".len() && created.ends_with('Z'),
        "{created}"
    );
    Ok(())
}

pub async fn node_ports(api: &Caller<'_>) -> Result<()> {
    let service = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
    let path = api.core("services");
    let port = |node_port: Option<u16>| match node_port {
        Some(node_port) => json!([{"port": 80, "nodePort": node_port}]),
        None => json!([{"port": 80}]),
    };
    let first = json!({"type": "NodePort", "ports": port(Some(31999))});
    api.post(&path, &service("first", first.clone()))
        .await?
        .is(201)?;
    api.post(&path, &service("second", first.clone())).await?.fails(
        422,
        "Invalid",
        "Service \"second\" is invalid: spec.ports[0].nodePort: Invalid value: 31999: provided port is already allocated",
    )?;
    api.post(&path, &service("third", json!({"type": "NodePort", "ports": port(Some(80))}))).await?.fails(
        422,
        "Invalid",
        "Service \"third\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
    )?;
    let made = api
        .post(
            &path,
            &service("fourth", json!({"type": "NodePort", "ports": port(None)})),
        )
        .await?
        .is(201)?
        .body;
    let given = made["spec"]["ports"][0]["nodePort"]
        .as_u64()
        .unwrap_or_default();
    ensure!((30000..=32767).contains(&given), "{made}");
    let address = made["spec"]["clusterIP"].as_str().unwrap_or_default();
    ensure!(
        address.starts_with("10.43.") && made["spec"]["clusterIPs"] == json!([address]),
        "{made}"
    );
    let twice = json!({"clusterIP": address, "ports": port(None)});
    let message = format!(
        "Service \"fifth\" is invalid: spec.clusterIPs: Invalid value: [\"{address}\"]: failed to allocate IP {address}: provided IP is already allocated"
    );
    api.post(&path, &service("fifth", twice))
        .await?
        .fails(422, "Invalid", &message)?;
    // Given back on deletion.
    api.delete(&format!("{path}/first")).await?.is(200)?;
    api.post(&path, &service("second", first)).await?.is(201)?;
    // Another type has no node port.
    let kind = "application/merge-patch+json";
    let patched = api
        .patch(
            &format!("{path}/second"),
            kind,
            &json!({"spec": {"type": "ClusterIP"}}),
        )
        .await?
        .is(200)?
        .body;
    ensure!(
        patched["spec"]["ports"][0]["nodePort"].is_null(),
        "{patched}"
    );
    let patch = json!({"spec": {"clusterIP": "10.43.200.200", "clusterIPs": ["10.43.200.200"]}});
    let answer = api
        .patch(&format!("{path}/second"), kind, &patch)
        .await?
        .is(422)?;
    ensure!(
        answer.text.contains("may not change once set"),
        "{}",
        answer.text
    );
    Ok(())
}
