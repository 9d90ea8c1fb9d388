//! What is answered and announced on one link.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv6Addr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    io::unix::AsyncFd,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    limit::Limit,
    packet::{self, Mac},
    socket::{Interface, Questions},
};

/// Longest frame that is looked at; a question is much shorter.
const FRAME_BYTES: usize = 1_514;
/// Frames that are read before anything else has its turn.
const BATCH: usize = 64;
/// Who takes an address over says so this often, for neighbours that were away, or switches that lose broadcasts.
const ANNOUNCEMENTS: u8 = 5;
const ANNOUNCE_PERIOD: Duration = Duration::from_secs(1);
/// Addresses that are announced at once; the others have to wait for the next time.
const ANNOUNCED_AT_ONCE: usize = 256;

/// What the task of a link and who directs it share.
#[derive(Default)]
struct Shared {
    addresses: BTreeSet<IpAddr>,
    /// How often each is still to be announced.
    fresh: BTreeMap<IpAddr, u8>,
}

/// A link; when it is dropped nothing is answered on it any more.
pub(crate) struct Link {
    interface: Interface,
    shared: Arc<Mutex<Shared>>,
    /// Member of the groups that are asked for IPv6 addresses: without, the network and the hardware would keep questions away.
    groups: Option<UdpSocket>,
    _end: DropGuard,
}

impl Link {
    pub(crate) fn open(interface: Interface) -> io::Result<Self> {
        let socket = Questions::open(&interface)?.watched()?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let end = CancellationToken::new();
        let serving = serve(socket, interface.mac, shared.clone());
        let token = end.clone();
        knarr_tasks::spawn("addresses of load balancers on a link", async move {
            token.run_until_cancelled(serving).await;
        });
        Ok(Self {
            groups: UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok(),
            interface,
            shared,
            _end: end.drop_guard(),
        })
    }

    /// Whether it is still this link, with the address that neighbours were told.
    pub(crate) fn is_of(&self, interface: &Interface) -> bool {
        self.interface.index == interface.index && self.interface.mac == interface.mac
    }

    /// Answers for these, and announces those that are new.
    pub(crate) fn set(&mut self, addresses: BTreeSet<IpAddr>) {
        let old = self.shared.lock().addresses.clone();
        if old == addresses {
            return;
        }
        for address in addresses.difference(&old) {
            tracing::info!(%address, link = self.interface.name, "answers for an address of a load balancer");
        }
        for address in old.difference(&addresses) {
            tracing::info!(%address, link = self.interface.name, "does not answer for an address of a load balancer any more");
        }
        self.join(&old, &addresses);
        let mut shared = self.shared.lock();
        shared
            .fresh
            .retain(|address, _| addresses.contains(address));
        for address in addresses.difference(&old) {
            shared.fresh.insert(*address, ANNOUNCEMENTS);
        }
        shared.addresses = addresses;
    }

    fn join(&self, old: &BTreeSet<IpAddr>, new: &BTreeSet<IpAddr>) {
        let groups = |addresses: &BTreeSet<IpAddr>| -> BTreeSet<Ipv6Addr> {
            let addresses = addresses.iter();
            let v6 = addresses.filter_map(|address| match address {
                IpAddr::V6(address) => Some(packet::solicited_node(*address)),
                IpAddr::V4(_) => None,
            });
            v6.collect()
        };
        let (old, new) = (groups(old), groups(new));
        let Some(socket) = &self.groups else {
            return;
        };
        for group in old.difference(&new) {
            let _ = socket.leave_multicast_v6(group, self.interface.index);
        }
        for group in new.difference(&old) {
            if let Err(error) = socket.join_multicast_v6(group, self.interface.index) {
                tracing::warn!(%group, %error, "cannot listen for questions for an address of a load balancer");
            }
        }
    }
}

async fn serve(socket: AsyncFd<Questions>, own: Mac, shared: Arc<Mutex<Shared>>) {
    let mut limit = Limit::new(Instant::now());
    let mut ticks = interval(ANNOUNCE_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => announce(socket.get_ref(), own, &shared),
            ready = socket.readable() => {
                let Ok(mut ready) = ready else { return };
                let read = ready.try_io(|socket| questions(socket.get_ref(), own, &shared, &mut limit));
                if let Ok(Err(error)) = read {
                    // The link is down, or gone: it is looked at again by who directs this.
                    tracing::debug!(%error, "cannot read questions");
                    tokio::time::sleep(ANNOUNCE_PERIOD).await;
                }
            }
        }
    }
}

/// Answers what has come; fails with `WouldBlock` when nothing is left.
fn questions(
    socket: &Questions,
    own: Mac,
    shared: &Mutex<Shared>,
    limit: &mut Limit,
) -> io::Result<()> {
    let mut frame = [0; FRAME_BYTES];
    for _ in 0..BATCH {
        let length = socket.receive(&mut frame)?;
        let asked = frame.get(..length).and_then(packet::question);
        // This machine's own questions are seen here, too.
        let Some(asked) = asked.filter(|asked| asked.mac != own) else {
            continue;
        };
        let is_ours = shared.lock().addresses.contains(&asked.target);
        if !is_ours || !limit.take(asked.mac, Instant::now()) {
            continue;
        }
        if let Some(answer) = packet::answer(&asked, own)
            && let Err(error) = socket.send(&answer)
        {
            tracing::debug!(%error, address = %asked.target, "cannot answer");
        }
    }
    Ok(())
}

fn announce(socket: &Questions, own: Mac, shared: &Mutex<Shared>) {
    let mut due = Vec::new();
    {
        let mut shared = shared.lock();
        let next: Vec<IpAddr> = (shared.fresh.keys().copied())
            .take(ANNOUNCED_AT_ONCE)
            .collect();
        for address in next {
            let left = shared.fresh.remove(&address).unwrap_or_default();
            if let Some(left @ 1..) = left.checked_sub(1) {
                shared.fresh.insert(address, left);
            }
            due.push(address);
        }
    }
    for address in due {
        for frame in packet::announcements(address, own) {
            if let Err(error) = socket.send(&frame) {
                tracing::debug!(%error, %address, "cannot announce");
            }
        }
    }
}
