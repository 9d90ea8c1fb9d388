//! Hosts whose administrators are strict, or have put things elsewhere: a cluster comes up there, works, and is taken away again.

use std::{fs, os::unix::fs::symlink, time::Duration};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, Options, images, run};

use crate::support::{Shell, newest, step, with_cluster, with_running_cluster};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_cluster_lives_under_a_strict_umask_behind_a_link_and_a_proxy() {
    with_cluster(Options::default(), |cluster| {
        // As of /var/lib/knarr where another disk has the room.
        let disk = cluster.directory().join("disk");
        fs::create_dir(&disk)?;
        symlink(&disk, cluster.data_dir())?;
        step("up", || up(cluster))?;
        step("users of pods", || users_of_pods(cluster))?;
        step("commands", || commands(cluster))?;
        step("down", || cluster.down(&["--purge"]))?;
        ensure!(!disk.exists(), "what is behind the link stays");
        cluster.assert_gone()
    });
}

fn up(cluster: &Cluster) -> Result<()> {
    let mut command = cluster.command("sh");
    command
        .args(["-c", "umask 077 && exec \"$@\"", "sh"])
        .arg(knarr_testkit::knarr_binary()?)
        .args(["up", "--detach", "--image-dir"])
        .arg(images()?)
        .args(cluster.up_flags());
    run(command, DEADLINE)?.success()?;
    Ok(())
}

/// What the node writes for a pod can be read by any user in it.
fn users_of_pods(cluster: &Cluster) -> Result<()> {
    let shell = Shell::new(cluster, newest()?, "default");
    shell.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  restartPolicy: Never
  securityContext: {runAsUser: 1000, runAsGroup: 1000}
  containers:
  - name: reader
    image: knarr/busybox:latest
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "cat /etc/hosts /etc/hostname /etc/resolv.conf /var/run/secrets/kubernetes.io/serviceaccount/namespace"]
"#,
    )?;
    shell.run("wait --for=jsonpath={.status.phase}=Succeeded pod/reader --timeout=60s")?;
    shell.says(
        "logs reader",
        &["reader", "nameserver 10.43.0.10", "default"],
    )?;
    Ok(())
}

/// Proxies are for what is on the Internet.
fn commands(cluster: &Cluster) -> Result<()> {
    let dir = cluster.data_dir().display().to_string();
    for arguments in [&["status"][..], &["token", "list"]] {
        let mut command = cluster.knarr(arguments)?;
        command.args(["--data-dir", &dir]);
        for variable in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command.env(variable, "http://127.0.0.1:9");
        }
        let done = run(command, DEADLINE)?.success();
        done.with_context(|| format!("knarr {arguments:?}"))?;
    }
    Ok(())
}

/// As people uninstall what they do not know: what is busy stays, and its records are gone.
#[test]
fn what_is_left_of_a_deleted_directory_is_taken_down() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, "default");
        shell.run(
            "run left --image=knarr/busybox:latest --image-pull-policy=IfNotPresent -- sleep 1000",
        )?;
        shell.run("wait --for=condition=Ready pod/left --timeout=60s")?;
        cluster.stop()?;
        let dir = cluster.data_dir();
        let mut delete = cluster.command("rm");
        delete.arg("-rf").arg(&dir);
        run(delete, DEADLINE)?.failure(1)?;
        ensure!(!dir.join("instance").exists(), "who it was is not deleted");
        step("down", || cluster.down(&["--purge"]))?;
        ensure!(!dir.exists(), "what was busy stays");
        cluster.assert_gone()
    });
}
