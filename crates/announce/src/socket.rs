//! Links of the node, and sockets on them that see questions for addresses and nothing else.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, OwnedFd},
};

use knarr_meta::prefix::Prefix;
use nix::{
    ifaddrs::getifaddrs,
    net::if_::InterfaceFlags,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind,
        recv, send, socket,
    },
};
use tokio::io::unix::AsyncFd;

use crate::packet::Mac;

/// What the kernel passes on: ARP requests and neighbour solicitations, so that other packets cost nothing more than this.
const FILTER: [libc::sock_filter; 11] = [
    load_half(12),
    if_equal(0x0806, 0, 2),
    load_half(20),
    if_equal(1, 5, 6),
    if_equal(0x86dd, 0, 5),
    load_byte(20),
    if_equal(58, 0, 3),
    load_byte(54),
    if_equal(135, 0, 1),
    give_back(0xffff),
    give_back(0),
];

const fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    // Codes of classic BPF have sixteen bits.
    let [low, high, ..] = code.to_le_bytes();
    libc::sock_filter {
        code: u16::from_le_bytes([low, high]),
        jt,
        jf,
        k,
    }
}

const fn load_half(at: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, at)
}

const fn load_byte(at: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, at)
}

/// How many steps are left out, if it is, or is not.
const fn if_equal(value: u32, then: u8, otherwise: u8) -> libc::sock_filter {
    step(
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        then,
        otherwise,
        value,
    )
}

const fn give_back(bytes: u32) -> libc::sock_filter {
    step(libc::BPF_RET | libc::BPF_K, 0, 0, bytes)
}

/// A link that neighbours are on.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) mac: Mac,
    pub(crate) index: u32,
    /// Whose addresses are asked for on it.
    pub(crate) networks: Vec<Prefix>,
    /// `None` in tests.
    place: Option<LinkAddr>,
}

impl Interface {
    #[cfg(test)]
    pub(crate) fn of_test(name: &str, networks: &[&str]) -> Self {
        let networks = networks.iter().map(|one| one.parse().expect("a network"));
        Self {
            name: name.to_owned(),
            mac: [2, 0, 0, 0, 0, 9],
            index: 1,
            networks: networks.collect(),
            place: None,
        }
    }
}

/// The links that have one of these addresses, and have neighbours.
pub(crate) fn interfaces(node_ips: &[IpAddr]) -> io::Result<Vec<Interface>> {
    let mut places: BTreeMap<String, LinkAddr> = BTreeMap::new();
    let mut addresses: BTreeMap<String, Vec<(IpAddr, Prefix)>> = BTreeMap::new();
    for found in getifaddrs()? {
        let quiet = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_NOARP;
        if found.flags.intersects(quiet) || !found.flags.contains(InterfaceFlags::IFF_UP) {
            continue;
        }
        if let Some(place) = found.address.as_ref().and_then(|a| a.as_link_addr()) {
            places.insert(found.interface_name, *place);
        } else if let Some(address) = found.address.as_ref().and_then(ip_of) {
            let mask = found.netmask.as_ref().and_then(ip_of);
            let network = Prefix::new(address, mask.map_or(u8::MAX, bits));
            let of_link = addresses.entry(found.interface_name).or_default();
            of_link.push((address, network));
        }
    }
    let is_node = |of_link: &[(IpAddr, Prefix)]| {
        let mut of_link = of_link.iter();
        of_link.any(|(address, _)| node_ips.contains(address))
    };
    let links = addresses
        .into_iter()
        .filter(|(_, of_link)| is_node(of_link));
    Ok(links
        .filter_map(|(name, of_link)| {
            let place = places.get(&name).copied()?;
            Some(Interface {
                mac: place.addr().filter(|mac| *mac != [0; 6])?,
                index: u32::try_from(place.ifindex()).ok()?,
                networks: of_link.into_iter().map(|(_, network)| network).collect(),
                place: Some(place),
                name,
            })
        })
        .collect())
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = || address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    let v6 = || address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
    v4().or_else(v6)
}

fn bits(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => Ipv4Addr::to_bits(mask).leading_ones(),
        IpAddr::V6(mask) => Ipv6Addr::to_bits(mask).leading_ones(),
    };
    u8::try_from(ones).unwrap_or(u8::MAX)
}

/// A socket on one link.
#[derive(Debug)]
pub(crate) struct Questions(OwnedFd);

impl Questions {
    /// Needs the right to see packets (`CAP_NET_RAW`).
    pub(crate) fn open(interface: &Interface) -> io::Result<Self> {
        let place = interface.place.ok_or(io::ErrorKind::NotFound)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let kind = SockType::Raw;
        let this = Self(socket(
            AddressFamily::Packet,
            kind,
            flags,
            SockProtocol::EthAll,
        )?);
        this.attach()?;
        bind(this.0.as_raw_fd(), &place)?;
        // What came in between came from anywhere.
        let mut rest = [0; 1];
        while recv(this.0.as_raw_fd(), &mut rest, MsgFlags::MSG_DONTWAIT).is_ok() {}
        Ok(this)
    }

    #[expect(
        unsafe_code,
        reason = "no safe crate of the tree sets a socket's filter"
    )]
    fn attach(&self) -> io::Result<()> {
        let mut steps = FILTER;
        let program = libc::sock_fprog {
            len: u16::try_from(steps.len()).unwrap_or_default(),
            filter: steps.as_mut_ptr(),
        };
        let size = libc::socklen_t::try_from(size_of_val(&program)).unwrap_or_default();
        // SAFETY: the kernel copies `size` bytes of `program` and the `len` steps that it points to, both of which live until it returns.
        let set = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size,
            )
        };
        match set {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The same, to be waited for.
    #[expect(unsafe_code, reason = "the safe way to it is deprecated")]
    pub(crate) fn watched(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is this value's own, always the same one, and open for as long as the value lives.
        Ok(unsafe { AsyncFd::register(self)? })
    }

    /// The next frame that came; an error where there is none.
    pub(crate) fn receive(&self, frame: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT)?)
    }

    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.0.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }
}

impl AsRawFd for Questions {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}
