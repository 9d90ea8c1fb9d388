//! The CRI calls the kubelet makes, each with a deadline, and their errors with what was asked.

use std::time::Duration;

use knarr_cri::{
    tonic::{self, Code, transport::Channel},
    v1::{
        self, image_service_client::ImageServiceClient,
        runtime_service_client::RuntimeServiceClient,
    },
};

/// Deadline of most calls: upstream's runtimeRequestTimeout.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Sandboxes run CNI plugins: upstream gives them twice the time.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(240);
/// A pull of a large image over a slow line.
const PULL_TIMEOUT: Duration = Duration::from_secs(1_800);
/// What is added to a caller's own timeout, so that the runtime's answer arrives before we give up.
const MARGIN: Duration = Duration::from_secs(10);
/// What is kept of a command's output, bytes: upstream's limit for probes.
const MAX_OUTPUT_BYTES: usize = 10 << 10;

/// A CRI call failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Error {
    pub code: Code,
    /// As upstream prints it: `rpc error: code = Unknown desc = ...`.
    pub message: String,
    /// The bare description.
    pub description: String,
}

impl Error {
    fn new(status: &tonic::Status) -> Self {
        Self {
            code: status.code(),
            message: format!(
                "rpc error: code = {:?} desc = {}",
                status.code(),
                status.message()
            ),
            description: status.message().to_owned(),
        }
    }

    fn timeout() -> Self {
        Self::new(&tonic::Status::deadline_exceeded(
            "context deadline exceeded",
        ))
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.code == Code::NotFound
    }
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A runtime and its images; clones share one connection.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    runtime: RuntimeServiceClient<Channel>,
    image: ImageServiceClient<Channel>,
}

/// Where the kernel tells of SELinux, if it has it and it is not disabled.
const SELINUX: &str = "/sys/fs/selinux/enforce";

/// What a runtime says that it can do, and what its host has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    pub supplemental_groups_policy: bool,
    pub recursive_read_only_mounts: bool,
    /// The host labels processes. Where it does not, labels that a pod asks for mean nothing, here as anywhere.
    pub selinux: bool,
}

impl From<v1::StatusResponse> for Features {
    fn from(status: v1::StatusResponse) -> Self {
        // Pods run under the handler without a name.
        let handler = status
            .runtime_handlers
            .into_iter()
            .find(|h| h.name.is_empty());
        Self {
            supplemental_groups_policy: status
                .features
                .is_some_and(|f| f.supplemental_groups_policy),
            recursive_read_only_mounts: handler
                .and_then(|h| h.features)
                .is_some_and(|f| f.recursive_read_only_mounts),
            selinux: std::path::Path::new(SELINUX).exists(),
        }
    }
}

/// Defines one method a call: name, service, request, response, deadline.
macro_rules! calls {
    ($($name:ident($service:ident, $request:ident) -> $response:ident, $timeout:expr;)*) => {
        impl Runtime {
            $(pub(crate) async fn $name(&self, request: v1::$request) -> Result<v1::$response> {
                let mut client = self.$service.clone();
                match tokio::time::timeout($timeout, client.$name(request)).await {
                    Ok(Ok(response)) => Ok(response.into_inner()),
                    Ok(Err(status)) => Err(Error::new(&status)),
                    Err(_) => Err(Error::timeout()),
                }
            })*
        }
    };
}

