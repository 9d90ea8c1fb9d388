//! Users, capabilities, what is refused, names, and shared namespaces.

use anyhow::{Result, ensure};
use knarr_testkit::eventually;

use super::{Check, phase, sh, waiting};
use crate::support::{SOON, Shell};

pub const CHECKS: [(&str, Check); 5] = [
    ("root is refused", refused),
    ("a restricted container", careful),
    ("capabilities", capabilities),
    ("names and sysctls", named),
    ("a shared process namespace", family),
];

/// Waits for a pod's end; its log must have all of `wanted`.
fn says(shell: &Shell<'_>, pod: &str, wanted: &[&str]) -> Result<String> {
    phase(shell, pod, "Succeeded")?;
    shell.says(&format!("logs {pod}"), wanted)
}

fn refused(shell: &Shell<'_>) -> Result<()> {
    for (pod, problem) in [
        (
            "refused-root",
            "container has runAsNonRoot and image will run as root",
        ),
        (
            "refused-user",
            "container's runAsUser breaks non-root policy",
        ),
    ] {
        let message = waiting(shell, pod, "CreateContainerConfigError")?;
        let uid = shell.path(&format!("pod {pod}"), "{.metadata.uid}")?;
        let wanted = format!("{problem} (pod: \"{pod}_default({uid})\", container: main)");
        ensure!(message == wanted, "{message}, not {wanted}");
    }
    Ok(())
}

fn careful(shell: &Shell<'_>) -> Result<()> {
    let wanted = [
        "uid=1000 gid=3000 groups=2000,3000,4000\n",
        "touch: /x: Read-only file system\n",
        "CapBnd:\t0000000000000400\n",
        "CapEff:\t0000000000000000\n",
        "NoNewPrivs:\t1\n",
        "Seccomp:\t2\n",
        "read-only\n",
    ];
    let log = says(shell, "careful", &wanted)?;
    let fields = |path: &str| -> Vec<String> {
        let mut lines = log.lines().filter(|line| line.ends_with(path));
        let line = lines.next().unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect()
    };
    let (volume, file) = (fields(" /data"), fields(" /data/mine"));
    ensure!(
        volume.len() > 4 && volume[0] == "drwxrwsrwx" && volume[2..4] == ["0", "2000"],
        "the volume is the group's: {volume:?}"
    );
    ensure!(
        file.len() > 4 && file[2..4] == ["1000", "2000"],
        "new files are the group's: {file:?}"
    );
    Ok(())
}

fn capabilities(shell: &Shell<'_>) -> Result<()> {
    // What every runtime gives a container that asks for nothing.
    let wanted = [
        "CapEff:\t00000000a80425fb\n",
        "NoNewPrivs:\t0\n",
        "Seccomp:\t0\n",
        "permission denied",
    ];
    says(shell, "plain", &wanted)?;
    says(shell, "named", &["CapEff:\t0000000000001000\n"])?;
    says(shell, "privileged", &["1\n"])?;
    Ok(())
}

fn named(shell: &Shell<'_>) -> Result<()> {
    let pod = phase(shell, "named", "Succeeded")?;
    let log = shell.run("logs named")?;
    ensure!(
        log.starts_with("given\ngiven.below.default.svc.cluster.local\n"),
        "{log}"
    );
    ensure!(log.ends_with("\n81\n"), "{log}");
    let address = pod["status"]["podIP"].as_str().unwrap_or_default();
    for line in [
        format!("{address}\tgiven.below.default.svc.cluster.local\tgiven\n"),
        "\n# Entries added by HostAliases.\n192.0.2.77\tone\ttwo\n".to_owned(),
        "127.0.0.1\tlocalhost\n".to_owned(),
    ] {
        ensure!(log.contains(&line), "{line:?} is not in\n{log}");
    }
    Ok(())
}

fn family(shell: &Shell<'_>) -> Result<()> {
    phase(shell, "family", "Running")?;
    eventually(SOON, "a process of the other container is seen", || {
        let processes = sh(shell, "family", "ps")?;
        ensure!(
            processes.contains("sleep 3600") && processes.contains("sleep 7200"),
            "{processes}"
        );
        // A process of the runtime's is the first, which is the parent of those without one.
        let first = sh(shell, "family", "cat /proc/1/comm")?;
        ensure!(first != "sleep\n", "{first}");
        Ok(())
    })
}
