//! A machine that gets another address: a laptop in another network, a lease that was not renewed.

use std::{net::IpAddr, time::Duration};

use tokio::time::sleep;

use super::{Error, connect, detect_node_ip};
use crate::{
    InstanceId,
    peers::watch::{Changes, Ours},
    rtnl,
};

/// An address goes before the next one comes, and may come back.
pub(super) const SETTLE: Duration = Duration::from_secs(3);
/// How long to wait before the kernel is asked again after it could not be.
const RETRY: Duration = Duration::from_secs(10);

/// Waits until the machine has lost one of `addresses` and has another one of its family that nodes can have, which it returns. While it
/// has none it keeps what it had ([`super::stand_in`]), and where it has got one beside the other it does so too.
pub async fn moved(instance: &InstanceId, addresses: &[IpAddr]) -> IpAddr {
    let ours = Ours {
        metric: instance.route_metric(),
        pod_links: instance.link_prefix(),
        overlay: None,
    };
    loop {
        match wait(&ours, addresses).await {
            Ok(moved) => return moved,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot see whether the machine's address changes"
                );
                sleep(RETRY).await;
            }
        }
    }
}

async fn wait(ours: &Ours, addresses: &[IpAddr]) -> Result<IpAddr, Error> {
    // Before anything is looked at: what changes from then on is not missed.
    let mut changes = Changes::open().map_err(Error::Netlink)?;
    loop {
        if let Some(next) = next(addresses).await? {
            sleep(SETTLE).await;
            // Still so?
            if self::next(addresses).await? == Some(next) {
                return Ok(next);
            }
        }
        changes.changed(ours).await.map_err(Error::Netlink)?;
        changes.forget();
    }
}

/// The machine's address in place of one that it has lost, if it has one.
async fn next(addresses: &[IpAddr]) -> Result<Option<IpAddr>, Error> {
    let handle = connect()?;
    let own = rtnl::addresses(&handle).await?;
    let is_there = |address: &IpAddr| own.iter().any(|own| rtnl::local(own) == Some(*address));
    for lost in addresses.iter().filter(|address| !is_there(address)) {
        if let Some(found) = detect_node_ip(lost.is_ipv6()).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
