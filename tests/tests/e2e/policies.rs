//! What bounds a namespace and its pods, with kubectl: quotas, limit ranges, disruption budgets, runtime classes.

use std::time::Duration;

use anyhow::{Result, ensure};
use knarr_testkit::{Cluster, eventually};

use crate::support::{SOON, Shell, newest, step, with_running_cluster};

/// Looks at one thing.
type Check = fn(&Shell<'_>) -> Result<()>;

#[test]
fn policies_bound_what_users_do() {
    with_running_cluster(|cluster| {
        let checks: [(&str, &str, Check); 4] = [
            ("quota", "counted", quota),
            ("limits", "bounded", limits),
            ("runtime class", "classed", runtime_class),
            ("drain", "guarded", drain),
        ];
        for (name, namespace, check) in checks {
            step(name, || check(&shell(cluster, namespace)?))?;
        }
        Ok(())
    });
}

fn shell<'a>(cluster: &'a Cluster, namespace: &str) -> Result<Shell<'a>> {
    let shell = Shell::new(cluster, newest()?, namespace);
    shell.run(&format!("create namespace {namespace}"))?;
    eventually(SOON, "the default service account", || {
        shell.run("get serviceaccount default")
    })?;
    Ok(shell)
}

/// A pod of busybox that sleeps; `more` are lines of its spec, `resources` its container's.
fn pod(name: &str, more: &str, resources: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  \
         terminationGracePeriodSeconds: 0\n{more}  containers:\n  - name: main\n    image: knarr/busybox:latest\n    \
         imagePullPolicy: IfNotPresent\n    command: [sleep, '1000']\n    resources: {resources}\n"
    )
}

fn refused(shell: &Shell<'_>, manifest: &str, message: &str) -> Result<()> {
    let refused = shell.output(&["apply", "-f", "-"], manifest)?.failure(1)?;
    ensure!(refused.contains(message), "{refused}");
    Ok(())
}

fn used(shell: &Shell<'_>, wanted: &str) -> Result<()> {
    eventually(SOON, wanted, || {
        let row = shell.run("get quota q --no-headers")?;
        ensure!(row.contains(wanted), "{row}");
        Ok(())
    })
}

fn quota(shell: &Shell<'_>) -> Result<()> {
    let hard = "--hard=pods=1,requests.cpu=1,configmaps=3,count/deployments.apps=1";
    shell.run(&format!("create quota q {hard}"))?;
    used(
        shell,
        "configmaps: 1/3, count/deployments.apps: 0/1, pods: 0/1, requests.cpu: 0/1",
    )?;
    refused(
        shell,
        &pod("greedy", "", "{requests: {cpu: 2}}"),
        "exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=0, limited: requests.cpu=1",
    )?;
    refused(
        shell,
        &pod("silent", "", "{}"),
        "failed quota: q: must specify requests.cpu for: main",
    )?;
    shell.apply(&pod("one", "", "{requests: {cpu: 100m}}"))?;
    used(shell, "pods: 1/1, requests.cpu: 100m/1")?;
    refused(
        shell,
        &pod("two", "", "{requests: {cpu: 100m}}"),
        "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1",
    )?;
    // What fails is not charged for long, and what goes is given back.
    shell.run("create configmap a")?;
    shell
        .output(&["create", "configmap", "a"], "")?
        .failure(1)?;
    shell.run("delete pod one --wait=false")?;
    used(shell, "pods: 0/1, requests.cpu: 0/1")?;
    shell.run("delete configmap a")?;
    used(shell, "configmaps: 1/3")?;
    shell.says(
        "describe quota q",
        &["configmaps", "count/deployments.apps"],
    )?;
    Ok(())
}

