//! The machine's own addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use super::{Error, connect, stand_in};
use crate::rtnl::{self, is_machines};

/// The discard service: nothing is sent there.
const PORT: u16 = 9;
/// Addresses of the documentation ranges: routed like any other, nobody's.
const ANYWHERE_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ANYWHERE_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// The source address the kernel would use towards `destination`, without sending anything.
pub fn source_towards(destination: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match destination {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((destination, PORT)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    Some(address).filter(|address| !address.is_unspecified())
}

/// The node's own address of a family: that of the default route, else the first global one; none on a machine that has none.
///
/// # Errors
/// When the kernel cannot be asked.
pub async fn detect_node_ip(ipv6: bool) -> Result<Option<IpAddr>, Error> {
    let anywhere = match ipv6 {
        false => ANYWHERE_IPV4.into(),
        true => ANYWHERE_IPV6.into(),
    };
    if let Some(address) = source_towards(anywhere).filter(is_machines) {
        return Ok(Some(address));
    }
    let handle = connect()?;
    let mut addresses = rtnl::addresses(&handle).await?;
    // One that stands in for those of links is the last to be had.
    addresses.sort_by_key(stand_in::is_one);
    let mut own = addresses.iter().filter_map(rtnl::local);
    Ok(own.find(|address| address.is_ipv6() == ipv6 && is_machines(address)))
}
