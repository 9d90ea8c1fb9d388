//! A driver and an API server, in this process, for tests of volumes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::BodyExt;
use knarr_csi::{
    tonic::{self, Status, transport::Server},
    v1::{
        self,
        node_server::{Node, NodeServer},
        node_service_capability::{Rpc, Type},
    },
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::drivers::Capability;
use crate::{
    config::Config,
    context::Shared,
    plugins::Plugin,
    testing::{self, fake::Fake, object},
};

/// Longest wait for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Objects by their paths. Patches are merged.
#[derive(Clone, Default)]
pub(super) struct Api(Arc<Mutex<BTreeMap<String, Value>>>);

impl Api {
    pub(super) fn put(&self, path: &str, object: Value) {
        self.0.lock().unwrap().insert(path.to_owned(), object);
    }

    pub(super) fn get(&self, path: &str) -> Value {
        let objects = self.0.lock().unwrap();
        objects.get(path).cloned().unwrap_or(Value::Null)
    }

    fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, std::convert::Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<kube::client::Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = parts.uri.path().trim_end_matches("/status").to_owned();
        let answer = self.change(parts.method.as_str(), &path, body);
        let none = json!({
            "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": format!("{path} not found"),
        });
        let (code, answer) = answer.map_or((404, none), |answer| (200, answer));
        let body = kube::client::Body::from(answer.to_string().into_bytes());
        Response::builder().status(code).body(body).unwrap()
    }

    fn change(&self, method: &str, path: &str, body: Value) -> Option<Value> {
        if path.contains("/events") {
            return Some(body);
        }
        if path.ends_with("/token") {
            let audience = body["spec"]["audiences"][0].as_str().unwrap_or_default();
            let status = json!({ "token": format!("for {audience}"), "expirationTimestamp": "2099-01-01T00:00:00Z" });
            return Some(json!({ "spec": body["spec"], "status": status }));
        }
        let mut objects = self.0.lock().unwrap();
        match method {
            "GET" => objects.get(path).cloned(),
            "POST" => {
                let name = body["metadata"]["name"].as_str().unwrap();
                objects.insert(format!("{path}/{name}"), body.clone());
                Some(body)
            }
            "PUT" => {
                objects.insert(path.to_owned(), body.clone());
                Some(body)
            }
            "PATCH" => {
                let object = objects.get_mut(path)?;
                merge(object, &body);
                Some(object.clone())
            }
            _ => None,
        }
    }
}

fn merge(object: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut object[name.as_str()], value);
        }
    }
}

/// How a driver behaves.
#[derive(Default)]
pub(super) struct Manners {
    pub capabilities: Vec<Capability>,
    /// Calls that are not answered.
    pub hangs: HashSet<&'static str>,
    /// What calls are answered with.
    pub fails: HashMap<&'static str, Status>,
    /// It says that it has published, and has not.
    pub lies: bool,
    /// It publishes devices of this number.
    pub device: Option<u64>,
}

/// A driver that makes directories where it stages and publishes.
#[derive(Clone, Default)]
pub(super) struct Driver {
    pub manners: Arc<Mutex<Manners>>,
    pub publishes: Arc<Mutex<Vec<v1::NodePublishVolumeRequest>>>,
    pub expands: Arc<Mutex<Vec<v1::NodeExpandVolumeRequest>>>,
    calls: watch::Sender<Vec<String>>,
}

type Answer<T> = Result<tonic::Response<T>, Status>;

