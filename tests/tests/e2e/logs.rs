//! knarr logs: lines of pods that live and that are gone, and outputs whose receiver is away for a while.

use std::{
    collections::BTreeMap, fs, io::Read, path::Path, process::Stdio, sync::mpsc, thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, Options, Output, eventually, run};
use serde_json::Value;

use crate::support::{SOON, Shell, newest, step, with_cluster};

const DEADLINE: Duration = Duration::from_secs(60);
/// Lines of a pod.
const LINES: usize = 2_000;

/// Pods that count, and then wait.
const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: counter, color: NAME}}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
  - name: main
    image: knarr/busybox:latest
    imagePullPolicy: IfNotPresent
    command: [sh, -c, 'i=0; while [ $i -lt 2000 ]; do echo needle-NAME-$i; i=$((i+1)); done; exec sleep 100100']
";

#[test]
fn lines_are_found_when_their_pods_are_gone_and_forwarded_when_a_receiver_is_back() {
    with_cluster(Options::default(), |cluster| {
        let config = cluster.directory().join("outputs.yaml");
        let away = cluster.directory().join("away");
        write_config(cluster, "outputs: [{name: a, syslog: {}}]")?;
        cluster.add_flag(format!("--log-config={}", config.display()));
        step("a bad configuration", || refused(cluster))?;
        // The directory of its file is not there: a receiver that is away.
        let path = away.join("all.jsonl");
        let good = format!(
            "outputs: [{{name: a, file: {{path: '{}'}}, namespaces: [default]}}]",
            path.display()
        );
        write_config(cluster, &good)?;
        step("knarr up", || cluster.up())?;
        step("pods that log", || {
            let shell = Shell::new(cluster, newest()?, "default");
            for name in ["red", "blue"] {
                shell.apply(&PODS.replace("NAME", name))?;
            }
            eventually(SOON, "the last lines", || {
                found(cluster, &["--grep", "needle-red-1999"], 1)?;
                found(cluster, &["--grep", "needle-blue-1999"], 1)
            })
        })?;
        step("they are gone", || {
            let shell = Shell::new(cluster, newest()?, "default");
            shell.run("delete pod red blue --now")?;
            ensure!(shell.run("get pods")?.is_empty(), "pods are left");
            Ok(())
        })?;
        step("and their lines are not", || gone(cluster))?;
        step("nor after a kill", || {
            cluster.kill()?;
            cluster.up()?;
            gone(cluster)
        })?;
        step("a receiver comes back", || {
            fs::create_dir(&away)?;
            eventually(SOON, "all lines, in order", || forwarded(&path))
        })?;
        step("following", || follows(cluster))?;
        step("what cannot be asked", || bad_queries(cluster))?;
        step("down", || cluster.down(&["--purge"]))?;
        cluster.assert_gone()
    });
}

fn write_config(cluster: &Cluster, text: &str) -> Result<()> {
    let path = cluster.directory().join("outputs.yaml");
    fs::write(&path, text).with_context(|| path.display().to_string())
}

fn refused(cluster: &Cluster) -> Result<()> {
    let mut command = cluster.knarr(&["up"])?;
    command.args(cluster.up_flags());
    let said = run(command, DEADLINE)?.failure(1)?;
    ensure!(
        said.contains("--log-config") && said.contains("syslog"),
        "{said}"
    );
    Ok(())
}

fn logs(cluster: &Cluster, flags: &[&str]) -> Result<Output> {
    let data_dir = cluster.data_dir().display().to_string();
    let mut arguments = vec!["logs", "--data-dir", &data_dir];
    arguments.extend(flags);
    run(cluster.knarr(&arguments)?, DEADLINE)
}

fn found(cluster: &Cluster, flags: &[&str], count: usize) -> Result<Vec<Value>> {
    let mut all = vec!["--output", "json"];
    all.extend(flags);
    let text = logs(cluster, &all)?.success()?;
    let lines: Vec<Value> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    ensure!(
        lines.len() == count,
        "{} lines of {count}: {text}",
        lines.len()
    );
    Ok(lines)
}

