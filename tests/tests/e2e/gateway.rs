//! Gateways with traffic: the definitions and the class, hosts and rules, certificates, namespaces and grants, and what statuses say of
//! what is not served.

mod manifest;

use std::{path::PathBuf, process::Command};

use anyhow::{Result, ensure};
use knarr_testkit::{Cluster, NODE_IP, Options, eventually, run};

use self::manifest::{HOST, OTHER, SECURE};
use crate::support::{SOON, Shell, field, newest, step, with_cluster};

type Check = fn(&Shell<'_>) -> Result<()>;

#[test]
fn gateways_lead_to_services() {
    let options = Options {
        flags: vec!["--gateway-api".to_owned()],
        ..Options::default()
    };
    with_cluster(options, |cluster| {
        step("knarr up", || cluster.up())?;
        let shell = Shell::new(cluster, newest()?, "default");
        step("definitions and class", || installed(&shell))?;
        step("apply", || {
            shell.run(&format!("create namespace {OTHER}"))?;
            let other = Shell::new(cluster, newest()?, OTHER);
            other.apply(&manifest::guest())?;
            shell.apply(&manifest::text()).map(drop)
        })?;
        step("ready", || {
            let pods = ["app=alpha", "app=beta"];
            pods.iter()
                .try_for_each(|pod| shell.wait_ready(pod, 1).map(drop))
        })?;
        let checks: [(&str, Check); 8] = [
            ("statuses", statuses),
            ("hosts and rules", hosts_and_rules),
            ("filters", filters),
            ("nothing to lead to", dead_ends),
            ("certificates", certificates),
            ("calls of gRPC", calls),
            ("namespaces and grants", namespaces),
            ("beside Ingresses", beside_ingresses),
        ];
        let mut failures = Vec::new();
        for (name, check) in checks {
            if let Err(error) = step(name, || check(&shell)) {
                failures.push(format!("{error:#}"));
            }
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
        step("statuses are written once", || quiet(&shell))?;
        step("a restart", || {
            cluster.stop()?;
            cluster.up().map(drop)
        })?;
        let shell = Shell::new(cluster, newest()?, "default");
        step("it is served again", || meets(&shell, HOST, "/", "alpha"))?;
        step("and says nothing new", || quiet(&shell))?;
        step("a port is closed", || closed(&shell))?;
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

/// What a client beside the node gets for a host: the answer's status, and its head and body.
fn ask(cluster: &Cluster, host: &str, path: &str, more: &[&str]) -> Result<(String, String)> {
    let mut command = cluster.client_command("curl");
    command.args(["--silent", "--show-error", "--max-time", "5", "--include"]);
    command.args(["--write-out", "\n%{http_code}", "--header"]);
    command.arg(format!("Host: {host}"));
    command.args(more).arg(format!("http://{NODE_IP}{path}"));
    let text = run(command, SOON)?.success()?;
    let (answer, status) = text.rsplit_once('\n').unwrap_or_default();
    Ok((status.to_owned(), answer.to_owned()))
}

/// Asks until the answer is this pod's page.
fn meets(shell: &Shell<'_>, host: &str, path: &str, pod: &str) -> Result<()> {
    meets_with(shell, (host, path), &[], pod)
}

fn meets_with(
    shell: &Shell<'_>,
    (host, path): (&str, &str),
    more: &[&str],
    pod: &str,
) -> Result<()> {
    eventually(SOON, &format!("{host}{path} leads to {pod}"), || {
        let (status, answer) = ask(shell.cluster, host, path, more)?;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        ensure!(
            status == "200" && field(body, "host") == pod,
            "{status} {answer}"
        );
        Ok(())
    })
}

fn answers(shell: &Shell<'_>, host: &str, path: &str, status: &str) -> Result<String> {
    let mut told = String::new();
    eventually(
        SOON,
        &format!("{host}{path} is answered with {status}"),
        || {
            let (found, answer) = ask(shell.cluster, host, path, &[])?;
            ensure!(found == status, "{found} {answer}");
            told = answer.to_ascii_lowercase();
            Ok(())
        },
    )?;
    Ok(told)
}

/// Waits until a path of an object says this.
fn says(shell: &Shell<'_>, what: &str, path: &str, wanted: &str) -> Result<()> {
    eventually(SOON, &format!("{what} says {wanted}"), || {
        let found = shell.words(&["get", what, "-o", &format!("jsonpath={path}")])?;
        ensure!(found == wanted, "{found:?}");
        Ok(())
    })
}

fn condition(type_: &str) -> String {
    format!("{{range .status.conditions[?(@.type==\"{type_}\")]}}{{.status}} {{.reason}}{{end}}")
}

fn of_parent(type_: &str) -> String {
    format!(
        "{{range .status.parents[0].conditions[?(@.type==\"{type_}\")]}}{{.status}} {{.reason}}{{end}}"
    )
}

fn of_listener(name: &str, type_: &str) -> String {
    format!(
        "{{range .status.listeners[?(@.name==\"{name}\")].conditions[?(@.type==\"{type_}\")]}}{{.status}} {{.reason}}{{end}}"
    )
}

fn installed(shell: &Shell<'_>) -> Result<()> {
    eventually(SOON, "the class is there", || {
        shell
            .says("get gatewayclass knarr", &["knarr.dev/gateway"])
            .map(drop)
    })?;
    says(
        shell,
        "gatewayclass/knarr",
        &condition("Accepted"),
        "True Accepted",
    )?;
    let supported = condition("SupportedVersion");
    says(
        shell,
        "gatewayclass/knarr",
        &supported,
        "True SupportedVersion",
    )?;
    let kinds = ["gateways", "httproutes", "grpcroutes", "referencegrants"];
    for kind in kinds {
        shell.says(
            "api-resources --api-group=gateway.networking.k8s.io",
            &[kind],
        )?;
    }
    shell.says("explain httproute.spec.rules.matches.path", &["PathPrefix"])?;
    // What the definitions do not admit is refused before anybody looks at it.
    let refused = shell.output(&["apply", "-f", "-"], &manifest::bad_route())?;
    let error = refused.failure(1)?;
    ensure!(
        error.contains("must start with '/'") || error.contains("start with '/'"),
        "{error}"
    );
    Ok(())
}

fn statuses(shell: &Shell<'_>) -> Result<()> {
    says(
        shell,
        "gateway/web",
        &condition("Programmed"),
        "True Programmed",
    )?;
    says(
        shell,
        "gateway/web",
        "{.status.addresses[*].value}",
        NODE_IP,
    )?;
    let attached = "{.status.listeners[?(@.name==\"http\")].attachedRoutes}";
    says(shell, "gateway/web", attached, "4")?;
    says(
        shell,
        "httproute/main",
        &of_parent("Accepted"),
        "True Accepted",
    )?;
    says(
        shell,
        "httproute/main",
        &of_parent("ResolvedRefs"),
        "True ResolvedRefs",
    )?;
    says(
        shell,
        "httproute/retrying",
        &of_parent("Accepted"),
        "False UnsupportedValue",
    )?;
    says(
        shell,
        "httproute/lost",
        &of_parent("ResolvedRefs"),
        "False BackendNotFound",
    )?;
    let taken = of_listener("taken", "Accepted");
    says(shell, "gateway/bad", &taken, "False PortUnavailable")?;
    let protocol = of_listener("protocol", "Accepted");
    says(shell, "gateway/bad", &protocol, "False UnsupportedProtocol")?;
    says(
        shell,
        "gateway/bad",
        &condition("Accepted"),
        "False ListenersNotValid",
    )
}

fn hosts_and_rules(shell: &Shell<'_>) -> Result<()> {
    meets(shell, HOST, "/", "alpha")?;
    meets(shell, HOST, "/beta", "beta")?;
    meets_with(shell, (HOST, "/"), &["--header", "X-To: beta"], "beta")?;
    meets_with(shell, (HOST, "/?to=beta"), &[], "beta")?;
    answers(shell, "unknown.example.com", "/", "404")?;
    // Of another port, which is open as long as somebody listens there.
    let port = format!("{NODE_IP}:8081");
    eventually(SOON, "the other port leads to beta", || {
        let page = shell.cluster.client_curl(&[&format!("http://{port}/")])?;
        ensure!(field(&page, "host") == "beta", "{page}");
        Ok(())
    })
}

fn filters(shell: &Shell<'_>) -> Result<()> {
    let told = answers(shell, HOST, "/old/page", "301")?;
    let location = format!("location: https://{HOST}/new/page\r\n");
    ensure!(told.contains(&location), "{told}");
    let told = answers(shell, HOST, "/renamed/healthz", "200")?;
    ensure!(told.contains("x-served-by: gateway\r\n"), "{told}");
    Ok(())
}

fn dead_ends(shell: &Shell<'_>) -> Result<()> {
    answers(shell, HOST, "/lost", "500")?;
    answers(shell, HOST, "/nobody", "503")?;
    answers(shell, HOST, "/slow?ms=3000", "504")?;
    Ok(())
}

/// A certificate for a host, made anew, as files of the cluster.
fn make_certificate(cluster: &Cluster, name: &str) -> Result<(PathBuf, PathBuf)> {
    let file = |end: &str| cluster.directory().join(format!("{name}.{end}"));
    let (certificate, key) = (file("crt"), file("key"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt"]);
    openssl.args(["ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=test", "-addext"]);
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
    let resolved = of_listener("https", "ResolvedRefs");
    says(
        shell,
        "gateway/web",
        &resolved,
        "False InvalidCertificateRef",
    )?;
    let (first, key) = make_certificate(cluster, "first")?;
    let (first, key) = (first.display().to_string(), key.display().to_string());
    let words = [
        "create", "secret", "tls", "secure", "--cert", &first, "--key", &key,
    ];
    shell.words(&words)?;
    says(shell, "gateway/web", &resolved, "True ResolvedRefs")?;
    let resolve = format!("{SECURE}:8443:{NODE_IP}");
    let url = format!("https://{SECURE}:8443/");
    let trusting = |authority: &str| {
        cluster.client_curl(&[
            "--http2",
            "--resolve",
            &resolve,
            "--cacert",
            authority,
            &url,
        ])
    };
    eventually(SOON, "the host shows its certificate", || {
        let page = trusting(&first)?;
        ensure!(field(&page, "host") == "alpha", "{page}");
        Ok(())
    })?;
    // Another one is shown as soon as the Secret has it.
    let (second, key) = make_certificate(cluster, "second")?;
    let patch = serde_json::json!({"stringData": {
        "tls.crt": std::fs::read_to_string(&second)?, "tls.key": std::fs::read_to_string(key)?,
    }});
    shell.words(&["patch", "secret", "secure", "--patch", &patch.to_string()])?;
    eventually(SOON, "the host shows the new certificate", || {
        trusting(&second.display().to_string()).map(drop)
    })
}

/// Without a backend that speaks it: how the Gateway itself answers tells the routes apart.
fn calls(shell: &Shell<'_>) -> Result<()> {
    says(
        shell,
        "grpcroute/calls",
        &of_parent("Accepted"),
        "True Accepted",
    )?;
    let call = |path: &str| {
        let more = [
            "--http2-prior-knowledge",
            "--header",
            "content-type: application/grpc",
            "--data-binary",
            "",
        ];
        ask(shell.cluster, "grpc.example.com", path, &more)
    };
    // 14 is UNAVAILABLE, 12 UNIMPLEMENTED.
    for (path, code) in [("/echo.Echo/Say", "14"), ("/echo.Echo/Other", "12")] {
        eventually(SOON, &format!("{path} is answered with {code}"), || {
            let (status, answer) = call(path)?;
            let line = format!("grpc-status: {code}\r\n");
            ensure!(
                status == "200" && answer.contains(&line),
                "{status} {answer}"
            );
            Ok(())
        })?;
    }
    Ok(())
}

fn namespaces(shell: &Shell<'_>) -> Result<()> {
    let other = Shell::new(shell.cluster, shell.kubectl.clone(), OTHER);
    let accepted = of_parent("Accepted");
    says(
        &other,
        "httproute/guest",
        &accepted,
        "False NotAllowedByListeners",
    )?;
    shell.run(&format!("label namespace {OTHER} guests=welcome"))?;
    says(&other, "httproute/guest", &accepted, "True Accepted")?;
    let resolved = of_parent("ResolvedRefs");
    says(
        &other,
        "httproute/guest",
        &resolved,
        "False RefNotPermitted",
    )?;
    shell.apply(&manifest::grant())?;
    says(&other, "httproute/guest", &resolved, "True ResolvedRefs")?;
    meets(shell, "guest.example.com", "/", "beta")?;
    shell.run("delete referencegrant guests")?;
    says(
        &other,
        "httproute/guest",
        &resolved,
        "False RefNotPermitted",
    )?;
    answers(shell, "guest.example.com", "/", "500").map(drop)
}

/// Ports 80 and 443 are of both; a host is the namespace's that had it first.
fn beside_ingresses(shell: &Shell<'_>) -> Result<()> {
    let other = Shell::new(shell.cluster, shell.kubectl.clone(), OTHER);
    shell.apply(&manifest::ingress("own", "ingress.example.org"))?;
    meets(shell, "ingress.example.org", "/", "alpha")?;
    other.apply(&manifest::ingress("thief", HOST))?;
    let events = "get events --field-selector involvedObject.name=thief,reason=NotServedAsSaid";
    eventually(SOON, "an event tells whose the host is", || {
        let wanted = ["is an older Gateway's or route's of another namespace"];
        other.says(events, &wanted).map(drop)
    })?;
    meets(shell, HOST, "/", "alpha")
}

/// Statuses stay as they are as long as nothing changes.
fn quiet(shell: &Shell<'_>) -> Result<()> {
    let versions = || {
        let path = "jsonpath={.items[*].metadata.resourceVersion}";
        let kinds = "gatewayclasses,gateways,httproutes,grpcroutes";
        shell.words(&["get", kinds, "--all-namespaces", "-o", path])
    };
    // What is under way comes to an end; then nothing comes.
    let mut last = versions()?;
    eventually(SOON, "nothing is written", || {
        std::thread::sleep(std::time::Duration::from_secs(2));
        let now = versions()?;
        let before = std::mem::replace(&mut last, now.clone());
        ensure!(before == now, "{before} {now}");
        Ok(())
    })
}

fn closed(shell: &Shell<'_>) -> Result<()> {
    shell.run("delete gateway ports")?;
    eventually(SOON, "nobody listens there", || {
        let mut command = shell.cluster.client_command("curl");
        command.args([
            "--silent",
            "--max-time",
            "5",
            &format!("http://{NODE_IP}:8081/"),
        ]);
        // 7: it could not connect.
        run(command, SOON)?.failure(7).map(drop)
    })
}
