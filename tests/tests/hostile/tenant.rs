//! What a tenant, the administrator of one namespace, can try against the API server and the other namespaces.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{
    StreamExt, TryStreamExt,
    future::{join_all, try_join_all},
    stream,
};
use knarr_testkit::{Identity, Raw};
use kube::Client;
use serde_json::{Value, json};

use crate::{
    neighbours::Neighbours,
    support::{Shell, block_on, newest, step, step_async, with_running_cluster},
};

const NAMESPACE: &str = "tenant";
const JSON: (&str, &str) = ("content-type", "application/json");
/// Health must answer within this while the tenant keeps the server busy.
const HEALTHY: Duration = Duration::from_secs(10);
/// Requests of the tenant at once: fewer than the server takes.
const AT_ONCE: usize = 50;
/// How often all of it is tried after the first time.
const ROUNDS: usize = 3;

#[test]
fn a_tenant_reaches_nothing_of_others() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, NAMESPACE);
        step("a bystander", || Neighbours::settle(&shell))?;
        let token = step("a tenant with a namespace", || prepare(&shell))?;
        let attack = || {
            block_on(async {
                let tenant = cluster.client_as(&Identity::Token(token.clone())).await?;
                let admin = cluster.client().await?;
                step_async("paths that say two things", paths(&tenant)).await?;
                step_async("a role of a hundred million parts", roles(&tenant)).await?;
                step_async("addresses of others", addresses(&tenant, &admin)).await?;
                step_async("numbers at their ends", numbers(&tenant)).await?;
                step_async("long lists in patches", patches(&tenant, &admin)).await?;
                step_async("lists in other shapes", lists(&tenant)).await?;
                step_async("refusals before the body", refusals(&tenant)).await
            })
        };
        // What a server that has just started has not touched yet, of its program above all, is not the tenant's doing.
        attack()?;
        let neighbours = Neighbours::meet(cluster, &shell)?;
        for _ in 0..ROUNDS {
            attack()?;
        }
        step("the cluster is as it was", || {
            neighbours.unharmed(cluster, &shell)
        })
    });
}

/// A namespace whose administrator is a service account; its token.
fn prepare(shell: &Shell<'_>) -> Result<String> {
    shell.run(&format!("create namespace {NAMESPACE}"))?;
    shell.run("create serviceaccount boss")?;
    shell.run("create rolebinding boss --clusterrole=admin --serviceaccount=tenant:boss")?;
    Ok(shell.run("create token boss")?.trim().to_owned())
}

async fn send(client: &Client, method: &str, path: &str, body: &Value) -> Result<Raw> {
    let text = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    Raw::send(client, method, path, &[JSON], &text).await
}

fn own(rest: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/{rest}")
}

/// Requests that one reader could take for the tenant's own and another for something else.
async fn paths(tenant: &Client) -> Result<()> {
    for (method, path) in [
        ("GET", own("namespaces/kube-system")),
        ("GET", own("namespaces")),
        ("DELETE", own("namespaces/kube-public")),
        ("GET", own("../kube-system/secrets")),
        (
            "GET",
            format!("/api/v1/namespaces/{NAMESPACE}%2F..%2Fkube-system/secrets"),
        ),
        (
            "GET",
            "/api/v1/secrets?fieldSelector=metadata.namespace%3Dtenant".to_owned(),
        ),
        ("GET", own("nodes")),
        (
            "POST",
            format!("/api/v1/watch/namespaces/{NAMESPACE}/pods/p/exec?command=id"),
        ),
        ("POST", "/api/v1/watch/nodes/node/proxy/run/x".to_owned()),
        ("GET", "/api/v1/nodes/node/proxy/pods".to_owned()),
        ("GET", own("secrets?fieldSelector=%zz")),
        ("PUT", own("serviceaccounts/boss/status")),
    ] {
        let answer = send(tenant, method, &path, &Value::Null).await?;
        ensure!(
            matches!(answer.code, 400 | 403 | 404 | 405),
            "{method} {path}: {} {}",
            answer.code,
            answer.text
        );
    }
    Ok(())
}

/// Checking what a role would grant must cost what the role is long.
async fn roles(tenant: &Client) -> Result<()> {
    let many = |prefix: &str| (0..100).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
    let rule = json!({
        "verbs": many("v"), "apiGroups": many("g"), "resources": many("r"), "resourceNames": many("n"),
    });
    let role = json!({"metadata": {"name": "all"}, "rules": [rule]});
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles");
    let started = Instant::now();
    let answer = send(tenant, "POST", &path, &role).await?;
    ensure!(answer.code == 403, "{} {}", answer.code, answer.text);
    ensure!(answer.text.len() < 1 << 20, "{} bytes", answer.text.len());
    ensure!(started.elapsed() < HEALTHY, "{:?}", started.elapsed());
    Ok(())
}

