//! A CSI driver with upstream's provisioner, attacher and resizer, deployed by a manifest as its users do: its volumes are made,
//! attached, kept from pod to pod, grown, and gone in the end. Where its images were not built (`xtask image --csi`, which needs Go)
//! the test says so and passes.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, Options, eventually, image};
use serde_json::Value;

use crate::support::{SOON, Shell, newest, step, with_cluster};

const MANIFEST: &str = "tests/upstream/csi/driver.yaml";
/// Set where Go has to be there, so that the driver is not left out unnoticed.
const NEED_GO: &str = "KNARR_NEED_GO";
const DRIVER: &str = "directory.csi.knarr.dev";

const SET: &str = "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 1
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: knarr/busybox:latest
        imagePullPolicy: IfNotPresent
        command: [sh, -c, 'echo started >> /data/starts; exec sleep 1000000']
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {storageClassName: directory, accessModes: [ReadWriteOnce], resources: {requests: {storage: 8Mi}}}
";

const BLOCK: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: raw}
spec: {storageClassName: directory-now, volumeMode: Block, accessModes: [ReadWriteOnce], resources: {requests: {storage: 4Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: raw}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: knarr/busybox:latest
    imagePullPolicy: IfNotPresent
    command: [sh, -c, 'exec sleep 1000000']
    volumeDevices: [{name: data, devicePath: /dev/raw}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: raw}}]
";