calls! {
    version(runtime, VersionRequest) -> VersionResponse, CALL_TIMEOUT;
    status(runtime, StatusRequest) -> StatusResponse, CALL_TIMEOUT;
    run_pod_sandbox(runtime, RunPodSandboxRequest) -> RunPodSandboxResponse, SANDBOX_TIMEOUT;
    stop_pod_sandbox(runtime, StopPodSandboxRequest) -> StopPodSandboxResponse, CALL_TIMEOUT;
    remove_pod_sandbox(runtime, RemovePodSandboxRequest) -> RemovePodSandboxResponse, CALL_TIMEOUT;
    pod_sandbox_status(runtime, PodSandboxStatusRequest) -> PodSandboxStatusResponse, CALL_TIMEOUT;
    list_pod_sandbox(runtime, ListPodSandboxRequest) -> ListPodSandboxResponse, CALL_TIMEOUT;
    create_container(runtime, CreateContainerRequest) -> CreateContainerResponse, CALL_TIMEOUT;
    start_container(runtime, StartContainerRequest) -> StartContainerResponse, CALL_TIMEOUT;
    remove_container(runtime, RemoveContainerRequest) -> RemoveContainerResponse, CALL_TIMEOUT;
    list_containers(runtime, ListContainersRequest) -> ListContainersResponse, CALL_TIMEOUT;
    container_status(runtime, ContainerStatusRequest) -> ContainerStatusResponse, CALL_TIMEOUT;
    update_container_resources(runtime, UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse, CALL_TIMEOUT;
    pod_sandbox_stats(runtime, PodSandboxStatsRequest) -> PodSandboxStatsResponse, CALL_TIMEOUT;
    list_container_stats(runtime, ListContainerStatsRequest) -> ListContainerStatsResponse, CALL_TIMEOUT;
    reopen_container_log(runtime, ReopenContainerLogRequest) -> ReopenContainerLogResponse, CALL_TIMEOUT;
    exec(runtime, ExecRequest) -> ExecResponse, CALL_TIMEOUT;
    attach(runtime, AttachRequest) -> AttachResponse, CALL_TIMEOUT;
    port_forward(runtime, PortForwardRequest) -> PortForwardResponse, CALL_TIMEOUT;
    list_images(image, ListImagesRequest) -> ListImagesResponse, CALL_TIMEOUT;
    image_fs_info(image, ImageFsInfoRequest) -> ImageFsInfoResponse, CALL_TIMEOUT;
    image_status(image, ImageStatusRequest) -> ImageStatusResponse, CALL_TIMEOUT;
    pull_image(image, PullImageRequest) -> PullImageResponse, PULL_TIMEOUT;
}

impl Runtime {
    /// Dials the endpoint once.
    pub(crate) async fn connect(endpoint: &str) -> Result<Self, knarr_cri::Error> {
        let (runtime, image) = knarr_cri::connect(endpoint).await?;
        Ok(Self { runtime, image })
    }

    pub(crate) async fn features(&self) -> Result<Features> {
        let request = v1::StatusRequest { verbose: false };
        Ok(self.status(request).await?.into())
    }

    /// Asks a container to stop; returns when it has, killed after `grace` if need be.
    pub(crate) async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = v1::StopContainerRequest {
            container_id: id.to_owned(),
            timeout,
        };
        let mut client = self.runtime.clone();
        match tokio::time::timeout(grace + CALL_TIMEOUT, client.stop_container(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(Error::new(&status)),
            Err(_) => Err(Error::timeout()),
        }
    }

    /// Runs a command to its end.
    pub(crate) async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<Ended> {
        let request = v1::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.to_vec(),
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        };
        let mut client = self.runtime.clone();
        match tokio::time::timeout(timeout + MARGIN, client.exec_sync(request)).await {
            Ok(Ok(response)) => Ok(Ended::of(response.into_inner())),
            Ok(Err(status)) => Err(Error::new(&status)),
            Err(_) => Err(Error::timeout()),
        }
    }

    /// Opens the event stream. Runtimes before CRI events answer `Unimplemented`.
    pub(crate) async fn events(&self) -> Result<tonic::Streaming<v1::ContainerEventResponse>> {
        let mut client = self.runtime.clone();
        match tokio::time::timeout(
            CALL_TIMEOUT,
            client.get_container_events(v1::GetEventsRequest {}),
        )
        .await
        {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Error::new(&status)),
            Err(_) => Err(Error::timeout()),
        }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub exit_code: i32,
    /// The beginning of what it said, on stdout and then on stderr.
    pub output: String,
}

impl Ended {
    fn of(answer: v1::ExecSyncResponse) -> Self {
        let said = answer.stdout.into_iter().chain(answer.stderr);
        let kept: Vec<u8> = said.take(MAX_OUTPUT_BYTES).collect();
        Self {
            exit_code: answer.exit_code,
            output: String::from_utf8_lossy(&kept).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_command_says_the_beginning_is_kept() {
        let ended = Ended::of(v1::ExecSyncResponse {
            stdout: vec![b'o'; MAX_OUTPUT_BYTES - 2],
            stderr: vec![b'e'; 16 << 20],
            exit_code: 3,
        });
        assert_eq!((ended.exit_code, ended.output.len()), (3, 10 << 10));
        assert!(ended.output.ends_with("oee"));
    }
}
