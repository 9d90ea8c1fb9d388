//! Where pods go, with kubectl: priorities, rules about other pods, spreading.

use anyhow::{Result, ensure};
use knarr_testkit::{eventually, run};
use serde_json::Value;

use crate::support::{SOON, Shell, newest, step, with_running_cluster};

const CLASSES: &str = "
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: low}
value: 1
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: patient}
value: 2000
preemptionPolicy: Never
";

#[test]
fn pods_go_where_they_may() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, "default");
        eventually(SOON, "the default service account", || {
            shell.run("get serviceaccount default")
        })?;
        step("preemption", || preemption(&shell))?;
        step("the node takes who comes for others", || taken_in(&shell))?;
        step("apart", || apart(&shell))?;
        step("spread", || spread(&shell))?;
        step("gates", || gates(&shell))
    });
}

/// A pod of busybox; `more` are lines of its spec, `resources` its container's.
fn pod(name: &str, more: &str, resources: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n  \
         terminationGracePeriodSeconds: 1\n{more}  containers:\n  - name: main\n    image: knarr/busybox:latest\n    \
         imagePullPolicy: IfNotPresent\n    command: [sleep, '1000']\n    resources: {resources}\n"
    )
}

const ONE: &str = "{requests: {example.com/fake: '1'}, limits: {example.com/fake: '1'}}";
const TWO: &str = "{requests: {example.com/fake: '2'}, limits: {example.com/fake: '2'}}";

fn condition(pod: &Value, kind: &str) -> Value {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let mut conditions = conditions.filter(|condition| condition["type"] == kind);
    conditions.next().cloned().unwrap_or_default()
}

fn waits(shell: &Shell<'_>, name: &str, message: &str) -> Result<()> {
    eventually(SOON, message, || {
        let pod = shell.get(&format!("pod {name}"))?;
        let found = condition(&pod, "PodScheduled")["message"].clone();
        ensure!(found == message, "{found}");
        Ok(())
    })
}

fn preemption(shell: &Shell<'_>) -> Result<()> {
    shell.apply(CLASSES)?;
    let room = r#"{"status":{"capacity":{"example.com/fake":"2"},"allocatable":{"example.com/fake":"2"}}}"#;
    shell.words(&["patch", "node", "node", "--subresource=status", "-p", room])?;
    // A finalizer keeps the victim, so that what becomes of it can be seen.
    shell.apply(&pod("low", "  priorityClassName: low\n", TWO))?;
    shell.run("wait pod/low --for=condition=Ready --timeout=60s")?;
    let hold = r#"{"metadata":{"finalizers":["example.com/hold"]}}"#;
    shell.words(&["patch", "pod", "low", "-p", hold])?;
    shell.apply(&pod("patient", "  priorityClassName: patient\n", ONE))?;
    waits(
        shell,
        "patient",
        "0/1 nodes are available: 1 Insufficient example.com/fake. preemption: not eligible due to preemptionPolicy=Never.",
    )?;
    shell.run("delete pod patient")?;
    shell.apply(&pod("high", "  priorityClassName: high\n", ONE))?;
    eventually(SOON, "the nomination", || {
        let nominated = shell.path("pod high", "{.status.nominatedNodeName}")?;
        ensure!(nominated == "node", "{nominated}");
        Ok(())
    })?;
    let uid = shell.path("pod high", "{.metadata.uid}")?;
    eventually(SOON, "the victim's end", || {
        let low = shell.get("pod low")?;
        let found = condition(&low, "DisruptionTarget");
        ensure!(
            found["status"] == "True" && found["reason"] == "PreemptionByScheduler",
            "{found}"
        );
        let message = "default-scheduler: preempting to accommodate a higher priority pod";
        ensure!(found["message"] == message, "{found}");
        ensure!(!low["metadata"]["deletionTimestamp"].is_null(), "{low}");
        Ok(())
    })?;
    let note = format!("Preempted by pod {uid} on node node");
    eventually(SOON, "the event", || {
        shell.says("events --for pod/low", &["Preempted", &note])
    })?;
    let release = r#"{"metadata":{"finalizers":null}}"#;
    shell.words(&["patch", "pod", "low", "-p", release])?;
    shell.run("wait pod/high --for=condition=Ready --timeout=60s")?;
    let nominated = shell.path("pod high", "{.status.nominatedNodeName}")?;
    ensure!(nominated.is_empty(), "{nominated}");
    // The highest priority has nobody to preempt.
    shell.apply(&pod("more", "  priorityClassName: high\n", TWO))?;
    waits(
        shell,
        "more",
        "0/1 nodes are available: 1 Insufficient example.com/fake. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
    )?;
    shell.run("delete pod more high")?;
    Ok(())
}

