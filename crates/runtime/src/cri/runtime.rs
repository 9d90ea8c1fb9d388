//! `RuntimeService`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use knarr_cri::v1::runtime_service_server::RuntimeService;
use knarr_cri::v1::*;
use tonic::{Request, Response, Status};

use super::fit::fit;
use super::metrics;
use super::watch::EventStream;
use super::{container_item, container_status, sandbox_item, sandbox_status, status};
use crate::container::Container;
use crate::exec::{self, Executor, Streaming};
use crate::runtime::Inner;
use crate::sandbox::{HANDLERS, RUNTIME_NAME};
use crate::{cgroup, files, stats};

pub struct RuntimeApi {
    inner: Arc<Inner>,
}

type Reply<T> = Result<Response<T>, Status>;

impl RuntimeApi {
    pub fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    fn container(&self, id: &str) -> Result<Arc<Container>, Status> {
        self.inner.container(id).map_err(status)
    }

    fn streaming(&self) -> Result<&dyn Streaming, Status> {
        match self.inner.streaming.get() {
            Some(streaming) => Ok(streaming.as_ref()),
            None => Err(Status::unimplemented(
                "this runtime runs without a streaming server",
            )),
        }
    }

    async fn container_stats_of(
        &self,
        containers: Vec<Arc<Container>>,
    ) -> Result<Vec<ContainerStats>, Status> {
        tokio::task::spawn_blocking(move || {
            containers
                .iter()
                .map(|one| stats::of_container(one))
                .collect()
        })
        .await
        .map_err(|error| Status::internal(error.to_string()))
    }

    async fn sandbox_stats_of(&self, id: &str) -> Result<PodSandboxStats, Status> {
        let sandbox = self.inner.sandbox(id).map_err(status)?;
        let containers = self
            .container_stats_of(self.inner.containers_of(&sandbox.record.id))
            .await?;
        tokio::task::spawn_blocking(move || stats::of_sandbox(&sandbox, containers))
            .await
            .map_err(|error| Status::internal(error.to_string()))
    }
}

