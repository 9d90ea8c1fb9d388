//! Claims with kubectl: they wait for a pod, get a directory of the node, keep their data from pod to pod, over a restart and,
//! where they are told to, beyond their end.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, eventually};
use serde_json::Value;

use crate::support::{SOON, Shell, name, newest, step, with_running_cluster};

const ALONE: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: alone}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
";

const WRITER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 1000, fsGroup: 2000}
  containers:
  - name: main
    image: knarr/busybox:latest
    imagePullPolicy: IfNotPresent
    command: [sh, -c, 'echo kept > /data/word; echo deep > /sub/word; exec sleep 1000000']
    volumeMounts:
    - {name: data, mountPath: /data}
    - {name: data, mountPath: /sub, subPath: a/b}
    - {name: data, mountPath: /fixed, readOnly: true}
    - {name: scratch, mountPath: /scratch}
  volumes:
  - {name: data, persistentVolumeClaim: {claimName: alone}}
  - name: scratch
    ephemeral:
      volumeClaimTemplate:
        spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
";

const SET: &str = "
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  persistentVolumeClaimRetentionPolicy: {whenScaled: Delete, whenDeleted: Retain}
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: knarr/busybox:latest
        imagePullPolicy: IfNotPresent
        command: [sh, -c, 'hostname >> /data/starts; exec sleep 1000000']
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
";

/// Claims for volumes that an administrator has made, and for none.
const STATIC: &str = "
apiVersion: v1
kind: PersistentVolume
metadata: {name: by-hand}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: ''
  persistentVolumeReclaimPolicy: Retain
  hostPath: {path: PLACE}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: by-hand}
spec: {storageClassName: '', accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: too-much}
spec: {storageClassName: '', accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Ti}}}
---
apiVersion: v1
kind: Pod
metadata: {name: stuck}
spec:
  containers: [{name: main, image: 'knarr/busybox:latest'}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: too-much}}]
---
apiVersion: v1
kind: Pod
metadata: {name: lost}
spec:
  containers: [{name: main, image: 'knarr/busybox:latest'}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: missing}}]
";