fn limits(shell: &Shell<'_>) -> Result<()> {
    let range = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: l}\nspec:\n  limits:\n  - type: Container\n    \
                 default: {cpu: 200m}\n    defaultRequest: {cpu: 100m}\n    max: {cpu: 500m}\n";
    shell.apply(range)?;
    shell.apply(&pod("plain", "", "{}"))?;
    let resources = shell.path("pod plain", "{.spec.containers[0].resources}")?;
    ensure!(
        resources == r#"{"limits":{"cpu":"200m"},"requests":{"cpu":"100m"}}"#,
        "{resources}"
    );
    let annotation = "{.metadata.annotations.kubernetes\\.io/limit-ranger}";
    let told = shell.path("pod plain", annotation)?;
    ensure!(
        told == "LimitRanger plugin set: cpu request for container main; cpu limit for container main",
        "{told}"
    );
    refused(
        shell,
        &pod("big", "", "{limits: {cpu: 1}}"),
        "maximum cpu usage per Container is 500m, but limit is 1",
    )?;
    shell.says(
        "describe limits l",
        &["Container", "cpu", "500m", "100m", "200m"],
    )?;
    Ok(())
}

fn runtime_class(shell: &Shell<'_>) -> Result<()> {
    let class = |name: &str, handler: &str| {
        format!(
            "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {{name: {name}}}\nhandler: {handler}\noverhead: \
             {{podFixed: {{memory: 1Mi}}}}\n"
        )
    };
    let of = |class: &str| pod("of", &format!("  runtimeClassName: {class}\n"), "{}");
    refused(
        shell,
        &of("nope"),
        "pods \"of\" is forbidden: pod rejected: RuntimeClass \"nope\" not found",
    )?;
    shell.apply(&class("usual", "runc"))?;
    shell.apply(&class("strange", "kata"))?;
    shell.says("get runtimeclass", &["HANDLER", "runc", "kata"])?;
    shell.apply(&of("usual"))?;
    shell.run("wait --for=condition=ready --timeout=60s pod/of")?;
    ensure!(
        shell.path("pod of", "{.spec.overhead.memory}")? == "1Mi",
        "no overhead"
    );
    shell.run("delete pod of")?;
    shell.apply(&of("strange"))?;
    eventually(SOON, "the runtime does not know it", || {
        shell.says(
            "describe pod of",
            &[
                "FailedCreatePodSandBox",
                "no runtime for \"kata\" is configured",
            ],
        )
    })?;
    shell.run("delete pod of")?;
    Ok(())
}

fn drain(shell: &Shell<'_>) -> Result<()> {
    const DRAIN: &str =
        "drain node --ignore-daemonsets --force --delete-emptydir-data --pod-selector=app=web";
    shell.run("create deployment web --image=knarr/hello:v2 --replicas=2")?;
    shell.wait_ready("app=web", 2)?;
    shell.run("create pdb web --selector=app=web --min-available=1")?;
    eventually(SOON, "the budget is counted", || {
        let row = shell.run("get pdb web --no-headers")?;
        let cells: Vec<&str> = row.split_whitespace().collect();
        ensure!(cells[..4] == ["web", "1", "N/A", "1"], "{row}");
        Ok(())
    })?;
    // One may go. Its successor cannot start, as the node is cordoned, so the other one stays.
    let failed = shell.run(&format!("{DRAIN} --timeout=10s"));
    let error = failed
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    ensure!(
        error.contains("Cannot evict pod as it would violate the pod's disruption budget."),
        "{error}"
    );
    let left = shell.ready_pods("app=web")?;
    ensure!(left.len() == 1, "{} are left", left.len());
    shell.says(
        "describe pdb web",
        &["Allowed disruptions:", "Current:", "Desired:", "Total:"],
    )?;
    shell.run("uncordon node")?;
    shell.wait_ready("app=web", 2)?;
    shell.run("delete pdb web")?;
    shell.run(&format!("{DRAIN} --timeout=60s"))?;
    shell.run("uncordon node")?;
    eventually(Duration::from_secs(60), "they are there again", || {
        let pods = shell.ready_pods("app=web")?;
        ensure!(pods.len() == 2, "{} are ready", pods.len());
        Ok(())
    })
}
