//! Addresses of a node's pod subnets, of each family one: one file an address, so that they survive any crash without a daemon. The file tells whose
//! the address is and which ports of the node lead to it, and is there, whole, before the address is used: whatever becomes of
//! other records, what is not in use can be told and given back. One that is not whole is a power failure's, which no pod
//! outlived: nobody's.
//!
//! Addresses are handed out round robin: one that was just freed may still be in somebody's DNS cache or conntrack table.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io,
    net::IpAddr,
    ops::Range,
    path::{Path, PathBuf},
    str::FromStr,
};

use knarr_meta::prefix::Prefix;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Deserializer};

use crate::{PortMapping, result::PluginError};

/// What a subnet of pods must have left: the first addresses and the last are nobody's.
const HOST_BITS_MIN: u8 = 2;
/// Shortest prefix: no node has more.
const BITS_MIN: u8 = 8;

/// A subnet in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet(Prefix);

impl Subnet {
    /// The places of the addresses for pods: all but the network, the first (by custom the gateway's) and the broadcast address.
    fn hosts(self) -> Range<u128> {
        let longest = Prefix::host(self.0.address()).bits();
        let bits = u32::from(longest.saturating_sub(self.0.bits()));
        // Of the longest prefixes, of which there are none here, and of the shortest: one more or less does not matter.
        let size = 1u128.checked_shl(bits).unwrap_or(u128::MAX);
        2..size.saturating_sub(1)
    }

    fn address(self, place: u128) -> Option<IpAddr> {
        let address = match self.0.address() {
            IpAddr::V4(first) => {
                let number = u128::from(first.to_bits()).checked_add(place)?;
                IpAddr::V4(u32::try_from(number).ok()?.into())
            }
            IpAddr::V6(first) => IpAddr::V6(first.to_bits().checked_add(place)?.into()),
        };
        self.0.contains(address).then_some(address)
    }

    fn place(self, address: IpAddr) -> Option<u128> {
        let number = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        let within = self.0.contains(address);
        let first = number(self.0.address());
        number(address).checked_sub(first).filter(|_| within)
    }

    /// Whether both are of one family.
    pub fn is_alike(self, other: Self) -> bool {
        self.has_family_of(other.0.address())
    }

    fn has_family_of(self, address: IpAddr) -> bool {
        self.0.address().is_ipv4() == address.is_ipv4()
    }

    /// Where the address is noted that was given last.
    fn last_file(self) -> &'static str {
        match self.0.address() {
            IpAddr::V4(_) => "last",
            IpAddr::V6(_) => "last-ipv6",
        }
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let prefix: Prefix = text
            .parse()
            .map_err(|_| format!("invalid subnet {text:?}"))?;
        let longest = Prefix::host(prefix.address()).bits();
        let longest = longest.saturating_sub(HOST_BITS_MIN);
        if !(BITS_MIN..=longest).contains(&prefix.bits()) {
            return Err(format!(
                "subnet {text:?} must have a prefix of {BITS_MIN} to {longest} bits"
            ));
        }
        Ok(Self(prefix))
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
    subnets: Vec<Subnet>,
    _lock: Flock<File>,
}

/// Where a file is written before it has its name.
const NEW_FILE: &str = "new";

/// Whose an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub address: IpAddr,
    pub container_id: String,
    pub ifname: String,
    /// Ports of the node that lead to it.
    pub port_mappings: Vec<PortMapping>,
    /// The uid of the pod whose interface it is, where the runtime told it.
    pub pod: Option<String>,
}

impl Lease {
    fn is_of(&self, container_id: &str, ifname: &str) -> bool {
        self.container_id == container_id && self.ifname == ifname
    }

    /// One line whose, one of ports, and one of the pod.
    fn text(&self) -> io::Result<String> {
        let ports = serde_json::to_string(&self.port_mappings)?;
        let pod = self.pod.as_deref().unwrap_or_default();
        let (id, ifname) = (&self.container_id, &self.ifname);
        Ok(format!("{id} {ifname}\n{ports}\n{pod}\n"))
    }

    fn parse(address: IpAddr, text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (container_id, ifname) = lines.next()?.split_once(' ')?;
        Some(Self {
            address,
            container_id: container_id.to_owned(),
            ifname: ifname.to_owned(),
            // Those of older versions have one line.
            port_mappings: lines
                .next()
                .map_or(Ok(Vec::new()), serde_json::from_str)
                .ok()?,
            pod: lines
                .next()
                .filter(|pod| !pod.is_empty())
                .map(str::to_owned),
        })
    }
}

