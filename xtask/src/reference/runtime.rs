//! containerd alone, for clients of CRI: in a network, namespaces and control groups of its own, with the images of a directory.
//!
//! As the cluster's, its first process is this program again, which ends when its standard input does.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Ground, eventually};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::{
    component, containerd, host,
    init::{self, Running},
    namespaces,
};
use crate::{go, progress::step};

/// A file that is there once the images are, below its directory.
const READY: &str = "ready";
/// What the first process says, below its directory.
const SAID: &str = "init.log";
const READY_DEADLINE: Duration = Duration::from_secs(300);
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const RUN: &str = "/run";
const RESOLVER: &str = "/etc/resolv.conf";

/// A containerd that runs; all of it is removed when it is dropped.
pub struct Runtime {
    // Ended before the ground is removed.
    init: Init,
    ground: Ground,
}

impl Runtime {
    /// Builds containerd, and starts it with the archives of a directory; `pause` is the name of one of their images.
    pub fn start(images: &Path, pause: &str) -> Result<Self> {
        step("building containerd", || go::build(&containerd::programs()))?;
        let ground = Ground::new()?;
        let dir = ground.directory();
        containerd::configure(&dir, pause)?;
        fs::create_dir_all(dir.join(component::LOGS))?;
        fs::write(dir.join(init::ARCHIVES), archives(images)?)?;
        host::make_groups(ground.group())?;
        let mut command = namespaces(ground.network())?;
        command
            .args(["upstream", "runtime", "--name", ground.group(), "--dir"])
            .arg(&dir)
            .stderr(File::create(dir.join(SAID))?);
        let mut runtime = Self {
            init: Init(command.spawn().context("cannot run unshare (util-linux)")?),
            ground,
        };
        runtime.wait_ready()?;
        Ok(runtime)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let dir = self.directory();
        let mut ended = None;
        let ready = eventually(READY_DEADLINE, "containerd is ready", || {
            ended = self.init.0.try_wait()?;
            ensure!(ended.is_some() || dir.join(READY).exists(), "it is not");
            Ok(())
        });
        let said = || fs::read_to_string(dir.join(SAID)).unwrap_or_default();
        ready.with_context(said)?;
        ensure!(ended.is_none(), "containerd ended: {}", said());
        Ok(())
    }

    /// A program that sees the mounts and processes that containerd does.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = self.ground.network().command("nsenter");
        command
            .args(["--mount", "--pid", "--target", &self.init.first()?])
            .arg("--")
            .arg(program);
        Ok(command)
    }

    /// Where it keeps everything; not kept itself.
    pub fn directory(&self) -> PathBuf {
        self.ground.directory()
    }

    pub fn socket(&self) -> PathBuf {
        containerd::socket(&self.directory())
    }

    /// What it logged.
    pub fn log(&self) -> PathBuf {
        self.directory()
            .join(component::LOGS)
            .join("containerd.log")
    }
}

/// The parent of the first process in the namespaces. They end with it.
struct Init(Child);

impl Init {
    /// The first process, as this process sees it.
    fn first(&self) -> Result<String> {
        let parent = self.0.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        let first = children.split_whitespace().next();
        Ok(first.context("containerd has ended")?.to_owned())
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let ended = eventually(STOP_DEADLINE, "containerd ends", || {
            self.0.try_wait()?.context("it runs")
        });
        if ended.is_err() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// The archives of a directory, one a line.
fn archives(images: &Path) -> Result<String> {
    let entries = fs::read_dir(images).with_context(|| images.display().to_string())?;
    let mut lines = String::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("tar")) {
            lines.push_str(&format!("{}\n", path.display()));
        }
    }
    Ok(lines)
}

/// What the first process does.
pub fn run(dir: &Path, name: &str) -> Result<()> {
    // Before there is another thread: each has namespaces of its own.
    own_groups(name)?;
    init::end_with_stdin();
    mounts()?;
    let mut running = Running::default();
    running.start(dir, vec![containerd::containerd(dir)?])?;
    running.import(dir)?;
    fs::write(dir.join(READY), "")?;
    running.reap()
}

/// Makes the groups of this name the roots of all that are seen from here.
fn own_groups(name: &str) -> Result<()> {
    let hierarchies = host::hierarchies();
    for hierarchy in &hierarchies {
        let group = hierarchy.join(name);
        fs::write(group.join("cgroup.procs"), "0").with_context(|| group.display().to_string())?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP).context("cannot make a namespace for control groups")?;
    for hierarchy in &hierarchies {
        let group = hierarchy.join(name);
        // In version 2 a group that has groups with controllers below it can hold no process.
        if group.join("cgroup.controllers").exists() {
            let leaf = group.join("init");
            fs::create_dir_all(&leaf)?;
            fs::write(leaf.join("cgroup.procs"), "0")?;
        }
        bind(&group, hierarchy)?;
    }
    Ok(())
}

/// A `/run` of its own, where shims have their sockets whatever containerd is told, and mounts that clients and containers share.
fn mounts() -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none)
        .context("cannot share mounts")?;
    // Where a name service of the host writes it, it is a link to a file there.
    let resolver = fs::canonicalize(RESOLVER).ok();
    let mut text = Vec::new();
    if let Some(path) = &resolver {
        File::open(path)?.read_to_end(&mut text)?;
    }
    mount(Some("tmpfs"), RUN, Some("tmpfs"), MsFlags::empty(), none)
        .context("cannot mount over /run")?;
    let Some(path) = resolver.filter(|path| path.starts_with(RUN)) else {
        return Ok(());
    };
    fs::create_dir_all(path.parent().context("a file has a folder")?)?;
    fs::write(path, text).context("cannot keep the host's nameservers")
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    let none: Option<&str> = None;
    mount(Some(from), to, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("cannot mount over {}", to.display()))
}
