//! What one write of a Service has taken.

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use knarr_meta::{object, status::Status};
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    cidr::{Cidr, Family},
    claims::{Claim, Claims, Number, Owner},
    pool::{Pool, Refused},
    ranges::Ranges,
};
use crate::hook::Taken;

/// How many numbers are tried that other servers turn out to have.
const ATTEMPTS: usize = 64;
/// The port before the first that a dry run makes up: beyond the usual range.
const FIRST_MADE_UP_PORT: u64 = 32768;

/// Everything there is to take.
pub(super) struct Pools {
    /// Of the cluster, the primary one first: all that its Services can have.
    pub families: Vec<Family>,
    pub ips: Mutex<Ranges>,
    pub ports: Mutex<Pool>,
    /// What others can see, or take, too.
    pub claims: Option<Claims>,
}

/// Why a number was not taken.
pub(super) enum Denied {
    Refused(Refused),
    /// Nobody can say whose it is.
    Store(Status),
}

impl Denied {
    /// What the writer is told.
    pub(super) fn or(self, refused: impl FnOnce(Refused) -> Status) -> Status {
        match self {
            Denied::Refused(why) => refused(why),
            Denied::Store(status) => status,
        }
    }
}

impl From<Refused> for Denied {
    fn from(refused: Refused) -> Denied {
        Denied::Refused(refused)
    }
}

/// Something to do with a number in a pool that has it.
type Act = fn(&mut Pool, u64);

impl Pools {
    /// Does something with a number wherever it is.
    pub(super) fn each(&self, number: Number, mut act: impl FnMut(&mut Pool, u64)) {
        match number {
            Number::Address(ip) => self.ips.lock().each(ip, act),
            Number::Port(port) => act(&mut self.ports.lock(), port),
        }
    }

    fn take_any(&self, of: Of) -> Result<Number, Refused> {
        match of {
            Of::Ips(family) => self.ips.lock().take_any(family).map(Number::Address),
            Of::Ports => self.ports.lock().take_any().map(Number::Port),
        }
    }

    fn take(&self, number: Number) -> Result<(), Refused> {
        match number {
            Number::Address(ip) => self.ips.lock().take(ip),
            Number::Port(port) => self.ports.lock().take(port),
        }
    }

    fn check(&self, number: Number) -> Result<(), Refused> {
        match number {
            Number::Address(ip) => self.ips.lock().check(ip),
            Number::Port(port) if self.ports.lock().range().contains(&port) => Ok(()),
            Number::Port(_) => Err(Refused::OutOfRange),
        }
    }

    /// Where a number is claimed in the store; none where no other server takes any.
    fn claims(&self, number: Number) -> Option<&Claims> {
        let claims = self.claims.as_ref();
        claims.filter(|claims| claims.are_for(number))
    }
}

/// The two kinds of numbers.
#[derive(Clone, Copy)]
enum Of {
    Ips(Family),
    Ports,
}

/// The numbers that one write took, and only these: what the object of a failed write names besides was never its.
pub(super) struct Taking {
    pools: Arc<Pools>,
    owner: Owner,
    /// Nothing is taken: addresses and ports are looked at, or made up.
    dry_run: bool,
    numbers: Vec<Number>,
    claims: Vec<Claim>,
}

impl Taking {
    /// Of a write that makes or changes `service`.
    pub(super) fn new(pools: Arc<Pools>, service: &Value, dry_run: bool) -> Taking {
        Taking {
            pools,
            dry_run,
            owner: Owner::of(service),
            numbers: Vec::new(),
            claims: Vec::new(),
        }
    }

    pub(super) async fn any_ip(&mut self, family: Family) -> Result<IpAddr, Denied> {
        if self.dry_run {
            let ranges = self.pools.ips.lock();
            let network = ranges.first_of(family).map(Cidr::network);
            return network.ok_or(Refused::Full.into());
        }
        match self.any(Of::Ips(family)).await? {
            Number::Address(ip) => Ok(ip),
            Number::Port(_) => Err(Refused::Full.into()),
        }
    }

