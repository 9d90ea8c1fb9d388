//! Names of what is made for policies.

use std::net::IpAddr;

use knarr_nft::Protocol;

use crate::model::Direction;

/// Names a version of a policy; never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(pub u64);

/// Names a chain; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId {
    pub direction: Direction,
    pub number: u64,
}

/// Names a set; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub u64);

/// What pods bring into a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    Address(IpAddr),
    Port(IpAddr, Protocol, u16),
}

impl Member {
    pub fn address(self) -> IpAddr {
        match self {
            Self::Address(address) | Self::Port(address, ..) => address,
        }
    }
}