#[test]
fn a_drivers_volumes_are_attached_kept_and_grown() {
    let images = image::target_dir().join("images/csi");
    if !images.join("csi.tar").is_file() {
        assert!(
            std::env::var_os(NEED_GO).is_none(),
            "{} is not there, and {NEED_GO} says that it has to be (xtask image --csi makes it)",
            images.join("csi.tar").display()
        );
        println!(
            "left out: {} is not there (xtask image --csi makes it, with Go)",
            images.join("csi.tar").display()
        );
        return;
    }
    let options = Options {
        images: Some(images),
        ..Options::default()
    };
    with_cluster(options, |cluster| {
        step("knarr up", || cluster.up())?;
        step("a driver is deployed", || deployed(&shell(cluster)?))?;
        step("a set gets a volume", || attached(&shell(cluster)?))?;
        step("its pod is made anew", || kept(&shell(cluster)?))?;
        step("its claim grows", || grown(&shell(cluster)?))?;
        step("a pod gets a device", || device(&shell(cluster)?))?;
        step("nothing is left", || gone(&shell(cluster)?, cluster))
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

fn deployed(shell: &Shell<'_>) -> Result<()> {
    let path = image::workspace().join(MANIFEST);
    let manifest = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    // As its objects say, those that have a namespace.
    let cluster = Shell::new(shell.cluster, shell.kubectl.clone(), "csi-directory");
    cluster.apply(&manifest)?;
    eventually(SOON, "the driver is on the node", || {
        let node = shell.get("csinode node")?;
        let drivers = node["spec"]["drivers"].as_array();
        let found = drivers.and_then(|all| all.iter().find(|driver| driver["name"] == DRIVER));
        let found = found.context("it is not registered")?;
        ensure!(found["allocatable"]["count"] == 16, "{found}");
        Ok(())
    })?;
    eventually(SOON, "the driver tells its room", || {
        let rooms = shell.run("get csistoragecapacities -n csi-directory -o name")?;
        ensure!(!rooms.is_empty(), "there is none");
        Ok(())
    })
}

/// The attachments there are.
fn attachments(shell: &Shell<'_>) -> Result<Vec<Value>> {
    let list = shell.get("volumeattachments")?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn attached(shell: &Shell<'_>) -> Result<()> {
    shell.apply(SET)?;
    shell.wait_ready("app=db", 1)?;
    let found = attachments(shell)?;
    let [attachment] = found.as_slice() else {
        anyhow::bail!("{} attachments", found.len());
    };
    ensure!(attachment["status"]["attached"] == true, "{attachment}");
    let volume = shell.path("pvc/data-db-0", "{.spec.volumeName}")?;
    let source = &attachment["spec"]["source"]["persistentVolumeName"];
    ensure!(*source == *volume, "{source} is not {volume}");
    let name = format!("kubernetes.io/csi/{DRIVER}^{volume}");
    eventually(SOON, "the node's status names the volume", || {
        let node = shell.get("node node")?;
        let status = &node["status"];
        let attached = &status["volumesAttached"][0]["name"];
        ensure!(*attached == *name, "attached: {attached}");
        let used = &status["volumesInUse"][0];
        ensure!(*used == *name, "in use: {used}");
        Ok(())
    })?;
    eventually(SOON, "the pod is told", || {
        let events = shell.run("get events --field-selector reason=SuccessfulAttachVolume")?;
        let wanted = format!("AttachVolume.Attach succeeded for volume \"{volume}\"");
        ensure!(events.contains(&wanted), "{events}");
        Ok(())
    })
}

fn kept(shell: &Shell<'_>) -> Result<()> {
    let before = shell.path("pod/db-0", "{.metadata.uid}")?;
    shell.run("delete pod db-0")?;
    eventually(SOON, "another pod has the volume", || {
        let after = shell.path("pod/db-0", "{.metadata.uid}")?;
        ensure!(after != before, "it is the same one");
        let starts = shell.run("exec db-0 -- cat /data/starts")?;
        ensure!(starts == "started\nstarted\n", "{starts:?}");
        Ok(())
    })
}

fn grown(shell: &Shell<'_>) -> Result<()> {
    let patch = r#"{"spec":{"resources":{"requests":{"storage":"16Mi"}}}}"#;
    shell.words(&["patch", "pvc", "data-db-0", "-p", patch])?;
    eventually(SOON, "the claim has grown", || {
        let claim = shell.get("pvc data-db-0")?;
        let has = &claim["status"]["capacity"]["storage"];
        ensure!(has == "16Mi", "{}", claim["status"]);
        Ok(())
    })?;
    let events = shell.run("get events --field-selector reason=ExternalExpanding")?;
    let wanted = "waiting for an external controller to expand this PVC";
    ensure!(events.contains(wanted), "{events}");
    Ok(())
}

fn device(shell: &Shell<'_>) -> Result<()> {
    shell.apply(BLOCK)?;
    eventually(SOON, "the device's pod runs", || {
        let phase = shell.path("pod/raw", "{.status.phase}")?;
        ensure!(phase == "Running", "it is {phase}");
        Ok(())
    })?;
    let script = "echo word | dd of=/dev/raw conv=fsync 2>/dev/null; head -c 5 /dev/raw; blockdev --getsize64 /dev/raw";
    let said = shell.words(&["exec", "raw", "--", "sh", "-c", script])?;
    ensure!(said == "word\n4194304\n", "{said:?}");
    Ok(())
}

fn gone(shell: &Shell<'_>, cluster: &Cluster) -> Result<()> {
    shell.run("delete pod raw")?;
    shell.run("delete pvc raw")?;
    shell.run("delete statefulset db")?;
    shell.run("delete pvc data-db-0")?;
    eventually(SOON, "no attachments, no volumes", || {
        let left = shell.run("get volumeattachments,pv -o name")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })?;
    eventually(SOON, "the node's status names no volume", || {
        let node = shell.get("node node")?;
        let status = &node["status"];
        let (attached, used) = (&status["volumesAttached"], &status["volumesInUse"]);
        let empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
        ensure!(empty(attached) && empty(used), "{attached} {used}");
        Ok(())
    })?;
    let left: Vec<_> = fs::read_dir(state(cluster))?.collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

/// Where the driver keeps its volumes, on the machine.
fn state(cluster: &Cluster) -> PathBuf {
    let plugins = cluster.data_dir().join("kubelet/plugins");
    plugins.join(DRIVER).join("state")
}
