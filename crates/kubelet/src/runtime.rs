//! The CRI calls the kubelet makes, each with a deadline, and their errors with what was asked.

mod operations;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryFutureExt, stream::BoxStream};
use knarr_cri::{
    tonic::{self, Code, transport::Channel},
    v1::{
        self, image_service_client::ImageServiceClient,
        runtime_service_client::RuntimeServiceClient,
    },
};

/// A pull of a large image over a slow line.
const PULL_TIMEOUT: Duration = Duration::from_secs(1_800);
/// Deadline of most calls.
const CALL: Deadline = Deadline::Times(1);
/// Sandboxes run CNI plugins: upstream gives them twice the time.
const SANDBOX: Deadline = Deadline::Times(2);
const PULL: Deadline = Deadline::Fixed(PULL_TIMEOUT);
/// Within which a runtime says that it has no events.
const OPENING: Duration = Duration::from_millis(500);
/// What is added to a caller's own timeout, so that the runtime's answer arrives before we give up.
const MARGIN: Duration = Duration::from_secs(10);
/// What is kept of a command's output, bytes: upstream's limit for probes.
const MAX_OUTPUT_BYTES: usize = 10 << 10;

pub(crate) use self::operations::Operations;

/// What happens to containers, as the runtime tells it.
pub(crate) type RuntimeEvents =
    BoxStream<'static, Result<v1::ContainerEventResponse, tonic::Status>>;

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

    /// As upstream tells of pulls: without a code that says nothing.
    pub(crate) fn of_pull(self) -> String {
        match self.code {
            Code::Unknown => self.description,
            _ => self.message,
        }
    }
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
enum Deadline {
    /// So many times what the configuration grants (`runtimeRequestTimeout`).
    Times(u32),
    Fixed(Duration),
}

/// A runtime and its images; clones share one connection.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    runtime: RuntimeServiceClient<Channel>,
    image: ImageServiceClient<Channel>,
    request_timeout: Duration,
    operations: Arc<Operations>,
}

/// Where the kernel tells of SELinux, if it has it and it is not disabled.
const SELINUX: &str = "/sys/fs/selinux/enforce";

/// What a runtime says that it can do, and what its host has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    pub supplemental_groups_policy: bool,
    pub recursive_read_only_mounts: bool,
    pub user_namespaces: bool,
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
        let handler = handler.and_then(|h| h.features).unwrap_or_default();
        Self {
            supplemental_groups_policy: status
                .features
                .is_some_and(|f| f.supplemental_groups_policy),
            recursive_read_only_mounts: handler.recursive_read_only_mounts,
            user_namespaces: handler.user_namespaces,
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
                let call = client.$name(request);
                self.call(stringify!($name), self.deadline($timeout), call).await
            })*
        }
    };
}

