//! What others change of links, addresses and routes.

use std::io;

use futures::FutureExt;
use knarr_meta::prefix::Prefix;
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        route::{RouteHeader, RouteMessage},
    },
    sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};

use super::routes;
use crate::rtnl;

/// The kernel fills a page or so a datagram.
const DATAGRAM_BYTES: usize = 64 << 10;
const GROUPS: [MulticastGroup; 6] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Route,
];
/// Most datagrams that are forgotten at a time; whoever causes more is told of.
const FORGET_LIMIT: usize = 4096;
/// Messages begin at multiples of this.
const ALIGNMENT_BYTES: usize = 4;

/// What is ours, and what is pods'.
#[derive(Clone, Debug)]
pub struct Ours {
    /// Of our routes.
    pub metric: u32,
    /// How names of links to pods begin: those come and go.
    pub pod_links: String,
    /// The overlay's index.
    pub overlay: Option<u32>,
}

/// The changes of the network namespace in which it was opened, from then on.
pub struct Changes {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl Changes {
    /// Within a tokio runtime.
    ///
    /// # Errors
    /// When there is no netlink.
    pub fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        // The first group is the lowest bit.
        let bit = |group: u32| 1_u32.rotate_left(group).rotate_right(1);
        let groups = GROUPS.iter().fold(0, |all, group| all | bit(*group as u32));
        socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(DATAGRAM_BYTES),
        })
    }

    /// Waits until something has changed that the ways to nodes depend on, or may have: what comes faster than it is read is lost. May
    /// be cancelled and called again.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn changed(&mut self, ours: &Ours) -> io::Result<()> {
        loop {
            if !self.receive().await? || messages(&self.buffer).any(|m| ours.concerns(&m)) {
                return Ok(());
            }
        }
    }

    /// Forgets what has been told up to now, which whoever looks from now on sees anyway.
    pub fn forget(&mut self) {
        for _ in 0..FORGET_LIMIT {
            match self.receive().now_or_never() {
                Some(Ok(_)) => {}
                // The next one to wait is told of what is wrong.
                Some(Err(_)) | None => return,
            }
        }
    }

    /// Fills the buffer with a datagram; not if some were lost.
    async fn receive(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer).await {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The messages of a datagram; one that cannot be read ends it.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = RouteNetlinkMessage> {
    std::iter::from_fn(move || {
        loop {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes).ok()?;
            let length = usize::try_from(message.header.length).ok()?;
            bytes = bytes
                .get(length.next_multiple_of(ALIGNMENT_BYTES)..)
                .unwrap_or_default();
            if let NetlinkPayload::InnerMessage(inner) = message.payload {
                return Some(inner);
            }
            if length == 0 {
                return None;
            }
        }
    })
}

impl Ours {
    fn concerns(&self, message: &RouteNetlinkMessage) -> bool {
        use RouteNetlinkMessage::{
            DelAddress, DelLink, DelNeighbour, DelRoute, NewAddress, NewLink, NewRoute,
        };
        match message {
            NewAddress(_) | DelAddress(_) => true,
            NewLink(link) | DelLink(link) => {
                link.header.interface_family != AddressFamily::Bridge
                    && !rtnl::name(link).starts_with(&self.pod_links)
            }
            DelNeighbour(entry) => Some(entry.header.ifindex) == self.overlay,
            DelRoute(route) => routes::has_metric(route, self.metric) || is_of_network(route),
            NewRoute(route) => !routes::has_metric(route, self.metric) && is_of_network(route),
            _ => false,
        }
    }
}

/// Not to a single address, as those to pods.
fn is_of_network(route: &RouteMessage) -> bool {
    route.header.table == RouteHeader::RT_TABLE_MAIN
        && routes::destination(route)
            .is_none_or(|range| Prefix::host(range.address()).bits() != range.bits())
}

#[cfg(test)]
mod tests;
