use std::{fs, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use knarr_csi::{tonic::Status, v1::volume_capability::AccessType};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    drivers::Capability,
    testing::{Bench, Driver},
    unstage,
};
use crate::{
    testing,
    volume::{self, Mounted},
};

/// Longest wait for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pod with a volume `v` of this source.
fn pod(uid: &str, source: Value) -> Pod {
    let mut volume = json!({ "name": "v" });
    volume
        .as_object_mut()
        .unwrap()
        .extend(source.as_object().unwrap().clone());
    let mut pod = testing::pod(json!({
        "serviceAccountName": "robot",
        "containers": [{ "name": "c" }],
        "volumes": [volume],
    }));
    pod.metadata.uid = Some(uid.to_owned());
    pod
}

fn claiming(uid: &str, claim: &str) -> Pod {
    pod(
        uid,
        json!({ "persistentVolumeClaim": { "claimName": claim } }),
    )
}

async fn setup(bench: &Bench, pod: &Pod) -> Result<Mounted, String> {
    let work = volume::setup(&bench.ctx, pod);
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.expect("it ends in time")
        .map_err(|error| error.to_string())
}

/// Without attaching.
fn plain(bench: &Bench, driver: &str) {
    let settings =
        json!({ "attachRequired": false, "volumeLifecycleModes": ["Persistent", "Ephemeral"] });
    bench.settings(driver, settings);
}

/// Unstages what nobody uses, until the token is cancelled.
fn unstaging(bench: &Bench) -> CancellationToken {
    let token = CancellationToken::new();
    knarr_tasks::spawn(
        "unstaging",
        unstage::run(bench.ctx.csi.clone(), token.clone()),
    );
    token
}

async fn until_forgotten(bench: &Bench) {
    let gone = async {
        while !bench.ctx.csi.uses.unused().is_empty() {
            bench.ctx.csi.in_use_changed().await;
        }
    };
    let gone = tokio::time::timeout(PATIENCE, gone).await;
    gone.expect("nothing is in use any more");
}

#[tokio::test]
async fn drivers_are_told_of_to_the_api() {
    let bench = Bench::new().await;
    let driver = bench.driver("d", &[]).await;
    let csi_node = bench.api.get("/apis/storage.k8s.io/v1/csinodes/n1");
    let entry = json!({
        "name": "d", "nodeID": "node-1", "topologyKeys": ["topology.d/node"], "allocatable": { "count": 3 },
    });
    assert_eq!(csi_node["spec"]["drivers"], json!([entry]));
    assert_eq!(
        csi_node["metadata"]["ownerReferences"][0]["uid"],
        "node-uid"
    );
    let meta = bench.api.get("/api/v1/nodes/n1")["metadata"].clone();
    assert_eq!(meta["labels"], json!({ "topology.d/node": "n1" }));
    let ids = json!({ "csi.volume.kubernetes.io/nodeid": "{\"d\":\"node-1\"}" });
    assert_eq!(meta["annotations"], ids);
    // Another one of its name has to be newer.
    let refused = bench.register("d").await.unwrap_err();
    assert!(refused.contains("already registered"), "{refused}");
    let plugin = crate::plugins::Plugin {
        name: "d".to_owned(),
        endpoint: bench.socket("d"),
        versions: Vec::new(),
    };
    bench.ctx.csi.handler().deregister(&plugin).await;
    let csi_node = bench.api.get("/apis/storage.k8s.io/v1/csinodes/n1");
    assert_eq!(csi_node["spec"]["drivers"], json!([]));
    // It cannot say who the node is.
    driver.manners(|manners| {
        let failure = Status::unavailable("not yet");
        manners.fails.insert("info", failure);
    });
    let failed = bench.register("d").await.unwrap_err();
    assert_eq!(failed, "rpc error: code = Unavailable desc = not yet");
}

