//! What files say of the kubelet: what it cannot be is told at the start, and the rest has an effect.

use std::fs;

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, NODE_IP, Options, eventually, image, run};
use serde_json::{Value, json};

use crate::support::{SOON, Shell, is_ready, newest, step, with_cluster};

const CONFIGZ: &str = "get --raw /api/v1/nodes/node/proxy/configz";

#[test]
fn files_configure_the_kubelet() {
    with_cluster(Options::default(), |cluster| {
        let home = cluster.directory();
        let (file, more) = (home.join("kubelet.yaml"), home.join("kubelet.d"));
        fs::create_dir_all(&more)?;
        fs::create_dir(home.join("manifests"))?;
        cluster.add_flag(format!("--kubelet-config={}", file.display()));
        cluster.add_flag(format!("--kubelet-config-dir={}", more.display()));
        cluster.add_flag("--node-label=example.com/disk=ssd".to_owned());
        step("a file that cannot be had", || {
            write(cluster, "kubelet.yaml", &json!({ "readOnlyPort": 10255 }))?;
            let error = cluster.up().err().context("it was taken")?;
            let told = format!("{error:#}\n{}", cluster.printed());
            let why = "readOnlyPort: 10255 is not supported";
            ensure!(told.contains(why), "{told}");
            Ok(())
        })?;
        write(cluster, "kubelet.yaml", &configuration())?;
        let own = json!({ "maxPods": 21 });
        write(cluster, "kubelet.d/10-pods.conf", &own)?;
        step("knarr up", || cluster.up())?;
        step("the node is as it was configured", || {
            node(&shell(cluster)?)
        })?;
        step("a critical pod has others go", || preempted(cluster))?;
        step("a disk that runs short", || short_of_disk(cluster))?;
        step("a certificate of one's own", || own_certificate(cluster))?;
        step("down", || cluster.down(&["--purge"]))?;
        cluster.assert_gone()
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

fn configuration() -> Value {
    json!({
        "maxPods": 20,
        "staticPodPath": "manifests",
        "systemReserved": { "cpu": "100m", "memory": "64Mi" },
        "kubeReserved": { "memory": "64Mi" },
        "registerWithTaints": [{ "key": "example.com/new", "effect": "PreferNoSchedule" }],
        "crashLoopBackOff": { "maxContainerRestartPeriod": "2s" },
        "containerLogMaxSize": "1Mi",
    })
}

/// A file below the cluster's directory, with version and kind.
fn write(cluster: &Cluster, name: &str, fields: &Value) -> Result<()> {
    let mut tree = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
    });
    let (tree_fields, fields) = (tree.as_object_mut(), fields.as_object());
    let (tree_fields, fields) = tree_fields.zip(fields).context("both are objects")?;
    tree_fields.extend(fields.clone());
    Ok(fs::write(cluster.directory().join(name), tree.to_string())?)
}

fn node(shell: &Shell<'_>) -> Result<()> {
    let node = shell.get("node node")?;
    let status = &node["status"];
    ensure!(status["capacity"]["pods"] == "21", "{status:#}");
    let kib = |of: &str| -> Result<i64> {
        let text = status[of]["memory"].as_str().context("no memory")?;
        let number = text.strip_suffix("Ki").context("not in KiB")?;
        Ok(number.parse()?)
    };
    // What is reserved for both, and the threshold of evictions.
    let kept = kib("capacity")? - kib("allocatable")?;
    ensure!(kept == (64 + 64 + 100) * 1_024, "{kept} KiB are kept");
    let cpu = status["allocatable"]["cpu"].as_str().unwrap_or_default();
    ensure!(cpu.ends_with("900m"), "{cpu}");
    let labels = &node["metadata"]["labels"];
    ensure!(labels["example.com/disk"] == "ssd", "{labels:#}");
    let taints = node["spec"]["taints"].to_string();
    ensure!(taints.contains("example.com/new"), "{taints}");
    let told: Value = serde_json::from_str(&shell.run(CONFIGZ)?)?;
    let told = &told["kubeletconfig"];
    ensure!(told["maxPods"] == 21, "{told:#}");
    ensure!(told["containerLogMaxSize"] == "1Mi", "{told:#}");
    ensure!(told["imageGCHighThresholdPercent"] == 85, "{told:#}");
    Ok(())
}

/// Of this serial number, signed by the cluster's authority, in the files that the configuration names.
fn sign(cluster: &Cluster, serial: u32) -> Result<()> {
    let pki = cluster.data_dir().join("pki");
    let script = format!(
        "openssl req -newkey rsa:2048 -nodes -subj /O=system:nodes/CN=system:node:node -keyout next.key -out own.csr &&
        printf 'subjectAltName=DNS:node,IP:{NODE_IP}' > own.ext &&
        openssl x509 -req -in own.csr -CA {pki}/ca.crt -CAkey {pki}/ca.key -set_serial {serial} -days 1 -extfile own.ext -out next.crt &&
        mv next.key own.key && mv next.crt own.crt",
        pki = pki.display()
    );
    let mut command = cluster.command("sh");
    command
        .current_dir(cluster.directory())
        .args(["-c", &script]);
    run(command, SOON)?.success().map(drop)
}

/// The certificate's number, and how TLS 1.2 ends.
fn shown(cluster: &Cluster, flags: &str) -> Result<String> {
    let script = format!(
        "openssl s_client -connect {NODE_IP}:10250 {flags} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    );
    let mut command = cluster.command("sh");
    command.args(["-c", &script]);
    run(command, SOON)?.success()
}

fn own_certificate(cluster: &mut Cluster) -> Result<()> {
    sign(cluster, 0x71)?;
    // Paths are relative to the file that says them.
    let own = json!({
        "tlsCertFile": "../own.crt", "tlsPrivateKeyFile": "../own.key",
        "tlsMinVersion": "VersionTLS13",
    });
    write(cluster, "kubelet.d/20-tls.conf", &own)?;
    cluster.stop()?;
    cluster.up()?;
    let serial = shown(cluster, "-tls1_3")?;
    ensure!(serial.trim() == "serial=71", "{serial}");
    ensure!(shown(cluster, "-tls1_2").is_err(), "TLS 1.2 is spoken");
    shell(cluster)?.run(CONFIGZ)?;
    sign(cluster, 0x72)?;
    eventually(SOON, "the replaced certificate is shown", || {
        let serial = shown(cluster, "-tls1_3")?;
        ensure!(serial.trim() == "serial=72", "{serial}");
        Ok(())
    })?;
    shell(cluster)?.run(CONFIGZ).map(drop)
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main", "image": image::BUSYBOX, "imagePullPolicy": "IfNotPresent",
                "command": ["sleep", "100000"],
                "resources": { "requests": { "cpu": cpu } },
            }],
        },
    })
}

