//! The two gRPC services: requests to calls, results to messages, errors to the codes that containerd gives.

mod exec_sync;
mod fit;
mod images;
mod import;
mod metrics;
mod runtime;
mod watch;

use knarr_cri::v1;
use knarr_shim::{chain, protocol::ErrorKind};
use tonic::Status;

pub use images::ImageApi;
pub use import::ImportApi;
pub use runtime::RuntimeApi;

use crate::Error;
use crate::container::{Container, Phase};
use crate::image_volume::Cause;
use crate::images::StoreError;
use crate::images::pull::PullFailure;
use crate::runtime::Inner;
use crate::sandbox::Sandbox;
use crate::shim::ShimError;
use crate::spec::SpecError;

pub fn status(error: Error) -> Status {
    let text = chain(&error);
    match error {
        Error::NotFound { .. } => Status::not_found(text),
        Error::InvalidArgument(_) => Status::invalid_argument(text),
        Error::State(_) => Status::failed_precondition(text),
        Error::Unsupported(_) => Status::unimplemented(text),
        Error::Exhausted(_) => Status::resource_exhausted(text),
        Error::DeadlineExceeded(_) => Status::deadline_exceeded(text),
        Error::Shim(ShimError::Late) => Status::deadline_exceeded(text),
        Error::Shim(ShimError::Refused { kind, .. }) => match kind {
            ErrorKind::NotFound => Status::not_found(text),
            ErrorKind::State => Status::failed_precondition(text),
            _ => Status::unknown(text),
        },
        Error::Pull(error) => match error.failure {
            PullFailure::NotFound(_) | PullFailure::Platform(_) => Status::not_found(text),
            PullFailure::Timeout { .. } => Status::deadline_exceeded(text),
            PullFailure::Unsupported(_) => Status::unimplemented(text),
            PullFailure::TooMany(_) | PullFailure::TooManyOfRegistry(_) => {
                Status::resource_exhausted(text)
            }
            _ => Status::unknown(text),
        },
        Error::Image(StoreError::MissingLayer(_)) => Status::not_found(text),
        Error::ImageVolume(error) => match error.source {
            Cause::HostPath | Cause::Writable => Status::invalid_argument(text),
            Cause::UnknownImage(_) | Cause::Layers(StoreError::MissingLayer(_)) => {
                Status::not_found(text)
            }
            _ => Status::unknown(text),
        },
        Error::Spec(SpecError::Unsupported(_)) => Status::unimplemented(text),
        Error::Spec(SpecError::RecursiveReadOnly { .. } | SpecError::MountOption { .. }) => {
            Status::invalid_argument(text)
        }
        _ => Status::unknown(text),
    }
}

fn sandbox_state(ready: bool) -> v1::PodSandboxState {
    if ready {
        v1::PodSandboxState::SandboxReady
    } else {
        v1::PodSandboxState::SandboxNotready
    }
}

pub fn sandbox_status(sandbox: &Sandbox) -> v1::PodSandboxStatus {
    let record = &sandbox.record;
    // Looked at once: one that became ready between two looks would be ready without addresses.
    let status = sandbox.status.lock().clone();
    let mut addresses = status
        .addresses
        .into_iter()
        .map(|address| address.to_string());
    let options = crate::spec::sandbox_namespaces(&record.config);
    v1::PodSandboxStatus {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        state: sandbox_state(status.ready).into(),
        created_at: record.created_at,
        network: Some(v1::PodSandboxNetworkStatus {
            ip: addresses.next().unwrap_or_default(),
            additional_ips: addresses.map(|ip| v1::PodIp { ip }).collect(),
        }),
        linux: Some(v1::LinuxPodSandboxStatus {
            namespaces: Some(v1::Namespace {
                options: Some(options),
            }),
        }),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        runtime_handler: record.runtime_handler.clone(),
    }
}

pub fn sandbox_item(sandbox: &Sandbox) -> v1::PodSandbox {
    let record = &sandbox.record;
    v1::PodSandbox {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        state: sandbox_state(sandbox.status.lock().ready).into(),
        created_at: record.created_at,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        runtime_handler: record.runtime_handler.clone(),
    }
}

fn container_state(phase: Phase) -> v1::ContainerState {
    match phase {
        Phase::Created => v1::ContainerState::ContainerCreated,
        Phase::Running => v1::ContainerState::ContainerRunning,
        Phase::Exited => v1::ContainerState::ContainerExited,
    }
}

pub fn container_item(inner: &Inner, container: &Container) -> v1::Container {
    let record = &container.record;
    v1::Container {
        id: record.id.clone(),
        pod_sandbox_id: record.sandbox.clone(),
        metadata: record.config.metadata.clone(),
        image: record.config.image.clone(),
        image_ref: image_ref(inner, &record.image),
        state: container_state(container.status.lock().phase).into(),
        created_at: record.created_at,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        image_id: record.image.clone(),
    }
}

pub fn container_status(inner: &Inner, container: &Container) -> v1::ContainerStatus {
    let record = &container.record;
    status_now(
        container,
        tagged_name(inner, record),
        image_ref(inner, &record.image),
    )
}

/// The state and what belongs to it are looked at once: one that ended between two looks would have ended without an exit
/// code, which reads as success.
fn status_now(container: &Container, image: String, image_ref: String) -> v1::ContainerStatus {
    let (record, status) = (&container.record, container.status.lock().clone());
    let resources = v1::ContainerResources {
        linux: status.resources,
        windows: None,
    };
    let groups = record
        .groups
        .iter()
        .map(|group| i64::from(*group))
        .collect();
    let user = v1::LinuxContainerUser {
        uid: record.uid.into(),
        gid: record.gid.into(),
        supplemental_groups: groups,
    };
    v1::ContainerStatus {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        state: container_state(status.phase).into(),
        created_at: record.created_at,
        started_at: status.started_at,
        finished_at: status.finished_at,
        exit_code: status.exit_code,
        image: Some(v1::ImageSpec {
            image,
            ..record.config.image.clone().unwrap_or_default()
        }),
        image_ref,
        reason: status.reason,
        message: status.message,
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
        mounts: record.config.mounts.clone(),
        log_path: record
            .log_path
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
        resources: Some(resources),
        image_id: record.image.clone(),
        user: Some(v1::ContainerUser { linux: Some(user) }),
        stop_signal: stop_signal(record.stop_signal).into(),
    }
}

/// What CRI calls a signal.
fn stop_signal(number: i32) -> v1::Signal {
    let signal = nix::sys::signal::Signal::try_from(number).ok();
    signal
        .and_then(|signal| v1::Signal::from_str_name(&format!("SIGNAL_{signal}")))
        .unwrap_or_default()
}

/// A repository digest of the image, or its id where it came without a manifest.
fn image_ref(inner: &Inner, image_id: &str) -> String {
    inner
        .images
        .find(image_id)
        .and_then(|image| image.digests.first().cloned())
        .unwrap_or_else(|| image_id.to_owned())
}

/// As containerd: the image's first tag, or whatever was asked for.
fn tagged_name(inner: &Inner, record: &crate::records::ContainerRecord) -> String {
    let asked = record
        .config
        .image
        .as_ref()
        .map(|image| image.image.clone())
        .unwrap_or_default();
    inner
        .images
        .find(&record.image)
        .and_then(|image| image.tags.first().cloned())
        .unwrap_or(asked)
}

#[cfg(test)]
mod tests;
