//! `/containerLogs`: the log of a container's present or previous instance.

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use knarr_cri::v1::ContainerState;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Body, text};
use crate::{
    context::{self, Shared},
    logs::read::{self, Options, pairs, truth},
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
            format!("pod \"{name}\" does not exist\n"),
        );
    };
    if kill::find(&pod, container).is_none() {
        let message = format!("container \"{container}\" not found in pod \"{name}\"\n");
        return text(StatusCode::NOT_FOUND, message);
    }
    let uid = context::uid(&pod).to_owned();
    let view = ctx.observed.view(&uid);
    let instance = view.of(container).nth(usize::from(previous));
    let Some(instance) = instance.filter(|i| i.state() != ContainerState::ContainerCreated) else {
        let message = if previous {
            format!("previous terminated container \"{container}\" in pod \"{name}\" not found")
        } else {
            waiting(&pod, container)
        };
        return text(StatusCode::BAD_REQUEST, message);
    };
    let (alive_sender, alive) =
        watch::channel(instance.state() == ContainerState::ContainerRunning);
    let (out, chunks) = mpsc::channel::<std::io::Result<Bytes>>(QUEUE_CHUNKS);
    let reader = read::send(instance.log_path.clone().into(), options, alive, out);
    let liveness = follow_state(
        ctx.observed.subscribe(&uid),
        instance.id.clone(),
        alive_sender,
    );
    tokio::spawn(token.run_until_cancelled_owned(async move {
        tokio::select! {
            () = reader => {}
            () = liveness => {}
        }
    }));
    let stream = tokio_stream_of(chunks).map(|chunk| chunk.map(Frame::data));
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(stream)));
    let kind = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn tokio_stream_of<T>(mut receiver: mpsc::Receiver<T>) -> impl futures::Stream<Item = T> {
    futures::stream::poll_fn(move |task| receiver.poll_recv(task))
}

/// Says when the instance has ended, then holds on until the reader is done.
async fn follow_state(
    mut view: watch::Receiver<std::sync::Arc<crate::observed::View>>,
    id: String,
    alive: watch::Sender<bool>,
) {
    let runs = |view: &crate::observed::View| view.running().any(|c| c.id == id);
    // An error means that the pod was forgotten: it does not run.
    let ended = view.wait_for(|view| !runs(view)).await.is_ok();
    tracing::trace!(id, ended, "a followed container has ended");
    alive.send_replace(false);
    alive.closed().await;
}

/// Upstream's words for a container without a log.
fn waiting(pod: &k8s_openapi::api::core::v1::Pod, container: &str) -> String {
    let name = context::name(pod);
    let status = pod.status.iter().flat_map(|s| {
        s.container_statuses
            .iter()
            .flatten()
            .chain(s.init_container_statuses.iter().flatten())
    });
    let state = status
        .into_iter()
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
