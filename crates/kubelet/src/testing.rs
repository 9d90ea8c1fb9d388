//! Shared by tests: objects from JSON, and a kubelet's context over a runtime in this process.

use std::{path::Path, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use knarr_client::{Informer, events::Recorder};
use knarr_cri::v1;
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    allocation::Allocations,
    cgroup::Cgroups,
    config::Config,
    context::{Context, Shared},
    events::Events,
    image::Images,
    objects::Objects,
    observed::Observed,
    probe::Http,
    runtime::Runtime,
    volume::{csi::Csi, token::Tokens},
};

pub(crate) mod fake;
pub(crate) mod reviews;

/// A pod `web` in `shop` with this spec.
pub(crate) fn pod(spec: Value) -> Pod {
    object(json!({
        "metadata": { "name": "web", "namespace": "shop", "uid": "u1", "labels": { "app": "web" } },
        "spec": spec,
    }))
}

/// Any API object.
pub(crate) fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
    match serde_json::from_value(value) {
        Ok(object) => object,
        Err(error) => panic!("bad object in a test: {error}"),
    }
}

/// The context of the node `n1`, whose runtime serves `cri.sock` in `dir`.
pub(crate) async fn context(client: kube::Client, config: Config, dir: &Path) -> Shared {
    let settings = config.configuration.settings.clone();
    let socket = dir.join("cri.sock").display().to_string();
    let runtime = Runtime::connect(&socket, settings.runtime_request_timeout)
        .await
        .unwrap();
    let node = Informer::new();
    let events = Events {
        recorder: Recorder::new(client.clone(), "kubelet", "n1"),
        node: node.clone(),
    };
    let config = Config {
        node_name: "n1".into(),
        data_dir: dir.to_owned(),
        ..config
    };
    let machine = crate::node::Machine::detect(dir, "fake://1");
    let allocations = Allocations::new(config.pods_dir(), machine.room(&config));
    let users = crate::users::Users::unrestricted(config.pods_dir());
    Arc::new(Context {
        machine,
        csi: Arc::new(Csi::new(client.clone(), &config, &node)),
        pods: Informer::new(),
        node,
        seen: crate::sources::Seen::default(),
        statics: parking_lot::Mutex::default(),
        mirrors_changed: tokio::sync::Notify::new(),
        services: Informer::new(),
        objects: Objects::new(
            client.clone(),
            "node",
            TaskTracker::new(),
            CancellationToken::new(),
        ),
        devices: crate::devices::DevicePlugins::load(config.devices_record()),
        alignment: crate::alignment::Alignment::default(),
        dra: crate::dra::Dra::load(config.dra_record()),
        images: Images::new(
            runtime.clone(),
            events.clone(),
            config.image_records_dir(),
            &settings,
        ),
        tokens: Tokens::new(client.clone()),
        certificates: crate::volume::certificate::Certificates::new(client.clone()),
        allocations,
        http: Http::new().unwrap(),
        sysctls: knarr_host::sysctl::Allowlist::default(),
        features: crate::runtime::Features::default(),
        users,
        streams: crate::server::streams(),
        stats: crate::stats::Stats::default(),
        shutdown: crate::shutdown::Shutdown::default(),
        evictions: crate::eviction::Evictions::default(),
        garbage: crate::garbage::Garbage::default(),
        swap: None,
        probed: crate::probe::Counts::default(),
        cgroups: Cgroups::none(),
        observed: Observed::new(runtime.clone(), &config.instance),
        runtime_name: "fake".into(),
        config,
        client,
        runtime,
        events,
    })
}

/// Nanoseconds of a second since 1970.
pub(crate) fn at(second: i64) -> i64 {
    second * 1_000_000_000
}

/// A ready sandbox.
pub(crate) fn sandbox(attempt: u32, created: i64) -> v1::PodSandboxStatus {
    v1::PodSandboxStatus {
        id: format!("sandbox-{attempt}"),
        metadata: Some(v1::PodSandboxMetadata {
            attempt,
            ..Default::default()
        }),
        state: v1::PodSandboxState::SandboxReady as i32,
        created_at: at(created),
        network: Some(v1::PodSandboxNetworkStatus {
            ip: "10.42.0.7".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A container in some state.
pub(crate) fn container(
    name: &str,
    attempt: u32,
    state: v1::ContainerState,
    created: i64,
    exit_code: i32,
) -> v1::ContainerStatus {
    let ended = state == v1::ContainerState::ContainerExited;
    let begun = state != v1::ContainerState::ContainerCreated;
    v1::ContainerStatus {
        id: format!("{name}-{attempt}"),
        metadata: Some(v1::ContainerMetadata {
            name: name.to_owned(),
            attempt,
        }),
        state: state as i32,
        created_at: at(created),
        started_at: if begun { at(created) } else { 0 },
        finished_at: if ended { at(created + 1) } else { 0 },
        exit_code,
        image_ref: "sha256:abc".to_owned(),
        ..Default::default()
    }
}
