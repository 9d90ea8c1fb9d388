//! Our plugin where it is the program that asks for it: called as a function, on a thread of its own.
//!
//! The thread enters the pod's network namespace and ends with the call. Calls come one after the other, as their addresses are under one
//! lock anyway: so there is one thread at most, and who gives up before his turn leaves the queue. Who gives up after it does not end
//! the call, as nothing may be left half made that nobody knows of: the next one, which may undo it, begins when it is through.

use std::{io, os::unix::fs::MetadataExt, path::Path, thread};

use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};

use crate::{
    plugin::{self, Call},
    result::PluginError,
};

/// Of the one call that there is at a time.
pub(super) static TURN: Semaphore = Semaphore::const_new(1);

/// Whether the plugin of this name, found at this path, is the program that runs. One that took its file's place since is
/// another.
pub(super) fn is_own(name: &str, path: &Path) -> bool {
    let file = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    name == plugin::NAME
        && file(path).is_some_and(|plugin| Some(plugin) == file(Path::new("/proc/self/exe")))
}

/// May be given up before its turn.
///
/// # Errors
/// When no thread can be made. The inner one is the plugin's own.
pub(super) async fn call(call: Call, config: Value) -> io::Result<Result<Value, PluginError>> {
    let turn = TURN.acquire().await.map_err(io::Error::other)?;
    let (done, answer) = oneshot::channel();
    thread::Builder::new()
        .name("knarr-cni".to_owned())
        .spawn(move || {
            // Nobody may wait any more: what was made stays until `DEL`.
            let _ = done.send(plugin::perform(&call, || Ok(config)));
            drop(turn);
        })?;
    answer.await.map_err(io::Error::other)
}
