//! A driver of dynamic resources, as small as can be: it makes every device a `/dev/null` of the device's name, and says by a
//! variable which it is.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result};
use k8s_openapi::api::resource::v1::ResourceClaim;
use knarr_csi::registration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
    registration_server::{Registration, RegistrationServer},
};
use knarr_kubelet_api::{
    dra::v1::{
        Device, NodePrepareResourceResponse, NodePrepareResourcesRequest,
        NodePrepareResourcesResponse, NodeUnprepareResourceResponse, NodeUnprepareResourcesRequest,
        NodeUnprepareResourcesResponse,
        dra_plugin_server::{DraPlugin, DraPluginServer},
    },
    tonic::{Request, Response, Status, async_trait, transport::Server},
};
use knarr_testkit::{Cluster, eventually};
use kube::{Api, Client};
use serde_json::json;
use tokio::{net::UnixListener, runtime::Runtime};

use crate::support::SOON;

/// Where runtimes look for what devices are.
const CDI: &str = "/var/run/cdi";

/// Serves until it is dropped.
pub struct Driver {
    state: Arc<State>,
    file: PathBuf,
    _runtime: Runtime,
}

struct State {
    name: String,
    socket: PathBuf,
    client: Client,
    /// Whether the kubelet has taken it.
    registered: Mutex<Option<bool>>,
    calls: Mutex<Vec<String>>,
}

/// The services of it.
#[derive(Clone)]
struct Service(Arc<State>);

impl Driver {
    /// Makes itself known to the cluster's node.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let runtime = Runtime::new()?;
        // Tests run side by side, and CDI files are for the whole machine.
        let name = format!("knarr-{}.example.com", cluster.instance()?);
        let root = cluster.data_dir().join("kubelet");
        // Paths of sockets are short.
        let own = root.join("plugins/dra");
        fs::create_dir_all(&own).with_context(|| own.display().to_string())?;
        let state = Arc::new(State {
            socket: own.join("dra.sock"),
            client: runtime.block_on(cluster.client())?,
            registered: Mutex::default(),
            calls: Mutex::default(),
            name,
        });
        let file = Path::new(CDI).join(format!("{}.json", state.name));
        fs::create_dir_all(CDI)?;
        fs::write(&file, devices(&state.name))?;
        let service = Service(state.clone());
        let prepares = Server::builder().add_service(DraPluginServer::new(service.clone()));
        serve(&runtime, &state.socket, |incoming| {
            prepares.serve_with_incoming(incoming)
        })?;
        let registers = Server::builder().add_service(RegistrationServer::new(service));
        let socket = root.join("plugins_registry/dra.sock");
        serve(&runtime, &socket, |incoming| {
            registers.serve_with_incoming(incoming)
        })?;
        eventually(SOON, "the kubelet takes the driver", || {
            let registered = state
                .registered
                .lock()
                .ok()
                .and_then(|registered| *registered);
            anyhow::ensure!(registered == Some(true), "it has said {registered:?}");
            Ok(())
        })?;
        Ok(Self {
            state,
            file,
            _runtime: runtime,
        })
    }

    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// What the kubelet has asked so far.
    pub fn calls(&self) -> Vec<String> {
        self.state
            .calls
            .lock()
            .map(|calls| calls.clone())
            .unwrap_or_default()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

fn serve<S>(runtime: &Runtime, socket: &Path, serve: impl FnOnce(Incoming) -> S) -> Result<()>
where
    S: Future<Output = Result<(), knarr_kubelet_api::tonic::transport::Error>> + Send + 'static,
{
    let _inside = runtime.enter();
    let listener = UnixListener::bind(socket).with_context(|| socket.display().to_string())?;
    runtime.spawn(serve(Box::pin(futures::stream::poll_fn(move |task| {
        let accepted = listener.poll_accept(task);
        accepted.map(|accepted| Some(accepted.map(|(stream, _)| stream)))
    }))));
    Ok(())
}

type Incoming =
    std::pin::Pin<Box<dyn futures::Stream<Item = std::io::Result<tokio::net::UnixStream>> + Send>>;

/// The CDI file of the devices.
fn devices(driver: &str) -> String {
    let device = |name: &str| {
        let node = json!({"path": format!("/dev/gpu-{name}"), "hostPath": "/dev/null", "permissions": "rw"});
        json!({"name": name, "containerEdits": {"env": [format!("GPU={name}")], "deviceNodes": [node]}})
    };
    let file = json!({
        "cdiVersion": "0.6.0", "kind": format!("{driver}/gpu"),
        "devices": [device("a"), device("b")],
    });
    file.to_string()
}

impl State {
    fn note(&self, call: &str, claim: &str) {
        if let Ok(mut calls) = self.calls.lock() {
            calls.push(format!("{call} {claim}"));
        }
    }

    /// The devices that the scheduler has allocated to a claim.
    async fn prepare(&self, namespace: &str, name: &str) -> Result<Vec<Device>> {
        let api: Api<ResourceClaim> = Api::namespaced(self.client.clone(), namespace);
        let claim = api.get(name).await?;
        let allocation = claim.status.and_then(|status| status.allocation);
        let devices = allocation.and_then(|allocation| allocation.devices);
        let results = devices
            .and_then(|devices| devices.results)
            .unwrap_or_default();
        let own = results
            .into_iter()
            .filter(|result| result.driver == self.name);
        let devices = own.map(|result| Device {
            request_names: vec![result.request],
            pool_name: result.pool,
            cdi_device_ids: vec![format!("{}/gpu={}", self.name, result.device)],
            device_name: result.device,
            share_id: None,
        });
        Ok(devices.collect())
    }
}

#[async_trait]
impl DraPlugin for Service {
    async fn node_prepare_resources(
        &self,
        request: Request<NodePrepareResourcesRequest>,
    ) -> Result<Response<NodePrepareResourcesResponse>, Status> {
        let mut claims = HashMap::new();
        for claim in request.into_inner().claims {
            self.0.note("prepare", &claim.name);
            let answer = match self.0.prepare(&claim.namespace, &claim.name).await {
                Ok(devices) => NodePrepareResourceResponse {
                    devices,
                    error: String::new(),
                },
                Err(error) => NodePrepareResourceResponse {
                    devices: Vec::new(),
                    error: error.to_string(),
                },
            };
            claims.insert(claim.uid, answer);
        }
        Ok(Response::new(NodePrepareResourcesResponse { claims }))
    }

    async fn node_unprepare_resources(
        &self,
        request: Request<NodeUnprepareResourcesRequest>,
    ) -> Result<Response<NodeUnprepareResourcesResponse>, Status> {
        let claims = request.into_inner().claims.into_iter().map(|claim| {
            self.0.note("unprepare", &claim.name);
            (claim.uid, NodeUnprepareResourceResponse::default())
        });
        Ok(Response::new(NodeUnprepareResourcesResponse {
            claims: claims.collect(),
        }))
    }
}

#[async_trait]
impl Registration for Service {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "DRAPlugin".to_owned(),
            name: self.0.name.clone(),
            endpoint: self.0.socket.display().to_string(),
            supported_versions: vec!["v1.DRAPlugin".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let told = request.into_inner();
        if let Ok(mut registered) = self.0.registered.lock() {
            *registered = Some(told.plugin_registered);
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