#[tokio::test]
async fn a_volume_is_attached_staged_and_published_as_its_pod_needs_it() {
    let bench = Bench::new().await;
    let stages = [Capability::StageUnstageVolume];
    let driver = bench.driver("d", &stages).await;
    bench.claim(
        "data",
        "d",
        json!({
            "mountOptions": ["noatime"],
            "csi": {
                "fsType": "ext4", "volumeAttributes": { "a": "b" },
                "nodePublishSecretRef": { "namespace": "keys", "name": "key" },
            },
        }),
    );
    let secret = json!({ "metadata": { "name": "key" }, "data": { "password": "aHVudGVyMg==" } });
    bench.api.put("/api/v1/namespaces/keys/secrets/key", secret);
    let first = claiming("u1", "data");
    let unattached = tokio::time::timeout(
        Duration::from_millis(300),
        volume::setup(&bench.ctx, &first),
    );
    assert!(unattached.await.is_err(), "it is not attached");
    let name = "kubernetes.io/csi/d^vol-data".to_owned();
    let in_use = bench.ctx.csi.volumes_in_use();
    assert_eq!(in_use, std::slice::from_ref(&name));
    bench.report(&[name]);
    let attachment = super::places::Handle {
        driver: "d".to_owned(),
        id: "vol-data".to_owned(),
    }
    .attachment("n1");
    bench.api.put(&format!("/apis/storage.k8s.io/v1/volumeattachments/{attachment}"), json!({
        "metadata": { "name": attachment },
        "spec": { "attacher": "d", "nodeName": "n1", "source": { "persistentVolumeName": "pv-data" } },
        "status": { "attached": true, "attachmentMetadata": { "device": "/dev/x" } },
    }));
    let mounted = setup(&bench, &first).await.unwrap();
    let place = bench
        .dir
        .path()
        .join("kubelet/pods/u1/volumes/kubernetes.io~csi/pv-data/mount");
    assert_eq!(mounted.paths["v"], place);
    driver.expect(&["stage vol-data", "publish vol-data"]).await;
    let asked = driver.publishes.lock().unwrap().pop().unwrap();
    assert_eq!(asked.target_path, place.display().to_string());
    assert!(asked.staging_target_path.ends_with("/globalmount"));
    assert_eq!(asked.publish_context["device"], "/dev/x");
    assert_eq!(asked.volume_context["a"], "b");
    assert_eq!(asked.secrets["password"], "hunter2");
    let capability = asked.volume_capability.unwrap().access_type;
    let Some(AccessType::Mount(mount)) = capability else {
        panic!("{capability:?}");
    };
    assert_eq!(
        (mount.fs_type.as_str(), mount.mount_flags.as_slice()),
        ("ext4", &["noatime".to_owned()][..])
    );
    bench.ctx.csi.teardown("u1").await.unwrap();
    driver.expect(&["unpublish vol-data"]).await;
    assert!(!place.parent().unwrap().exists());
}

#[tokio::test]
async fn pods_share_what_is_staged_to_the_last_of_them() {
    let bench = Bench::new().await;
    let driver = bench.driver("d", &[Capability::StageUnstageVolume]).await;
    plain(&bench, "d");
    bench.claim("data", "d", json!({}));
    let first = claiming("u1", "data");
    setup(&bench, &first).await.unwrap();
    driver.expect(&["stage vol-data", "publish vol-data"]).await;
    // Once more, and for another pod.
    setup(&bench, &first).await.unwrap();
    setup(&bench, &claiming("u2", "data")).await.unwrap();
    driver.expect(&["publish vol-data"]).await;
    let unstaging = unstaging(&bench);
    bench.ctx.csi.teardown("u1").await.unwrap();
    driver.expect(&["unpublish vol-data"]).await;
    bench.ctx.csi.teardown("u2").await.unwrap();
    driver
        .expect(&["unpublish vol-data", "unstage vol-data"])
        .await;
    until_forgotten(&bench).await;
    unstaging.cancel();
    let left = bench.dir.path().join("kubelet/plugins/kubernetes.io/csi/d");
    assert_eq!(fs::read_dir(left).unwrap().count(), 0);
}

