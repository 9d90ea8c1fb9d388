//! Links, addresses and routes of a network namespace, over netlink: what several modules ask for.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    thread,
};

use futures::TryStreamExt;
use nix::sched::{CloneFlags, setns};
use rtnetlink::{
    Handle, LinkUnspec, RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, CacheInfo},
        link::{LinkAttribute, LinkFlags, LinkMessage},
        route::RouteMessage,
    },
};

/// What the kernel did not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open a netlink socket")]
    Socket(#[source] io::Error),
    #[error("cannot {what}")]
    Kernel {
        what: String,
        #[source]
        source: rtnetlink::Error,
    },
    #[error("cannot {what}: {why}")]
    Invalid { what: String, why: String },
    #[error("the link {0} has vanished")]
    Vanished(String),
    #[error("cannot enter the network namespace {name}")]
    Enter {
        name: String,
        #[source]
        source: io::Error,
    },
}

/// A request's failure, by what it was for: `make the link eth0`.
pub fn failed(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Error {
    let what = what.into();
    move |source| Error::Kernel { what, source }
}

/// Of the calling thread's namespace.
pub fn connect() -> io::Result<Handle> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    knarr_tasks::spawn("a netlink connection", connection);
    Ok(handle)
}

/// Of another namespace: a socket belongs to the one in which it was opened.
///
/// # Errors
/// When the namespace cannot be entered, or has no netlink.
pub fn connect_in(namespace: &File) -> io::Result<Handle> {
    let runtime = tokio::runtime::Handle::current();
    within(namespace, move || {
        let _entered = runtime.enter();
        connect()
    })?
}

/// Runs work in another namespace, on a thread that ends with it: no other work ever sees that namespace.
///
/// # Errors
/// When there is no thread, or the namespace cannot be entered.
pub fn within<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let there = move || -> io::Result<T> {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    };
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("another network".to_owned());
        match builder.spawn_scoped(scope, there)?.join() {
            Ok(done) => done,
            Err(panicked) => std::panic::resume_unwind(panicked),
        }
    })
}

/// The index of the loopback link.
pub async fn loopback(handle: &Handle) -> Result<u32, Error> {
    let lo = find(handle, "lo").await?;
    Ok(lo.map_or(1, |link| link.header.index))
}

/// The route to everywhere by a gateway on a link.
pub fn default_route(gateway: IpAddr, link: u32) -> RouteMessage {
    match gateway {
        IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(gateway)
            .output_interface(link)
            .build(),
        IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
            .gateway(gateway)
            .output_interface(link)
            .build(),
    }
}

pub fn is_errno(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message)
        if message.code.is_some_and(|code| code.get().checked_neg() == Some(errno)))
}

/// That something is there already is no failure.
pub fn or_there(result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    unless(result, &[nix::libc::EEXIST])
}

/// That something has gone already is no failure.
pub fn or_gone(result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    use nix::libc::{EADDRNOTAVAIL, ENODEV, ENOENT, ESRCH};
    unless(result, &[ENODEV, ENOENT, ESRCH, EADDRNOTAVAIL])
}

fn unless(result: Result<(), rtnetlink::Error>, harmless: &[i32]) -> Result<(), rtnetlink::Error> {
    match result {
        Err(error) if harmless.iter().any(|errno| is_errno(&error, *errno)) => Ok(()),
        result => result,
    }
}

pub async fn find(handle: &Handle, name: &str) -> Result<Option<LinkMessage>, Error> {
    let mut links = Box::pin(handle.link().get().match_name(name).execute());
    match links.try_next().await {
        Ok(link) => Ok(link),
        Err(error) if is_errno(&error, nix::libc::ENODEV) => Ok(None),
        Err(error) => Err(failed(format!("look for the link {name}"))(error)),
    }
}

pub async fn links(handle: &Handle) -> Result<Vec<LinkMessage>, Error> {
    let listed = handle.link().get().execute().try_collect().await;
    listed.map_err(failed("list the links"))
}

/// Of all links.
pub async fn addresses(handle: &Handle) -> Result<Vec<AddressMessage>, Error> {
    let listed = handle.address().get().execute().try_collect().await;
    listed.map_err(failed("list the addresses"))
}

pub fn name(link: &LinkMessage) -> &str {
    let name = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.as_str()),
            _ => None,
        });
    name.unwrap_or_default()
}

pub fn alias(link: &LinkMessage) -> Option<&str> {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfAlias(alias) => Some(alias.as_str()),
            _ => None,
        })
}

pub fn mtu(link: &LinkMessage) -> Option<u32> {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        })
}

pub fn is_up(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up)
}

/// The link's own address: the other end's where it is between two.
pub fn local(address: &AddressMessage) -> Option<IpAddr> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| {
        address.attributes.iter().find_map(wanted)
    };
    find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    })
    .or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// Whether others reach the machine by an address.
pub fn is_machines(address: &IpAddr) -> bool {
    let of_link = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !of_link && !address.is_loopback() && !address.is_unspecified()
}

/// Gives a link an address that is good at once: nobody else can have those that are given here, so that nobody is asked.
pub async fn add_address(
    handle: &Handle,
    index: u32,
    address: IpAddr,
    bits: u8,
) -> Result<(), rtnetlink::Error> {
    let mut request = handle.address().add(index, address, bits);
    if address.is_ipv6() {
        let message = request.message_mut();
        message.header.flags |= AddressHeaderFlags::Nodad;
        let flags = AddressFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(flags));
    }
    request.execute().await
}

/// Gives a link an address to listen on, which the kernel does not choose as a sender's: a deprecated one. Only links to pods have no
/// address of their own, and by them it would take whichever resembles the pod's most.
pub async fn add_listening(
    handle: &Handle,
    index: u32,
    address: Ipv6Addr,
) -> Result<(), rtnetlink::Error> {
    let bits = 128;
    let mut request = handle.address().add(index, IpAddr::V6(address), bits);
    let message = request.message_mut();
    message.header.flags |= AddressHeaderFlags::Nodad;
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_valid = u32::MAX;
    message
        .attributes
        .push(AddressAttribute::CacheInfo(lifetime));
    request.execute().await
}

pub async fn set_up(handle: &Handle, index: u32, up: bool) -> Result<(), rtnetlink::Error> {
    let message = LinkUnspec::new_with_index(index);
    let message = if up { message.up() } else { message.down() };
    handle.link().set(message.build()).execute().await
}