fn gone(cluster: &Cluster) -> Result<()> {
    let lines = found(cluster, &["--grep", "needle-red-", "--tail", "5000"], LINES)?;
    for (index, line) in lines.iter().enumerate() {
        ensure!(
            line["message"] == format!("needle-red-{index}"),
            "{index}: {line}"
        );
    }
    let line = &found(cluster, &["-g", "NEEDLE-RED-77", "-i", "--tail=1"], 1)?[0];
    ensure!(
        line["pod"] == "red" && line["namespace"] == "default" && line["container"] == "main",
        "{line}"
    );
    found(cluster, &["--selector=color=blue", "--tail=7"], 7)?;
    found(cluster, &["--regex=^needle-blue-19..$"], 100)?;
    found(
        cluster,
        &["--pod=red", "-n", "default", "--since=1h", "--tail=3"],
        3,
    )?;
    found(cluster, &["--pod=red", "--namespace=kube-system"], 0)?;
    found(cluster, &["--container=knarr", "--tail=2"], 2)?;
    let text = logs(cluster, &["--grep", "needle-red-1999"])?.success()?;
    ensure!(
        text.trim_end()
            .ends_with("Z default/red[main] needle-red-1999"),
        "{text}"
    );
    Ok(())
}

/// Every line of both pods once at least, each pod's in order.
fn forwarded(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let mut seen: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line)?;
        let message = line["message"].as_str().unwrap_or_default();
        let number = message.rsplit('-').next().unwrap_or_default().parse()?;
        let pod = line["kubernetes"]["pod"]["name"]
            .as_str()
            .unwrap_or_default();
        let of_pod = seen.entry(pod.to_owned()).or_default();
        if of_pod.last() != Some(&number) {
            of_pod.push(number);
        }
    }
    let wanted: Vec<usize> = (0..LINES).collect();
    for pod in ["red", "blue"] {
        let seen = seen.get(pod).map(Vec::len);
        ensure!(seen == Some(LINES), "{seen:?} lines of {pod}");
    }
    ensure!(
        seen.values().all(|numbers| *numbers == wanted),
        "out of order"
    );
    Ok(())
}

fn follows(cluster: &Cluster) -> Result<()> {
    let data_dir = cluster.data_dir().display().to_string();
    // What comes before it is there is among the newest.
    let mut flags = vec!["logs", "--data-dir", &data_dir, "--grep", "needle-green"];
    flags.extend(["--follow", "--output", "raw", "--tail", "5000"]);
    let mut command = cluster.knarr(&flags)?;
    let mut following = command.stdout(Stdio::piped()).spawn()?;
    let output = following.stdout.take().context("it has no output")?;
    let (done, text) = mpsc::channel();
    let reading = thread::spawn(move || {
        let mut text = String::new();
        let read = output.take(needed("green")).read_to_string(&mut text);
        let _gone = done.send(read.map(|_| text));
    });
    let shell = Shell::new(cluster, newest()?, "default");
    let applied = shell.apply(&PODS.replace("NAME", "green"));
    let text = text.recv_timeout(DEADLINE);
    following.kill()?;
    following.wait()?;
    let ended = reading.join();
    ensure!(ended.is_ok(), "the reader panicked");
    applied?;
    let text = text.context("lines are missing")??;
    let wanted: String = (0..LINES).map(|n| format!("needle-green-{n}\n")).collect();
    ensure!(text == wanted, "{text}");
    Ok(())
}

/// Bytes of all lines of a pod.
fn needed(name: &str) -> u64 {
    let bytes = |n: usize| format!("needle-{name}-{n}\n").len() as u64;
    (0..LINES).map(bytes).sum()
}

fn bad_queries(cluster: &Cluster) -> Result<()> {
    for (flags, wanted) in [
        (&["--regex=("][..], "regex"),
        (&["--selector=a=b=c"], "labelSelector"),
        (&["--node=nowhere"], "there is no node nowhere"),
        (&["--tail=1000000"], "--tail is at most"),
    ] {
        let said = logs(cluster, flags)?.failure(1)?;
        ensure!(said.contains(wanted), "{flags:?}: {said}");
    }
    Ok(())
}
