//! What the suites share: a cluster for a test, steps with their times, and what to look at when one fails.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, Kubectl, Options, can_run_clusters, eventually, image, kubectls};
use serde_json::Value;

/// Longest wait for something that takes a second or two on an idle machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Runs a test on a prepared cluster; tells what state it was in when the test fails. Returns at once where clusters
/// cannot run.
pub fn with_cluster(options: Options, test: impl FnOnce(&mut Cluster) -> Result<()>) {
    if !can_run_clusters() {
        return;
    }
    let mut cluster = match Cluster::prepare(options) {
        Ok(cluster) => cluster,
        Err(error) => panic!("{error:#}"),
    };
    if let Err(error) = test(&mut cluster) {
        describe(&cluster);
        panic!("{error:#}");
    }
}

/// As [`with_cluster`], for tests that need it running.
pub fn with_running_cluster(test: impl FnOnce(&mut Cluster) -> Result<()>) {
    with_cluster(Options::default(), |cluster| {
        step("knarr up", || cluster.up())?;
        test(cluster)
    });
}

/// A part of a test, printed with its time.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let result = work();
    println!("{:>7.2}s {name}", started.elapsed().as_secs_f64());
    result.with_context(|| name.to_owned())
}

/// As [`step`], for asynchronous parts.
pub async fn step_async<T>(name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let started = Instant::now();
    let result = work.await;
    println!("{:>7.2}s {name}", started.elapsed().as_secs_f64());
    result.with_context(|| name.to_owned())
}

/// Runs the asynchronous part of a test.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(work)
}

/// The newest kubectl.
pub fn newest() -> Result<Kubectl> {
    kubectls()?.pop().context("there is no kubectl")
}

/// Whether a kubectl knows the subresources of running pods. Tests say so and pass where none does.
pub fn knows_running_pods(kubectl: &Kubectl) -> bool {
    /// The first that patches `resize`.
    const MINOR: u32 = 32;
    let knows = kubectl.minor >= MINOR;
    if !knows {
        println!("left out: kubectl {} does not know resize", kubectl.version);
    }
    knows
}

/// The example's manifest, with a node port of one's own where tests run side by side.
pub fn hello_yaml(node_port: u16) -> Result<String> {
    let path = image::workspace().join("examples/hello.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    ensure!(
        text.contains("nodePort: 30080"),
        "the example's node port is not 30080"
    );
    Ok(text.replace("nodePort: 30080", &format!("nodePort: {node_port}")))
}

/// kubectl in a namespace of a cluster.
pub struct Shell<'a> {
    pub cluster: &'a Cluster,
    pub kubectl: Kubectl,
    pub namespace: String,
}

impl<'a> Shell<'a> {
    pub fn new(cluster: &'a Cluster, kubectl: Kubectl, namespace: &str) -> Self {
        Self {
            cluster,
            kubectl,
            namespace: namespace.to_owned(),
        }
    }

    /// Runs a command line, words apart at spaces; its output when it succeeds.
    pub fn run(&self, line: &str) -> Result<String> {
        self.words(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// As [`Shell::run`], for words with spaces in them.
    pub fn words(&self, words: &[&str]) -> Result<String> {
        self.output(words, "")?.success()
    }

    pub fn output(&self, words: &[&str], input: &str) -> Result<knarr_testkit::Output> {
        let mut all = vec!["--namespace", &self.namespace];
        all.extend(words);
        self.cluster.kubectl_input(&self.kubectl, &all, input)
    }

    /// Runs a command that must say all of `wanted`.
    pub fn says(&self, line: &str, wanted: &[&str]) -> Result<String> {
        let output = self.run(line)?;
        for text in wanted {
            ensure!(
                output.contains(text),
                "kubectl {line} does not say {text:?}:\n{output}"
            );
        }
        Ok(output)
    }

    pub fn apply(&self, yaml: &str) -> Result<String> {
        self.output(&["apply", "-f", "-"], yaml)?.success()
    }

    /// An object or list.
    pub fn get(&self, what: &str) -> Result<Value> {
        let text = self.run(&format!("get {what} -o json"))?;
        serde_json::from_str(&text).with_context(|| text)
    }

    /// What a JSONPath gives.
    pub fn path(&self, what: &str, path: &str) -> Result<String> {
        self.run(&format!("get {what} -o jsonpath={path}"))
    }

    /// Pods of the example that are ready and not going away, by name.
    pub fn ready_pods(&self, selector: &str) -> Result<Vec<Value>> {
        let list = self.get(&format!("pods -l {selector}"))?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        Ok(items.into_iter().filter(is_ready).collect())
    }

    /// Waits until exactly `count` pods of a selector exist, all ready.
    pub fn wait_ready(&self, selector: &str, count: usize) -> Result<Vec<Value>> {
        eventually(SOON, &format!("{count} ready pods of {selector}"), || {
            let list = self.get(&format!("pods -l {selector}"))?;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let ready = items.iter().filter(|pod| is_ready(pod)).count();
            ensure!(
                ready == count && items.len() == count,
                "{ready} of {} are ready: {}",
                items.len(),
                items.iter().map(summary).collect::<Vec<_>>().join(", ")
            );
            Ok(items)
        })
    }
}

/// Ready and not going away.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    pod["metadata"]["deletionTimestamp"].is_null()
        && conditions
            .iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn summary(pod: &Value) -> String {
    let deleted = if pod["metadata"]["deletionTimestamp"].is_null() {
        ""
    } else {
        " (terminating)"
    };
    format!(
        "{} {}{deleted} {}",
        name(pod),
        pod["status"]["phase"].as_str().unwrap_or_default(),
        pod["status"]["containerStatuses"][0]["state"]
    )
}

/// An object's name.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// How often a pod's first container was started again.
pub fn restarts(pod: &Value) -> u64 {
    pod["status"]["containerStatuses"][0]["restartCount"]
        .as_u64()
        .unwrap_or_default()
}

/// A line `KEY: value` of the example's page.
pub fn field<'a>(page: &'a str, key: &str) -> &'a str {
    let lines = page.lines().filter_map(|line| line.split_once(": "));
    lines
        .into_iter()
        .find(|(name, _)| *name == key)
        .map_or("", |(_, value)| value)
}

fn describe(cluster: &Cluster) {
    if cluster.pid().is_some()
        && let Ok(kubectl) = newest()
    {
        for line in [
            "get nodes,pods,services,deployments,replicasets,endpointslices -A -o wide",
            "get events -A --sort-by=.metadata.creationTimestamp",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            match cluster.kubectl_output(&kubectl, &words) {
                Ok(output) => eprintln!("{output}"),
                Err(error) => eprintln!("{error:#}"),
            }
        }
    }
}
