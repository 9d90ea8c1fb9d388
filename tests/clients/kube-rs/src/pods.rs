//! Streams to pods.

use anyhow::{Context, Result};
use futures::AsyncBufReadExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{AttachParams, DeleteParams, EvictParams, LogParams, PostParams},
    runtime::wait::{await_condition, conditions},
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    NAMESPACE,
    steps::{Steps, want},
};

const HELLO_PORT: u16 = 8080;

pub fn add(steps: &mut Steps, client: &Client) {
    let api = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
    steps.add("pods", pods(api.clone()));
    steps.add("logs-follow", follow(api.clone()));
    steps.add("exec", exec(api.clone()));
    steps.add("exec-stdin", exec_stdin(api.clone()));
    steps.add("port-forward", forward(api.clone()));
    steps.add("evict", evict(api.clone()));
    steps.add("delete-and-wait", delete(api));
}

async fn run(api: &Api<Pod>, name: &str, image: &str, command: &[&str]) -> Result<()> {
    let mut container = json!({"name": "main", "image": image, "imagePullPolicy": "IfNotPresent"});
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [container]});
    let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?;
    api.create(&PostParams::default(), &pod).await?;
    await_condition(api.clone(), name, conditions::is_pod_running()).await?;
    Ok(())
}

async fn pods(api: Api<Pod>) -> Result<()> {
    let ticks = ["sh", "-c", "while true; do echo tick; sleep 1; done"];
    run(&api, "shell", "knarr/busybox:latest", &ticks).await?;
    run(&api, "hello", "knarr/hello:latest", &[]).await
}

async fn follow(api: Api<Pod>) -> Result<()> {
    let parameters = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let mut lines = api.log_stream("shell", &parameters).await?;
    for _ in 0..3 {
        let mut line = String::new();
        lines.read_line(&mut line).await?;
        want("the line", line.as_str(), "tick\n")?;
    }
    Ok(())
}

async fn exec(api: Api<Pod>) -> Result<()> {
    let command = ["sh", "-c", "echo out; exit 7"];
    let mut process = api.exec("shell", command, &AttachParams::default()).await?;
    let mut output = String::new();
    let mut stdout = process.stdout().context("there is standard output")?;
    stdout.read_to_string(&mut output).await?;
    let status = process.take_status().context("there is a status")?.await;
    want("standard output", output.as_str(), "out\n")?;
    let status = status.context("the status was not told")?;
    want(
        "the reason",
        status.reason.as_deref(),
        Some("NonZeroExitCode"),
    )
}

async fn exec_stdin(api: Api<Pod>) -> Result<()> {
    let parameters = AttachParams::default().stdin(true);
    let mut process = api.exec("shell", ["head", "-n", "1"], &parameters).await?;
    let mut stdin = process.stdin().context("there is standard input")?;
    stdin.write_all(b"a line\n").await?;
    let mut output = String::new();
    let mut stdout = process.stdout().context("there is standard output")?;
    stdout.read_to_string(&mut output).await?;
    want("standard output", output.as_str(), "a line\n")
}

async fn forward(api: Api<Pod>) -> Result<()> {
    let mut forwarder = api.portforward("hello", &[HELLO_PORT]).await?;
    let mut stream = forwarder
        .take_stream(HELLO_PORT)
        .context("the port is forwarded")?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    want("whether the page is there", answer.contains("Hello"), true)
}

async fn evict(api: Api<Pod>) -> Result<()> {
    api.evict("hello", &EvictParams::default()).await?;
    Ok(())
}

async fn delete(api: Api<Pod>) -> Result<()> {
    let uid = api
        .get("shell")
        .await?
        .metadata
        .uid
        .context("it has a uid")?;
    api.delete("shell", &DeleteParams::default()).await?;
    await_condition(api, "shell", conditions::is_deleted(&uid)).await?;
    Ok(())
}
