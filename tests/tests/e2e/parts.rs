//! Parts of a cluster that run by themselves: left out of `knarr up`, they take their places from outside.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, Options, eventually, image, run};
use serde_json::{Value, json};

use crate::support::{SOON, Shell, newest, step, with_cluster};

const COMMAND_DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn parts_left_out_take_their_places_from_outside() {
    let options = Options {
        flags: vec!["--without=kube-scheduler,controller-manager".to_owned()],
        ..Options::default()
    };
    with_cluster(options, |cluster| {
        step("knarr up", || cluster.up())?;
        let shell = Shell::new(cluster, newest()?, "default");
        step("nobody makes pods", || {
            shell.apply(&deployment(1).to_string())?;
            let sets = shell.get("replicasets")?;
            ensure!(sets["items"] == json!([]), "{sets:#}");
            Ok(())
        })?;
        let controllers = step("the controllers come", || {
            let pki = |file: &str| cluster.data_dir().join("pki").join(file);
            Part::start(
                cluster,
                "controller-manager",
                &[
                    "--bind-address=127.0.0.1".to_owned(),
                    "--allocate-node-cidrs=true".to_owned(),
                    "--cluster-cidr=10.42.0.0/16".to_owned(),
                    format!(
                        "--service-account-private-key-file={}",
                        pki("sa.key").display()
                    ),
                ],
            )
        })?;
        step("there is a pod, and no node for it", || {
            eventually(SOON, "it waits", || {
                let pods = shell.get("pods -l app=web")?;
                let pod = &pods["items"][0];
                ensure!(pod["status"]["phase"] == "Pending", "{pods:#}");
                ensure!(pod["spec"]["nodeName"] == Value::Null, "{pods:#}");
                Ok(())
            })
        })?;
        let scheduler = step("the scheduler comes", || {
            Part::start(
                cluster,
                "scheduler",
                &["--bind-address=127.0.0.1".to_owned()],
            )
        })?;
        step("the pod runs", || available(&shell, 1))?;
        step("both hold their leases", || {
            for lease in ["kube-scheduler", "kube-controller-manager"] {
                let lease = shell.get(&format!("lease {lease} --namespace=kube-system"))?;
                let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
                ensure!(holder.contains('_'), "{lease:#}");
            }
            Ok(())
        })?;
        step("both tell of their health", || {
            for port in [10_257, 10_259] {
                let url = format!("https://127.0.0.1:{port}/healthz");
                let said = cluster.curl(&["--insecure", &url])?;
                ensure!(said == "ok", "{url}: {said}");
            }
            Ok(())
        })?;
        step("the controllers act under accounts of their own", || {
            shell
                .get("serviceaccount deployment-controller --namespace=kube-system")
                .map(drop)
        })?;
        drop(scheduler);
        drop(controllers);
        step("without them again nothing is made", || {
            shell.apply(&deployment(2).to_string())?;
            let status = shell.get("deployment web")?["status"].clone();
            ensure!(status["replicas"] == 1, "{status:#}");
            Ok(())
        })
    });
}

#[test]
fn a_node_is_drained_as_budgets_allow() {
    with_cluster(Options::default(), |cluster| {
        step("knarr up", || cluster.up())?;
        let shell = Shell::new(cluster, newest()?, "default");
        step("a pod that may not go", || {
            shell.apply(&deployment(1).to_string())?;
            shell.apply(&budget().to_string())?;
            available(&shell, 1)
        })?;
        step("the drain ends at its deadline and says why", || {
            let said = drain(cluster, &["node", "--timeout=2s"])?.failure(1)?;
            ensure!(said.contains("disruption budget"), "{said}");
            ensure!(said.contains("--timeout"), "{said}");
            Ok(())
        })?;
        step("without the budget it is done", || {
            shell.says("delete pdb web", &["deleted"])?;
            let said = drain(cluster, &["node"])?.success()?;
            ensure!(said.contains("node node is drained"), "{said}");
            let node = shell.get("node node")?;
            ensure!(node["spec"]["unschedulable"] == true, "{node:#}");
            Ok(())
        })?;
        step("a node that is not there", || {
            let said = drain(cluster, &["nobody"])?.failure(1)?;
            ensure!(said.contains("there is no node nobody"), "{said}");
            Ok(())
        })
    });
}

fn drain(cluster: &Cluster, arguments: &[&str]) -> Result<knarr_testkit::Output> {
    let mut command = cluster.knarr(&["node", "drain"])?;
    command
        .args(arguments)
        .arg("--data-dir")
        .arg(cluster.data_dir());
    run(command, COMMAND_DEADLINE)
}

fn available(shell: &Shell<'_>, replicas: u32) -> Result<()> {
    eventually(SOON, "it is available", || {
        let status = shell.get("deployment web")?["status"].clone();
        ensure!(status["availableReplicas"] == replicas, "{status:#}");
        Ok(())
    })
}

fn deployment(replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{
                        "name": "main", "image": image::BUSYBOX, "imagePullPolicy": "IfNotPresent",
                        "command": ["sleep", "100000"],
                    }],
                },
            },
        },
    })
}

fn budget() -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    })
}

/// A part that runs by itself; ended when dropped.
struct Part(Child);

impl Part {
    fn start(cluster: &Cluster, part: &str, flags: &[String]) -> Result<Self> {
        let kubeconfig = kubeconfig(cluster, part)?;
        let log = cluster.directory().join(format!("{part}.log"));
        let mut command = cluster.knarr(&[part])?;
        let process = command
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .spawn();
        Ok(Self(
            process.with_context(|| format!("cannot start {part}"))?,
        ))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kubeconfig(cluster: &Cluster, part: &str) -> Result<PathBuf> {
    let path = cluster.directory().join(format!("{part}.kubeconfig"));
    let user = format!("system:kube-{part}");
    let mut command = cluster.knarr(&["kubeconfig", "--user", &user, "--lifetime=1h"])?;
    command
        .arg("--data-dir")
        .arg(cluster.data_dir())
        .arg("--output")
        .arg(&path);
    run(command, COMMAND_DEADLINE)?.success()?;
    Ok(path)
}
