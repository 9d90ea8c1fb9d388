//! Images as volumes.

use super::*;

/// Containers `a`, which mounts the volume, and `b`, which does not.
fn with_volume(reference: &str) -> Value {
    json!({
        "restartPolicy": "Always",
        "volumes": [{ "name": "data", "image": { "reference": reference, "pullPolicy": "IfNotPresent" } }],
        "containers": [
            {
                "name": "a", "image": "img:1",
                "env": [{ "name": "WHERE", "value": "sub" }],
                "volumeMounts": [{ "name": "data", "mountPath": "/data", "subPathExpr": "$(WHERE)" }],
            },
            { "name": "b", "image": "img:1" },
        ],
    })
}

fn waits_for(reason: &'static str) -> impl Fn(Option<&Value>) -> bool {
    move |pod| {
        pod.is_some_and(|p| {
            p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
        })
    }
}

#[tokio::test]
async fn the_runtime_is_told_of_an_image_volume() {
    let mut bench = Bench::new(with_volume("data:1")).await;
    bench.until_ready().await;
    let container = bench.fake.state(|state| state.containers["a-0"].clone());
    let wanted = v1::Mount {
        container_path: "/data".to_owned(),
        readonly: true,
        image: Some(v1::ImageSpec {
            image: "sha256:i".to_owned(),
            user_specified_image: "data:1".to_owned(),
            ..Default::default()
        }),
        image_sub_path: "sub".to_owned(),
        ..Default::default()
    };
    assert!(
        container.mounts.contains(&wanted),
        "{:#?}",
        container.mounts
    );
    let told = bench.api.events.lock().unwrap().clone();
    let note =
        "Container image \"data:1\" already present on machine and can be accessed by the pod";
    assert!(
        told.contains(&["Pulled", "", note].map(str::to_owned)),
        "{told:?}"
    );
    bench.delete(0).await;
}

#[tokio::test]
async fn only_who_mounts_an_image_waits_for_it() {
    let mut bench = Bench::new(with_volume("missing:1")).await;
    bench.fake.until_asked("start b-0").await;
    bench
        .api
        .until("the pull fails", waits_for("ErrImagePull"))
        .await;
    assert!(bench.log().contains(&"pull missing:1".to_owned()));
    assert!(!bench.log().contains(&"create a-0".to_owned()));
    let told = bench.api.until_told("Failed").await;
    assert!(
        told.contains(&["Pulling", "", "Pulling image \"missing:1\""].map(str::to_owned)),
        "{told:?}"
    );
    bench.delete(0).await;
}

/// As upstream, which pulls what a container runs only when the containers before it have been started.
#[tokio::test]
async fn a_container_does_not_wait_for_the_image_of_the_next() {
    let mut bench = Bench::new(json!({
        "containers": [{ "name": "a", "image": "img:1" }, { "name": "b", "image": "missing:slow" }],
    }))
    .await;
    bench.fake.until_asked("pull missing:slow").await;
    bench.fake.until_asked("start a-0").await;
    assert!(!bench.log().contains(&"create b-0".to_owned()));
    bench.delete(0).await;
}

#[tokio::test]
async fn a_path_does_not_lead_out_of_an_image() {
    let mut spec = with_volume("data:1");
    spec["containers"][0]["env"][0]["value"] = json!("../up");
    let mut bench = Bench::new(spec).await;
    bench
        .api
        .until("it is refused", waits_for("CreateContainerConfigError"))
        .await;
    assert!(!bench.log().contains(&"create a-0".to_owned()));
    bench.delete(0).await;
}

/// Only where a pull has failed: a secret that nobody needs may be missing.
#[tokio::test]
async fn a_pull_secret_that_is_missing_is_told_of_when_a_pull_fails() {
    const REASON: &str = "FailedToRetrieveImagePullSecret";
    let secrets = json!([{ "name": "s" }, { "name": "" }, { "name": "t" }]);
    let mut spec = with_volume("missing:1");
    spec["imagePullSecrets"] = secrets.clone();
    let mut bench = Bench::new(spec).await;
    let told = bench.api.until_told(REASON).await;
    let note = "Unable to retrieve some image pull secrets (s, t); attempting to pull the image may not succeed.";
    assert!(
        told.contains(&[REASON, "", note].map(str::to_owned)),
        "{told:?}"
    );
    bench.delete(0).await;
    let mut spec = with_volume("data:1");
    spec["imagePullSecrets"] = secrets;
    let mut bench = Bench::new(spec).await;
    bench.until_ready().await;
    let told = bench.api.events.lock().unwrap().clone();
    assert!(told.iter().all(|told| told[0] != REASON), "{told:?}");
    bench.delete(0).await;
}
