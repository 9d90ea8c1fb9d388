//! Ingresses with traffic: hosts and paths, certificates, WebSockets, default backends, and who may have which host.

mod manifest;

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Result, ensure};
use knarr_testkit::{Cluster, NODE_IP, eventually, run};

use self::manifest::{HOST, OTHER, SECURE};
use crate::support::{SOON, Shell, field, newest, step, with_running_cluster};

type Check = fn(&Shell<'_>) -> Result<()>;

#[test]
fn ingresses_lead_to_services() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, "default");
        step("apply", || shell.apply(&manifest::text()))?;
        step("ready", || {
            let pods = ["app=alpha", "app=beta", "app=socket"];
            pods.iter()
                .try_for_each(|pod| shell.wait_ready(pod, 1).map(drop))
        })?;
        let checks: [(&str, Check); 8] = [
            ("class and status", published),
            ("hosts and paths", hosts_and_paths),
            ("nothing to lead to", dead_ends),
            ("certificates by name", certificates),
            ("a WebSocket", websocket),
            ("options", options),
            ("a host of another namespace", another_namespace),
            ("a default backend", default_backend),
        ];
        let mut failures = Vec::new();
        for (name, check) in checks {
            if let Err(error) = step(name, || check(&shell)) {
                failures.push(format!("{error:#}"));
            }
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

/// What a client beside the node gets for a host: the answer's status, and its body.
fn ask(cluster: &Cluster, host: &str, path: &str, more: &[&str]) -> Result<(String, String)> {
    let mut command = cluster.client_command("curl");
    command.args(["--silent", "--show-error", "--max-time", "5"]);
    command.args([
        "--write-out",
        "\n%{http_code}",
        "--header",
        &format!("Host: {host}"),
    ]);
    command.args(more).arg(format!("http://{NODE_IP}{path}"));
    let text = run(command, SOON)?.success()?;
    let (body, status) = text.rsplit_once('\n').unwrap_or_default();
    Ok((status.to_owned(), body.to_owned()))
}

/// Asks until the answer is this host's page.
fn meets(shell: &Shell<'_>, host: &str, path: &str, pod: &str) -> Result<()> {
    eventually(SOON, &format!("{host}{path} leads to {pod}"), || {
        let (status, body) = ask(shell.cluster, host, path, &[])?;
        let found = field(&body, "host");
        ensure!(status == "200" && found == pod, "{status} {body}");
        Ok(())
    })
}

fn answers(shell: &Shell<'_>, host: &str, path: &str, status: &str) -> Result<()> {
    eventually(
        SOON,
        &format!("{host}{path} is answered with {status}"),
        || {
            let (found, body) = ask(shell.cluster, host, path, &[])?;
            ensure!(found == status, "{found} {body}");
            Ok(())
        },
    )
}

fn published(shell: &Shell<'_>) -> Result<()> {
    let path = "{.metadata.annotations.ingressclass\\.kubernetes\\.io/is-default-class}";
    let default = shell.path("ingressclass knarr", path)?;
    ensure!(default == "true", "{default:?}");
    eventually(SOON, "the status names the node", || {
        let path = "{.spec.ingressClassName} {.status.loadBalancer.ingress[*].ip}";
        let found = shell.words(&["get", "ingress", "main", "-o", &format!("jsonpath={path}")])?;
        ensure!(found == format!("knarr {NODE_IP}"), "{found:?}");
        Ok(())
    })
}

fn hosts_and_paths(shell: &Shell<'_>) -> Result<()> {
    meets(shell, HOST, "/", "alpha")?;
    meets(shell, &HOST.to_uppercase(), "/?query", "alpha")?;
    // Beta is asked for another path than the client's.
    meets(shell, HOST, "/beta/x", "beta")?;
    meets(shell, "any.wild.example.com", "/", "beta")?;
    answers(shell, HOST, "/healthz", "200")?;
    answers(shell, "unknown.example.com", "/", "404")?;
    answers(shell, "a.b.wild.example.com", "/", "404")
}

fn dead_ends(shell: &Shell<'_>) -> Result<()> {
    answers(shell, HOST, "/nobody", "503")?;
    answers(shell, HOST, "/refusing", "502")?;
    answers(shell, HOST, "/abroad", "503")
}

/// A certificate for a host, made anew, as files of the cluster.
fn make_certificate(cluster: &Cluster, name: &str) -> Result<(PathBuf, PathBuf)> {
    let file = |end: &str| cluster.directory().join(format!("{name}.{end}"));
    let (certificate, key) = (file("crt"), file("key"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]);
    openssl.args(["-nodes", "-days", "2", "-subj", "/CN=test", "-addext"]);
    openssl.arg(format!("subjectAltName=DNS:{SECURE}"));
    openssl
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    run(openssl, SOON)?.success()?;
    Ok((certificate, key))
}

fn certificates(shell: &Shell<'_>) -> Result<()> {
    let cluster = shell.cluster;
    let (first, key) = make_certificate(cluster, "first")?;
    let (certificate, key) = (first.display().to_string(), key.display().to_string());
    shell.words(&[
        "create",
        "secret",
        "tls",
        "secure",
        "--cert",
        &certificate,
        "--key",
        &key,
    ])?;
    let resolve = format!("{SECURE}:443:{NODE_IP}");
    let url = format!("https://{SECURE}/");
    let trusting = |authority: &str, more: &[&str]| {
        let mut words = vec!["--resolve", &resolve, "--cacert", authority];
        words.extend(more);
        words.push(&url);
        cluster.client_curl(&words)
    };
    eventually(SOON, "the host shows its certificate", || {
        let page = trusting(&certificate, &[])?;
        ensure!(field(&page, "host") == "alpha", "{page}");
        Ok(())
    })?;
    let version = trusting(
        &certificate,
        &[
            "--http2",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_version}",
        ],
    )?;
    ensure!(version == "2", "{version}");
    // Plain requests are sent there.
    let (status, head) = ask(cluster, SECURE, "/a?b=c", &["--include"])?;
    let location = format!("location: https://{SECURE}/a?b=c\r\n");
    ensure!(
        status == "308" && head.contains(&location),
        "{status} {head}"
    );
    // Another one is shown as soon as the Secret has it.
    let (second, key) = make_certificate(cluster, "second")?;
    let second = second.display().to_string();
    let patch = serde_json::json!({"stringData": {
        "tls.crt": fs::read_to_string(&second)?, "tls.key": fs::read_to_string(key)?,
    }});
    shell.words(&["patch", "secret", "secure", "--patch", &patch.to_string()])?;
    eventually(SOON, "the host shows the new certificate", || {
        trusting(&second, &[]).map(drop)
    })
}