    pub(super) async fn ip(&mut self, ip: IpAddr) -> Result<(), Denied> {
        if self.dry_run {
            let ranges = self.pools.ips.lock();
            let range = ranges.first_of(Family::of(ip.is_ipv6()));
            return match range.is_some_and(|range| range.offset(ip).is_some()) {
                // Whether another Service has it is not looked at.
                true => Ok(()),
                false => Err(Refused::OutOfRange.into()),
            };
        }
        self.given(Number::Address(ip)).await
    }

    pub(super) async fn any_port(&mut self) -> Result<u64, Denied> {
        if self.dry_run {
            let port = self.made_up_port();
            self.numbers.push(Number::Port(port));
            return Ok(port);
        }
        match self.any(Of::Ports).await? {
            Number::Port(port) => Ok(port),
            Number::Address(_) => Err(Refused::Full.into()),
        }
    }

    pub(super) async fn port(&mut self, wanted: i64) -> Result<(), Denied> {
        let Ok(number) = u64::try_from(wanted) else {
            // That a port is one is not looked at before it is taken.
            return match self.dry_run {
                true => Ok(()),
                false => Err(Refused::OutOfRange.into()),
            };
        };
        if self.dry_run {
            if self.has_port(wanted) || self.pools.ports.lock().has(number) {
                return Err(Refused::Taken.into());
            }
            self.numbers.push(Number::Port(number));
            return Ok(());
        }
        self.given(Number::Port(number)).await
    }

    /// One after those that the Service has already, as upstream's `PortAllocationOperation` makes it up.
    fn made_up_port(&self) -> u64 {
        let ports = self.numbers.iter().filter_map(|number| match number {
            Number::Port(port) => Some(*port),
            Number::Address(_) => None,
        });
        ports.max().unwrap_or(FIRST_MADE_UP_PORT).saturating_add(1)
    }

    async fn any(&mut self, of: Of) -> Result<Number, Denied> {
        for _ in 0..ATTEMPTS {
            let number = self.pools.take_any(of)?;
            // What somebody else has stays taken here, until a repair knows better.
            if self.claim(number).await? {
                self.numbers.push(number);
                return Ok(number);
            }
        }
        Err(Refused::Full.into())
    }

    async fn given(&mut self, number: Number) -> Result<(), Denied> {
        if self.pools.claims(number).is_none() {
            self.pools.take(number)?;
        } else {
            self.pools.check(number)?;
            // Another server may have given back what is taken here.
            if !self.claim(number).await? {
                return Err(Refused::Taken.into());
            }
            self.pools.each(number, Pool::seize as Act);
        }
        self.numbers.push(number);
        Ok(())
    }

    /// False where somebody else has it.
    async fn claim(&mut self, number: Number) -> Result<bool, Denied> {
        let Some(claims) = self.pools.claims(number) else {
            return Ok(true);
        };
        let claim = claims.take(number, &self.owner).await;
        let claim = claim.map_err(Denied::Store)?;
        let taken = claim.is_some();
        self.claims.extend(claim);
        Ok(taken)
    }

    pub(super) fn port_range(&self) -> std::ops::Range<u64> {
        self.pools.ports.lock().range()
    }

    /// The range of an address that nobody may have: its first or its last. A dry run tells the one that it looks at.
    pub(super) fn range_around(&self, ip: IpAddr) -> Option<String> {
        let ranges = self.pools.ips.lock();
        match self.dry_run {
            true => ranges.first_of(Family::of(ip.is_ipv6())).map(Cidr::text),
            false => ranges.around(ip),
        }
        .map(str::to_owned)
    }

    /// True for a port that this write took.
    pub(super) fn has_port(&self, number: i64) -> bool {
        u64::try_from(number).is_ok_and(|number| self.numbers.contains(&Number::Port(number)))
    }
}

#[async_trait]
impl Taken for Taking {
    fn keep(self: Box<Self>, object: &Value) {
        let uid = object::uid(object);
        for number in self.numbers {
            self.pools
                .each(number, |pool, number| pool.keep(number, uid));
        }
    }

    async fn undo(self: Box<Self>) {
        let this = *self;
        if this.dry_run {
            return;
        }
        if let Some(all) = &this.pools.claims {
            for claim in this.claims {
                all.undo(claim).await;
            }
        }
        for number in this.numbers {
            this.pools.each(number, Pool::undo as Act);
        }
    }
}
