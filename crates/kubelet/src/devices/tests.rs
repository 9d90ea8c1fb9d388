//! A plugin in this process, on a socket.

use std::{path::Path, sync::Arc};

use knarr_kubelet_api::{
    device_plugin::{
        AllocateRequest, AllocateResponse, CdiDevice, ContainerAllocateResponse,
        ContainerPreferredAllocationResponse, DevicePluginOptions, DeviceSpec, Empty,
        ListAndWatchResponse, PreStartContainerRequest, PreStartContainerResponse,
        PreferredAllocationRequest, PreferredAllocationResponse,
        device_plugin_server::{DevicePlugin, DevicePluginServer},
    },
    tonic::{self, Request, Response, Status, codegen::BoxStream},
};
use serde_json::{Value, json};

use super::*;
use crate::testing::object;

const RESOURCE: &str = "vendor.com/gpu";

#[derive(Clone, Default)]
struct Fake {
    calls: Arc<Mutex<Vec<String>>>,
    /// What it says of an allocation.
    error: Arc<Mutex<Option<String>>>,
}

impl Fake {
    fn note(&self, call: &str, devices: &[String]) {
        self.calls
            .lock()
            .push(format!("{call} {}", devices.join(" ")));
    }

    fn serve(&self, socket: &Path) {
        let listener = tokio::net::UnixListener::bind(socket).expect("a socket");
        let incoming = futures::stream::poll_fn(move |task| {
            let accepted = listener.poll_accept(task);
            accepted.map(|accepted| Some(accepted.map(|(stream, _)| stream)))
        });
        let server = tonic::transport::Server::builder();
        let server = { server }.add_service(DevicePluginServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
    }
}

#[async_trait::async_trait]
impl DevicePlugin for Fake {
    async fn get_device_plugin_options(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        Ok(Response::new(DevicePluginOptions {
            pre_start_required: true,
            get_preferred_allocation_available: true,
        }))
    }

    async fn list_and_watch(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<BoxStream<ListAndWatchResponse>>, Status> {
        Ok(Response::new(Box::pin(futures::stream::pending())))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        let wanted = request.into_inner().container_requests.remove(0);
        self.note("prefer", &wanted.available_device_i_ds);
        // The last ones.
        let count = usize::try_from(wanted.allocation_size).unwrap_or_default();
        let last = wanted.available_device_i_ds.iter().rev().take(count);
        let answer = ContainerPreferredAllocationResponse {
            device_i_ds: last.cloned().collect(),
        };
        Ok(Response::new(PreferredAllocationResponse {
            container_responses: vec![answer],
        }))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let devices = request
            .into_inner()
            .container_requests
            .remove(0)
            .devices_ids;
        self.note("allocate", &devices);
        if let Some(error) = self.error.lock().clone() {
            return Err(Status::internal(error));
        }
        let node = |id: &String| DeviceSpec {
            container_path: format!("/dev/{id}"),
            host_path: "/dev/null".to_owned(),
            permissions: "rw".to_owned(),
        };
        let answer = ContainerAllocateResponse {
            envs: [("GPUS".to_owned(), devices.join(","))].into(),
            devices: devices.iter().map(node).collect(),
            cdi_devices: vec![CdiDevice {
                name: format!("{RESOURCE}={}", devices[0]),
            }],
            ..Default::default()
        };
        Ok(Response::new(AllocateResponse {
            container_responses: vec![answer],
        }))
    }

    async fn pre_start_container(
        &self,
        request: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        self.note("start", &request.into_inner().devices_ids);
        Ok(Response::new(PreStartContainerResponse {}))
    }
}

struct Bench {
    dir: tempfile::TempDir,
    fake: Fake,
    devices: DevicePlugins,
}

impl Bench {
    async fn new(healthy: &[&str], broken: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let fake = Fake::default();
        fake.serve(&dir.path().join("p.sock"));
        let devices = DevicePlugins::load(dir.path().join("record.json"));
        let bench = Self { dir, fake, devices };
        bench.connect(healthy, broken).await;
        bench
    }

    async fn connect(&self, healthy: &[&str], broken: &[&str]) {
        let plugin = Plugin::connect(self.socket()).await.expect("a plugin");
        self.devices.connect(RESOURCE, plugin).expect("it is new");
        let of = |ids: &[&str], health: &str| -> Vec<api::Device> {
            let device = |id: &&str| api::Device {
                id: (*id).to_owned(),
                health: health.to_owned(),
                topology: None,
            };
            ids.iter().map(device).collect()
        };
        let told = [of(healthy, "Healthy"), of(broken, "Unhealthy")].concat();
        self.devices.tell(RESOURCE, told);
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("p.sock")
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.fake.calls.lock())
    }

