//! What kubelet, runtime and shim share where they touch the host on behalf of a pod.
//!
//! What a container can write is hostile: a link leads to another's data, a FIFO blocks whoever opens it for good, a device
//! node reads a disk, a file of a terabyte fills memory, thirteen thousand nested directories overflow a stack. Whatever is
//! read from, written to or removed in such a place goes through [`Directory`], [`remove`] and [`walk`]: relative to a
//! descriptor, regular files only, never blocking, within a limit, never recursive, never onto another mount. All of it
//! blocks for as long as a disk does: callers keep it off the async threads.
//!
//! Rejected: checks of paths before their use (what was checked is not what is opened), `openat2` behind a trait for hosts
//! without it (Linux 5.6 is older than anything else that is needed).

mod cgroup;
mod directory;
mod durable;
pub mod families;
pub mod mounts;
pub mod net_dev;
pub mod paths;
pub mod process;
mod remove;
pub mod sysctl;
pub mod usage;
mod walk;

pub use cgroup::{groups, remove_groups};
pub use directory::Directory;
pub use durable::{sync_directory, sync_file_system, write_atomically, write_durably};
pub use remove::remove;
pub use walk::{Found, walk};