#[test]
fn claims_bind_and_keep_their_data() {
    with_running_cluster(|cluster| {
        step("a claim waits", || waits(&shell(cluster)?))?;
        step("a pod gets it", || mounted(&shell(cluster)?, cluster))?;
        step("a set has claims", || set(&shell(cluster)?))?;
        step("volumes made by hand", || {
            by_hand(&shell(cluster)?, cluster)
        })?;
        step("knarr is started again", || {
            cluster.stop()?;
            cluster.up()?;
            still_there(&shell(cluster)?)
        })?;
        step("claims that go with their set", || {
            with_their_set(&shell(cluster)?)
        })?;
        step("in use", || in_use(&shell(cluster)?, cluster))?;
        step("kept", || kept(&shell(cluster)?, cluster))
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

fn phase_of(shell: &Shell<'_>, what: &str, wanted: &str) -> Result<Value> {
    eventually(SOON, &format!("{what} {wanted}"), || {
        let object = shell.get(what)?;
        let phase = &object["status"]["phase"];
        ensure!(phase == wanted, "it is {phase}");
        Ok(object)
    })
}

fn gone(shell: &Shell<'_>, what: &str) -> Result<()> {
    eventually(SOON, &format!("no {what}"), || {
        let left = shell.run(&format!("get {what} --ignore-not-found -o name"))?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

/// The volume of a claim, and where it is.
fn volume_of(shell: &Shell<'_>, claim: &str) -> Result<(String, PathBuf)> {
    let volume = shell.path(&format!("pvc {claim}"), "{.spec.volumeName}")?;
    let place = shell.path(&format!("pv {volume}"), "{.spec.local.path}")?;
    Ok((volume, place.into()))
}

fn directory_is(place: &Path, there: bool) -> Result<()> {
    eventually(SOON, &format!("{} there: {there}", place.display()), || {
        ensure!(place.is_dir() == there, "it is not so");
        Ok(())
    })
}

fn waits(shell: &Shell<'_>) -> Result<()> {
    eventually(SOON, "the default service account", || {
        shell.run("get serviceaccount default")
    })?;
    let row = shell.run("get storageclass --no-headers")?;
    let cells: Vec<&str> = row.split_whitespace().collect();
    ensure!(
        cells[..6]
            == [
                "local-path",
                "(default)",
                "rancher.io/local-path",
                "Delete",
                "WaitForFirstConsumer",
                "false"
            ],
        "{row}"
    );
    shell.apply(ALONE)?;
    eventually(SOON, "an event about the consumer", || {
        shell.says(
            "describe pvc alone",
            &[
                "WaitForFirstConsumer",
                "waiting for first consumer to be created before binding",
                "kubernetes.io/pvc-protection",
            ],
        )
    })?;
    let row = shell.run("get pvc alone --no-headers")?;
    let cells: Vec<&str> = row.split_whitespace().collect();
    ensure!(
        cells[..4] == ["alone", "Pending", "local-path", "<unset>"],
        "{row}"
    );
    Ok(())
}

fn mounted(shell: &Shell<'_>, cluster: &Cluster) -> Result<()> {
    shell.apply(WRITER)?;
    phase_of(shell, "pod/writer", "Running")?;
    let claim = phase_of(shell, "pvc/alone", "Bound")?;
    ensure!(claim["status"]["capacity"]["storage"] == "1Mi", "{claim}");
    phase_of(shell, "pvc/writer-scratch", "Bound")?;
    let (volume, place) = volume_of(shell, "alone")?;
    ensure!(
        place.starts_with(cluster.data_dir()) && place.ends_with(format!("storage/{volume}")),
        "{}",
        place.display()
    );
    phase_of(shell, &format!("pv/{volume}"), "Bound")?;
    eventually(SOON, "what the pod has written", || {
        let word = std::fs::read_to_string(place.join("word"))?;
        let deep = std::fs::read_to_string(place.join("a/b/word"))?;
        ensure!(
            (word.trim(), deep.trim()) == ("kept", "deep"),
            "{word}{deep}"
        );
        Ok(())
    })?;
    let groups = shell.words(&["exec", "writer", "--", "stat", "-c", "%u %g", "/data/word"])?;
    ensure!(groups.trim() == "1000 2000", "{groups}");
    let refused = shell.output(&["exec", "writer", "--", "touch", "/fixed/x"], "")?;
    ensure!(refused.success().is_err(), "the mount is read-only");
    shell.says(
        "describe pvc alone",
        &[
            "ExternalProvisioning",
            "Provisioning",
            "ProvisioningSucceeded",
        ],
    )?;
    Ok(())
}

fn starts(shell: &Shell<'_>, pod: &str) -> Result<usize> {
    let text = shell.words(&["exec", pod, "--", "cat", "/data/starts"])?;
    ensure!(text.lines().all(|line| line == pod), "{text}");
    Ok(text.lines().count())
}

fn set(shell: &Shell<'_>) -> Result<()> {
    shell.apply(SET)?;
    let pods = shell.wait_ready("app=db", 2)?;
    let claims = shell.run("get pvc -l app=db -o name")?;
    ensure!(
        claims.lines().count() == 2 && claims.contains("data-db-1"),
        "{claims}"
    );
    let uid = pods[0]["metadata"]["uid"].clone();
    shell.run("delete pod db-0")?;
    eventually(SOON, "another db-0 with the data", || {
        let pods = shell.wait_ready("app=db", 2)?;
        ensure!(pods[0]["metadata"]["uid"] != uid, "it is the old one");
        ensure!(starts(shell, name(&pods[0]))? == 2, "the data is not there");
        Ok(())
    })?;
    let (_, place) = volume_of(shell, "data-db-1")?;
    shell.run("scale statefulset db --replicas=1")?;
    gone(shell, "pvc/data-db-1")?;
    directory_is(&place, false)?;
    phase_of(shell, "pvc/data-db-0", "Bound")?;
    Ok(())
}

fn with_their_set(shell: &Shell<'_>) -> Result<()> {
    let policy = "{whenScaled: Retain, whenDeleted: Delete}";
    let set = SET.replace("{whenScaled: Delete, whenDeleted: Retain}", policy);
    shell.apply(&set.replace("db", "cache"))?;
    shell.wait_ready("app=cache", 2)?;
    let places = [
        volume_of(shell, "data-cache-0")?.1,
        volume_of(shell, "data-cache-1")?.1,
    ];
    shell.run("scale statefulset cache --replicas=1")?;
    shell.wait_ready("app=cache", 1)?;
    phase_of(shell, "pvc/data-cache-1", "Bound")?;
    shell.run("delete statefulset cache")?;
    for (number, place) in places.iter().enumerate() {
        gone(shell, &format!("pvc/data-cache-{number}"))?;
        directory_is(place, false)?;
    }
    shell.run("delete service cache")?;
    Ok(())
}

fn by_hand(shell: &Shell<'_>, cluster: &Cluster) -> Result<()> {
    let place = cluster.data_dir().join("by-hand");
    std::fs::create_dir_all(&place)?;
    shell.apply(&STATIC.replace("PLACE", &place.display().to_string()))?;
    let claim = phase_of(shell, "pvc/by-hand", "Bound")?;
    ensure!(claim["spec"]["volumeName"] == "by-hand", "{claim}");
    ensure!(claim["status"]["capacity"]["storage"] == "1Gi", "{claim}");
    for (pod, why) in [
        (
            "stuck",
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
        ),
        (
            "lost",
            "0/1 nodes are available: persistentvolumeclaim \"missing\" not found.",
        ),
    ] {
        eventually(SOON, &format!("why {pod} waits"), || {
            shell.says(&format!("describe pod {pod}"), &["FailedScheduling", why])
        })?;
    }
    shell.says(
        "describe pvc too-much",
        &["no persistent volumes available for this claim and no storage class is set"],
    )?;
    shell.run("delete pod stuck lost --now")?;
    shell.run("delete pvc by-hand too-much")?;
    phase_of(shell, "pv/by-hand", "Released")?;
    shell.run("delete pv by-hand")?;
    ensure!(place.is_dir(), "it was not the cluster's to remove");
    Ok(())
}

fn still_there(shell: &Shell<'_>) -> Result<()> {
    phase_of(shell, "pod/writer", "Running")?;
    let word = eventually(SOON, "exec into the pod", || {
        shell.words(&["exec", "writer", "--", "cat", "/data/word"])
    })?;
    ensure!(word.trim() == "kept", "{word}");
    let pods = shell.wait_ready("app=db", 1)?;
    ensure!(
        starts(shell, name(&pods[0]))? == 2,
        "no container was started again"
    );
    Ok(())
}

fn in_use(shell: &Shell<'_>, _cluster: &Cluster) -> Result<()> {
    let (volume, place) = volume_of(shell, "alone")?;
    let (_, scratch) = volume_of(shell, "writer-scratch")?;
    shell.run("delete pvc alone --wait=false")?;
    eventually(SOON, "a claim that is going", || {
        shell.says("get pvc alone", &["Terminating"])
    })?;
    ensure!(place.is_dir(), "the pod has it");
    shell.run("delete pod writer")?;
    gone(shell, "pvc/alone")?;
    gone(shell, &format!("pv/{volume}"))?;
    directory_is(&place, false)?;
    gone(shell, "pvc/writer-scratch")?;
    directory_is(&scratch, false)
}

fn kept(shell: &Shell<'_>, _cluster: &Cluster) -> Result<()> {
    let (volume, place) = volume_of(shell, "data-db-0")?;
    let policy = "{\"spec\":{\"persistentVolumeReclaimPolicy\":\"Retain\"}}";
    shell.words(&["patch", "pv", &volume, "-p", policy])?;
    shell.run("delete statefulset db")?;
    shell.wait_ready("app=db", 0)?;
    phase_of(shell, "pvc/data-db-0", "Bound").context("the set leaves its claims")?;
    shell.run("delete pvc data-db-0")?;
    phase_of(shell, &format!("pv/{volume}"), "Released")?;
    shell.run(&format!("delete pv {volume}"))?;
    gone(shell, &format!("pv/{volume}"))?;
    ensure!(place.join("starts").is_file(), "what is retained stays");
    Ok(())
}