/// Every wanted label is there.
fn labelled(labels: &HashMap<String, String>, wanted: &HashMap<String, String>) -> bool {
    wanted
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

fn seconds_or_zero(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[tonic::async_trait]
impl RuntimeService for RuntimeApi {
    async fn version(&self, _: Request<VersionRequest>) -> Reply<VersionResponse> {
        Ok(Response::new(VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: RUNTIME_NAME.to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: "v1".to_owned(),
        }))
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<RunPodSandboxRequest>,
    ) -> Reply<RunPodSandboxResponse> {
        let request = request.into_inner();
        let config = request
            .config
            .ok_or_else(|| Status::invalid_argument("sandbox config is missing"))?;
        let pod_sandbox_id = self
            .inner
            .run_sandbox(config, request.runtime_handler)
            .await
            .map_err(status)?;
        Ok(Response::new(RunPodSandboxResponse { pod_sandbox_id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<StopPodSandboxRequest>,
    ) -> Reply<StopPodSandboxResponse> {
        self.inner
            .stop_sandbox(&request.into_inner().pod_sandbox_id)
            .await
            .map_err(status)?;
        Ok(Response::new(StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<RemovePodSandboxRequest>,
    ) -> Reply<RemovePodSandboxResponse> {
        self.inner
            .remove_sandbox(&request.into_inner().pod_sandbox_id)
            .await
            .map_err(status)?;
        Ok(Response::new(RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<PodSandboxStatusRequest>,
    ) -> Reply<PodSandboxStatusResponse> {
        let request = request.into_inner();
        let sandbox = self
            .inner
            .sandbox(&request.pod_sandbox_id)
            .map_err(status)?;
        let mut info = HashMap::new();
        if request.verbose {
            let known = sandbox.status.lock().clone();
            let json = serde_json::json!({
                "pid": known.shim_pid,
                "initPid": known.init_pid,
                "cgroupParent": sandbox.record.cgroup_parent,
                "netns": self.inner.layout.netns(&sandbox.record.id),
            });
            info.insert("info".to_owned(), json.to_string());
        }
        Ok(Response::new(PodSandboxStatusResponse {
            status: Some(sandbox_status(&sandbox)),
            info,
            containers_statuses: self.inner.statuses_of(&sandbox.record.id),
            timestamp: files::now(),
        }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<ListPodSandboxRequest>,
    ) -> Reply<ListPodSandboxResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let sandboxes = self.inner.sandboxes.lock();
        let items = sandboxes
            .values()
            .filter(|one| filter.id.is_empty() || one.record.id.starts_with(&filter.id))
            .filter(|one| labelled(&one.record.config.labels, &filter.label_selector))
            .map(|one| sandbox_item(one))
            // Of what is told: it may change its state in between.
            .filter(|item| filter.state.is_none_or(|wanted| wanted.state == item.state))
            .collect();
        drop(sandboxes);
        Ok(Response::new(ListPodSandboxResponse { items: fit(items) }))
    }

    async fn create_container(
        &self,
        request: Request<CreateContainerRequest>,
    ) -> Reply<CreateContainerResponse> {
        let request = request.into_inner();
        let config = request
            .config
            .ok_or_else(|| Status::invalid_argument("container config is missing"))?;
        let sandbox = self
            .inner
            .sandbox(&request.pod_sandbox_id)
            .map_err(status)?;
        let container_id = self
            .inner
            .create_container(&sandbox, config)
            .await
            .map_err(status)?;
        Ok(Response::new(CreateContainerResponse { container_id }))
    }

    async fn start_container(
        &self,
        request: Request<StartContainerRequest>,
    ) -> Reply<StartContainerResponse> {
        let container = self.container(&request.into_inner().container_id)?;
        self.inner
            .start_container(&container)
            .await
            .map_err(status)?;
        Ok(Response::new(StartContainerResponse {}))
    }

    async fn stop_container(
        &self,
        request: Request<StopContainerRequest>,
    ) -> Reply<StopContainerResponse> {
        let request = request.into_inner();
        if let Ok(container) = self.inner.container(&request.container_id) {
            let timeout = seconds_or_zero(request.timeout);
            self.inner
                .stop_container(&container, timeout)
                .await
                .map_err(status)?;
        }
        Ok(Response::new(StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<RemoveContainerRequest>,
    ) -> Reply<RemoveContainerResponse> {
        if let Ok(container) = self.inner.container(&request.into_inner().container_id) {
            self.inner
                .remove_container(&container)
                .await
                .map_err(status)?;
        }
        Ok(Response::new(RemoveContainerResponse {}))
    }

    async fn list_containers(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Reply<ListContainersResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let all: Vec<Arc<Container>> = self.inner.containers.lock().values().cloned().collect();
        let containers = all
            .iter()
            .filter(|one| filter.id.is_empty() || one.record.id.starts_with(&filter.id))
            .filter(|one| {
                filter.pod_sandbox_id.is_empty()
                    || one.record.sandbox.starts_with(&filter.pod_sandbox_id)
            })
            .filter(|one| labelled(&one.record.config.labels, &filter.label_selector))
            .map(|one| container_item(&self.inner, one))
            // Of what is told: it may change its state in between.
            .filter(|item| filter.state.is_none_or(|wanted| wanted.state == item.state))
            .collect();
        Ok(Response::new(ListContainersResponse {
            containers: fit(containers),
        }))
    }

    async fn container_status(
        &self,
        request: Request<ContainerStatusRequest>,
    ) -> Reply<ContainerStatusResponse> {
        let request = request.into_inner();
        let container = self.container(&request.container_id)?;
        let mut info = HashMap::new();
        if request.verbose {
            let json = serde_json::json!({
                "pid": container.status.lock().pid,
                "sandboxID": container.record.sandbox,
                "cgroup": container.record.cgroup,
                "bundle": container.directory,
            });
            info.insert("info".to_owned(), json.to_string());
        }
        let status = Some(container_status(&self.inner, &container));
        Ok(Response::new(ContainerStatusResponse { status, info }))
    }

    async fn update_container_resources(
        &self,
        request: Request<UpdateContainerResourcesRequest>,
    ) -> Reply<UpdateContainerResourcesResponse> {
        let request = request.into_inner();
        let container = self.container(&request.container_id)?;
        if let Some(resources) = request.linux {
            self.inner
                .update_container(&container, resources)
                .await
                .map_err(status)?;
        }
        Ok(Response::new(UpdateContainerResourcesResponse {}))
    }

    async fn reopen_container_log(
        &self,
        request: Request<ReopenContainerLogRequest>,
    ) -> Reply<ReopenContainerLogResponse> {
        let container = self.container(&request.into_inner().container_id)?;
        self.inner.reopen_log(&container).await.map_err(status)?;
        Ok(Response::new(ReopenContainerLogResponse {}))
    }

    async fn exec_sync(&self, request: Request<ExecSyncRequest>) -> Reply<ExecSyncResponse> {
        let request = request.into_inner();
        if request.cmd.is_empty() {
            return Err(Status::invalid_argument("no command given"));
        }
        let session = self
            .inner
            .exec(exec::ExecRequest {
                container_id: request.container_id,
                command: request.cmd.clone(),
                stdout: true,
                stderr: true,
                ..Default::default()
            })
            .await
            .map_err(status)?;
        let timeout = seconds_or_zero(request.timeout);
        let response = super::exec_sync::collect(session, timeout)
            .await
            .map_err(|timed_out| match timed_out {
                Some(error) => error,
                None => Status::deadline_exceeded(format!(
                    "failed to exec in container: timeout {}s exceeded: context deadline exceeded",
                    request.timeout
                )),
            })?;
        Ok(Response::new(response))
    }

    async fn exec(&self, request: Request<ExecRequest>) -> Reply<ExecResponse> {
        let request = request.into_inner();
        let container = self.container(&request.container_id)?;
        self.inner.running_sandbox(&container).map_err(status)?;
        if request.cmd.is_empty() {
            return Err(Status::invalid_argument("no command given"));
        }
        check_streams(request.tty, request.stdin, request.stdout, request.stderr)?;
        let url = self.streaming()?.exec_url(exec::ExecRequest {
            container_id: container.record.id.clone(),
            command: request.cmd,
            tty: request.tty,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        });
        Ok(Response::new(ExecResponse {
            url: url.map_err(status)?,
        }))
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Reply<AttachResponse> {
        let request = request.into_inner();
        let container = self.container(&request.container_id)?;
        self.inner.running_sandbox(&container).map_err(status)?;
        check_streams(request.tty, request.stdin, request.stdout, request.stderr)?;
        let url = self.streaming()?.attach_url(exec::AttachRequest {
            container_id: container.record.id.clone(),
            tty: request.tty,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        });
        Ok(Response::new(AttachResponse {
            url: url.map_err(status)?,
        }))
    }

    async fn port_forward(
        &self,
        request: Request<PortForwardRequest>,
    ) -> Reply<PortForwardResponse> {
        let request = request.into_inner();
        let sandbox = self
            .inner
            .sandbox(&request.pod_sandbox_id)
            .map_err(status)?;
        if !sandbox.status.lock().ready {
            return Err(Status::failed_precondition(
                "sandbox container is not running",
            ));
        }
        let ports = request
            .port
            .iter()
            .map(|port| {
                u16::try_from(*port)
                    .map_err(|_| Status::invalid_argument(format!("invalid port {port}")))
            })
            .collect::<Result<Vec<u16>, Status>>()?;
        let forward = exec::PortForwardRequest {
            sandbox_id: sandbox.record.id.clone(),
            ports,
        };
        let url = self
            .streaming()?
            .port_forward_url(forward)
            .map_err(status)?;
        Ok(Response::new(PortForwardResponse { url }))
    }

    async fn container_stats(
        &self,
        request: Request<ContainerStatsRequest>,
    ) -> Reply<ContainerStatsResponse> {
        let container = self.container(&request.into_inner().container_id)?;
        let stats = self.container_stats_of(vec![container]).await?.pop();
        Ok(Response::new(ContainerStatsResponse { stats }))
    }

    async fn list_container_stats(
        &self,
        request: Request<ListContainerStatsRequest>,
    ) -> Reply<ListContainerStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let all: Vec<Arc<Container>> = self.inner.containers.lock().values().cloned().collect();
        let wanted = all
            .into_iter()
            .filter(|one| filter.id.is_empty() || one.record.id == filter.id)
            .filter(|one| {
                filter.pod_sandbox_id.is_empty() || one.record.sandbox == filter.pod_sandbox_id
            })
            .filter(|one| labelled(&one.record.config.labels, &filter.label_selector))
            .collect();
        Ok(Response::new(ListContainerStatsResponse {
            stats: fit(self.container_stats_of(wanted).await?),
        }))
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<PodSandboxStatsRequest>,
    ) -> Reply<PodSandboxStatsResponse> {
        let stats = self
            .sandbox_stats_of(&request.into_inner().pod_sandbox_id)
            .await?;
        Ok(Response::new(PodSandboxStatsResponse {
            stats: Some(stats),
        }))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<ListPodSandboxStatsRequest>,
    ) -> Reply<ListPodSandboxStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let ids: Vec<String> = self
            .inner
            .sandboxes
            .lock()
            .values()
            .filter(|one| filter.id.is_empty() || one.record.id == filter.id)
            .filter(|one| labelled(&one.record.config.labels, &filter.label_selector))
            .map(|one| one.record.id.clone())
            .collect();
        let mut stats = Vec::with_capacity(ids.len());
        for id in ids {
            // One may be removed while the others are read.
            if let Ok(one) = self.sandbox_stats_of(&id).await {
                stats.push(one);
            }
        }
        Ok(Response::new(ListPodSandboxStatsResponse {
            stats: fit(stats),
        }))
    }

    async fn update_runtime_config(
        &self,
        _: Request<UpdateRuntimeConfigRequest>,
    ) -> Reply<UpdateRuntimeConfigResponse> {
        // Pods' range is all that can be said. It is in the files of whoever makes the pod network, as with other runtimes that have
        // no template of their own for them.
        Ok(Response::new(UpdateRuntimeConfigResponse {}))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Reply<StatusResponse> {
        let network = self.inner.cni.status();
        let condition = |kind: &str, problem: Option<(&str, String)>| RuntimeCondition {
            r#type: kind.to_owned(),
            status: problem.is_none(),
            reason: problem
                .as_ref()
                .map(|(reason, _)| (*reason).to_owned())
                .unwrap_or_default(),
            message: problem.map(|(_, message)| message).unwrap_or_default(),
        };
        let unready = network.err().map(|error| {
            (
                "NetworkPluginNotReady",
                format!("Network plugin returns error: cni plugin not initialized: {error}"),
            )
        });
        let conditions = vec![
            condition("RuntimeReady", None),
            condition("NetworkReady", unready),
        ];
        let mut info = HashMap::new();
        if request.into_inner().verbose {
            let json = serde_json::json!({
                "dataDir": self.inner.config.data_dir,
                "cgroupRoot": self.inner.config.cgroup_root,
                "cgroupUnified": cgroup::host().is_unified(),
            });
            info.insert("config".to_owned(), json.to_string());
        }
        let handler = |name: &str| RuntimeHandler {
            name: name.to_owned(),
            features: Some(RuntimeHandlerFeatures {
                recursive_read_only_mounts: true,
                user_namespaces: crate::users::supported(),
            }),
        };
        Ok(Response::new(StatusResponse {
            status: Some(RuntimeStatus { conditions }),
            info,
            runtime_handlers: HANDLERS.map(handler).into(),
            features: Some(RuntimeFeatures {
                supplemental_groups_policy: true,
                user_namespaces_host_network: false,
                mount_options: true,
            }),
        }))
    }

    async fn checkpoint_container(
        &self,
        _: Request<CheckpointContainerRequest>,
    ) -> Reply<CheckpointContainerResponse> {
        Err(Status::unimplemented("checkpoints are not supported"))
    }

    async fn get_container_events(&self, _: Request<GetEventsRequest>) -> Reply<EventStream> {
        Ok(Response::new(super::watch::events(&self.inner)))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<ListMetricDescriptorsRequest>,
    ) -> Reply<ListMetricDescriptorsResponse> {
        Ok(Response::new(ListMetricDescriptorsResponse {
            descriptors: metrics::descriptors(),
        }))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<ListPodSandboxMetricsRequest>,
    ) -> Reply<ListPodSandboxMetricsResponse> {
        let inner = self.inner.clone();
        let read = tokio::task::spawn_blocking(move || {
            let sandboxes: Vec<_> = inner.sandboxes.lock().values().cloned().collect();
            let ready = sandboxes.iter().filter(|one| one.status.lock().ready);
            ready
                .map(|one| metrics::of_sandbox(one, &inner.containers_of(&one.record.id)))
                .collect()
        });
        let pod_metrics = read
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(ListPodSandboxMetricsResponse { pod_metrics }))
    }

    async fn runtime_config(
        &self,
        _: Request<RuntimeConfigRequest>,
    ) -> Reply<RuntimeConfigResponse> {
        let linux = LinuxRuntimeConfiguration {
            cgroup_driver: CgroupDriver::Cgroupfs.into(),
        };
        Ok(Response::new(RuntimeConfigResponse { linux: Some(linux) }))
    }
}

/// Upstream's rules for the streams of exec and attach.
fn check_streams(tty: bool, stdin: bool, stdout: bool, stderr: bool) -> Result<(), Status> {
    if tty && stderr {
        return Err(Status::invalid_argument(
            "tty and stderr cannot both be true",
        ));
    }
    if !stdin && !stdout && !stderr {
        return Err(Status::invalid_argument(
            "one of stdin, stdout, or stderr must be set",
        ));
    }
    Ok(())
}