#[tokio::test]
async fn another_kubelet_undoes_what_lies_on_disk() {
    let mut bench = Bench::new().await;
    let driver = bench.driver("d", &[Capability::StageUnstageVolume]).await;
    plain(&bench, "d");
    bench.claim("data", "d", json!({}));
    setup(&bench, &claiming("u1", "data")).await.unwrap();
    driver.expect(&["stage vol-data", "publish vol-data"]).await;
    bench.restart().await;
    let in_use = bench.ctx.csi.volumes_in_use();
    assert_eq!(in_use, ["kubernetes.io/csi/d^vol-data"]);
    let unstaging = unstaging(&bench);
    // The driver comes late.
    let csi = bench.ctx.csi.clone();
    let teardown = knarr_tasks::spawn("teardown", async move { csi.teardown("u1").await });
    bench.register("d").await.unwrap();
    teardown.await.unwrap().unwrap();
    driver
        .expect(&["info ", "unpublish vol-data", "unstage vol-data"])
        .await;
    until_forgotten(&bench).await;
    unstaging.cancel();
}

#[tokio::test]
async fn a_driver_that_hangs_keeps_nobody_else_waiting() {
    let bench = Bench::new().await;
    let (hung, other) = (
        bench.driver("hung", &[]).await,
        bench.driver("other", &[]).await,
    );
    for (claim, driver) in [("a", "hung"), ("b", "hung"), ("c", "other")] {
        plain(&bench, driver);
        bench.claim(claim, driver, json!({}));
    }
    hung.manners(|manners| {
        manners.hangs.insert("publish");
    });
    let ctx = bench.ctx.clone();
    let waiting = knarr_tasks::spawn("hung", async move {
        volume::setup(&ctx, &claiming("u1", "a")).await.map(drop)
    });
    hung.expect(&["publish vol-a"]).await;
    setup(&bench, &claiming("u2", "c")).await.unwrap();
    other.expect(&["publish vol-c"]).await;
    // Not even the driver's own other volumes.
    hung.manners(|manners| manners.hangs.clear());
    setup(&bench, &claiming("u3", "b")).await.unwrap();
    hung.expect(&["publish vol-b"]).await;
    assert!(!waiting.is_finished());
    waiting.abort();
    // What was begun is undone.
    let _ended = waiting.await;
    bench.ctx.csi.teardown("u1").await.unwrap();
    hung.expect(&["unpublish vol-a"]).await;
}

#[tokio::test]
async fn wrong_answers_are_told_and_leave_what_they_may_have_done() {
    let bench = Bench::new().await;
    let driver = bench.driver("d", &[]).await;
    plain(&bench, "d");
    bench.claim("data", "d", json!({}));
    let pod = claiming("u1", "data");
    let kept = bench
        .dir
        .path()
        .join("kubelet/pods/u1/volumes/kubernetes.io~csi/pv-data");
    for (failure, stays, message) in [
        (
            Status::invalid_argument("no"),
            false,
            "MountVolume.SetUp failed for volume \"pv-data\" : rpc error: code = InvalidArgument desc = no",
        ),
        (
            Status::aborted("busy"),
            true,
            "MountVolume.SetUp failed for volume \"pv-data\" : rpc error: code = Aborted desc = busy",
        ),
    ] {
        driver.manners(|manners| drop(manners.fails.insert("publish", failure)));
        assert_eq!(setup(&bench, &pod).await.map(drop), Err(message.to_owned()));
        assert_eq!(kept.exists(), stays, "{message}");
        driver.expect(&["publish vol-data"]).await;
    }
    driver.manners(|manners| {
        manners.fails.clear();
        manners.lies = true;
    });
    let nothing = setup(&bench, &pod).await.unwrap_err();
    assert!(nothing.contains("No such file"), "{nothing}");
    driver.expect(&["publish vol-data"]).await;
    driver.manners(|manners| drop(manners.fails.insert("unpublish", Status::internal("no"))));
    let left = bench.ctx.csi.teardown("u1").await.unwrap_err();
    assert!(
        left.contains("UnmountVolume.TearDown failed for volume \"pv-data\""),
        "{left}"
    );
    assert!(kept.exists());
    let missing = setup(
        &bench,
        &self::pod("u9", json!({ "csi": { "driver": "none" } })),
    )
    .await;
    let missing = missing.map(drop).unwrap_err();
    assert!(missing.contains("(no CSIDriver object)"), "{missing}");
}

