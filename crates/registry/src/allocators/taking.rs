//! What one write of a Service has taken.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_meta::{object, status::Status};
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    claims::{Claim, Claims, Number, Owner},
    cluster_ip::Cidr,
    pool::{Pool, Refused},
};
use crate::hook::Taken;

/// How many numbers are tried that other servers turn out to have.
const ATTEMPTS: usize = 64;

/// Everything there is to take.
pub(super) struct Pools {
    pub cidr: Cidr,
    pub ips: Mutex<Pool>,
    pub ports: Mutex<Pool>,
    /// Where other servers take numbers, too.
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

/// The two kinds of numbers.
#[derive(Clone, Copy)]
enum Of {
    Ips,
    Ports,
}

impl Pools {
    fn of(&self, of: Of) -> &Mutex<Pool> {
        match of {
            Of::Ips => &self.ips,
            Of::Ports => &self.ports,
        }
    }

    fn number(&self, of: Of, number: u64) -> Number {
        match of {
            Of::Ips => Number::Address(self.cidr.address(number)),
            Of::Ports => Number::Port(number),
        }
    }
}

/// The numbers that one write took, and only these: what the object of a failed write names besides was never its.
pub(super) struct Taking {
    pools: Arc<Pools>,
    owner: Owner,
    numbers: Vec<(Of, u64)>,
    claims: Vec<Claim>,
}

impl Taking {
    /// Of a write that makes or changes `service`.
    pub(super) fn new(pools: Arc<Pools>, service: &Value) -> Taking {
        Taking {
            pools,
            owner: Owner::of(service),
            numbers: Vec::new(),
            claims: Vec::new(),
        }
    }

    pub(super) async fn any_ip(&mut self) -> Result<u64, Denied> {
        self.any(Of::Ips).await
    }

    pub(super) async fn ip(&mut self, number: u64) -> Result<(), Denied> {
        self.given(Of::Ips, number).await
    }

    pub(super) async fn any_port(&mut self) -> Result<u64, Denied> {
        self.any(Of::Ports).await
    }

    pub(super) async fn port(&mut self, number: u64) -> Result<(), Denied> {
        self.given(Of::Ports, number).await
    }

    async fn any(&mut self, of: Of) -> Result<u64, Denied> {
        for _ in 0..ATTEMPTS {
            let number = self.pools.of(of).lock().take_any()?;
            // What another server has stays taken here, until a repair knows better.
            if self.claim(of, number).await? {
                self.numbers.push((of, number));
                return Ok(number);
            }
        }
        Err(Refused::Full.into())
    }

    async fn given(&mut self, of: Of, number: u64) -> Result<(), Denied> {
        if self.pools.claims.is_none() {
            self.pools.of(of).lock().take(number)?;
        } else {
            if !self.pools.of(of).lock().range().contains(&number) {
                return Err(Refused::OutOfRange.into());
            }
            // Another server may have given back what is taken here.
            if !self.claim(of, number).await? {
                return Err(Refused::Taken.into());
            }
            self.pools.of(of).lock().seize(number);
        }
        self.numbers.push((of, number));
        Ok(())
    }

    /// False where another server's Service has it.
    async fn claim(&mut self, of: Of, number: u64) -> Result<bool, Denied> {
        let Some(claims) = &self.pools.claims else {
            return Ok(true);
        };
        let number = self.pools.number(of, number);
        let claim = claims.take(number, &self.owner).await;
        let claim = claim.map_err(Denied::Store)?;
        let taken = claim.is_some();
        self.claims.extend(claim);
        Ok(taken)
    }

    pub(super) fn port_range(&self) -> std::ops::Range<u64> {
        self.pools.ports.lock().range()
    }

    /// True for a port that this write took.
    pub(super) fn has_port(&self, number: u64) -> bool {
        let is_port = |(of, taken): &(Of, u64)| matches!(of, Of::Ports) && *taken == number;
        self.numbers.iter().any(is_port)
    }
}

#[async_trait]
impl Taken for Taking {
    fn keep(self: Box<Self>, object: &Value) {
        let uid = object::uid(object);
        for (of, number) in self.numbers {
            self.pools.of(of).lock().keep(number, uid);
        }
    }

    async fn undo(self: Box<Self>) {
        let this = *self;
        if let Some(all) = &this.pools.claims {
            for claim in this.claims {
                all.undo(claim).await;
            }
        }
        for (of, number) in this.numbers {
            this.pools.of(of).lock().undo(number);
        }
    }
}
