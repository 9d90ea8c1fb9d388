//! `/containerLogs`: the log of a container's present or previous instance.

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use knarr_cri::v1::{ContainerState, ContainerStatus};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Body, text};
use crate::{
    context::{self, Shared},
    logs::{
        Log,
        read::{self, Options, pairs, truth},
    },
    observed::View,
    pods,
    worker::kill,
};

/// Pieces on their way to the client.
const QUEUE_CHUNKS: usize = 8;

pub(super) async fn serve(
    ctx: &Shared,
    (namespace, name, container): (&str, &str, &str),
    query: &str,
    token: CancellationToken,
) -> Response<Body> {
    let options = match Options::parse(query, Timestamp::now()) {
        Ok(options) => options,
        Err(error) => return text(StatusCode::BAD_REQUEST, error),
    };
    let previous = pairs(query)
        .iter()
        .any(|(key, value)| key == "previous" && truth(value));
    let Some(pod) = pods::find(ctx, namespace, name) else {
        return text(
            StatusCode::NOT_FOUND,
            format!("pod \"{name}\" does not exist"),
        );
    };
    if kill::find(&pod, container).is_none() {
        let message = format!("container \"{container}\" not found in pod \"{name}\"");
        return text(StatusCode::NOT_FOUND, message);
    }
    let uid = context::uid(&pod).to_owned();
    let view = ctx.observed.view(&uid);
    let instance = if previous {
        previous_instance(&pod, &view, container, &ctx.runtime_name)
    } else {
        newest_instance(&view, container)
    };
    let Some(instance) = instance.filter(|i| i.state() != ContainerState::ContainerCreated) else {
        let message = if previous {
            format!("previous terminated container \"{container}\" in pod \"{name}\" not found")
        } else {
            waiting(&pod, container)
        };
        return text(StatusCode::BAD_REQUEST, message);
    };
    let place = match super::place(ctx, &pod) {
        Ok(place) => place,
        Err(message) => return text(StatusCode::TOO_MANY_REQUESTS, message),
    };
    let log = Log::new(ctx.config.logs_dir(), &instance.log_path);
    let (alive_sender, alive) =
        watch::channel(instance.state() == ContainerState::ContainerRunning);
    let (out, chunks) = mpsc::channel::<std::io::Result<Bytes>>(QUEUE_CHUNKS);
    let reader = read::send(log, options, alive, out);
    let liveness = follow_state(
        ctx.observed.subscribe(&uid),
        instance.id.clone(),
        alive_sender,
    );
    let reading = token.run_until_cancelled_owned(async move {
        tokio::select! {
            () = reader => {}
            () = liveness => {}
        }
        drop(place);
    });
    knarr_tasks::spawn("a reader of logs", reading);
    let stream = tokio_stream_of(chunks).map(|chunk| chunk.map(Frame::data));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(stream)));
    let kind = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The instance of the container's last state as its status has it: the one before the present one, or, while a restart
/// is held off, the one that has just ended.
fn previous_instance<'a>(
    pod: &Pod,
    view: &'a View,
    container: &'a str,
    runtime: &str,
) -> Option<&'a ContainerStatus> {
    let last = statuses(pod)
        .find(|status| status.name == container)
        .and_then(|status| status.last_state.as_ref()?.terminated.as_ref())
        .and_then(|ended| ended.container_id.as_deref());
    let id = last.and_then(|id| id.strip_prefix(&format!("{runtime}://")));
    let told = view.of(container).find(|c| id == Some(c.id.as_str()));
    // The status may not have been written yet.
    told.or_else(|| view.of(container).nth(1))
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &k8s_openapi::api::core::v1::ContainerStatus> {
    pod.status.iter().flat_map(|s| {
        let main = s.container_statuses.iter().flatten();
        main.chain(s.init_container_statuses.iter().flatten())
            .chain(s.ephemeral_container_statuses.iter().flatten())
    })
}

fn tokio_stream_of<T>(mut receiver: mpsc::Receiver<T>) -> impl futures::Stream<Item = T> {
    futures::stream::poll_fn(move |task| receiver.poll_recv(task))
}

/// Says when the instance has ended, then holds on until the reader is done.
async fn follow_state(
    mut view: watch::Receiver<std::sync::Arc<View>>,
    id: String,
    alive: watch::Sender<bool>,
) {
    let runs = |view: &View| view.running().any(|c| c.id == id);
    // An error means that the pod was forgotten: it does not run.
    let ended = view.wait_for(|view| !runs(view)).await.is_ok();
    tracing::trace!(id, ended, "a followed container has ended");
    alive.send_replace(false);
    alive.closed().await;
}

/// Upstream's words for a container without a log.
fn waiting(pod: &Pod, container: &str) -> String {
    let name = context::name(pod);
    let state = statuses(pod)
        .find(|s| s.name == container)
        .and_then(|s| s.state.as_ref());
    let waiting = state.and_then(|s| s.waiting.as_ref());
    match waiting.and_then(|w| w.reason.as_deref()) {
        Some(reason @ ("ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull")) => format!(
            "container \"{container}\" in pod \"{name}\" is waiting to start: {}",
            if reason == "ErrImagePull" {
                "image can't be pulled"
            } else {
                "trying and failing to pull image"
            }
        ),
        Some(reason) => {
            format!("container \"{container}\" in pod \"{name}\" is waiting to start: {reason}")
        }
        None => format!("container \"{container}\" in pod \"{name}\" is not available"),
    }
}

/// While one is about to start, the one before it has a log.
fn newest_instance<'a>(view: &'a View, container: &'a str) -> Option<&'a ContainerStatus> {
    let mut instances = view.of(container);
    instances.find(|instance| instance.state() != ContainerState::ContainerCreated)
}

#[cfg(test)]
mod tests;