fn websocket(shell: &Shell<'_>) -> Result<()> {
    let head = format!(
        "GET /socket HTTP/1.1\\r\\nHost: {HOST}\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n"
    );
    // It waits a little before it speaks the other protocol, and before it ends.
    let script = format!("printf '{head}'; sleep 0.5; echo ping; sleep 1");
    eventually(SOON, "what is sent comes back", || {
        let text = speak(shell.cluster, &script)?;
        ensure!(
            text.starts_with("HTTP/1.1 101 ") && text.ends_with("ping\n"),
            "{text}"
        );
        Ok(())
    })
}

/// What a client beside the node gets for what a script writes.
fn speak(cluster: &Cluster, script: &str) -> Result<String> {
    let mut command = cluster.client_command("sh");
    command.args(["-c", &format!("({script}) | busybox nc {NODE_IP} 80")]);
    run(command, SOON)?.success()
}

fn options(shell: &Shell<'_>) -> Result<()> {
    answers(shell, "guarded.example.com", "/", "403")?;
    answers(shell, "auth.example.com", "/", "503")?;
    let events = "get events --field-selector involvedObject.name=auth,reason=NotServedAsSaid";
    shell.says(events, &["nginx.ingress.kubernetes.io/auth-url"])?;
    let body = ["--request", "POST", "--data", "more than eight bytes"];
    let (status, _) = ask(shell.cluster, "small.example.com", "/", &body)?;
    ensure!(status == "413", "{status}");
    // Who names two hosts is asked to choose.
    let head = format!("GET / HTTP/1.1\\r\\nHost: {HOST}\\r\\nHost: {SECURE}\\r\\n\\r\\n");
    let text = speak(shell.cluster, &format!("printf '{head}'; sleep 1"))?;
    ensure!(text.starts_with("HTTP/1.1 400 "), "{text}");
    Ok(())
}

fn another_namespace(shell: &Shell<'_>) -> Result<()> {
    shell.run(&format!("create namespace {OTHER}"))?;
    let other = Shell::new(shell.cluster, shell.kubectl.clone(), OTHER);
    other.apply(&manifest::thief())?;
    let events = "get events --field-selector involvedObject.name=thief,reason=NotServedAsSaid";
    eventually(
        SOON,
        "an event tells that the host is somebody else's",
        || {
            other
                .says(events, &["is an older Ingress' of another namespace"])
                .map(drop)
        },
    )?;
    meets(shell, HOST, "/", "alpha")?;
    // A path that the owner does not name is the owner's all the same.
    answers(shell, HOST, "/clientip", "200")
}

fn default_backend(shell: &Shell<'_>) -> Result<()> {
    shell.apply(&manifest::fallback())?;
    meets(shell, "unknown.example.com", "/", "beta")?;
    shell.run("delete ingress fallback")?;
    answers(shell, "unknown.example.com", "/", "404")
}
