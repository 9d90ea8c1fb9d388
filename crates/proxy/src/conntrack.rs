//! Deletes the kernel's notes of UDP flows that lead to where nobody serves any more.
//!
//! A flow keeps the endpoint that its first packet was given, for as long as packets come. TCP clients notice when that
//! endpoint goes away and connect anew; a UDP client that keeps its port would talk to a dead pod for ever, or to the node
//! itself if the service had no endpoint at the flow's first packet.
//!
//! Spoken over netlink: the program `conntrack` need not be there. The table is read once a change of a UDP service, as far as
//! it is about UDP where the kernel can tell (since 5.8), and each entry that must go is deleted by its identity, so that a
//! flow begun anew meanwhile is left alone.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    net::IpAddr,
    time::Duration,
};

use knarr_nft::Family;
use netlink_packet_core::{
    DefaultNla, Emitable, NLA_F_NESTED, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, Nla,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    NetfilterSubsystem,
    conntrack::{
        ConntrackAttribute, ConntrackMessage, ConntrackMessageType, IPTuple, ProtoTuple, Protocol,
        Tuple,
    },
};
use netlink_sys::{
    AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_NETFILTER,
};
use nix::ifaddrs::getifaddrs;
use tokio::time::timeout;

use crate::model::{Endpoint, Frontend};

/// Where flows to a frontend may lead: all endpoints that serve, or nowhere.
pub type Flows = BTreeMap<Frontend, BTreeSet<Endpoint>>;

/// Reading a table of a million entries takes a second or two.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(15);
/// Entries that are gathered before they are deleted.
const BATCH_ENTRIES: usize = 4096;
/// The kernel fills one page or two a message.
const BUFFER_BYTES: usize = 64 << 10;

// Attributes as the kernel numbers them; the codec keeps its names to itself.
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
/// In the filter's flags: compare the protocol's number.
const FILTER_PROTOCOL: u32 = 1 << 3;