#[tokio::test]
async fn volumes_of_pods_themselves_are_told_who_they_are_for() {
    let bench = Bench::new().await;
    let driver = bench.driver("d", &[Capability::StageUnstageVolume]).await;
    bench.settings("d", json!({
        "volumeLifecycleModes": ["Ephemeral"], "podInfoOnMount": true, "requiresRepublish": true,
        "tokenRequests": [{ "audience": "vault" }],
    }));
    let secret = json!({ "metadata": { "name": "key" }, "data": { "password": "aHVudGVyMg==" } });
    bench.api.put("/api/v1/namespaces/shop/secrets/key", secret);
    let pod = pod(
        "u1",
        json!({ "csi": {
            "driver": "d", "volumeAttributes": { "a": "b" }, "readOnly": true, "fsType": "xfs",
            "nodePublishSecretRef": { "name": "key" },
        } }),
    );
    let mounted = setup(&bench, &pod).await.unwrap();
    assert!(mounted.read_only.contains("v") && mounted.refresh_at.is_some());
    let handle = super::places::inline_handle("u1", "v");
    driver.expect(&[&format!("publish {handle}")]).await;
    let asked = driver.publishes.lock().unwrap().pop().unwrap();
    let context = &asked.volume_context;
    for (key, wanted) in [
        ("a", "b"),
        ("csi.storage.k8s.io/pod.name", "web"),
        ("csi.storage.k8s.io/pod.namespace", "shop"),
        ("csi.storage.k8s.io/pod.uid", "u1"),
        ("csi.storage.k8s.io/serviceAccount.name", "robot"),
        ("csi.storage.k8s.io/ephemeral", "true"),
        (
            "csi.storage.k8s.io/serviceAccount.tokens",
            r#"{"vault":{"token":"for vault","expirationTimestamp":"2099-01-01T00:00:00Z"}}"#,
        ),
    ] {
        assert_eq!(context.get(key).map(String::as_str), Some(wanted), "{key}");
    }
    assert!(asked.readonly);
    assert_eq!(asked.secrets["password"], "hunter2");
    let told = asked.volume_capability.unwrap().access_type;
    assert!(format!("{told:?}").contains("fs_type: \"xfs\""), "{told:?}");
    // Again and again; what fails then takes nothing from the pod.
    driver.manners(|manners| {
        drop(
            manners
                .fails
                .insert("publish", Status::invalid_argument("no")),
        )
    });
    assert!(setup(&bench, &pod).await.is_err());
    driver.expect(&[&format!("publish {handle}")]).await;
    assert!(mounted.paths["v"].is_dir());
    bench.ctx.csi.teardown("u1").await.unwrap();
    driver.expect(&[&format!("unpublish {handle}")]).await;
}

