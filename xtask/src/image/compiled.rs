//! The static programs of the images that a C compiler makes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result};

use super::debian;
use crate::{
    command,
    go::{self, SUITE},
};

const PAUSE_SOURCE: &str = "build/pause/linux/pause.c";

/// Busybox from Debian's source, without Debian's patches: one of them has its shell forget variables whose names it cannot
/// use, and a container's environment may have such. Its configuration is the default, as in the image it stands for. Built
/// once.
pub fn busybox() -> Result<PathBuf> {
    let folder = go::directory().join("busybox");
    let program = folder.join("busybox");
    if program.is_file() {
        return Ok(program);
    }
    let source = folder.join("source");
    // What an interrupted run left.
    if source.exists() {
        fs::remove_dir_all(&source)?;
    }
    fs::create_dir_all(&source)?;
    debian::source("busybox", &folder)?;
    command::quiet(
        Command::new("tar")
            .args(["--extract", "--strip-components=1", "--file"])
            .arg(original(&folder)?)
            .arg("--directory")
            .arg(&source),
    )?;
    make(&source, &["defconfig"])?;
    let configuration = source.join(".config");
    let text = fs::read_to_string(&configuration)?;
    fs::write(
        &configuration,
        text.replace("# CONFIG_STATIC is not set", "CONFIG_STATIC=y"),
    )?;
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    make(&source, &[&format!("-j{jobs}"), "busybox"])?;
    fs::rename(source.join("busybox"), &program)?;
    fs::remove_dir_all(&source)?;
    Ok(program)
}

fn make(source: &Path, arguments: &[&str]) -> Result<()> {
    command::quiet(
        Command::new("make")
            .arg("-s")
            .args(arguments)
            .current_dir(source)
            // The same source makes the same program.
            .env("KCONFIG_NOTIMESTAMP", "1")
            .env("SOURCE_DATE_EPOCH", "0"),
    )
}

/// The archive of the authors among the fetched files.
fn original(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.to_string_lossy().contains(".orig.tar."))
        .max()
        .context("the source has no .orig.tar")
}

/// Kubernetes' pause. Built once for every version.
pub fn pause() -> Result<PathBuf> {
    let source = SUITE.source_of("k8s.io/kubernetes")?.join(PAUSE_SOURCE);
    let program = go::directory().join("pause");
    command::quiet(
        Command::new("gcc")
            .args(["-Os", "-static", "-s", "-DVERSION=knarr", "-o"])
            .arg(&program)
            .arg(source),
    )?;
    Ok(program)
}
