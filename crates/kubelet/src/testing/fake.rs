//! A runtime and an API server that do just what a worker needs, in this process.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
};

use knarr_cri::{
    tonic::{self, Status, transport::Server},
    v1::{
        self,
        image_service_server::{ImageService, ImageServiceServer},
        runtime_service_server::{RuntimeService, RuntimeServiceServer},
    },
};
use tokio::sync::mpsc;

mod api;

pub(crate) use api::Api;

type Answer<T> = Result<tonic::Response<T>, Status>;

/// What the runtime holds and has been asked to do.
#[derive(Default)]
pub(crate) struct State {
    pub sandboxes: HashMap<String, v1::PodSandboxStatus>,
    pub containers: HashMap<String, v1::ContainerStatus>,
    /// Operations in order, such as `run sandbox-0`.
    pub log: Vec<String>,
    pub images: Vec<v1::Image>,
    /// What the pod and each of its containers use of memory, bytes.
    pub memory_used: u64,
    /// Containers end when they are to be started, as those do that name a program that is not there.
    pub start_fails: bool,
    /// An event stream is not answered before there is an event.
    pub silent: bool,
    logged: tokio::sync::watch::Sender<usize>,
    /// Where events go once someone listens.
    events: Option<mpsc::Sender<Result<v1::ContainerEventResponse, Status>>>,
    clock: i64,
}

impl State {
    fn note(&mut self, operation: String) {
        self.log.push(operation);
        self.logged.send_replace(self.log.len());
    }

    fn now(&mut self) -> i64 {
        self.clock += 1;
        // Events and labels carry times; only their order matters here.
        jiff::Timestamp::now().as_nanosecond() as i64 + self.clock
    }
}

#[derive(Clone, Default)]
pub(crate) struct Fake(pub Arc<Mutex<State>>);