#[tokio::test]
async fn groups_are_left_to_drivers_that_take_them() {
    let bench = Bench::new().await;
    let group = |pod: &mut Pod| {
        let spec = pod.spec.as_mut().unwrap();
        spec.security_context.get_or_insert_default().fs_group = Some(4_321);
    };
    for (name, capabilities, delegated) in [
        ("takes", &[Capability::VolumeMountGroup][..], "4321"),
        ("leaves", &[][..], ""),
    ] {
        let driver = bench.driver(name, capabilities).await;
        plain(&bench, name);
        bench.claim(name, name, json!({ "csi": { "fsType": "ext4" } }));
        let mut pod = claiming(name, name);
        group(&mut pod);
        if delegated.is_empty() && !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: giving files to groups needs root");
            continue;
        }
        let mounted = setup(&bench, &pod).await.unwrap();
        let asked = driver.publishes.lock().unwrap().pop().unwrap();
        let Some(AccessType::Mount(mount)) = asked.volume_capability.unwrap().access_type else {
            panic!("it is mounted");
        };
        assert_eq!(mount.volume_mount_group, delegated, "{name}");
        let meta = fs::metadata(&mounted.paths["v"]).unwrap();
        let given = std::os::unix::fs::MetadataExt::gid(&meta) == 4_321;
        assert_eq!(given, delegated.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn devices_are_published_for_themselves() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: making a device needs root");
    }
    let bench = Bench::new().await;
    let driver = bench.driver("d", &[Capability::StageUnstageVolume]).await;
    driver.manners(|manners| manners.device = Some(nix::sys::stat::makedev(7, 77)));
    plain(&bench, "d");
    bench.claim("disk", "d", json!({ "volumeMode": "Block" }));
    let pod = claiming("u1", "disk");
    let mounted = setup(&bench, &pod).await.unwrap();
    let devices = bench
        .dir
        .path()
        .join("kubelet/plugins/kubernetes.io/csi/volumeDevices");
    assert!(mounted.devices.contains("v"));
    assert_eq!(mounted.paths["v"], devices.join("publish/pv-disk/u1"));
    driver.expect(&["stage vol-disk", "publish vol-disk"]).await;
    let asked = driver.publishes.lock().unwrap().pop().unwrap();
    let kind = asked.volume_capability.unwrap().access_type;
    assert!(matches!(kind, Some(AccessType::Block(_))), "{kind:?}");
    let unstaging = unstaging(&bench);
    bench.ctx.csi.teardown("u1").await.unwrap();
    driver
        .expect(&["unpublish vol-disk", "unstage vol-disk"])
        .await;
    until_forgotten(&bench).await;
    unstaging.cancel();
    assert!(!devices.join("pv-disk").exists() && !devices.join("publish/pv-disk").exists());
}

#[tokio::test]
async fn volumes_grow_with_their_claims_and_tell_how_full_they_are() {
    let bench = Bench::new().await;
    let able = [Capability::ExpandVolume, Capability::GetVolumeStats];
    let driver: Driver = bench.driver("d", &able).await;
    plain(&bench, "d");
    bench.claim("data", "d", json!({}));
    let pod = claiming("u1", "data");
    setup(&bench, &pod).await.unwrap();
    driver.expect(&["publish vol-data"]).await;
    let claim = "/api/v1/namespaces/shop/persistentvolumeclaims/data";
    let mut volume = bench.api.get("/api/v1/persistentvolumes/pv-data");
    volume["spec"]["capacity"]["storage"] = json!("2Gi");
    bench.api.put("/api/v1/persistentvolumes/pv-data", volume);
    let mut held = bench.api.get(claim);
    held["status"]["conditions"] = json!([{ "type": "FileSystemResizePending", "status": "True" }]);
    bench.api.put(claim, held);
    let mounted = setup(&bench, &pod).await.unwrap();
    assert!(mounted.refresh_at.is_some());
    driver.expect(&["expand vol-data"]).await;
    let asked = driver.expands.lock().unwrap().pop().unwrap();
    assert_eq!(asked.capacity_range.unwrap().required_bytes, 2 << 30);
    assert_eq!(asked.volume_path, mounted.paths["v"].display().to_string());
    let status = bench.api.get(claim)["status"].clone();
    assert_eq!(status["capacity"]["storage"], "2Gi");
    assert_eq!(status["conditions"], json!([]));
    setup(&bench, &pod).await.unwrap();
    let stats = bench.ctx.csi.stats().await;
    driver.expect(&["stats vol-data"]).await;
    let [told] = stats.as_slice() else {
        panic!("{stats:?}");
    };
    assert_eq!((told.uid.as_str(), told.volume.as_str()), ("u1", "v"));
    assert_eq!(told.claim, Some(("shop".to_owned(), "data".to_owned())));
    assert_eq!(
        (told.usage.capacity, told.usage.used),
        (Some(100), Some(40))
    );
    // A minute has not passed.
    assert_eq!(bench.ctx.csi.stats().await, stats);
    bench.ctx.csi.teardown("u1").await.unwrap();
    driver.expect(&["unpublish vol-data"]).await;
    assert_eq!(bench.ctx.csi.stats().await, []);
}
