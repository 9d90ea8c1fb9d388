//! What one write of a Service has taken.

use std::sync::Arc;

use knarr_meta::object;
use parking_lot::Mutex;
use serde_json::Value;

use super::pool::{Pool, Refused};
use crate::hook::Taken;

/// Everything there is to take.
pub(super) struct Pools {
    pub ips: Mutex<Pool>,
    pub ports: Mutex<Pool>,
}

/// The numbers that one write took, and only these: what the object of a failed write names besides was never its.
pub(super) struct Taking {
    pools: Arc<Pools>,
    ips: Vec<u64>,
    ports: Vec<u64>,
}

impl Taking {
    pub(super) fn new(pools: Arc<Pools>) -> Taking {
        Taking {
            pools,
            ips: Vec::new(),
            ports: Vec::new(),
        }
    }

    pub(super) fn any_ip(&mut self) -> Result<u64, Refused> {
        let number = self.pools.ips.lock().take_any()?;
        self.ips.push(number);
        Ok(number)
    }

    pub(super) fn ip(&mut self, number: u64) -> Result<(), Refused> {
        self.pools.ips.lock().take(number)?;
        self.ips.push(number);
        Ok(())
    }

    pub(super) fn any_port(&mut self) -> Result<u64, Refused> {
        let number = self.pools.ports.lock().take_any()?;
        self.ports.push(number);
        Ok(number)
    }

    pub(super) fn port(&mut self, number: u64) -> Result<(), Refused> {
        self.pools.ports.lock().take(number)?;
        self.ports.push(number);
        Ok(())
    }

    pub(super) fn port_range(&self) -> std::ops::Range<u64> {
        self.pools.ports.lock().range()
    }

    /// True for a port that this write took.
    pub(super) fn has_port(&self, number: u64) -> bool {
        self.ports.contains(&number)
    }
}

impl Taken for Taking {
    fn keep(self: Box<Self>, object: &Value) {
        let uid = object::uid(object);
        let mut pool = self.pools.ips.lock();
        self.ips.iter().for_each(|number| pool.keep(*number, uid));
        let mut pool = self.pools.ports.lock();
        self.ports.iter().for_each(|number| pool.keep(*number, uid));
    }

    fn undo(self: Box<Self>) {
        let mut pool = self.pools.ips.lock();
        self.ips.iter().for_each(|number| pool.undo(*number));
        let mut pool = self.pools.ports.lock();
        self.ports.iter().for_each(|number| pool.undo(*number));
    }
}