/// Why stale flows may still be there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot talk to the connection tracking table (is nf_conntrack_netlink there?)")]
    Netlink(#[from] io::Error),
    #[error("cannot list this node's addresses")]
    Addresses(#[source] nix::Error),
    #[error("the connection tracking table was not read within {}s", CLEAN_TIMEOUT.as_secs())]
    Timeout,
}

/// An entry of the table.
#[derive(Debug, PartialEq, Eq)]
struct Flow {
    /// Whom the client addresses.
    frontend: Frontend,
    /// Who answers.
    server: Endpoint,
    /// What names this entry and no other.
    identity: Vec<ConntrackAttribute>,
}

/// Deletes the flows to the frontends of `flows`, which are of one family, that lead elsewhere; how many.
pub async fn clean(family: Family, flows: &Flows) -> Result<usize, Error> {
    if flows.is_empty() {
        return Ok(0);
    }
    let local = local_addresses().map_err(Error::Addresses)?;
    let work = async {
        let mut deleted = 0;
        loop {
            let stale = stale(family, flows, &local).await?;
            for flow in &stale {
                delete(family, flow).await?;
            }
            deleted += stale.len();
            if stale.len() < BATCH_ENTRIES {
                return Ok(deleted);
            }
        }
    };
    timeout(CLEAN_TIMEOUT, work)
        .await
        .map_err(|_| Error::Timeout)?
}

/// The first [`BATCH_ENTRIES`] flows that have to go.
async fn stale(family: Family, flows: &Flows, local: &HashSet<IpAddr>) -> io::Result<Vec<Flow>> {
    let mut socket = Netlink::send(family, list_udp(), NLM_F_DUMP).await?;
    let mut found = Vec::new();
    while let Some(attributes) = socket.next().await? {
        found.extend(parse(attributes).filter(|flow| is_stale(flow, flows, local)));
        if found.len() == BATCH_ENTRIES {
            break;
        }
    }
    Ok(found)
}

fn is_stale(flow: &Flow, flows: &Flows, local: &HashSet<IpAddr>) -> bool {
    let addressed = flows.get(&flow.frontend).or_else(|| {
        let of_node = flow.frontend.address.is_some_and(|a| local.contains(&a));
        let node_port = Frontend {
            address: None,
            ..flow.frontend
        };
        flows.get(&node_port).filter(|_| of_node)
    });
    addressed.is_some_and(|serving| !serving.contains(&flow.server))
}

async fn delete(family: Family, flow: &Flow) -> io::Result<()> {
    let message = ConntrackMessage::Delete(flow.identity.clone());
    let mut socket = Netlink::send(family, message, NLM_F_ACK).await?;
    match socket.next().await {
        Ok(_) => Ok(()),
        // It has ended by itself.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Asks the kernel for UDP entries only; kernels that do not know the filter give all of them. Attribute by attribute, since
/// the codec has no filter and would lose the mark of a nested attribute.
fn list_udp() -> NetfilterMessageInner {
    let protocol = Tuple::Proto(vec![ProtoTuple::Protocol(Protocol::Udp)]);
    let flags = FILTER_PROTOCOL.to_ne_bytes().to_vec();
    let flags = DefaultNla::new(CTA_FILTER_ORIG_FLAGS, flags);
    NetfilterMessageInner::Other {
        subsys: NetfilterSubsystem::Conntrack,
        message_type: ConntrackMessageType::Get.into(),
        attributes: vec![
            nested(CTA_TUPLE_ORIG, &protocol),
            nested(CTA_FILTER, &flags),
        ],
    }
}

fn nested(kind: u16, inner: &impl Emitable) -> DefaultNla {
    let mut bytes = vec![0; inner.buffer_len()];
    inner.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}

/// A UDP flow; none of anything else.
fn parse(attributes: Vec<ConntrackAttribute>) -> Option<Flow> {
    let (mut frontend, mut server, mut identity) = (None, None, Vec::new());
    for attribute in attributes {
        match &attribute {
            ConntrackAttribute::CtaTupleOrig(tuple) => {
                let (address, port) = parts(tuple, Side::Destination)?;
                frontend = Some(Frontend {
                    address: Some(address),
                    protocol: knarr_nft::Protocol::Udp,
                    port,
                });
                identity.push(attribute);
            }
            ConntrackAttribute::CtaTupleReply(tuple) => {
                let (address, port) = parts(tuple, Side::Source)?;
                server = Some(Endpoint { address, port });
            }
            ConntrackAttribute::Other(other) if [CTA_ID, CTA_ZONE].contains(&other.kind()) => {
                identity.push(attribute);
            }
            _ => {}
        }
    }
    Some(Flow {
        frontend: frontend?,
        server: server?,
        identity,
    })
}

/// One of the two ends of a direction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// Address and port of one end of a direction, if it is UDP.
fn parts(tuple: &[Tuple], side: Side) -> Option<(IpAddr, u16)> {
    let (mut address, mut port, mut udp) = (None, None, false);
    for part in tuple {
        match part {
            Tuple::Ip(parts) => {
                for part in parts {
                    match (part, side) {
                        (IPTuple::SourceAddress(found), Side::Source)
                        | (IPTuple::DestinationAddress(found), Side::Destination) => {
                            address = Some(*found);
                        }
                        _ => {}
                    }
                }
            }
            Tuple::Proto(parts) => {
                for part in parts {
                    match (part, side) {
                        (ProtoTuple::Protocol(protocol), _) => udp = *protocol == Protocol::Udp,
                        (ProtoTuple::SourcePort(number), Side::Source)
                        | (ProtoTuple::DestinationPort(number), Side::Destination) => {
                            port = Some(*number);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some((address?, port?)).filter(|_| udp)
}

/// Where node ports answer.
fn local_addresses() -> nix::Result<HashSet<IpAddr>> {
    let found = getifaddrs()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))
    });
    Ok(found.collect())
}

/// One request and its answers.
struct Netlink {
    socket: TokioSocket,
    buffer: Vec<u8>,
    /// Where the next message of the buffer begins.
    offset: usize,
}

impl Netlink {
    async fn send(
        family: Family,
        message: impl Into<NetfilterMessageInner>,
        flags: u16,
    ) -> io::Result<Self> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let family = match family {
            Family::Ip => NetfilterProtoFamily::IPv4,
            Family::Ip6 => NetfilterProtoFamily::IPv6,
        };
        let family = NetfilterHeader::new(family, 0, 0);
        let mut message = NetlinkMessage::new(
            header,
            NetlinkPayload::from(NetfilterMessage::new(family, message)),
        );
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind_auto()?;
        socket.socket_ref().connect(&SocketAddr::new(0, 0))?;
        socket.send(&bytes).await?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            offset: 0,
        })
    }

    /// The attributes of the next entry; none after the last, or when the kernel acknowledges.
    async fn next(&mut self) -> io::Result<Option<Vec<ConntrackAttribute>>> {
        loop {
            if self.offset >= self.buffer.len() {
                self.buffer.clear();
                self.offset = 0;
                self.socket.recv(&mut self.buffer).await?;
            }
            let rest = &self.buffer[self.offset..];
            let length = rest.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
            let length = length.map_or(0, |length| length as usize);
            let whole = rest.get(..length).filter(|_| length > 0);
            let whole = whole.ok_or(io::ErrorKind::InvalidData)?;
            // Messages begin at multiples of four bytes.
            self.offset += length.next_multiple_of(4);
            // One that the codec does not understand is not a UDP flow of ours.
            let Ok(message) = NetlinkMessage::<NetfilterMessage>::deserialize(whole) else {
                continue;
            };
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(None),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(None),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(NetfilterMessage {
                    inner: NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)),
                    ..
                }) => return Ok(Some(attributes)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
