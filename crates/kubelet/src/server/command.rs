//! `/run`, which runs a command in a container and answers with what it said, and `/checkpoint`.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use knarr_cri::v1;
use serde_json::json;

use super::{Body, node, text, typed};
use crate::{
    context::{self, Shared},
    disk,
    logs::read::pairs,
    pods,
    worker::kill,
};

/// Longest that a command may run. Upstream's has no end, and takes place for as long as it likes.
const RUN_TIMEOUT: Duration = Duration::from_secs(600);

/// Namespace, pod and container of a path.
pub(super) type Target<'a> = (&'a str, &'a str, &'a str);

type Refusal = (StatusCode, String);

/// The answer, or why there is none.
fn answer(result: Result<Response<Body>, Refusal>) -> Response<Body> {
    result.unwrap_or_else(|(status, message)| text(status, message))
}

/// A pod that is here.
fn find(ctx: &Shared, (namespace, name, _): Target<'_>) -> Result<std::sync::Arc<Pod>, Refusal> {
    let found = pods::find(ctx, namespace, name);
    found.ok_or_else(|| (StatusCode::NOT_FOUND, "pod does not exist".to_owned()))
}

/// The id of the container that runs under this name.
fn running(ctx: &Shared, pod: &Pod, name: &str) -> Option<String> {
    let view = ctx.observed.view(context::uid(pod));
    let newest = view.newest(name);
    let running = newest.filter(|c| c.state() == v1::ContainerState::ContainerRunning);
    running.map(|container| container.id.clone())
}

/// Runs the words of the query's `cmd`, which spaces part.
pub(super) async fn run(ctx: &Shared, target: Target<'_>, query: &str) -> Response<Body> {
    answer(try_run(ctx, target, query).await)
}

async fn try_run(ctx: &Shared, target: Target<'_>, query: &str) -> Result<Response<Body>, Refusal> {
    let failed = |why: String| (StatusCode::INTERNAL_SERVER_ERROR, why);
    let pod = find(ctx, target)?;
    let place = super::place(ctx, &pod);
    let _place = place.map_err(|message| (StatusCode::TOO_MANY_REQUESTS, message))?;
    let name = target.2;
    let id = running(ctx, &pod, name)
        .ok_or_else(|| failed(format!("container not found (\"{name}\")")))?;
    let words = pairs(query).into_iter().find(|(key, _)| key == "cmd");
    let words = words.map(|(_, words)| words).unwrap_or_default();
    let command: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let ended = ctx.runtime.run(&id, &command, RUN_TIMEOUT).await;
    let ended = ended.map_err(|error| failed(error.to_string()))?;
    if ended.exit_code != 0 {
        let (code, errors) = (ended.exit_code, String::from_utf8_lossy(&ended.stderr));
        return Err(failed(format!(
            "command '{words}' exited with {code}: {errors}"
        )));
    }
    let mut said = ended.stdout;
    said.extend(ended.stderr);
    Ok(typed(StatusCode::OK, node::JSON, Bytes::from(said)))
}

/// Has the runtime write a container to a file, where it can: upstream's words for where it cannot.
pub(super) async fn checkpoint(ctx: &Shared, target: Target<'_>, query: &str) -> Response<Body> {
    answer(try_checkpoint(ctx, target, query).await)
}

async fn try_checkpoint(
    ctx: &Shared,
    target: Target<'_>,
    query: &str,
) -> Result<Response<Body>, Refusal> {
    let missing = |what: &str| (StatusCode::NOT_FOUND, what.to_owned());
    let pod = find(ctx, target)?;
    let (namespace, name, container) = target;
    if kill::find(&pod, container).is_none() {
        return Err(missing(&format!("container {container} does not exist")));
    }
    let mut timeouts = pairs(query).into_iter().filter(|(key, _)| key == "timeout");
    let timeout = match timeouts.next_back() {
        Some((_, seconds)) => seconds
            .parse()
            .map_err(|_| missing("cannot parse value of timeout parameter"))?,
        None => 0,
    };
    let failed = |why: String| {
        let what = format!("checkpointing of {namespace}/{name}/{container} failed ({why})");
        (StatusCode::INTERNAL_SERVER_ERROR, what)
    };
    let id = running(ctx, &pod, container)
        .ok_or_else(|| failed(format!("container {container} not found")))?;
    let file = format!(
        "checkpoint-{name}_{namespace}-{container}-{}.tar",
        Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ")
    );
    let directory = directory(ctx).map_err(|error| failed(error.to_string()))?;
    let location = directory.join(file).display().to_string();
    let request = v1::CheckpointContainerRequest {
        container_id: id,
        location: location.clone(),
        timeout,
    };
    let made = ctx.runtime.checkpoint_container(request).await;
    made.map_err(|error| failed(error.to_string()))?;
    let made = json!({ "items": [location] }).to_string();
    Ok(typed(StatusCode::OK, node::JSON, Bytes::from(made)))
}

/// Where checkpoints are, as upstream has it: they hold all that a process has in memory.
fn directory(ctx: &Shared) -> std::io::Result<PathBuf> {
    let directory = ctx.config.checkpoints_dir();
    disk::waiting(|| {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
    })?;
    Ok(directory)
}