impl Fake {
    pub(crate) fn state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    /// Waits until the runtime has been asked to do `operation`.
    pub(crate) async fn until_asked(&self, operation: &str) {
        let mut logged = self.state(|state| state.logged.subscribe());
        let wait = async {
            while !self.state(|state| state.log.iter().any(|o| o == operation)) {
                logged.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(20), wait).await;
        let asked = self.state(|state| state.log.join(", "));
        assert!(waited.is_ok(), "{operation} was not asked for: {asked}");
    }

    /// Serves both services on a socket.
    pub(crate) fn serve(&self, socket: &Path) {
        let listener = tokio::net::UnixListener::bind(socket).unwrap();
        let incoming = futures::stream::poll_fn(move |task| {
            listener
                .poll_accept(task)
                .map(|accepted| Some(accepted.map(|(stream, _)| stream)))
        });
        let server = Server::builder()
            .add_service(RuntimeServiceServer::new(self.clone()))
            .add_service(ImageServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
    }

    /// The container's process ends by itself.
    pub(crate) fn exit(&self, name: &str, code: i32) {
        let event = self.state(|state| {
            let now = state.now();
            let running = |c: &&mut v1::ContainerStatus| {
                c.metadata.as_ref().unwrap().name == name
                    && c.state == v1::ContainerState::ContainerRunning as i32
            };
            let container = state.containers.values_mut().find(running).unwrap();
            container.state = v1::ContainerState::ContainerExited as i32;
            (container.exit_code, container.finished_at) = (code, now);
            let event = v1::ContainerEventResponse {
                container_id: container.id.clone(),
                container_event_type: v1::ContainerEventType::ContainerStoppedEvent as i32,
                containers_statuses: vec![container.clone()],
                ..Default::default()
            };
            state.events.clone().map(|events| (events, event))
        });
        if let Some((events, event)) = event {
            events.try_send(Ok(event)).unwrap();
        }
    }
}

/// Methods nobody calls here, spelled as `async_trait` would, which does not look into macros.
macro_rules! refuse {
    ($($name:ident($request:ident) -> $response:ident;)*) => {
        $(fn $name<'own, 'all>(
            &'own self,
            _: tonic::Request<v1::$request>,
        ) -> futures::future::BoxFuture<'all, Answer<v1::$response>>
        where
            'own: 'all,
            Self: 'all,
        {
            Box::pin(async { Err(Status::unimplemented(stringify!($name))) })
        })*
    };
}

fn ok<T>(message: T) -> Answer<T> {
    Ok(tonic::Response::new(message))
}

#[async_trait::async_trait]
impl RuntimeService for Fake {
    async fn run_pod_sandbox(
        &self,
        request: tonic::Request<v1::RunPodSandboxRequest>,
    ) -> Answer<v1::RunPodSandboxResponse> {
        let config = request.into_inner().config.unwrap();
        self.state(|state| {
            let id = format!("sandbox-{}", config.metadata.as_ref().unwrap().attempt);
            state.note(format!("run {id}"));
            let status = v1::PodSandboxStatus {
                id: id.clone(),
                metadata: config.metadata,
                created_at: state.now(),
                labels: config.labels,
                network: Some(v1::PodSandboxNetworkStatus {
                    ip: "10.42.0.9".into(),
                    ..Default::default()
                }),
                ..Default::default()
            };
            state.sandboxes.insert(id.clone(), status);
            ok(v1::RunPodSandboxResponse { pod_sandbox_id: id })
        })
    }

    async fn stop_pod_sandbox(
        &self,
        request: tonic::Request<v1::StopPodSandboxRequest>,
    ) -> Answer<v1::StopPodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        self.state(|state| {
            state.note(format!("stop {id}"));
            if let Some(sandbox) = state.sandboxes.get_mut(&id) {
                sandbox.state = v1::PodSandboxState::SandboxNotready as i32;
            }
        });
        ok(v1::StopPodSandboxResponse {})
    }

    async fn remove_pod_sandbox(
        &self,
        request: tonic::Request<v1::RemovePodSandboxRequest>,
    ) -> Answer<v1::RemovePodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        self.state(|state| {
            state.note(format!("remove {id}"));
            state.sandboxes.remove(&id);
        });
        ok(v1::RemovePodSandboxResponse {})
    }

