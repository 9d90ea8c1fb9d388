//! What differs from what the kernel has: of each thing that was touched, what it was.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::IpAddr,
};

use crate::{
    ids::{ChainId, Member, SetId},
    model::Direction,
};

/// A thing that is touched again and again has one change, or none if it is as before.
#[derive(Default)]
pub struct Changes {
    /// Whether it was there.
    pub sets: BTreeMap<SetId, bool>,
    pub members: BTreeMap<(SetId, Member), bool>,
    pub chains: BTreeMap<ChainId, bool>,
    /// Where the packets of an address were sent.
    pub isolated: BTreeMap<(Direction, IpAddr), Option<ChainId>>,
}

impl Changes {
    pub fn set(&mut self, id: SetId, was_there: bool) {
        note(&mut self.sets, id, was_there);
    }

    pub fn member(&mut self, id: SetId, member: Member, was_there: bool) {
        note(&mut self.members, (id, member), was_there);
    }

    pub fn chain(&mut self, id: ChainId, was_there: bool) {
        note(&mut self.chains, id, was_there);
    }

    pub fn isolated(&mut self, direction: Direction, address: IpAddr, was: Option<ChainId>) {
        note(&mut self.isolated, (direction, address), was);
    }
}

/// The first note is about what the kernel has.
fn note<K: Ord, V>(notes: &mut BTreeMap<K, V>, key: K, was: V) {
    if let Entry::Vacant(place) = notes.entry(key) {
        place.insert(was);
    }
}
