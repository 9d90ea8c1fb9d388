use std::fs;

use knarr_client::fake;
use serde_json::{Value, json};

use crate::{
    config::Config,
    testing::{self, fake::Fake, object},
    volume,
};

/// The objects that the API server has.
struct World {
    claim: Value,
    volume: Value,
    /// How often the claim is asked for before it is bound.
    unbound: usize,
}

fn world(source: Value) -> World {
    let mut spec = json!({"claimRef": {"namespace": "shop", "name": "data", "uid": "c"}});
    spec.as_object_mut()
        .expect("a map")
        .extend(source.as_object().cloned().unwrap_or_default());
    World {
        claim: json!({
            "metadata": {"namespace": "shop", "name": "data", "uid": "c"},
            "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"},
        }),
        volume: json!({"metadata": {"name": "pv"}, "spec": spec}),
        unbound: 0,
    }
}

fn mounting(read_only: bool) -> Value {
    json!({
        "containers": [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/data"}]}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data", "readOnly": read_only}}],
    })
}

/// Sets up the pod's volumes on node n1, whose data is in `home`: where the volume is and whether it is read-only, or why not.
async fn setup(
    home: &std::path::Path,
    world: &World,
    spec: Value,
) -> Result<(String, bool), String> {
    let socket = home.join("cri.sock");
    let _ = fs::remove_file(&socket);
    Fake::default().serve(&socket);
    let (client, mut server) = fake::client();
    let ctx = testing::context(client, Config::default(), home).await;
    fs::create_dir_all(ctx.config.pods_dir()).expect("a directory");
    ctx.node.apply(object(
        json!({"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1"}}}),
    ));
    let pod = testing::pod(spec);
    let mut unbound = world.claim.clone();
    unbound["status"]["phase"] = json!("Pending");
    let mut asked = 0;
    let setting_up = volume::setup(&ctx, &pod);
    tokio::pin!(setting_up);
    loop {
        tokio::select! {
            result = &mut setting_up => {
                let mounted = result.map_err(|error| error.to_string())?;
                let path = mounted.paths["v"].strip_prefix(home).expect("a path in it").display().to_string();
                return Ok((path, mounted.read_only.contains("v")));
            }
            request = server.next() => {
                let found = match request.uri.split('?').next().unwrap_or_default() {
                    "/api/v1/namespaces/shop/persistentvolumeclaims/data" => {
                        asked += 1;
                        match asked > world.unbound {
                            true => &world.claim,
                            false => &unbound,
                        }
                    }
                    "/api/v1/persistentvolumes/pv" => &world.volume,
                    path => panic!("{path} was asked for"),
                };
                match found.is_null() {
                    false => request.answer(200, found),
                    true => request.answer(404, &json!({
                        "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "not found",
                    })),
                }
            }
        }
    }
}

#[tokio::test]
async fn local_and_host_path_volumes_are_mounted() {
    let home = tempfile::tempdir().expect("a directory");
    let place = home.path().join("place");
    fs::create_dir_all(&place).expect("a directory");
    for source in ["local", "hostPath"] {
        let world = world(json!({source: {"path": place}}));
        for read_only in [false, true] {
            let made = setup(home.path(), &world, mounting(read_only)).await;
            assert_eq!(made, Ok(("place".to_owned(), read_only)), "{source}");
        }
    }
    // Who has it keeps it while the claim waits for its deletion.
    let mut going = world(json!({"local": {"path": place}}));
    going.claim["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
    assert!(setup(home.path(), &going, mounting(false)).await.is_ok());
    fs::remove_dir_all(home.path().join("kubelet/pods")).expect("it is gone");
    let why = setup(home.path(), &going, mounting(false)).await;
    assert_eq!(
        why,
        Err("Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: error processing PVC shop/data: PVC is being deleted".to_owned())
    );
}

/// The scheduler waits for the claim to name its volume, which is before it is told to be bound.
#[tokio::test]
async fn a_claim_that_is_just_being_bound_is_waited_for() {
    let home = tempfile::tempdir().expect("a directory");
    let place = home.path().join("place");
    fs::create_dir_all(&place).expect("a directory");
    let mut world = world(json!({"local": {"path": place}}));
    world.unbound = 2;
    let made = setup(home.path(), &world, mounting(false)).await;
    assert_eq!(made, Ok(("place".to_owned(), false)));
}

#[tokio::test]
async fn what_is_not_mounted() {
    let home = tempfile::tempdir().expect("a directory");
    let place = home.path().join("place");
    fs::create_dir_all(&place).expect("a directory");
    let local = || world(json!({"local": {"path": place}}));
    let mut unbound = local();
    unbound.claim["status"]["phase"] = json!("Pending");
    let mut no_claim = local();
    no_claim.claim = Value::Null;
    let mut others = local();
    others.volume["spec"]["claimRef"]["uid"] = json!("o");
    let mut block = local();
    block.volume["spec"]["volumeMode"] = json!("Block");
    let mut elsewhere = local();
    elsewhere.volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}]}});
    let processing = "error processing PVC shop/data: ";
    for (world, expected) in [
        (unbound, format!("{processing}PVC is not bound")),
        (no_claim, format!("{processing}failed to fetch PVC from API server: not found")),
        (others, format!("{processing}found PV object pv but its pv.Spec.ClaimRef.UID o does not point to claim.UID c")),
        (block, "volume v has volumeMode Block, but is specified in volumeMounts".to_owned()),
        (elsewhere, "MountVolume.NodeAffinity check failed for volume \"pv\" : no matching NodeSelectorTerms".to_owned()),
        (world(json!({"iscsi": {"targetPortal": "p", "iqn": "i", "lun": 0}})), "MountVolume.SetUp failed for volume \"pv\" : no volume plugin matched: only hostPath, local, nfs and csi volumes can be mounted".to_owned()),
        (world(json!({"local": {"path": home.path().join("missing")}})), format!("MountVolume.NewMounter initialization failed for volume \"pv\" : path \"{}\" does not exist", home.path().join("missing").display())),
    ] {
        let why = setup(home.path(), &world, mounting(false)).await.expect_err("it is not mounted");
        assert!(why.ends_with(&expected), "{why}");
    }
}