impl Driver {
    pub(super) fn manners(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.manners.lock().unwrap());
    }

    /// Serves a socket, and goes on to.
    pub(super) fn serve(&self, socket: &Path) {
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let incoming = futures::stream::poll_fn(move |task| {
            listener
                .poll_accept(task)
                .map(|accepted| Some(accepted.map(|(stream, _)| stream)))
        });
        let server = Server::builder().add_service(NodeServer::new(self.clone()));
        knarr_tasks::spawn("a driver", server.serve_with_incoming(incoming));
    }

    /// Waits until it was called just so since the last time.
    pub(super) async fn expect(&self, wanted: &[&str]) {
        let mut calls = self.calls.subscribe();
        let waiting = calls.wait_for(|all| all.len() >= wanted.len());
        let waited = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
        let found = self.calls.send_replace(Vec::new());
        assert!(waited && found == wanted, "{found:?}, not {wanted:?}");
    }

    /// Notes the call; fails or hangs as it should.
    async fn call(&self, name: &'static str, volume: &str) -> Result<(), Status> {
        self.calls
            .send_modify(|all| all.push(format!("{name} {volume}")));
        let (hangs, failure) = {
            let manners = self.manners.lock().unwrap();
            (
                manners.hangs.contains(name),
                manners.fails.get(name).cloned(),
            )
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        failure.map_or(Ok(()), Err)
    }

    fn make(&self, target: &str) {
        let (lies, device) = {
            let manners = self.manners.lock().unwrap();
            (manners.lies, manners.device)
        };
        let target = Path::new(target);
        match device {
            _ if lies || target.exists() => {}
            Some(number) => {
                use nix::sys::stat::{Mode, SFlag, mknod};
                mknod(target, SFlag::S_IFBLK, Mode::S_IRUSR, number).unwrap();
            }
            None => fs::create_dir(target).unwrap(),
        }
    }
}

#[tonic::async_trait]
impl Node for Driver {
    async fn node_get_info(
        &self,
        _: tonic::Request<v1::NodeGetInfoRequest>,
    ) -> Answer<v1::NodeGetInfoResponse> {
        self.call("info", "").await?;
        Ok(tonic::Response::new(v1::NodeGetInfoResponse {
            node_id: "node-1".to_owned(),
            max_volumes_per_node: 3,
            accessible_topology: Some(v1::Topology {
                segments: HashMap::from([("topology.d/node".to_owned(), "n1".to_owned())]),
            }),
        }))
    }