fn ready(shell: &Shell<'_>, what: &str) -> Result<()> {
    let pod = shell.get(what)?;
    ensure!(is_ready(&pod), "{pod:#}");
    Ok(())
}

fn preempted(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    let cpu = shell.path("node node", "{.status.allocatable.cpu}")?;
    shell.apply(&pod("modest", "1m").to_string())?;
    let half: i64 = cpu.trim_end_matches('m').parse::<i64>()? / 2;
    shell.apply(&pod("greedy", &format!("{half}m")).to_string())?;
    eventually(SOON, "both run", || {
        ready(&shell, "pod modest")?;
        ready(&shell, "pod greedy")
    })?;
    let critical = pod("critical", &format!("{}m", half + 10));
    let manifest = cluster.directory().join("manifests/critical.json");
    fs::write(manifest, critical.to_string())?;
    eventually(SOON, "one has gone for it", || {
        let status = shell.get("pod greedy")?["status"].clone();
        ensure!(status["phase"] == "Failed", "{status:#}");
        ensure!(status["reason"] == "Preempting", "{status:#}");
        let message = "Preempted in order to admit critical pod";
        ensure!(status["message"] == message, "{status:#}");
        ready(&shell, "pod critical-node")?;
        ready(&shell, "pod modest")
    })?;
    shell.says("get events", &["Preempting"]).map(drop)
}

/// No disk has so much left.
fn short_of_disk(cluster: &mut Cluster) -> Result<()> {
    cluster.stop()?;
    let hard = json!({ "nodefs.available": "99.99%", "memory.available": "1Mi" });
    let own = json!({ "evictionHard": hard });
    write(cluster, "kubelet.d/20-disk.conf", &own)?;
    cluster.up()?;
    let shell = shell(cluster)?;
    eventually(SOON, "the pod has to go", || {
        let status = shell.get("pod modest")?["status"].clone();
        ensure!(status["reason"] == "Evicted", "{status:#}");
        let message = status["message"].as_str().unwrap_or_default();
        let why = "The node was low on resource: ephemeral-storage. Threshold quantity: ";
        ensure!(message.starts_with(why), "{message}");
        let conditions = shell.get("node node")?["status"]["conditions"].to_string();
        ensure!(
            conditions.contains("KubeletHasDiskPressure"),
            "{conditions}"
        );
        Ok(())
    })?;
    // The node's own stay.
    ready(&shell, "pod critical-node")?;
    shell
        .says("get events", &["EvictionThresholdMet"])
        .map(drop)
}
