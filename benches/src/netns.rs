//! A network namespace without a way out, and threads that live in it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

/// The node's address in its namespace: TEST-NET-1, which is nobody's.
pub const NODE_IP: &str = "192.0.2.2";

/// Removed when dropped.
pub struct Namespace {
    name: String,
    path: PathBuf,
}

impl Namespace {
    /// A namespace with loopback and one end of a veth as its uplink. The other end is in there too, so that the
    /// default route a real machine has leads nowhere.
    pub fn create(name: &str) -> Result<Self> {
        ip(&["netns", "add", name])?;
        let made = Self {
            name: name.to_owned(),
            path: Path::new("/run/netns").join(name),
        };
        let address = format!("{NODE_IP}/24");
        for command in [
            &["link", "set", "lo", "up"][..],
            &[
                "link", "add", "uplink0", "type", "veth", "peer", "name", "nowhere0",
            ],
            &["address", "add", &address, "dev", "uplink0"],
            &["link", "set", "uplink0", "up"],
            &["link", "set", "nowhere0", "up"],
            &["route", "add", "default", "dev", "uplink0"],
        ] {
            ip(&[&["-n", name], command].concat())?;
        }
        Ok(made)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("{error:#}");
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("cannot run ip (install iproute2)")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}

/// Runs `work` on a thread of its own in the namespace at `path`, or in the caller's. What the thread starts is in
/// that namespace too.
pub fn within<T: Send>(path: Option<&Path>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let enter_and_work = || {
        if let Some(path) = path {
            let file = File::open(path).with_context(|| format!("{}", path.display()))?;
            setns(file, CloneFlags::CLONE_NEWNET).context("cannot enter the network namespace")?;
        }
        work()
    };
    thread::scope(|scope| scope.spawn(enter_and_work).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