/// Creates that fail must not free what they only named.
async fn addresses(tenant: &Client, admin: &Client) -> Result<()> {
    let dns = "/api/v1/namespaces/kube-system/services/kube-dns";
    let dns = send(admin, "GET", dns, &Value::Null).await?;
    let ip = dns.body["spec"]["clusterIP"]
        .as_str()
        .context("an address")?;
    let service = |spec: Value| json!({"metadata": {"name": "thief"}, "spec": spec});
    for spec in [
        json!({"ports": [{"port": 53}], "clusterIPs": ["10.43.99.99", ip], "clusterIP": "10.43.99.99"}),
        json!({"ports": [{"port": 0}], "clusterIP": ip}),
        json!({"ports": [{"port": 53}], "clusterIP": ip}),
    ] {
        let answer = send(tenant, "POST", &own("services"), &service(spec)).await?;
        ensure!(answer.code == 422, "{} {}", answer.code, answer.text);
    }
    Ok(())
}

async fn numbers(tenant: &Client) -> Result<()> {
    let pod = json!({
        "metadata": {"name": "patient"},
        "spec": {
            "terminationGracePeriodSeconds": i64::MAX,
            "schedulingGates": [{"name": "a.io/never"}],
            "containers": [{"name": "c", "image": "i"}],
        },
    });
    let made = send(tenant, "POST", &own("pods"), &pod).await?;
    ensure!(made.code == 201, "{}", made.text);
    for path in [
        own(&format!("pods/patient?gracePeriodSeconds={}", i64::MAX)),
        own("pods/patient?gracePeriodSeconds=0"),
    ] {
        let gone = send(tenant, "DELETE", &path, &Value::Null).await?;
        ensure!(matches!(gone.code, 200 | 404), "{path}: {}", gone.text);
    }
    let leap = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": NAMESPACE}, "lastTimestamp": "2016-12-31T23:59:60Z"});
    let refused = send(tenant, "POST", &own("events"), &leap).await?;
    ensure!(
        refused.code == 400 || refused.code == 403,
        "{}",
        refused.text
    );
    Ok(())
}

/// Patches of long lists, all at once; health answers meanwhile.
async fn patches(tenant: &Client, admin: &Client) -> Result<()> {
    let finalizers = |from: usize| -> Vec<String> {
        (from..from + 10_000).map(|n| format!("a.io/{n}")).collect()
    };
    let maps = own("configmaps");
    let map = json!({"metadata": {"name": "long", "finalizers": finalizers(0)}});
    let made = send(tenant, "POST", &maps, &map).await?;
    ensure!(made.code == 201, "{}", made.text);
    let patch = json!({"metadata": {"finalizers": finalizers(5_000)}}).to_string();
    let path = format!("{maps}/long");
    let kind = [("content-type", "application/strategic-merge-patch+json")];
    let patching = try_join_all((0..8).map(|_| Raw::send(tenant, "PATCH", &path, &kind, &patch)));
    let asking = async {
        for _ in 0..10 {
            let started = Instant::now();
            let answer = send(admin, "GET", "/livez", &Value::Null).await?;
            ensure!(answer.code == 200, "{}", answer.text);
            ensure!(started.elapsed() < HEALTHY, "{:?}", started.elapsed());
        }
        Ok(())
    };
    let (patched, asked) = futures::join!(patching, asking);
    asked?;
    for answer in patched? {
        ensure!(answer.code == 200, "{}", answer.text);
    }
    let none = json!({"metadata": {"finalizers": null}}).to_string();
    let merge = [("content-type", "application/merge-patch+json")];
    let cleared = Raw::send(tenant, "PATCH", &path, &merge, &none).await?;
    ensure!(cleared.code == 200, "{}", cleared.text);
    let gone = send(tenant, "DELETE", &path, &Value::Null).await?;
    ensure!(gone.code == 200, "{}", gone.text);
    Ok(())
}

/// Many lists at once in every shape that is made for its client.
async fn lists(tenant: &Client) -> Result<()> {
    let maps = own("configmaps");
    let makes = (0..500).map(|n| {
        let map = json!({"metadata": {"name": format!("m{n}"), "labels": {"of": "list"}}, "data": {"text": "x".repeat(500)}});
        let maps = &maps;
        async move { send(tenant, "POST", maps, &map).await }
    });
    let made: Vec<Raw> = stream::iter(makes)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    for answer in made {
        ensure!(answer.code == 201, "{}", answer.text);
    }
    let shapes = [
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
        "application/yaml",
    ];
    let list = format!("{maps}?labelSelector=of%3Dlist");
    let reads = shapes.iter().cycle().take(30).map(|shape| {
        let (list, headers) = (&list, [("accept", *shape)]);
        async move { Raw::send(tenant, "GET", list, &headers, "").await }
    });
    for answer in join_all(reads).await {
        let answer = answer?;
        ensure!(answer.code == 200, "{}", answer.text);
        ensure!(answer.text.contains("m499"), "the list is not whole");
    }
    let gone = send(tenant, "DELETE", &list, &Value::Null).await?;
    ensure!(gone.code == 200, "{}", gone.text);
    Ok(())
}

/// Every refusal arrives, whatever its request carries.
async fn refusals(tenant: &Client) -> Result<()> {
    let body = " ".repeat(1 << 20);
    let sends =
        (0..40).map(|_| Raw::send(tenant, "POST", "/apis/nothing.io/v1/things", &[JSON], &body));
    for answer in join_all(sends).await {
        let answer = answer.context("a refusal was lost")?;
        ensure!(
            matches!(answer.code, 403 | 404),
            "{} {}",
            answer.code,
            answer.text
        );
    }
    Ok(())
}