    async fn pod_sandbox_status(
        &self,
        request: tonic::Request<v1::PodSandboxStatusRequest>,
    ) -> Answer<v1::PodSandboxStatusResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let status = self.state(|state| state.sandboxes.get(&id).cloned());
        let status = status.ok_or_else(|| Status::not_found(id))?;
        ok(v1::PodSandboxStatusResponse {
            status: Some(status),
            ..Default::default()
        })
    }

    async fn list_pod_sandbox(
        &self,
        _: tonic::Request<v1::ListPodSandboxRequest>,
    ) -> Answer<v1::ListPodSandboxResponse> {
        let item = |s: &v1::PodSandboxStatus| v1::PodSandbox {
            id: s.id.clone(),
            state: s.state,
            labels: s.labels.clone(),
            ..Default::default()
        };
        ok(v1::ListPodSandboxResponse {
            items: self.state(|state| state.sandboxes.values().map(item).collect()),
        })
    }

    async fn create_container(
        &self,
        request: tonic::Request<v1::CreateContainerRequest>,
    ) -> Answer<v1::CreateContainerResponse> {
        let config = request.into_inner().config.unwrap();
        self.state(|state| {
            let metadata = config.metadata.clone().unwrap();
            let id = format!("{}-{}", metadata.name, metadata.attempt);
            state.note(format!("create {id}"));
            let status = v1::ContainerStatus {
                id: id.clone(),
                metadata: config.metadata,
                created_at: state.now(),
                labels: config.labels,
                annotations: config.annotations,
                mounts: config.mounts,
                ..Default::default()
            };
            state.containers.insert(id.clone(), status);
            ok(v1::CreateContainerResponse { container_id: id })
        })
    }

    async fn start_container(
        &self,
        request: tonic::Request<v1::StartContainerRequest>,
    ) -> Answer<v1::StartContainerResponse> {
        let id = request.into_inner().container_id;
        self.state(|state| {
            state.note(format!("start {id}"));
            let now = state.now();
            let container = state
                .containers
                .get_mut(&id)
                .ok_or_else(|| Status::not_found(id))?;
            container.started_at = now;
            if state.start_fails {
                container.state = v1::ContainerState::ContainerExited as i32;
                "StartError".clone_into(&mut container.reason);
                (container.exit_code, container.finished_at) = (128, now);
                return Err(Status::unknown("no such program"));
            }
            container.state = v1::ContainerState::ContainerRunning as i32;
            ok(v1::StartContainerResponse {})
        })
    }

    async fn stop_container(
        &self,
        request: tonic::Request<v1::StopContainerRequest>,
    ) -> Answer<v1::StopContainerResponse> {
        let v1::StopContainerRequest {
            container_id,
            timeout,
        } = request.into_inner();
        self.state(|state| {
            state.note(format!("stop {container_id} {timeout}"));
            let now = state.now();
            if let Some(container) = state.containers.get_mut(&container_id) {
                container.state = v1::ContainerState::ContainerExited as i32;
                (container.exit_code, container.finished_at) = (143, now);
            }
        });
        ok(v1::StopContainerResponse {})
    }

    async fn remove_container(
        &self,
        request: tonic::Request<v1::RemoveContainerRequest>,
    ) -> Answer<v1::RemoveContainerResponse> {
        let id = request.into_inner().container_id;
        self.state(|state| {
            state.note(format!("remove {id}"));
            state.containers.remove(&id);
        });
        ok(v1::RemoveContainerResponse {})
    }

    async fn list_containers(
        &self,
        _: tonic::Request<v1::ListContainersRequest>,
    ) -> Answer<v1::ListContainersResponse> {
        let item = |c: &v1::ContainerStatus| v1::Container {
            id: c.id.clone(),
            state: c.state,
            labels: c.labels.clone(),
            image_ref: c.image_ref.clone(),
            ..Default::default()
        };
        ok(v1::ListContainersResponse {
            containers: self.state(|state| state.containers.values().map(item).collect()),
        })
    }

    async fn container_status(
        &self,
        request: tonic::Request<v1::ContainerStatusRequest>,
    ) -> Answer<v1::ContainerStatusResponse> {
        let id = request.into_inner().container_id;
        let status = self.state(|state| state.containers.get(&id).cloned());
        let status = status.ok_or_else(|| Status::not_found(id))?;
        ok(v1::ContainerStatusResponse {
            status: Some(status),
            ..Default::default()
        })
    }

    async fn update_container_resources(
        &self,
        request: tonic::Request<v1::UpdateContainerResourcesRequest>,
    ) -> Answer<v1::UpdateContainerResourcesResponse> {
        let request = request.into_inner();
        let id = request.container_id;
        self.state(|state| {
            let asked = request.linux.clone().unwrap_or_default();
            let (quota, memory) = (asked.cpu_quota, asked.memory_limit_in_bytes);
            state.note(format!("update {id} quota={quota} memory={memory}"));
            let container = state
                .containers
                .get_mut(&id)
                .ok_or_else(|| Status::not_found(id))?;
            container.resources = Some(v1::ContainerResources {
                linux: request.linux,
                windows: None,
            });
            ok(v1::UpdateContainerResourcesResponse {})
        })
    }

    async fn pod_sandbox_stats(
        &self,
        _: tonic::Request<v1::PodSandboxStatsRequest>,
    ) -> Answer<v1::PodSandboxStatsResponse> {
        let (used, ids): (u64, Vec<String>) =
            self.state(|s| (s.memory_used, s.containers.keys().cloned().collect()));
        let memory = Some(v1::MemoryUsage {
            usage_bytes: Some(v1::UInt64Value { value: used }),
            ..Default::default()
        });
        let of_container = |id: String| v1::ContainerStats {
            attributes: Some(v1::ContainerAttributes {
                id,
                ..Default::default()
            }),
            memory,
            ..Default::default()
        };
        let containers = ids.into_iter().map(of_container).collect();
        let linux = v1::LinuxPodSandboxStats {
            memory,
            containers,
            ..Default::default()
        };
        let stats = v1::PodSandboxStats {
            linux: Some(linux),
            ..Default::default()
        };
        ok(v1::PodSandboxStatsResponse { stats: Some(stats) })
    }

    async fn list_container_stats(
        &self,
        _: tonic::Request<v1::ListContainerStatsRequest>,
    ) -> Answer<v1::ListContainerStatsResponse> {
        ok(v1::ListContainerStatsResponse::default())
    }

    async fn get_container_events(
        &self,
        _: tonic::Request<v1::GetEventsRequest>,
    ) -> Answer<tonic::codegen::BoxStream<v1::ContainerEventResponse>> {
        let (sender, mut receiver) = mpsc::channel(64);
        let is_silent = self.state(|state| {
            state.events = Some(sender);
            state.silent
        });
        if is_silent {
            std::future::pending::<()>().await;
        }
        ok(Box::pin(futures::stream::poll_fn(move |task| {
            receiver.poll_recv(task)
        })))
    }

    refuse! {
        version(VersionRequest) -> VersionResponse;
        reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse;
        exec_sync(ExecSyncRequest) -> ExecSyncResponse;
        exec(ExecRequest) -> ExecResponse;
        attach(AttachRequest) -> AttachResponse;
        port_forward(PortForwardRequest) -> PortForwardResponse;
        container_stats(ContainerStatsRequest) -> ContainerStatsResponse;
        list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse;
        update_runtime_config(UpdateRuntimeConfigRequest) -> UpdateRuntimeConfigResponse;
        status(StatusRequest) -> StatusResponse;
        checkpoint_container(CheckpointContainerRequest) -> CheckpointContainerResponse;
        list_metric_descriptors(ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse;
        list_pod_sandbox_metrics(ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse;
        runtime_config(RuntimeConfigRequest) -> RuntimeConfigResponse;
    }
}

#[async_trait::async_trait]
impl ImageService for Fake {
    async fn image_status(
        &self,
        request: tonic::Request<v1::ImageStatusRequest>,
    ) -> Answer<v1::ImageStatusResponse> {
        let name = request.into_inner().image.unwrap().image;
        // Everything is here but what says otherwise.
        let image = (!name.contains("missing")).then(|| v1::Image {
            id: "sha256:i".into(),
            ..Default::default()
        });
        ok(v1::ImageStatusResponse {
            image,
            ..Default::default()
        })
    }

    async fn pull_image(
        &self,
        request: tonic::Request<v1::PullImageRequest>,
    ) -> Answer<v1::PullImageResponse> {
        let name = request.into_inner().image.unwrap().image;
        self.state(|state| state.note(format!("pull {name}")));
        if name == "missing:slow" {
            // From a registry that does not answer.
            std::future::pending::<()>().await;
        }
        Err(Status::not_found(name))
    }

    async fn list_images(
        &self,
        _: tonic::Request<v1::ListImagesRequest>,
    ) -> Answer<v1::ListImagesResponse> {
        let images = self.state(|state| state.images.clone());
        ok(v1::ListImagesResponse { images })
    }

    async fn remove_image(
        &self,
        request: tonic::Request<v1::RemoveImageRequest>,
    ) -> Answer<v1::RemoveImageResponse> {
        let name = request.into_inner().image.unwrap().image;
        self.state(|state| {
            state.images.retain(|image| image.id != name);
            state.note(format!("remove image {name}"));
        });
        ok(v1::RemoveImageResponse {})
    }

    refuse! {
        image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse;
    }
}
