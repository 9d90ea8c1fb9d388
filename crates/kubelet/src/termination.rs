//! Termination messages: the file that each instance of a container gets for its last words, and the end of its log where
//! that stays empty. The container writes the file, so it is opened as nobody's.
//!
//! `<pod directory>/containers/<container>/<eight digits>`

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::Pod;
use knarr_cri::v1;
use knarr_host::Directory;

use crate::{config::Config, context, labels, logs::Log};

/// Upstream's limits.
const MESSAGE_BYTES: usize = 4_096;
const LOG_BYTES: usize = 2_048;
const LOG_LINES: usize = 80;

/// A fresh file for one instance. Blocks.
pub(crate) fn make(config: &Config, pod: &Pod, container: &str) -> io::Result<PathBuf> {
    let directory = directory(config, context::uid(pod), container);
    fs::create_dir_all(&directory)?;
    let name = format!("{:08x}", fastrand::u32(..));
    // Whatever user the container runs as may write it.
    Directory::open(&directory)?.create(Path::new(&name), b"", 0o666)?;
    Ok(directory.join(name))
}

/// The last words of a container that has ended: its file, or the end of its log. Blocks.
pub(crate) fn read(config: &Config, status: &v1::ContainerStatus) -> String {
    if !status.message.is_empty() && status.started_at == 0 {
        return status.message.clone();
    }
    let file = place(config, status).and_then(|(directory, name)| {
        let head = Directory::open(&directory)
            .and_then(|directory| directory.read_head(Path::new(name), MESSAGE_BYTES));
        head.inspect_err(|error| tracing::debug!(%error, "no termination message"))
            .ok()
    });
    let text = file.unwrap_or_default();
    if !text.is_empty() {
        return String::from_utf8_lossy(&text).into_owned();
    }
    let policy = status.annotations.get(labels::MESSAGE_POLICY);
    let fallback = policy.is_some_and(|p| p == "FallbackToLogsOnError");
    if fallback && (status.exit_code != 0 || status.reason == "OOMKilled") {
        let log = Log::new(config.logs_dir(), &status.log_path);
        return log.last_lines(LOG_LINES, LOG_BYTES);
    }
    status.message.clone()
}

/// Removes the file of an instance that nobody needs any more. Blocks.
pub(crate) fn remove(config: &Config, status: &v1::ContainerStatus) -> io::Result<()> {
    match place(config, status) {
        Some((directory, name)) => Directory::open(&directory)?.remove(Path::new(name)),
        None => Ok(()),
    }
}

fn directory(config: &Config, uid: &str, container: &str) -> PathBuf {
    config.pod_dir(uid).join("containers").join(container)
}

/// Directory and name of the file. A volume may be mounted where the message is said to be: only what this kubelet has made
/// for the container counts.
fn place<'a>(config: &Config, status: &'a v1::ContainerStatus) -> Option<(PathBuf, &'a OsStr)> {
    let path = status.annotations.get(labels::MESSAGE_PATH)?;
    let uid = labels::pod_uid(&status.labels, &config.instance)?;
    let directory = directory(config, uid, labels::container_name(status));
    let mounts = status.mounts.iter().filter(|m| m.container_path == *path);
    let name = mounts
        .map(|mount| Path::new(&mount.host_path))
        .find(|file| file.parent() == Some(&directory))?
        .file_name()?;
    Some((directory, name))
}

#[cfg(test)]
mod tests;
