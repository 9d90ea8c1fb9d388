//! What `knarr node` tells the running `knarr up`.

use std::{
    io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Nodes, WANT_TIMEOUT};
use crate::control;

/// Below the data directory.
const SOCKET: &str = "run/nodes.sock";
/// What is asked has its own deadline.
const ANSWER_TIMEOUT: Duration = WANT_TIMEOUT.saturating_add(control::READ_TIMEOUT);

/// What is asked of `knarr up`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// End a node's process.
    Stop(String),
    /// Start it again.
    Start(String),
}

/// It was done.
#[derive(Debug, Serialize, Deserialize)]
struct Done {}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(SOCKET)
}

/// Listens from now on; nobody is answered before [`serve`].
pub fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    control::listen(&path(data_dir))
}

/// Does what is asked, one after the other.
pub(super) async fn serve(listener: UnixListener, nodes: &Nodes) -> io::Result<()> {
    let obey = |request| async move {
        match request {
            Request::Stop(node) => nodes.want(&node, false).await?,
            Request::Start(node) => nodes.want(&node, true).await?,
        }
        Ok(Done {})
    };
    control::serve(listener, obey).await
}

/// Has the `knarr up` of a data directory do something, and waits until it has.
///
/// # Errors
/// When it does not run, has no other nodes, or says why not.
pub async fn ask(data_dir: &Path, request: &Request) -> Result<()> {
    let done: Option<Done> = control::ask(&path(data_dir), request, ANSWER_TIMEOUT).await?;
    let done = done.with_context(|| {
        format!(
            "no knarr up with several nodes runs on {}",
            data_dir.display()
        )
    });
    done.map(drop)
}