    fn variable(&self, pod: &Pod, container: usize) -> Option<String> {
        let containers = &pod.spec.as_ref().expect("a specification").containers;
        let options = self.devices.options(pod, &containers[container]);
        options.variables.get("GPUS").cloned()
    }
}

fn container(name: &str, count: u32) -> Value {
    let limits = match count {
        0 => json!({"cpu": "1"}),
        count => json!({"cpu": "1", RESOURCE: count.to_string()}),
    };
    json!({"name": name, "resources": {"limits": limits}})
}

fn pod(uid: &str, init: &[Value], main: &[Value]) -> Pod {
    object(json!({
        "metadata": {"namespace": "x", "name": uid, "uid": uid},
        "spec": {"initContainers": init, "containers": main},
    }))
}

#[tokio::test]
async fn containers_get_devices_of_plugins() {
    let mut bench = Bench::new(&["a", "b", "c"], &["d"]).await;
    let capacity = bench.devices.capacity();
    assert_eq!(capacity[RESOURCE], (4, 3));
    let p = pod("p", &[], &[container("one", 2), container("none", 0)]);
    bench.devices.allocate(&p).await.unwrap();
    assert_eq!(bench.calls(), ["prefer a b c", "allocate b c"]);
    assert_eq!(bench.variable(&p, 0).as_deref(), Some("b,c"));
    assert_eq!(bench.variable(&p, 1), None);
    let containers = &p.spec.as_ref().unwrap().containers;
    let options = bench.devices.options(&p, &containers[0]);
    let nodes: Vec<String> = options
        .devices()
        .map(|device| device.container_path)
        .collect();
    assert_eq!(nodes, ["/dev/b", "/dev/c"]);
    assert_eq!(options.cdi, ["vendor.com/gpu=b"]);
    bench.devices.pre_start(&p, &containers[0]).await.unwrap();
    assert_eq!(bench.calls(), ["start b c"]);

    let q = pod("q", &[], &[container("one", 2)]);
    let error = bench.devices.allocate(&q).await.unwrap_err();
    assert_eq!(
        error,
        "requested number of devices unavailable for vendor.com/gpu. Requested: 2, Available: 1"
    );
    // The next kubelet knows who has what, and a plugin has to come back first.
    bench.devices = DevicePlugins::load(bench.dir.path().join("record.json"));
    assert_eq!(bench.devices.capacity()[RESOURCE], (0, 0));
    assert_eq!(bench.variable(&p, 0).as_deref(), Some("b,c"));
    bench.connect(&["a", "b", "c"], &[]).await;
    bench.devices.allocate(&p).await.unwrap();
    assert_eq!(bench.calls(), [""; 0], "it has them");
    bench.devices.release("p").unwrap();
    bench.devices.allocate(&q).await.unwrap();
    assert_eq!(bench.variable(&q, 0).as_deref(), Some("b,c"));
}

#[tokio::test]
async fn init_containers_leave_their_devices_to_others() {
    let bench = Bench::new(&["a", "b"], &[]).await;
    let p = pod(
        "p",
        &[container("init", 2)],
        &[container("one", 1), container("two", 1)],
    );
    bench.devices.allocate(&p).await.unwrap();
    let mut given: Vec<_> = (0..2).filter_map(|i| bench.variable(&p, i)).collect();
    given.sort();
    assert_eq!(given, ["a", "b"]);
    let q = pod("q", &[], &[container("one", 1)]);
    assert!(bench.devices.allocate(&q).await.is_err());
}

#[tokio::test]
async fn what_a_plugin_refuses_is_not_taken() {
    let bench = Bench::new(&["a"], &[]).await;
    *bench.fake.error.lock() = Some("no power".to_owned());
    let p = pod("p", &[], &[container("one", 1)]);
    let error = bench.devices.allocate(&p).await.unwrap_err();
    assert_eq!(error, "rpc error: code = Internal desc = no power");
    *bench.fake.error.lock() = None;
    bench
        .devices
        .allocate(&pod("q", &[], &[container("one", 1)]))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_resource_goes_some_time_after_its_plugin() {
    let dir = tempfile::tempdir().unwrap();
    let devices = DevicePlugins::load(dir.path().join("record.json"));
    devices
        .state
        .lock()
        .resources
        .insert(RESOURCE.to_owned(), Stock::left());
    let broken = api::Device {
        id: "a".to_owned(),
        health: "Unhealthy".to_owned(),
        topology: None,
    };
    devices.tell(RESOURCE, vec![broken]);
    tokio::time::advance(STOP_GRACE - Duration::from_secs(1)).await;
    assert_eq!(devices.capacity()[RESOURCE], (1, 0));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(devices.capacity()[RESOURCE], (0, 0));
}

#[test]
fn claims_stand_for_devices_of_plugins() {
    let mut p = pod("p", &[], &[container("one", 1)]);
    let status = json!({"extendedResourceClaimStatus": {
        "resourceClaimName": "made",
        "requestMappings": [{"containerName": "one", "resourceName": RESOURCE, "requestName": "r"}],
    }});
    p.status = Some(object(status));
    let container = &p.spec.as_ref().unwrap().containers[0];
    assert!(is_claimed(&p, &container.name, RESOURCE));
    assert!(!is_claimed(&p, &container.name, "vendor.com/nic"));
}
