//! The command line: what it says, and that a failed command is one clear line, code 1, and leaves nothing behind.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, Options, Output, eventually, knarr_binary, run};

use crate::support::{step, with_cluster};

const DEADLINE: Duration = Duration::from_secs(60);
const NOBODY: &str = "65534";

#[test]
fn failed_commands_say_why_and_leave_nothing() {
    with_cluster(Options::default(), |cluster| {
        step("not root", || not_root(cluster))?;
        step("no control groups", || no_control_groups(cluster))?;
        step("port in use", || port_in_use(cluster))?;
        step("bad flags", || bad_flags(cluster))?;
        step("no cluster", || no_cluster(cluster))
    });
}

#[test]
fn a_second_instance_is_refused_and_status_tells() {
    with_cluster(Options::default(), |cluster| {
        step("help", || help(cluster))?;
        step("knarr up", || cluster.up())?;
        step("progress", || progress(cluster))?;
        step("status", || status(cluster))?;
        step("a reader that leaves", || unread(cluster))?;
        step("second instance", || second_instance(cluster))?;
        step("down while it runs", || cluster.down(&["--purge"]))?;
        ensure!(
            !cluster.data_dir().exists(),
            "--purge keeps the data directory"
        );
        cluster.assert_gone()
    });
}

#[test]
fn a_detached_cluster_runs_on_and_is_taken_down() {
    with_cluster(Options::default(), |cluster| {
        step("up --detach", || detach(cluster))?;
        step("down", || cluster.down(&[]))?;
        cluster.assert_gone()?;
        step("down again", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

#[test]
fn a_network_is_had_by_one_cluster() {
    with_cluster(Options::default(), |cluster| {
        step("addresses in use", || addresses_in_use(cluster))?;
        step("knarr up", || cluster.up())?;
        step("another cluster, the first runs", || another(cluster))?;
        cluster.kill()?;
        step("another cluster, the first was killed", || another(cluster))?;
        step("the first comes back", || cluster.up())?;
        step("from elsewhere", || down_elsewhere(cluster))?;
        step("within its directory", || nested(cluster))?;
        step("down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

/// Standard error of a command that must fail with code 1 and one line.
fn one_line(output: Output) -> Result<String> {
    let text = output.clone().failure(1)?;
    let lines: Vec<&str> = text.lines().collect();
    ensure!(
        lines.len() == 1 && lines[0].starts_with("knarr: "),
        "not one line: {output}"
    );
    Ok(lines[0].to_owned())
}

fn says(line: &str, wanted: &[&str]) -> Result<()> {
    for text in wanted {
        ensure!(line.contains(text), "{line:?} does not say {text:?}");
    }
    Ok(())
}

/// A failed `up` has made nothing, not even its data directory.
fn nothing_made(cluster: &Cluster) -> Result<()> {
    ensure!(!cluster.data_dir().exists(), "a data directory was made");
    cluster.assert_gone()
}

fn up(cluster: &Cluster) -> Result<Command> {
    let mut command = cluster.knarr(&["up"])?;
    command.args(cluster.up_flags());
    Ok(command)
}

fn not_root(cluster: &Cluster) -> Result<()> {
    // A place that everyone can reach: the checkout may be within root's home.
    let program = cluster.directory().join("knarr");
    let built = knarr_binary()?;
    if fs::hard_link(&built, &program).is_err() {
        fs::copy(&built, &program).context("cannot copy the binary")?;
    }
    fs::set_permissions(cluster.directory(), fs::Permissions::from_mode(0o755))?;
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
        .arg(&program)
        .arg("up");
    command.args(cluster.up_flags());
    says(
        &one_line(run(command, DEADLINE)?)?,
        &["root", "sudo knarr up"],
    )?;
    fs::remove_file(program)?;
    nothing_made(cluster)
}

/// As `ip netns exec` leaves it: with a /sys of its own, that nothing is mounted below.
fn no_control_groups(cluster: &Cluster) -> Result<()> {
    let mut command = cluster.command("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg("mount -t sysfs sysfs /sys && exec \"$@\"");
    command.arg("sh").arg(knarr_binary()?).arg("up");
    command.args(cluster.up_flags());
    says(
        &one_line(run(command, DEADLINE)?)?,
        &["/sys/fs/cgroup", "nsenter --net="],
    )?;
    nothing_made(cluster)
}

fn port_in_use(cluster: &Cluster) -> Result<()> {
    let taken = cluster.network().listen("0.0.0.0:6443".parse()?)?;
    says(
        &one_line(run(up(cluster)?, DEADLINE)?)?,
        &["cannot listen on 0.0.0.0:6443", "--listen", "in use"],
    )?;
    let mut command = up(cluster)?;
    command.arg("--detach");
    says(
        &one_line(run(command, DEADLINE)?)?,
        &["cannot listen on 0.0.0.0:6443"],
    )?;
    drop(taken);
    nothing_made(cluster)
}

fn bad_flags(cluster: &Cluster) -> Result<()> {
    let long = format!("/{}", "d".repeat(100));
    let cases = [
        (vec!["--service-cidr=10.42.5.0/24"], "overlap"),
        (vec!["--cluster-dns=1.2.3.4"], "not within"),
        (vec!["--image-dir=/nowhere"], "/nowhere is not a directory"),
        (vec!["--registries=/nowhere"], "cannot read /nowhere"),
        (vec!["--root-dir", &long], "is too long by"),
    ];
    for (flags, wanted) in cases {
        let mut command = up(cluster)?;
        command.args(flags);
        says(&one_line(run(command, DEADLINE)?)?, &[wanted])?;
        nothing_made(cluster)?;
    }
    let cases = [
        (
            "--node-ip=203.0.113.9",
            "203.0.113.9 is not an address of this machine",
        ),
        ("--node-name=my_box", "\"my_box\" cannot be a node's"),
    ];
    for (flag, wanted) in cases {
        let mut command = cluster.knarr(&["up", flag])?;
        command.arg("--data-dir").arg(cluster.data_dir());
        says(&one_line(run(command, DEADLINE)?)?, &[wanted])?;
        nothing_made(cluster)?;
    }
    // Misspelt flags are the parser's to explain.
    let mut command = up(cluster)?;
    command.arg("--cluster-cidr=nonsense");
    run(command, DEADLINE)?.failure(2)?;
    nothing_made(cluster)
}

fn addresses_in_use(cluster: &Cluster) -> Result<()> {
    let route = |verb: &str| {
        let mut command = cluster.network().command("ip");
        command.args(["route", verb, "10.43.9.0/24", "dev", "node0"]);
        run(command, DEADLINE)?.success()
    };
    route("add")?;
    let line = one_line(run(up(cluster)?, DEADLINE)?)?;
    route("delete")?;
    says(
        &line,
        &["10.43.9.0/24 on node0", "10.43.0.0/16", "--service-cidr"],
    )?;
    for port in ["0.0.0.0:10250", "0.0.0.0:53"] {
        let taken = cluster.network().listen(port.parse()?)?;
        let line = one_line(run(up(cluster)?, DEADLINE)?)?;
        says(&line, &["cannot listen on", "in use"])?;
        drop(taken);
    }
    nothing_made(cluster)
}

/// Other directory, ports and addresses: still the same network.
fn another(cluster: &Cluster) -> Result<()> {
    let before = cluster.network().additions()?;
    let dir = cluster.directory().join("another");
    let mut command = cluster.knarr(&["up", "--listen=127.0.0.1:7443"])?;
    command.args(["--cluster-cidr=10.52.0.0/16", "--service-cidr=10.53.0.0/16"]);
    command.arg("--data-dir").arg(&dir);
    let line = one_line(run(command, DEADLINE)?)?;
    says(
        &line,
        &[
            "taken by another cluster",
            &cluster.data_dir().display().to_string(),
            "knarr down",
        ],
    )?;
    ensure!(!dir.exists(), "a data directory was made");
    let after = cluster.network().additions()?;
    ensure!(before == after, "{before:?} became {after:?}");
    Ok(())
}

fn down_elsewhere(cluster: &Cluster) -> Result<()> {
    let mut command = Command::new(knarr_binary()?);
    command
        .arg("down")
        .arg("--data-dir")
        .arg(cluster.data_dir());
    let line = one_line(run(command, DEADLINE)?)?;
    says(&line, &["another network namespace", "nsenter --net="])?;
    status(cluster)
}

fn nested(cluster: &Cluster) -> Result<()> {
    let mut command = cluster.knarr(&["up"])?;
    let dir = cluster.data_dir().join("a/b");
    command.arg("--data-dir").arg(&dir);
    let line = one_line(run(command, DEADLINE)?)?;
    says(&line, &["within the data directory of another cluster"])
}

fn no_cluster(cluster: &Cluster) -> Result<()> {
    let dir = cluster.data_dir().display().to_string();
    for (command, wanted) in [
        ("status", "no knarr runs on"),
        ("down", "there is no cluster on"),
    ] {
        let command = cluster.knarr(&[command, "--data-dir", &dir])?;
        says(&one_line(run(command, DEADLINE)?)?, &[wanted, &dir])?;
    }
    nothing_made(cluster)
}

fn help(cluster: &Cluster) -> Result<()> {
    let text = run(cluster.knarr(&["up", "--help"])?, DEADLINE)?.success()?;
    let flags = [
        ("--data-dir", "/var/lib/knarr"),
        ("--kubeconfig", "admin.kubeconfig"),
        ("--nodes", "network namespace"),
        ("--listen", "6443"),
        ("--node-name", "host name"),
        ("--node-ip", "default"),
        ("--cluster-cidr", "10.42.0.0/16"),
        ("--service-cidr", "10.43.0.0/16"),
        ("--cluster-dns", "default"),
        ("--cluster-domain", "cluster.local"),
        ("--image-dir", "archives"),
        ("--registries", "Mirrors"),
        ("--container-runtime-endpoint", "embedded"),
        ("--resolv-conf", "/etc/resolv.conf"),
        ("--cgroup-root", "/knarr"),
        ("--log-level", "info"),
        ("--log-format", "text"),
        ("--detach", "background"),
    ];
    for (flag, about) in flags {
        let (_, rest) = text
            .split_once(flag)
            .with_context(|| format!("no {flag} in:\n{text}"))?;
        let paragraph: Vec<&str> = rest.lines().take(3).collect();
        ensure!(
            paragraph.join(" ").contains(about),
            "{flag} does not tell of {about:?}: {paragraph:?}"
        );
    }
    Ok(())
}

fn progress(cluster: &Cluster) -> Result<()> {
    let printed = cluster.printed();
    for wanted in [
        "API server",
        "kubelet",
        "knarr is ready in",
        "kubeconfig",
        "kubectl apply -f examples/hello.yaml",
    ] {
        ensure!(
            printed.contains(wanted),
            "{wanted:?} is missing in:\n{printed}"
        );
    }
    for secret in ["pki/ca.key", "pki/sa.key", "admin.kubeconfig"] {
        let path = cluster.data_dir().join(secret);
        let mode = fs::metadata(&path)
            .with_context(|| path.display().to_string())?
            .permissions()
            .mode();
        ensure!(mode & 0o077 == 0, "{secret} has mode {mode:o}");
    }
    Ok(())
}

/// As `knarr ... | head` when head has seen enough.
fn unread(cluster: &Cluster) -> Result<()> {
    let dir = cluster.data_dir().display().to_string();
    for command in [&["image", "ls"][..], &["status"]] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let mut command = cluster.knarr(command)?;
        command.args(["--data-dir", &dir]).stdout(writer);
        let output = command.output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(told.is_empty(), "{command:?} says {told}");
        ensure!(
            output.status.code() == Some(141),
            "{command:?} ended with {}",
            output.status
        );
    }
    Ok(())
}

fn status(cluster: &Cluster) -> Result<()> {
    let dir = cluster.data_dir().display().to_string();
    let pid = cluster.pid().context("it runs")?;
    // The API is ready before the node has registered with it.
    eventually(DEADLINE, "status tells of the node", || {
        let text = run(cluster.knarr(&["status", "--data-dir", &dir])?, DEADLINE)?.success()?;
        says(
            &text,
            &[
                "v1.37",
                &format!("pid {pid}"),
                "https://127.0.0.1:6443",
                "node: Ready",
            ],
        )
    })
}

fn second_instance(cluster: &Cluster) -> Result<()> {
    let pid = cluster.pid().context("it runs")?;
    for flags in [vec![], vec!["--listen=127.0.0.1:7443"], vec!["--detach"]] {
        let mut command = up(cluster)?;
        command.args(&flags);
        let line = one_line(run(command, DEADLINE)?)?;
        says(&line, &["already runs on", &format!("pid {pid}")])
            .with_context(|| format!("{flags:?}"))?;
    }
    // The first one did not notice.
    status(cluster)
}

fn detach(cluster: &Cluster) -> Result<()> {
    let mut command = up(cluster)?;
    let kubeconfig: PathBuf = cluster.directory().join("given.kubeconfig");
    command.arg("--detach").arg("--kubeconfig").arg(&kubeconfig);
    let text = run(command, DEADLINE)?.success()?;
    says(&text, &["knarr is ready in", "given.kubeconfig"])?;
    let mut command = cluster.command("kubectl");
    command
        .env("KUBECONFIG", &kubeconfig)
        .args(["get", "--raw", "/readyz"]);
    ensure!(run(command, DEADLINE)?.success()? == "ok");
    Ok(())
}