calls! {
    version(runtime, VersionRequest) -> VersionResponse, CALL;
    status(runtime, StatusRequest) -> StatusResponse, CALL;
    run_pod_sandbox(runtime, RunPodSandboxRequest) -> RunPodSandboxResponse, SANDBOX;
    stop_pod_sandbox(runtime, StopPodSandboxRequest) -> StopPodSandboxResponse, CALL;
    remove_pod_sandbox(runtime, RemovePodSandboxRequest) -> RemovePodSandboxResponse, CALL;
    pod_sandbox_status(runtime, PodSandboxStatusRequest) -> PodSandboxStatusResponse, CALL;
    list_pod_sandbox(runtime, ListPodSandboxRequest) -> ListPodSandboxResponse, CALL;
    create_container(runtime, CreateContainerRequest) -> CreateContainerResponse, CALL;
    start_container(runtime, StartContainerRequest) -> StartContainerResponse, CALL;
    remove_container(runtime, RemoveContainerRequest) -> RemoveContainerResponse, CALL;
    list_containers(runtime, ListContainersRequest) -> ListContainersResponse, CALL;
    container_status(runtime, ContainerStatusRequest) -> ContainerStatusResponse, CALL;
    update_container_resources(runtime, UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse, CALL;
    pod_sandbox_stats(runtime, PodSandboxStatsRequest) -> PodSandboxStatsResponse, CALL;
    list_container_stats(runtime, ListContainerStatsRequest) -> ListContainerStatsResponse, CALL;
    reopen_container_log(runtime, ReopenContainerLogRequest) -> ReopenContainerLogResponse, CALL;
    exec(runtime, ExecRequest) -> ExecResponse, CALL;
    attach(runtime, AttachRequest) -> AttachResponse, CALL;
    port_forward(runtime, PortForwardRequest) -> PortForwardResponse, CALL;
    checkpoint_container(runtime, CheckpointContainerRequest) -> CheckpointContainerResponse, CALL;
    list_images(image, ListImagesRequest) -> ListImagesResponse, CALL;
    image_fs_info(image, ImageFsInfoRequest) -> ImageFsInfoResponse, CALL;
    image_status(image, ImageStatusRequest) -> ImageStatusResponse, CALL;
    pull_image(image, PullImageRequest) -> PullImageResponse, PULL;
    remove_image(image, RemoveImageRequest) -> RemoveImageResponse, CALL;
}

impl Runtime {
    /// Dials the endpoint once. Calls take `request_timeout` at most, unless they run something.
    pub(crate) async fn connect(
        endpoint: &str,
        request_timeout: Duration,
    ) -> Result<Self, knarr_cri::Error> {
        let (runtime, image) = knarr_cri::connect(endpoint).await?;
        Ok(Self {
            runtime,
            image,
            request_timeout,
            operations: Arc::default(),
        })
    }

    /// What has been asked of it, and how that ended.
    pub(crate) fn operations(&self) -> &Operations {
        &self.operations
    }

    fn deadline(&self, deadline: Deadline) -> Duration {
        match deadline {
            Deadline::Times(times) => self.request_timeout.saturating_mul(times),
            Deadline::Fixed(time) => time,
        }
    }

    /// Waits for a call, and counts it.
    async fn call<T>(
        &self,
        name: &'static str,
        deadline: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T> {
        let began = tokio::time::Instant::now();
        let answer = match tokio::time::timeout(deadline, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Error::new(&status)),
            Err(_) => Err(Error::timeout()),
        };
        self.operations.count(name, began.elapsed(), answer.is_ok());
        answer
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
        let deadline = grace.saturating_add(self.request_timeout);
        let call = client.stop_container(request);
        self.call("stop_container", deadline, call)
            .await
            .map(|_| ())
    }

    /// Runs a command to its end.
    pub(crate) async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<Ended> {
        self.run(id, command, timeout).await.map(Ended::of)
    }

    /// As [`Self::exec_sync`], with all that the command said.
    pub(crate) async fn run(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<v1::ExecSyncResponse> {
        let request = v1::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.to_vec(),
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        };
        let mut client = self.runtime.clone();
        let deadline = timeout.saturating_add(MARGIN);
        let call = client.exec_sync(request);
        self.call("exec_sync", deadline, call).await
    }

    /// Opens the event stream. Runtimes before CRI events answer `Unimplemented`. Others answer with their first event and no sooner, as
    /// containerd 2 does, which on an empty node never comes: who says nothing against it is taken to have opened it.
    pub(crate) async fn events(&self) -> Result<RuntimeEvents> {
        let mut client = self.runtime.clone();
        let mut opening = Box::pin(async move {
            let answer = client.get_container_events(v1::GetEventsRequest {});
            answer.await.map(tonic::Response::into_inner)
        });
        let began = tokio::time::Instant::now();
        let opened = tokio::time::timeout(OPENING, &mut opening).await;
        let is_ok = !matches!(opened, Ok(Err(_)));
        self.operations
            .count("get_container_events", began.elapsed(), is_ok);
        match opened {
            Ok(Ok(events)) => Ok(events.boxed()),
            Ok(Err(status)) => Err(Error::new(&status)),
            Err(_) => Ok(opening.try_flatten_stream().boxed()),
        }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub exit_code: i32,
    /// The beginning of what it said, on stdout and then on stderr.
    pub output: String,
    /// The beginning of what it said on stderr.
    pub errors: String,
}

impl Ended {
    fn of(answer: v1::ExecSyncResponse) -> Self {
        let (all, errors) = (answer.stdout.iter().chain(&answer.stderr), &answer.stderr);
        let kept: Vec<u8> = all.take(MAX_OUTPUT_BYTES).copied().collect();
        let errors = errors.get(..MAX_OUTPUT_BYTES).unwrap_or(errors);
        Self {
            exit_code: answer.exit_code,
            output: String::from_utf8_lossy(&kept).into_owned(),
            errors: String::from_utf8_lossy(errors).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    /// On an empty node there is no event to answer with, and the node must come up all the same.
    #[tokio::test]
    async fn a_runtime_that_answers_with_its_first_event_is_not_waited_for() {
        use crate::testing::{self, fake::Fake};

        let dir = tempfile::tempdir().unwrap();
        let fake = Fake::default();
        fake.state(|state| state.silent = true);
        fake.serve(&dir.path().join("cri.sock"));
        let api = testing::reviews::ReviewServer::default();
        let config = crate::config::Config::default();
        let context = testing::context(api.client(), config, dir.path()).await;
        let opened = tokio::time::timeout(super::OPENING * 10, context.runtime.events()).await;
        assert!(opened.is_ok_and(|opened| opened.is_ok()));
    }

    #[test]
    fn pulls_are_told_without_a_code_that_says_nothing() {
        let told = |status: &tonic::Status| super::Error::new(status).of_pull();
        assert_eq!(told(&tonic::Status::unknown("refused")), "refused");
        let missing = "rpc error: code = NotFound desc = no such image";
        assert_eq!(told(&tonic::Status::not_found("no such image")), missing);
    }

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
