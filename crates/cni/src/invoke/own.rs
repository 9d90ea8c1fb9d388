//! Our plugin where it is the program that asks for it: called as a function, on a thread of its own.
//!
//! The thread enters the pod's network namespace and ends with the call. Whoever gives up waiting does not end it, as nothing
//! may be left half made that nobody knows of: the next call for the same sandbox begins when it is through, which takes as
//! long as its own deadlines at most.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
};

use serde_json::Value;
use tokio::sync::oneshot;

use crate::{
    plugin::{self, Call},
    result::PluginError,
};

/// One call at a time for each sandbox. Those that share a place wait for one another without need.
static TURNS: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];

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

/// # Errors
/// When no thread can be made. The inner one is the plugin's own.
pub(super) async fn call(call: Call, config: Value) -> io::Result<Result<Value, PluginError>> {
    let (done, answer) = oneshot::channel();
    thread::Builder::new()
        .name("knarr-cni".to_owned())
        .spawn(move || {
            let _turn = turn(&call.container_id)
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // Nobody waits any more: what was made stays until `DEL`.
            let _ = done.send(plugin::perform(&call, || Ok(config)));
        })?;
    answer.await.map_err(io::Error::other)
}

fn turn(container_id: &str) -> &'static Mutex<()> {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(container_id);
    let place = usize::try_from(hash % TURNS.len() as u64).unwrap_or_default();
    &TURNS[place]
}
