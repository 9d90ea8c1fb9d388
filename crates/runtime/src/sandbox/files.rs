//! A sandbox's own files: host name, resolver configuration, shared memory.

use std::fs;
use std::io;
use std::path::Path;

use knarr_cri::v1::{DnsConfig, NamespaceMode};
use nix::mount::{MsFlags, mount};

use crate::files;
use crate::records::SandboxRecord;
use crate::spec;
use crate::users::{self, Users};

/// Size of a sandbox's /dev/shm. Containerd's default.
const SHM_OPTIONS: &str = "mode=1777,size=64m";

/// Makes them, for its own users if they are not the host's.
pub fn make(directory: &Path, record: &SandboxRecord, users: Option<&Users>) -> io::Result<()> {
    let hostname = if record.host_network || record.config.hostname.is_empty() {
        nix::unistd::gethostname()?.to_string_lossy().into_owned()
    } else {
        record.config.hostname.clone()
    };
    fs::write(directory.join("hostname"), format!("{hostname}\n"))?;
    let resolver = match &record.config.dns_config {
        Some(dns) if has_content(dns) => resolv_conf(dns),
        _ => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    };
    fs::write(directory.join("resolv.conf"), resolver)?;
    for name in ["hostname", "resolv.conf"] {
        users::give(&directory.join(name), users)?;
    }
    if spec::sandbox_namespaces(&record.config).ipc() != NamespaceMode::Node {
        let shm = directory.join("shm");
        fs::create_dir_all(&shm)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("shm"), &shm, Some("tmpfs"), flags, Some(SHM_OPTIONS))?;
        users::give(&shm, users)?;
    }
    Ok(())
}

pub fn unmake(directory: &Path) -> io::Result<()> {
    files::unmount(&directory.join("shm"))
}

fn has_content(dns: &DnsConfig) -> bool {
    !(dns.servers.is_empty() && dns.searches.is_empty() && dns.options.is_empty())
}

fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}
