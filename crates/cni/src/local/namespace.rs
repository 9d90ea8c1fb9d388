//! Network namespaces that have a name, where `ip netns` and `nsenter` look for them.

use std::{
    fs::{self, File, OpenOptions},
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::statfs::{NSFS_MAGIC, fstatfs},
};

use super::Error;
use crate::{InstanceId, hardware, rtnl};

/// iproute2's.
pub const DIRECTORY: &str = "/run/netns";
/// Longest name of a file.
const NAME_LIMIT_BYTES: usize = 255;
const OWN: &str = "/proc/thread-self/ns/net";

/// The network of one node.
#[derive(Clone, Debug)]
pub struct NodeNamespace {
    pub node: String,
    /// Where it can be entered by.
    pub path: PathBuf,
    /// The node's, of each family one.
    pub addresses: Vec<IpAddr>,
}

impl NodeNamespace {
    /// For `setns`.
    ///
    /// # Errors
    /// When it has gone.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Runs work in the namespace, on a thread that ends with it. Processes that are started there have the namespace; what
    /// they ask to be told at their parent's death comes when that thread ends.
    ///
    /// # Errors
    /// When it has gone, or there is no thread.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        rtnl::within(&self.open()?, work)
    }

    /// The hardware address of its interface.
    pub(super) fn hardware(&self) -> [u8; 6] {
        let first = self.addresses.first();
        first.map_or([0; 6], |address| hardware::of(*address))
    }

    pub(super) fn failed(&self, what: &'static str, source: io::Error) -> Error {
        failed(what, &self.path)(source)
    }
}

/// Makes a node's namespace, or finds it.
pub async fn make(
    instance: &InstanceId,
    node: &str,
    addresses: &[IpAddr],
) -> Result<NodeNamespace, Error> {
    let namespace = NodeNamespace {
        node: node.to_owned(),
        path: path(instance, node)?,
        addresses: addresses.to_vec(),
    };
    let path = namespace.path.clone();
    // The kernel takes its time to make one.
    let made = tokio::task::spawn_blocking(move || {
        prepare_directory()?;
        if is_namespace(&path)? {
            Ok(())
        } else {
            create(&path)
        }
    });
    match made.await {
        Ok(Ok(())) => Ok(namespace),
        Ok(Err(source)) => Err(namespace.failed("make", source)),
        Err(stopped) => Err(namespace.failed("make", io::Error::other(stopped))),
    }
}

/// Removes a node's namespace; one that is not there is no error.
pub fn remove(instance: &InstanceId, node: &str) -> Result<(), Error> {
    let path = path(instance, node)?;
    // Whatever was mounted there, and however often.
    loop {
        match umount2(&path, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(errno) => return Err(failed("unmount", &path)(errno.into())),
        }
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

/// Names of nodes that have one.
pub fn list(instance: &InstanceId) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let prefix = prefix(instance);
    let mut nodes = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let node = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        nodes.extend(node.map(str::to_owned));
    }
    nodes.sort();
    Ok(nodes)
}

fn prefix(instance: &InstanceId) -> String {
    format!("knarr-{instance}-")
}

fn path(instance: &InstanceId, node: &str) -> Result<PathBuf, Error> {
    let name = format!("{}{node}", prefix(instance));
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if node.is_empty() || !node.chars().all(plain) || name.len() > NAME_LIMIT_BYTES {
        return Err(Error::Name(node.to_owned()));
    }
    Ok(Path::new(DIRECTORY).join(name))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Namespace { what, path, source }
}

/// What is mounted there is seen by everybody, as iproute2 sees to: it would make the directory a mount of its own later, and
/// hide what is below.
fn prepare_directory() -> io::Result<()> {
    fs::create_dir_all(DIRECTORY)?;
    let share = || {
        let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
        mount(None::<&str>, DIRECTORY, None::<&str>, flags, None::<&str>)
    };
    match share() {
        Err(Errno::EINVAL) => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(
                Some(DIRECTORY),
                DIRECTORY,
                None::<&str>,
                flags,
                None::<&str>,
            )?;
            Ok(share()?)
        }
        result => Ok(result?),
    }
}

fn is_namespace(path: &Path) -> io::Result<bool> {
    match File::open(path) {
        Ok(file) => Ok(fstatfs(&file)?.filesystem_type() == NSFS_MAGIC),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A namespace has a name when it is mounted: a thread makes it, and ends.
fn create(path: &Path) -> io::Result<()> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    let there = move || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let bind = MsFlags::MS_BIND;
        Ok(mount(Some(OWN), path, None::<&str>, bind, None::<&str>)?)
    };
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("a new network".to_owned());
        match builder.spawn_scoped(scope, there)?.join() {
            Ok(made) => made,
            Err(panicked) => std::panic::resume_unwind(panicked),
        }
    })
}