/// The addresses of a network's pods, by whoever takes none and gives none back; see [`Ipam::open`] for where they are.
///
/// # Errors
/// When the directory cannot be read; one that is not there has none.
pub fn leases(data_dir: &Path, network: &str) -> io::Result<Vec<Lease>> {
    let entries = match fs::read_dir(data_dir.join("networks").join(network)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut leases = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(address) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        match fs::read(entry.path()) {
            Ok(text) => leases.extend(Lease::parse(address, &String::from_utf8_lossy(&text))),
            // Given back meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(leases)
}

/// As [`leases`], with a lock that keeps the plugin from changing them; none where the network has never had a pod.
///
/// # Errors
/// As [`leases`].
pub fn locked(data_dir: &Path, network: &str) -> io::Result<Option<(Flock<File>, Vec<Lease>)>> {
    let lock = match lock(&data_dir.join("networks").join(network)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        lock => lock?,
    };
    Ok(Some((lock, leases(data_dir, network)?)))
}

/// Waits until no other process has it.
fn lock(dir: &Path) -> io::Result<Flock<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("lock"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
}

impl Ipam {
    /// Opens `<data_dir>/networks/<network>`, waiting for other processes.
    pub fn open(data_dir: &Path, network: &str, subnets: &[Subnet]) -> Result<Self, PluginError> {
        if network.is_empty() || network.contains('/') || network.starts_with('.') {
            let text = format!("invalid network name {network:?}");
            return Err(PluginError::new(PluginError::INVALID_CONFIG, text));
        }
        let dir = data_dir.join("networks").join(network);
        let lock = fs::create_dir_all(&dir)
            .and_then(|()| lock(&dir))
            .map_err(|e| io_error(&dir, e))?;
        Ok(Self {
            dir,
            subnets: subnets.to_vec(),
            _lock: lock,
        })
    }

    /// The addresses of this interface, one of each subnet in their order; new ones where it has none yet.
    pub fn allocate(
        &self,
        container_id: &str,
        ifname: &str,
        port_mappings: &[PortMapping],
        pod: Option<&str>,
    ) -> Result<Vec<IpAddr>, PluginError> {
        let leases = self.leases()?;
        let mut addresses = Vec::new();
        for subnet in &self.subnets {
            let mut own = leases
                .iter()
                .filter(|lease| lease.is_of(container_id, ifname));
            if let Some(lease) = own.find(|lease| subnet.has_family_of(lease.address)) {
                addresses.push(lease.address);
                continue;
            }
            let lease = Lease {
                address: self.free(*subnet, &leases)?,
                container_id: container_id.to_owned(),
                ifname: ifname.to_owned(),
                port_mappings: port_mappings.to_vec(),
                pod: pod.map(str::to_owned),
            };
            let text = lease.text().map_err(|e| io_error(&self.dir, e))?;
            self.write(&lease.address.to_string(), &text)?;
            self.write(subnet.last_file(), &lease.address.to_string())?;
            addresses.push(lease.address);
        }
        Ok(addresses)
    }

    fn free(&self, subnet: Subnet, leases: &[Lease]) -> Result<IpAddr, PluginError> {
        let taken: HashSet<u128> = leases
            .iter()
            .filter_map(|lease| subnet.place(lease.address))
            .collect();
        let hosts = subnet.hosts();
        let last = fs::read_to_string(self.dir.join(subnet.last_file()))
            .ok()
            .and_then(|text| subnet.place(text.trim().parse().ok()?))
            .map_or(hosts.start, |last| last.clamp(hosts.start, hosts.end));
        let mut candidates = (last.saturating_add(1)..hosts.end).chain(hosts.start..hosts.end);
        let free = candidates.find(|candidate| !taken.contains(candidate));
        free.and_then(|place| subnet.address(place)).ok_or_else(|| {
            PluginError::new(PluginError::NO_ADDRESS, "no free address in the pod subnet")
        })
    }

    /// Every address that somebody has. Files that are not whole are removed.
    pub fn leases(&self) -> Result<Vec<Lease>, PluginError> {
        let entries = fs::read_dir(&self.dir).map_err(|e| io_error(&self.dir, e))?;
        let mut leases = Vec::new();
        for entry in entries.flatten() {
            let Some(address) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            let path = entry.path();
            let text = fs::read(&path).map_err(|e| io_error(&path, e))?;
            match Lease::parse(address, &String::from_utf8_lossy(&text)) {
                Some(lease) => leases.push(lease),
                None => fs::remove_file(&path).map_err(|e| io_error(&path, e))?,
            }
        }
        Ok(leases)
    }

    /// What this interface holds.
    pub fn leases_of(&self, container_id: &str, ifname: &str) -> Result<Vec<Lease>, PluginError> {
        let mut leases = self.leases()?;
        leases.retain(|lease| lease.is_of(container_id, ifname));
        Ok(leases)
    }

    /// Frees the addresses of this interface; holding none is no error.
    pub fn release(&self, container_id: &str, ifname: &str) -> Result<(), PluginError> {
        let leases = self.leases_of(container_id, ifname)?;
        leases.iter().try_for_each(|lease| self.release_one(lease))
    }

    /// Frees one address.
    pub fn release_one(&self, lease: &Lease) -> Result<(), PluginError> {
        let path = self.dir.join(lease.address.to_string());
        fs::remove_file(&path).map_err(|e| io_error(&path, e))
    }

    /// Others see the whole file or none, also when the disk is full.
    fn write(&self, name: &str, text: &str) -> Result<(), PluginError> {
        let (path, temporary) = (self.dir.join(name), self.dir.join(NEW_FILE));
        fs::write(&temporary, text)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|e| io_error(&path, e))
    }
}

fn io_error(path: &Path, error: io::Error) -> PluginError {
    PluginError::new(PluginError::IO, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
