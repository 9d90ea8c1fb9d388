//! Addresses of a node's pod subnet: one file an address, so that they survive any crash without a daemon.
//!
//! Addresses are handed out round robin: one that was just freed may still be in somebody's DNS cache or conntrack table.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    str::FromStr,
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Deserializer};

use crate::result::PluginError;

/// An IPv4 subnet in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

impl Subnet {
    /// The addresses for pods: all but the network, the first (by custom the gateway's) and the broadcast address.
    fn hosts(self) -> std::ops::Range<u32> {
        let size = 1u64 << (32 - self.prefix);
        let end = u64::from(self.base) + size - 1;
        (self.base.saturating_add(2))..u32::try_from(end).unwrap_or(u32::MAX)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || format!("invalid IPv4 subnet {text:?}");
        let (address, prefix) = text.split_once('/').ok_or_else(error)?;
        let address: Ipv4Addr = address.parse().map_err(|_| error())?;
        let prefix: u8 = prefix.parse().map_err(|_| error())?;
        if !(8..=30).contains(&prefix) {
            return Err(format!(
                "subnet {text:?} must have a prefix of 8 to 30 bits"
            ));
        }
        let base = u32::from(address) & (u32::MAX << (32 - prefix));
        Ok(Self { base, prefix })
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The allocations of one network on this node, locked against other plugin processes while it lives.
pub struct Ipam {
    dir: PathBuf,
    subnet: Subnet,
    _lock: Flock<File>,
}

const LAST_FILE: &str = "last";

impl Ipam {
    /// Opens `<data_dir>/networks/<network>`, waiting for other processes.
    pub fn open(data_dir: &Path, network: &str, subnet: Subnet) -> Result<Self, PluginError> {
        if network.is_empty() || network.contains('/') || network.starts_with('.') {
            let text = format!("invalid network name {network:?}");
            return Err(PluginError::new(PluginError::INVALID_CONFIG, text));
        }
        let dir = data_dir.join("networks").join(network);
        let lock = || -> io::Result<Flock<File>> {
            fs::create_dir_all(&dir)?;
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(dir.join("lock"))?;
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
        };
        let lock = lock().map_err(|e| io_error(&dir, e))?;
        Ok(Self {
            dir,
            subnet,
            _lock: lock,
        })
    }

    /// The address of this interface, a new one if it has none yet.
    pub fn allocate(&self, container_id: &str, ifname: &str) -> Result<Ipv4Addr, PluginError> {
        if let Some(address) = self.address_of(container_id, ifname)? {
            return Ok(address);
        }
        let hosts = self.subnet.hosts();
        let last = fs::read_to_string(self.dir.join(LAST_FILE))
            .ok()
            .and_then(|text| text.trim().parse::<Ipv4Addr>().ok())
            .map_or(hosts.start, u32::from)
            .clamp(hosts.start, hosts.end);
        let candidates = (last.saturating_add(1)..hosts.end).chain(hosts.start..hosts.end);
        for candidate in candidates {
            let address = Ipv4Addr::from(candidate);
            let path = self.dir.join(address.to_string());
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    writeln!(file, "{container_id} {ifname}").map_err(|e| io_error(&path, e))?;
                    let last = self.dir.join(LAST_FILE);
                    fs::write(&last, address.to_string()).map_err(|e| io_error(&last, e))?;
                    return Ok(address);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_error(&path, error)),
            }
        }
        Err(PluginError::new(
            PluginError::NO_ADDRESS,
            "no free address in the pod subnet",
        ))
    }

    /// The address that this interface holds.
    pub fn address_of(
        &self,
        container_id: &str,
        ifname: &str,
    ) -> Result<Option<Ipv4Addr>, PluginError> {
        let owner = format!("{container_id} {ifname}");
        let entries = fs::read_dir(&self.dir).map_err(|e| io_error(&self.dir, e))?;
        for entry in entries.flatten() {
            let Some(address) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            // Unreadable means freed in between, which the lock excludes, or empty after a power cut: nobody's.
            if fs::read_to_string(entry.path()).is_ok_and(|text| text.trim() == owner) {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }

    /// Frees the address of this interface; holding none is no error.
    pub fn release(&self, container_id: &str, ifname: &str) -> Result<(), PluginError> {
        let Some(address) = self.address_of(container_id, ifname)? else {
            return Ok(());
        };
        let path = self.dir.join(address.to_string());
        fs::remove_file(&path).map_err(|e| io_error(&path, e))
    }
}

fn io_error(path: &Path, error: io::Error) -> PluginError {
    PluginError::new(PluginError::IO, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
