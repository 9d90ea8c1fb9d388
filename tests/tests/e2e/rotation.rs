//! Certificates are made anew while the cluster works, and the authority that signs them is replaced.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use knarr_testkit::{Cluster, Options, eventually, run};

use crate::support::{SOON, Shell, newest, step, with_cluster};

const PAUSE: Duration = Duration::from_millis(50);

#[test]
fn certificates_and_their_authority_are_replaced() {
    let options = Options {
        nodes: 2,
        ..Options::default()
    };
    with_cluster(options, |cluster| {
        step("up", || cluster.up())?;
        let old = fs::read_to_string(cluster.kubeconfig())?;
        step("what there is", || told(cluster))?;
        step("new certificates while requests go on", || leafs(cluster))?;
        step("a new authority", || authority(cluster, &old))?;
        step("the old one is dropped", || dropped(cluster, &old))?;
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

fn cert(cluster: &Cluster, words: &[&str]) -> Result<knarr_testkit::Output> {
    let mut command = cluster.knarr(&["cert"])?;
    command
        .args(words)
        .arg("--data-dir")
        .arg(cluster.data_dir());
    run(command, SOON)
}

/// What a file below the data directory holds.
fn file(cluster: &Cluster, path: &str) -> Result<String> {
    let path = cluster.data_dir().join(path);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The certificate that a server shows, PEM.
fn shown(cluster: &Cluster, address: &str) -> Result<String> {
    let script =
        format!("openssl s_client -connect {address} </dev/null 2>/dev/null | openssl x509");
    let mut command = cluster.command("sh");
    command.args(["-c", &script]);
    run(command, SOON)?.success()
}

fn told(cluster: &Cluster) -> Result<()> {
    let table = cert(cluster, &["status"])?.success()?;
    for wanted in [
        "apiserver.crt",
        "kubernetes-admin (system:masters)",
        "front-proxy-ca.crt",
        "node-2/",
        "sa.key",
        "signs tokens",
        "good, renewed by itself",
    ] {
        ensure!(table.contains(wanted), "no {wanted:?} in:\n{table}");
    }
    Ok(())
}

fn leafs(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    let before = shown(cluster, "127.0.0.1:6443")?;
    let node = any_of_node(cluster)?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| -> Result<u32> {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                shell.run("get nodes")?;
                count += 1;
                thread::sleep(PAUSE);
            }
            Ok(count)
        });
        let rotated = (0..3).try_for_each(|_| {
            let said = cert(cluster, &["rotate"])?.success()?;
            ensure!(said.contains("node-2: 2 certificates"), "{said}");
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        let count = asking.join().map_err(|_| anyhow!("it panicked"))??;
        ensure!(count > 0, "nothing was asked");
        rotated
    })?;
    ensure!(
        shown(cluster, "127.0.0.1:6443")? != before,
        "it is the old one"
    );
    ensure!(any_of_node(cluster)? != node, "the node's is the old one");
    serves(cluster)
}

/// The certificates of the second node.
fn any_of_node(cluster: &Cluster) -> Result<String> {
    let mut all = String::new();
    for entry in fs::read_dir(cluster.node_dir("node-2").join("pki"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            all += &fs::read_to_string(path)?;
        }
    }
    ensure!(!all.is_empty(), "it has none");
    Ok(all)
}

/// Both nodes are there, and the server reaches what each of them serves.
fn serves(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    eventually(SOON, "the nodes are Ready", || {
        let nodes = shell.run("get nodes --no-headers")?;
        let ready = nodes.lines().filter(|line| line.contains(" Ready "));
        ensure!(ready.count() == 2, "{nodes}");
        for node in ["node", "node-2"] {
            shell.run(&format!("get --raw /api/v1/nodes/{node}/proxy/healthz"))?;
        }
        Ok(())
    })
}

/// Who has a kubeconfig of before is served.
fn by(cluster: &Cluster, kubeconfig: &str) -> Result<knarr_testkit::Output> {
    let path = cluster.directory().join("old.kubeconfig");
    fs::write(&path, kubeconfig)?;
    let flag = format!("--kubeconfig={}", path.display());
    shell(cluster)?.output(&["get", "nodes", &flag], "")
}

fn restart(cluster: &mut Cluster) -> Result<()> {
    cluster.stop()?;
    cluster.up()?;
    Ok(())
}

fn authority(cluster: &mut Cluster, old: &str) -> Result<()> {
    let refused = cert(cluster, &["rotate", "--drop-old-ca"])?.failure(1)?;
    ensure!(refused.contains("nothing to drop"), "{refused}");
    let before = file(cluster, "pki/ca.crt")?;
    let said = cert(cluster, &["rotate", "--ca"])?.success()?;
    ensure!(said.contains("restart this knarr"), "{said}");
    by(cluster, old)?.success()?;
    let refused = cert(cluster, &["rotate", "--drop-old-ca"])?.failure(1)?;
    ensure!(refused.contains("restart it first"), "{refused}");
    restart(cluster)?;
    let now = file(cluster, "pki/ca.crt")?;
    ensure!(now != before && now.ends_with(&before), "{now}");
    ensure!(file(cluster, "nodes/node-2/pki/ca.crt")?.trim() == now.trim());
    by(cluster, old)?.success()?;
    let table = cert(cluster, &["status"])?.success()?;
    ensure!(table.contains("replaced, still trusted"), "{table}");
    serves(cluster)
}

fn dropped(cluster: &mut Cluster, old: &str) -> Result<()> {
    cert(cluster, &["rotate", "--drop-old-ca"])?.success()?;
    restart(cluster)?;
    let output = by(cluster, old)?;
    ensure!(!output.status.success(), "it is served: {output}");
    let table = cert(cluster, &["status"])?.success()?;
    ensure!(!table.contains("still trusted"), "{table}");
    serves(cluster)
}