    async fn node_get_capabilities(
        &self,
        _: tonic::Request<v1::NodeGetCapabilitiesRequest>,
    ) -> Answer<v1::NodeGetCapabilitiesResponse> {
        let all = self.manners.lock().unwrap().capabilities.clone();
        let of = |capability: Capability| v1::NodeServiceCapability {
            r#type: Some(Type::Rpc(Rpc {
                r#type: capability.into(),
            })),
        };
        let capabilities = all.into_iter().map(of).collect();
        Ok(tonic::Response::new(v1::NodeGetCapabilitiesResponse {
            capabilities,
        }))
    }

    async fn node_stage_volume(
        &self,
        request: tonic::Request<v1::NodeStageVolumeRequest>,
    ) -> Answer<v1::NodeStageVolumeResponse> {
        let request = request.into_inner();
        assert!(Path::new(&request.staging_target_path).is_dir());
        self.call("stage", &request.volume_id).await?;
        Ok(tonic::Response::new(v1::NodeStageVolumeResponse {}))
    }

    async fn node_unstage_volume(
        &self,
        request: tonic::Request<v1::NodeUnstageVolumeRequest>,
    ) -> Answer<v1::NodeUnstageVolumeResponse> {
        self.call("unstage", &request.into_inner().volume_id)
            .await?;
        Ok(tonic::Response::new(v1::NodeUnstageVolumeResponse {}))
    }

    async fn node_publish_volume(
        &self,
        request: tonic::Request<v1::NodePublishVolumeRequest>,
    ) -> Answer<v1::NodePublishVolumeResponse> {
        let request = request.into_inner();
        self.publishes.lock().unwrap().push(request.clone());
        self.call("publish", &request.volume_id).await?;
        self.make(&request.target_path);
        Ok(tonic::Response::new(v1::NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: tonic::Request<v1::NodeUnpublishVolumeRequest>,
    ) -> Answer<v1::NodeUnpublishVolumeResponse> {
        let request = request.into_inner();
        self.call("unpublish", &request.volume_id).await?;
        let target = Path::new(&request.target_path);
        let _gone = fs::remove_dir(target).or_else(|_| fs::remove_file(target));
        Ok(tonic::Response::new(v1::NodeUnpublishVolumeResponse {}))
    }

    async fn node_expand_volume(
        &self,
        request: tonic::Request<v1::NodeExpandVolumeRequest>,
    ) -> Answer<v1::NodeExpandVolumeResponse> {
        let request = request.into_inner();
        self.expands.lock().unwrap().push(request.clone());
        self.call("expand", &request.volume_id).await?;
        Ok(tonic::Response::new(v1::NodeExpandVolumeResponse::default()))
    }

    async fn node_get_volume_stats(
        &self,
        request: tonic::Request<v1::NodeGetVolumeStatsRequest>,
    ) -> Answer<v1::NodeGetVolumeStatsResponse> {
        self.call("stats", &request.into_inner().volume_id).await?;
        let usage = v1::VolumeUsage {
            unit: v1::volume_usage::Unit::Bytes.into(),
            total: 100,
            used: 40,
            available: 60,
        };
        Ok(tonic::Response::new(v1::NodeGetVolumeStatsResponse {
            usage: vec![usage],
            volume_condition: None,
        }))
    }
}

/// A node with an API.
pub(super) struct Bench {
    pub dir: tempfile::TempDir,
    pub api: Api,
    pub ctx: Shared,
}

impl Bench {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let api = Api::default();
        api.put(
            "/api/v1/nodes/n1",
            json!({ "metadata": { "name": "n1", "uid": "node-uid" } }),
        );
        let ctx = context(&api, dir.path()).await;
        Self { dir, api, ctx }
    }

    /// Another kubelet in the place of this one.
    pub(super) async fn restart(&mut self) {
        self.ctx = context(&self.api, self.dir.path()).await;
    }

    pub(super) fn socket(&self, driver: &str) -> PathBuf {
        self.dir
            .path()
            .join("kubelet/plugins")
            .join(driver)
            .join("csi.sock")
    }

    /// Registers a driver, which serves already.
    pub(super) async fn register(&self, driver: &str) -> Result<(), String> {
        let plugin = Plugin {
            name: driver.to_owned(),
            endpoint: self.socket(driver),
            versions: vec!["1.0.0".to_owned()],
        };
        let handler = self.ctx.csi.handler();
        handler.validate(&plugin).await?;
        handler.register(&plugin).await
    }

    /// A driver of that name that can do this, registered.
    pub(super) async fn driver(&self, name: &str, capabilities: &[Capability]) -> Driver {
        let driver = Driver::default();
        driver.manners(|manners| manners.capabilities = capabilities.to_vec());
        driver.serve(&self.socket(name));
        self.register(name).await.unwrap();
        driver.expect(&["info "]).await;
        driver
    }

    /// A claim `name` that is bound to a volume of a driver's; `spec` is added to the volume's.
    pub(super) fn claim(&self, name: &str, driver: &str, spec: Value) {
        let claim = json!({
            "metadata": { "namespace": "shop", "name": name, "uid": format!("uid-{name}") },
            "spec": { "volumeName": format!("pv-{name}") },
            "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } },
        });
        let mut volume = json!({
            "metadata": { "name": format!("pv-{name}") },
            "spec": {
                "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"],
                "claimRef": { "namespace": "shop", "name": name, "uid": format!("uid-{name}") },
                "csi": { "driver": driver, "volumeHandle": format!("vol-{name}") },
            },
        });
        merge(&mut volume["spec"], &spec);
        self.api.put(
            &format!("/api/v1/namespaces/shop/persistentvolumeclaims/{name}"),
            claim,
        );
        self.api
            .put(&format!("/api/v1/persistentvolumes/pv-{name}"), volume);
    }

    /// What the driver's CSIDriver says.
    pub(super) fn settings(&self, driver: &str, spec: Value) {
        let object = json!({ "metadata": { "name": driver }, "spec": spec });
        self.api.put(
            &format!("/apis/storage.k8s.io/v1/csidrivers/{driver}"),
            object,
        );
    }

    /// The node's status tells of these volumes in use.
    pub(super) fn report(&self, volumes: &[String]) {
        self.ctx.node.apply(object(json!({
            "metadata": { "name": "n1" }, "status": { "volumesInUse": volumes },
        })));
    }
}

async fn context(api: &Api, dir: &Path) -> Shared {
    let socket = dir.join("cri.sock");
    let _none = fs::remove_file(&socket);
    Fake::default().serve(&socket);
    testing::context(api.client(), Config::default(), dir).await
}
