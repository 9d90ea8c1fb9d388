//! A machine that gets another address: a laptop in another network, a lease that was not renewed.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use tokio::time::sleep;

use super::{Error, connect, detect_node_ip};
use crate::{
    InstanceId,
    peers::watch::{Changes, Ours},
    rtnl,
};

/// An address goes before the next one comes, and may come back.
const SETTLE: Duration = Duration::from_secs(3);
/// How long to wait before the kernel is asked again after it could not be.
const RETRY: Duration = Duration::from_secs(10);

/// Waits until the machine has lost `address` and has another one that nodes can have, which it returns. While it has none it keeps what
/// it had, and where it has got one beside the other it does so too.
pub async fn moved(instance: &InstanceId, address: Ipv4Addr) -> Ipv4Addr {
    let ours = Ours {
        metric: instance.route_metric(),
        pod_links: instance.link_prefix(),
        overlay: None,
    };
    loop {
        match wait(&ours, address).await {
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

async fn wait(ours: &Ours, address: Ipv4Addr) -> Result<Ipv4Addr, Error> {
    // Before anything is looked at: what changes from then on is not missed.
    let mut changes = Changes::open().map_err(Error::Netlink)?;
    loop {
        if let Some(next) = next(address).await? {
            sleep(SETTLE).await;
            // Still so?
            if self::next(address).await? == Some(next) {
                return Ok(next);
            }
        }
        changes.changed(ours).await.map_err(Error::Netlink)?;
        changes.forget();
    }
}

/// The machine's address, if it has lost `address` and has one.
async fn next(address: Ipv4Addr) -> Result<Option<Ipv4Addr>, Error> {
    if is_local(address).await? {
        return Ok(None);
    }
    let detected = detect_node_ip().await?;
    Ok(Some(detected).filter(|detected| !detected.is_loopback()))
}

async fn is_local(address: Ipv4Addr) -> Result<bool, Error> {
    let handle = connect()?;
    let addresses = rtnl::addresses(&handle).await?;
    let own = IpAddr::V4(address);
    Ok(addresses
        .iter()
        .any(|message| rtnl::local(message) == Some(own)))
}
