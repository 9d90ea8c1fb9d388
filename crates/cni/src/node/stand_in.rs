//! A machine without any address: a laptop whose network is gone. Its pods are still reached from it, by probes among others, for which
//! the kernel wants a sender's address; and its API server reaches the kubelet by the node's. So the node's address goes on to be the
//! machine's, on the loopback link, until there is one on another link again. Of IPv4: machines keep an address of IPv6 for themselves
//! rarely enough.

use knarr_nft::Family;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

use super::{Error, NodeNetwork, connect, routes};
use crate::{
    InstanceId,
    rtnl::{self, is_machines},
};

/// Labels begin with the link's name; the identity follows. Those of claims have it at once, and it has letters only.
const LABEL_PREFIX: &str = "lo:s-";
const HOST_BITS: u8 = 32;

/// Whether the machine has been given an address by one of us.
pub(super) fn is_one(address: &AddressMessage) -> bool {
    label_of(address).is_some_and(|label| label.starts_with(LABEL_PREFIX))
}

/// Whether the machine has any address of IPv4 that is not ours.
pub(super) fn is_connected(addresses: &[AddressMessage]) -> bool {
    let mut others = addresses.iter().filter(|address| !is_one(address));
    others.any(|address| {
        rtnl::local(address).is_some_and(|address| address.is_ipv4() && is_machines(&address))
    })
}

/// Gives or takes the address as it is needed, and makes anew the routes that went with the one that the machine had.
pub(super) async fn settle(network: &NodeNetwork) -> Result<(), Error> {
    let Some(part) = network.parts().find(|part| part.family == Family::Ip) else {
        return Ok(());
    };
    let handle = connect()?;
    let known = rtnl::addresses(&handle).await?;
    let is_connected = is_connected(&known);
    if is_connected {
        remove(&network.instance).await?;
    } else if !known.iter().any(is_one) {
        let lo = rtnl::loopback(&handle).await?;
        let mut request = handle.address().add(lo, part.node_ip, HOST_BITS);
        let label = AddressAttribute::Label(label(&network.instance));
        request.message_mut().attributes.push(label);
        rtnl::or_there(request.execute().await).map_err(Error::Address)?;
        tracing::warn!(
            address = %part.node_ip,
            "the machine has no address any more; its pods are reached from itself alone"
        );
    }
    let mut own = known.iter().filter(|address| !is_one(address));
    match !is_connected || own.any(|address| rtnl::local(address) == Some(part.node_ip)) {
        true => routes::make(part).await,
        // The node is about to get what the machine has now.
        false => Ok(()),
    }
}

/// Takes away what a cluster has given.
pub(super) async fn remove(instance: &InstanceId) -> Result<(), Error> {
    let handle = connect()?;
    let label = label(instance);
    for address in rtnl::addresses(&handle).await? {
        if label_of(&address) == Some(&label) {
            let removed = handle.address().del(address).execute().await;
            rtnl::or_gone(removed).map_err(Error::Address)?;
        }
    }
    Ok(())
}

fn label(instance: &InstanceId) -> String {
    format!("{LABEL_PREFIX}{instance}")
}

fn label_of(address: &AddressMessage) -> Option<&String> {
    let mut labels = address.attributes.iter().filter_map(|one| match one {
        AddressAttribute::Label(label) => Some(label),
        _ => None,
    });
    labels.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_have_given_does_not_connect_a_machine() {
        let address = |text: &str, label: Option<&str>| {
            let mut message = AddressMessage::default();
            let address = AddressAttribute::Local(text.parse().unwrap());
            message.attributes.push(address);
            let label = label.map(|label| AddressAttribute::Label(label.to_owned()));
            message.attributes.extend(label);
            message
        };
        let ours = address("192.0.2.7", Some("lo:s-abcdefgh"));
        for (others, wanted) in [
            (vec![], false),
            (vec![address("127.0.0.1", Some("lo"))], false),
            (vec![address("169.254.20.10", Some("lo:sabcdefg"))], false),
            (vec![address("2001:db8::7", None)], false),
            (vec![address("192.0.2.7", Some("eth0"))], true),
            (vec![address("10.0.0.1", None)], true),
        ] {
            let all = [vec![ours.clone()], others].concat();
            assert_eq!(is_connected(&all), wanted, "{all:?}");
        }
    }
}
