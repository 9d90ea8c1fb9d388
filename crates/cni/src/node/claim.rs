//! Whose a network namespace is.
//!
//! The address of the node's own DNS server can be there once, so it is what a cluster takes first and gives back last: the
//! kernel sees to it that one gets it, and its label names who. It stays after a crash, with the rules it stands for.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use futures::TryStreamExt;
use knarr_nft::Family;
use rtnetlink::{
    Handle,
    packet_route::address::{AddressAttribute, AddressMessage, AddressScope},
};

use super::{Error, connect, table, tables};
use crate::{InstanceId, rtnl};

/// Labels of addresses begin with the link's name.
const LABEL_PREFIX: &str = "lo:";

/// Who has an address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Nobody,
    Cluster(InstanceId),
    /// Somebody else, on this link.
    Other(String),
}

/// Takes the namespace by taking `address`. Having it already is fine.
pub(super) async fn take(instance: &InstanceId, address: Ipv4Addr) -> Result<(), Error> {
    let handle = connect()?;
    let lo = rtnl::loopback(&handle).await?;
    let mut request = handle.address().add(lo, IpAddr::V4(address), 32);
    let message = request.message_mut();
    // Of host scope, or the kernel would take it as the node's own address towards pods.
    message.header.scope = AddressScope::Host;
    message
        .attributes
        .push(AddressAttribute::Label(label(instance)));
    match request.execute().await {
        Err(error) if rtnl::is_errno(&error, nix::libc::EEXIST) => {
            check(Some(instance), address).await.map(drop)
        }
        result => result.map_err(Error::Address),
    }
}

/// Whether `own` has the namespace; an error if another has it.
pub(super) async fn check(own: Option<&InstanceId>, address: Ipv4Addr) -> Result<bool, Error> {
    match owner(address).await? {
        Owner::Nobody => Ok(false),
        Owner::Cluster(instance) if own == Some(&instance) => Ok(true),
        Owner::Cluster(instance) => Err(Error::Taken {
            instance,
            whose: directory(&instance).map_or_else(String::new, |dir| format!(" on {dir}")),
        }),
        Owner::Other(link) => Err(Error::AddressInUse { address, link }),
    }
}

/// Who has the namespace, if it is the cluster of that directory.
pub(super) async fn of_directory(
    data_dir: &Path,
    address: Ipv4Addr,
) -> Result<Option<InstanceId>, Error> {
    let Owner::Cluster(instance) = owner(address).await? else {
        return Ok(None);
    };
    let told = directory(&instance);
    let is_it = told.is_some_and(|told| Path::new(&told) == data_dir);
    Ok(is_it.then_some(instance))
}

/// Gives the namespace back, if it is this cluster's.
pub(super) async fn give_back(instance: &InstanceId, address: Ipv4Addr) -> Result<(), Error> {
    for message in addresses(address).await? {
        if label_of(&message) == Some(&label(instance)) {
            let deleted = connect()?.address().del(message).execute().await;
            deleted.map_err(Error::Address)?;
        }
    }
    Ok(())
}

/// Takes the address of IPv6 as well, which has no label: it is of whose the other one is.
pub(super) async fn take_second(handle: &Handle, lo: u32, address: Ipv6Addr) -> Result<(), Error> {
    let added = rtnl::add_listening(handle, lo, address).await;
    rtnl::or_there(added).map_err(Error::Address)
}

/// Gives it back.
pub(super) async fn remove_second(address: Ipv6Addr) -> Result<(), Error> {
    let handle = connect()?;
    for message in rtnl::addresses(&handle).await? {
        if rtnl::local(&message) == Some(IpAddr::V6(address)) {
            let removed = handle.address().del(message).execute().await;
            rtnl::or_gone(removed).map_err(Error::Address)?;
        }
    }
    Ok(())
}

async fn owner(address: Ipv4Addr) -> Result<Owner, Error> {
    let Some(message) = addresses(address).await?.into_iter().next() else {
        return Ok(Owner::Nobody);
    };
    let label = label_of(&message).map(String::as_str).unwrap_or_default();
    let instance = label
        .strip_prefix(LABEL_PREFIX)
        .and_then(|id| id.parse().ok());
    Ok(instance.map_or_else(|| Owner::Other(label.to_owned()), Owner::Cluster))
}

async fn addresses(address: Ipv4Addr) -> Result<Vec<AddressMessage>, Error> {
    let handle = connect()?;
    let found = handle.address().get().set_address_filter(address.into());
    found.execute().try_collect().await.map_err(Error::Address)
}

fn label(instance: &InstanceId) -> String {
    format!("{LABEL_PREFIX}{instance}")
}

fn label_of(message: &AddressMessage) -> Option<&String> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Label(label) => Some(label),
            _ => None,
        })
}

/// The data directory of a cluster here, as its tables tell.
fn directory(instance: &InstanceId) -> Option<String> {
    let mut connection = knarr_nft::Connection::open().ok()?;
    let tables = tables(Family::BOTH, &table(instance));
    tables
        .iter()
        .find_map(|table| connection.comment(table).ok().flatten())
}
