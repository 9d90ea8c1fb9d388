//! Server-side apply with kubectl: who owns what, conflicts, what is removed, and objects of its older kind of apply.

use anyhow::{Result, ensure};
use knarr_testkit::Cluster;
use serde_json::Value;

use crate::support::{Shell, newest, step, with_running_cluster};

/// Looks at one thing.
type Check = fn(&Shell<'_>) -> Result<()>;

#[test]
fn objects_are_applied_by_the_server() {
    with_running_cluster(|cluster| {
        let checks: [(&str, Check); 5] = [
            ("ownership", ownership),
            ("conflicts", conflicts),
            ("differences", differences),
            ("from client-side apply", migration),
            ("custom managers", managers),
        ];
        let mut failures = Vec::new();
        for (name, check) in checks {
            if let Err(error) = step(name, || check(&shell(cluster)?)) {
                failures.push(format!("{error:#}"));
            }
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

/// A Deployment without pods; `lines` are more of its spec.
fn deployment(name: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n{lines}  selector:\n    matchLabels:\n      \
         app: {name}\n  template:\n    metadata:\n      labels:\n        app: {name}\n    spec:\n      containers:\n      - name: main\n        \
         image: knarr/busybox:latest\n"
    )
}

/// `kubectl apply` of a document, with more words.
fn apply(shell: &Shell<'_>, yaml: &str, words: &[&str]) -> Result<knarr_testkit::Output> {
    let words: Vec<&str> = ["apply", "-f", "-"].iter().chain(words).copied().collect();
    shell.output(&words, yaml)
}

/// As [`apply`], where it must succeed.
fn applied(shell: &Shell<'_>, yaml: &str, words: &[&str]) -> Result<String> {
    apply(shell, yaml, words)?.success()
}

/// `manager operation` of everybody who owns something of an object.
fn owners(shell: &Shell<'_>, what: &str) -> Result<Vec<String>> {
    let object = shell.get(&format!("{what} --show-managed-fields"))?;
    let entries = object["metadata"]["managedFields"].as_array().cloned();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let mut owners: Vec<String> = entries
        .unwrap_or_default()
        .iter()
        .map(|entry| format!("{} {}", text(entry, "manager"), text(entry, "operation")))
        .collect();
    owners.sort();
    Ok(owners)
}

fn version(shell: &Shell<'_>, what: &str) -> Result<String> {
    shell.path(what, "{.metadata.resourceVersion}")
}

fn ownership(shell: &Shell<'_>) -> Result<()> {
    let yaml = deployment("owned", &["replicas: 0", "minReadySeconds: 7"]);
    let said = applied(shell, &yaml, &["--server-side"])?;
    ensure!(
        said.contains("deployment.apps/owned serverside-applied"),
        "{said}"
    );
    let found = owners(shell, "deployment owned")?;
    ensure!(found.contains(&"kubectl Apply".to_owned()), "{found:?}");
    shell.run("rollout status deployment owned --timeout=60s")?;
    let before = version(shell, "deployment owned")?;
    applied(shell, &yaml, &["--server-side"])?;
    let after = version(shell, "deployment owned")?;
    ensure!(
        before == after,
        "{before} became {after} by applying the same"
    );
    // What is not wanted any more goes, or becomes the default again.
    applied(
        shell,
        &deployment("owned", &["replicas: 0"]),
        &["--server-side"],
    )?;
    let left = shell.path("deployment owned", "{.spec.minReadySeconds}")?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

fn conflicts(shell: &Shell<'_>) -> Result<()> {
    let yaml = deployment("wanted", &["replicas: 0"]);
    applied(shell, &yaml, &["--server-side", "--field-manager=first"])?;
    let other = deployment("wanted", &["replicas: 0", "paused: true"])
        .replace("busybox:latest", "busybox:other");
    let refused = apply(shell, &other, &["--server-side", "--field-manager=second"])?;
    let conflict = "Apply failed with 1 conflict: conflict with \"first\": \
                    .spec.template.spec.containers[name=\"main\"].image";
    ensure!(
        !refused.status.success() && refused.stderr.contains(conflict),
        "{}",
        refused.stderr
    );
    let force = [
        "--server-side",
        "--field-manager=second",
        "--force-conflicts",
    ];
    applied(shell, &other, &force)?;
    // Now it is the first one's turn to be refused; scaling is an update, and takes the replicas from both.
    let refused = apply(shell, &yaml, &["--server-side", "--field-manager=first"])?;
    ensure!(
        refused.stderr.contains("conflict with \"second\""),
        "{}",
        refused.stderr
    );
    shell.run("scale deployment wanted --replicas=0")?;
    shell.run(
        "patch deployment wanted -p {\"spec\":{\"minReadySeconds\":3}} --field-manager=patcher",
    )?;
    let found = owners(shell, "deployment wanted")?;
    for owner in ["first Apply", "second Apply", "patcher Update"] {
        ensure!(found.iter().any(|f| f == owner), "no {owner} in {found:?}");
    }
    Ok(())
}

fn differences(shell: &Shell<'_>) -> Result<()> {
    let yaml = deployment("compared", &["replicas: 0"]);
    applied(shell, &yaml, &["--server-side"])?;
    let same = shell.output(&["diff", "--server-side", "-f", "-"], &yaml)?;
    ensure!(same.status.success(), "{}{}", same.stdout, same.stderr);
    let more = deployment("compared", &["replicas: 0", "minReadySeconds: 5"]);
    let differs = shell.output(&["diff", "--server-side", "-f", "-"], &more)?;
    ensure!(
        !differs.status.success() && differs.stdout.contains("+  minReadySeconds: 5"),
        "{}{}",
        differs.stdout,
        differs.stderr
    );
    let dry = applied(shell, &more, &["--server-side", "--dry-run=server"])?;
    ensure!(dry.contains("serverside-applied (server dry run)"), "{dry}");
    let left = shell.path("deployment compared", "{.spec.minReadySeconds}")?;
    ensure!(left.is_empty(), "a dry run changed it to {left}");
    Ok(())
}

/// kubectl moves an object from one kind of apply to the other: the annotation goes along, and there is no conflict.
fn migration(shell: &Shell<'_>) -> Result<()> {
    applied(
        shell,
        &deployment("moved", &["replicas: 0", "minReadySeconds: 7"]),
        &[],
    )?;
    let found = owners(shell, "deployment moved")?;
    ensure!(
        found.contains(&"kubectl-client-side-apply Update".to_owned()),
        "{found:?}"
    );
    applied(
        shell,
        &deployment("moved", &["replicas: 0", "minReadySeconds: 8"]),
        &["--server-side"],
    )?;
    let found = owners(shell, "deployment moved")?;
    ensure!(
        found.contains(&"kubectl Apply".to_owned())
            && !found.contains(&"kubectl-client-side-apply Update".to_owned()),
        "{found:?}"
    );
    applied(
        shell,
        &deployment("moved", &["replicas: 0"]),
        &["--server-side"],
    )?;
    let left = shell.path("deployment moved", "{.spec.minReadySeconds}")?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

/// What upstream's components do, they do under upstream's names.
fn managers(shell: &Shell<'_>) -> Result<()> {
    let found = owners(shell, "deployment owned")?;
    ensure!(
        found.contains(&"kube-controller-manager Update".to_owned()),
        "{found:?}"
    );
    let nodes = shell.get("nodes --show-managed-fields")?;
    let entries = nodes["items"][0]["metadata"]["managedFields"].to_string();
    ensure!(entries.contains("\"kubelet\""), "{entries}");
    let hidden = shell.get("deployment owned")?;
    ensure!(
        hidden["metadata"].get("managedFields").is_none(),
        "{hidden}"
    );
    Ok(())
}
