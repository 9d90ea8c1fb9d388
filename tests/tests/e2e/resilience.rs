//! Things that go wrong while the example runs: a killed container, a deleted pod, a killed and a stopped knarr.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use knarr_testkit::{Cluster, NODE_IP, eventually, hold, kill_process};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    SOON, Shell, field, hello_yaml, is_ready, name, newest, restarts, step, with_running_cluster,
};

const SELECTOR: &str = "app=hello";
/// The example's liveness period and threshold would have shown a restart by then.
const CALM: Duration = Duration::from_secs(3);

#[test]
fn the_example_survives_what_goes_wrong() {
    with_running_cluster(|cluster| {
        step("apply", || {
            let shell = shell(cluster)?;
            shell.apply(&hello_yaml(30080)?)?;
            shell.wait_ready(SELECTOR, 3)
        })?;
        step("a pod that is not ready gets no requests", || {
            not_ready(cluster)
        })?;
        step("a killed process is started again", || {
            killed_process(cluster)
        })?;
        step("a deleted pod is replaced", || deleted_pod(cluster))?;
        step("kill -9 loses nothing", || killed(cluster))?;
        step("a clean stop loses nothing", || stopped(cluster))?;
        step("what ends meanwhile is noticed", || {
            ended_meanwhile(cluster)
        })?;
        step("down and up again", || down_and_up(cluster))?;
        step("down --purge", || cluster.down(&["--purge"]))?;
        ensure!(
            !cluster.data_dir().exists(),
            "--purge keeps the data directory"
        );
        cluster.assert_gone()
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

fn pod_ip(pod: &Value) -> &str {
    pod["status"]["podIP"].as_str().unwrap_or_default()
}

/// Uid and restart count of every pod: the same as long as no container notices.
fn identities(pods: &[Value]) -> BTreeSet<(String, u64)> {
    let uid = |pod: &Value| {
        pod["metadata"]["uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    pods.iter().map(|pod| (uid(pod), restarts(pod))).collect()
}

/// Hosts that a few requests to the Service meet.
fn met(cluster: &Cluster, url: &str, requests: usize) -> Result<BTreeSet<String>> {
    (0..requests)
        .map(|_| Ok(field(&cluster.curl(&[url])?, "host").to_owned()))
        .collect()
}

fn not_ready(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    let pods = shell.wait_ready(SELECTOR, 3)?;
    let pod = &pods[0];
    let url = format!(
        "http://{}/",
        shell.path("service hello", "{.spec.clusterIP}")?
    );
    cluster.curl(&[
        "-X",
        "POST",
        &format!("http://{}:8080/unready", pod_ip(pod)),
    ])?;
    eventually(SOON, "no request meets the pod", || {
        let hosts = met(cluster, &url, 20)?;
        ensure!(!hosts.contains(name(pod)), "{hosts:?}");
        Ok(())
    })?;
    ensure!(
        !is_ready(&shell.get(&format!("pod {}", name(pod)))?),
        "the pod is ready"
    );
    cluster.curl(&["-X", "POST", &format!("http://{}:8080/ready", pod_ip(pod))])?;
    eventually(SOON, "requests meet the pod again", || {
        let hosts = met(cluster, &url, 20)?;
        ensure!(hosts.contains(name(pod)), "{hosts:?}");
        Ok(())
    })
}

fn killed_process(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    let before: u64 = shell.wait_ready(SELECTOR, 3)?.iter().map(restarts).sum();
    let pids = cluster.container_processes("/hello ");
    ensure!(pids.len() == 3, "processes of the example: {pids:?}");
    kill_process(pids[0])?;
    let pods = eventually(SOON, "one container was started again", || {
        let pods = shell.ready_pods(SELECTOR)?;
        let sum: u64 = pods.iter().map(restarts).sum();
        ensure!(
            pods.len() == 3 && sum == before + 1,
            "{} ready, {sum} restarts",
            pods.len()
        );
        Ok(pods)
    })?;
    let pod = pods
        .iter()
        .find(|pod| restarts(pod) > 0)
        .context("one was restarted")?;
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    ensure!(
        last["exitCode"] == 137 && last["reason"] == "Error",
        "{last}"
    );
    // The log of the one before is still to be had.
    shell.says(
        &format!("logs {} --previous", name(pod)),
        &["hello: listening"],
    )?;
    Ok(())
}

fn deleted_pod(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    let pods = shell.wait_ready(SELECTOR, 3)?;
    let gone = name(&pods[0]).to_owned();
    shell.says(&format!("delete pod {gone}"), &["deleted"])?;
    let pods = shell.wait_ready(SELECTOR, 3)?;
    ensure!(
        pods.iter().all(|pod| name(pod) != gone),
        "{gone} is still there"
    );
    Ok(())
}

/// Runs `work` while requests go to the Service without a pause; none may fail.
fn under_requests(
    cluster: &mut Cluster,
    work: impl FnOnce(&mut Cluster) -> Result<()>,
) -> Result<()> {
    let address = shell(cluster)?.path("service hello", "{.spec.clusterIP}")?;
    let urls = [
        format!("http://{address}/"),
        format!("http://{NODE_IP}:30080/"),
    ];
    let done = AtomicBool::new(false);
    let answered = AtomicU32::new(0);
    // The requests are made by commands of their own, which only need the namespace.
    let command = |url: &String| {
        let mut command = cluster.network().command("curl");
        command.args(["--silent", "--show-error", "--fail", "--max-time", "5", url]);
        command
    };
    let commands: Vec<_> = urls.iter().map(command).collect();
    thread::scope(|scope| {
        let requests = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                for command in &commands {
                    let mut again = std::process::Command::new(command.get_program());
                    again.args(command.get_args());
                    let output = knarr_testkit::run(again, SOON)?;
                    ensure!(output.status.success(), "a request failed: {output}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(())
        });
        let worked = work(cluster);
        done.store(true, Ordering::Relaxed);
        let requested = requests
            .join()
            .unwrap_or_else(|_| bail!("the requests panicked"));
        worked.and(requested)
    })?;
    let answered = answered.load(Ordering::Relaxed);
    ensure!(answered >= 10, "only {answered} requests were made");
    Ok(())
}

/// All pods are as before, and stay so.
fn unchanged(cluster: &Cluster, before: &BTreeSet<(String, u64)>) -> Result<()> {
    let shell = shell(cluster)?;
    let pods = shell.wait_ready(SELECTOR, 3)?;
    ensure!(
        identities(&pods) == *before,
        "pods changed: {:?}, before {before:?}",
        identities(&pods)
    );
    hold(CALM, "no container is started again", || {
        let pods = shell.ready_pods(SELECTOR)?;
        ensure!(
            identities(&pods) == *before,
            "{:?}, before {before:?}",
            identities(&pods)
        );
        Ok(())
    })
}

fn killed(cluster: &mut Cluster) -> Result<()> {
    let before = identities(&shell(cluster)?.wait_ready(SELECTOR, 3)?);
    under_requests(cluster, |cluster| {
        for round in 0..3 {
            let last = format!("round={round}");
            shell(cluster)?.run(&format!("label configmap hello {last} --overwrite"))?;
            cluster.kill()?;
            cluster.up()?;
            let labels = shell(cluster)?.get("configmap hello")?["metadata"]["labels"].clone();
            ensure!(
                labels["round"].as_str() == Some(round.to_string().as_str()),
                "the last write is lost: {labels}"
            );
        }
        Ok(())
    })?;
    unchanged(cluster, &before)?;
    // The new process serves the old containers.
    let shell = shell(cluster)?;
    shell.says("logs deployment/hello", &["hello: listening"])?;
    shell.says("scale deployment/hello --replicas=4", &["scaled"])?;
    shell.wait_ready(SELECTOR, 4)?;
    shell.run("scale deployment/hello --replicas=3")?;
    shell.wait_ready(SELECTOR, 3)?;
    Ok(())
}

fn stopped(cluster: &mut Cluster) -> Result<()> {
    let before = identities(&shell(cluster)?.wait_ready(SELECTOR, 3)?);
    under_requests(cluster, |cluster| {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let status = cluster.stop_with(signal)?;
            ensure!(
                status.success(),
                "{signal}: {status}\n{}",
                cluster.log_tail()
            );
            ensure!(
                cluster.container_processes("/hello ").len() == 3,
                "containers ended with knarr"
            );
            cluster.up()?;
        }
        Ok(())
    })?;
    unchanged(cluster, &before)
}

fn ended_meanwhile(cluster: &mut Cluster) -> Result<()> {
    let before: u64 = shell(cluster)?
        .wait_ready(SELECTOR, 3)?
        .iter()
        .map(restarts)
        .sum();
    cluster.kill()?;
    let pids = cluster.container_processes("/hello ");
    kill_process(*pids.first().context("containers run")?)?;
    cluster.up()?;
    let shell = shell(cluster)?;
    eventually(SOON, "the container was started again", || {
        let pods = shell.ready_pods(SELECTOR)?;
        let sum: u64 = pods.iter().map(restarts).sum();
        ensure!(
            pods.len() == 3 && sum == before + 1,
            "{} ready, {sum} restarts",
            pods.len()
        );
        let pod = pods.iter().find(|pod| {
            pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137
        });
        pod.map(drop).context("no exit code 137")
    })
}

fn down_and_up(cluster: &mut Cluster) -> Result<()> {
    let uid = shell(cluster)?.path("deployment hello", "{.metadata.uid}")?;
    cluster.down(&[])?;
    cluster.assert_gone()?;
    cluster.up()?;
    let shell = shell(cluster)?;
    ensure!(
        shell.path("deployment hello", "{.metadata.uid}")? == uid,
        "another deployment"
    );
    eventually(SOON, "the example answers again", || {
        let hosts = met(cluster, &format!("http://{NODE_IP}:30080/"), 5)?;
        ensure!(!hosts.is_empty());
        Ok(())
    })?;
    shell.run("rollout status deployment/hello --timeout=60s")?;
    Ok(())
}