/// The room is the kubelet's to give as well: it has it back before anybody hears that the victim has ended.
fn taken_in(shell: &Shell<'_>) -> Result<()> {
    let cores = shell.path("node node", "{.status.allocatable.cpu}")?;
    let most = cores.parse::<u32>()? * 600;
    let resources = format!("{{requests: {{cpu: {most}m}}}}");
    for turn in 0..3 {
        let (victim, other) = (format!("victim-{turn}"), format!("other-{turn}"));
        shell.apply(&pod(&victim, "  priorityClassName: low\n", &resources))?;
        shell.run(&format!(
            "wait pod/{victim} --for=condition=Ready --timeout=60s"
        ))?;
        shell.apply(&pod(&other, "  priorityClassName: high\n", &resources))?;
        shell.run(&format!(
            "wait pod/{other} --for=condition=Ready --timeout=60s"
        ))?;
        shell.run(&format!("delete pod {other}"))?;
    }
    Ok(())
}

fn apart(shell: &Shell<'_>) -> Result<()> {
    let rule = "  affinity:\n    podAntiAffinity:\n      requiredDuringSchedulingIgnoredDuringExecution:\n      - \
                topologyKey: kubernetes.io/hostname\n        labelSelector: {matchLabels: {app: first}}\n";
    shell.apply(&pod("first", "", "{}"))?;
    shell.run("wait pod/first --for=condition=Ready --timeout=60s")?;
    shell.apply(&pod("second", rule, "{}"))?;
    waits(
        shell,
        "second",
        "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
    )?;
    shell.run("delete pod first")?;
    shell.run("wait pod/second --for=condition=Ready --timeout=60s")?;
    let near = rule.replace("podAntiAffinity", "podAffinity");
    shell.apply(&pod("third", &near, "{}"))?;
    waits(
        shell,
        "third",
        "0/1 nodes are available: 1 node(s) didn't match pod affinity rules. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
    )?;
    // The second wants no first near.
    shell.apply(&pod("first", "", "{}"))?;
    waits(
        shell,
        "first",
        "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
    )?;
    shell.run("delete pod second")?;
    for name in ["first", "third"] {
        shell.run(&format!(
            "wait pod/{name} --for=condition=Ready --timeout=60s"
        ))?;
    }
    shell.run("delete pod first third")?;
    Ok(())
}

fn spread(shell: &Shell<'_>) -> Result<()> {
    let rule = "  topologySpreadConstraints:\n  - {topologyKey: rack, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, \
                labelSelector: {matchLabels: {app: spread}}}\n";
    shell.apply(&pod("spread", rule, "{}"))?;
    waits(
        shell,
        "spread",
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label). preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
    )?;
    let explained = schedule(shell, "spread")?;
    let wanted = "✗ node(s) didn't match pod topology spread constraints (missing required label) (PodTopologySpread): node";
    ensure!(explained.contains(wanted), "{explained}");
    ensure!(explained.contains("spread waits: 0/1 nodes"), "{explained}");
    shell.run("label node node rack=r1")?;
    shell.run("wait pod/spread --for=condition=Ready --timeout=60s")?;
    let manifest = shell.cluster.directory().join("again.yaml");
    std::fs::write(&manifest, pod("again", rule, "{requests: {cpu: 1m}}"))?;
    let explained = schedule(shell, &manifest.display().to_string())?;
    for wanted in ["✓ node", "TaintToleration 300", "again goes to node"] {
        ensure!(explained.contains(wanted), "{explained}");
    }
    shell.run("delete pod spread")?;
    Ok(())
}

/// A pod waits until all of its gates are open.
fn gates(shell: &Shell<'_>) -> Result<()> {
    let rule = "  schedulingGates: [{name: example.com/quota}, {name: example.com/licence}]\n";
    shell.apply(&pod("gated", rule, "{}"))?;
    waits(
        shell,
        "gated",
        "Scheduling is blocked due to non-empty scheduling gates",
    )?;
    let row = shell.run("get pod gated --no-headers")?;
    ensure!(row.contains("SchedulingGated"), "{row}");
    let one = r#"{"spec":{"schedulingGates":[{"name":"example.com/licence"}]}}"#;
    shell.words(&["patch", "pod", "gated", "--type=merge", "-p", one])?;
    let more =
        r#"[{"op":"add","path":"/spec/schedulingGates/-","value":{"name":"example.com/more"}}]"#;
    let refused = shell.output(&["patch", "pod", "gated", "--type=json", "-p", more], "")?;
    let refused = refused.failure(1)?;
    ensure!(refused.contains("only deletion is allowed"), "{refused}");
    let row = shell.run("get pod gated --no-headers")?;
    ensure!(row.contains("SchedulingGated"), "{row}");
    let none = r#"{"spec":{"schedulingGates":null}}"#;
    shell.words(&["patch", "pod", "gated", "--type=merge", "-p", none])?;
    shell.run("wait pod/gated --for=condition=Ready --timeout=60s")?;
    shell.run("delete pod gated")?;
    Ok(())
}

/// What `knarr schedule` says of a pod.
fn schedule(shell: &Shell<'_>, pod: &str) -> Result<String> {
    let cluster = shell.cluster;
    let dir = cluster.data_dir().display().to_string();
    let words = ["schedule", "--explain", "--data-dir", &dir, pod];
    run(cluster.knarr(&words)?, SOON)?.success()
}
