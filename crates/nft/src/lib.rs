//! nf_tables over netlink.
//!
//! ```text
//! Rule, Set, Element -> Transaction -> messages -> Connection::commit -> the kernel, all or nothing
//!                       Monitor: who else changes a table
//! Netlink: both, for who keeps a whole table
//! Connection::chains, ::rules, ::members: what is there, whoever made it
//! ```
//!
//! A [`Transaction`] is a list of operations. It is written in nft's language for people ([`std::fmt::Display`]) and as netlink
//! messages for the kernel; tests see to it that both make the same ruleset, so the program `nft` is needed by nobody but them.
//! What it costs depends on what it changes alone: nothing that is there is read first.
//!
//! The kernel looks through every chain that can be reached in a table when a transaction adds what may lead to another chain:
//! a rule that jumps, translates or looks up, or an element with a verdict. Elements of sets and of maps of values are free of
//! that. Who changes much and often keeps it in those.
//!
//! Addresses are of either family everywhere; a table has one (`ip` or `ip6`), and a transaction may change several tables.
//!
//! Rejected: see `docs/decisions/0005-nftables.md`.

// What the kernel answers is of lengths and offsets, and how much there is to write is for users to say.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod connection;
mod error;
mod kernel;
mod list;
mod monitor;
mod netlink;
mod ports;
mod rule;
mod set;
mod table;
mod transaction;
mod value;
mod wire;

pub use connection::{Connection, apply};
pub use error::Error;
pub use list::{ListedChain, ListedRule};
pub use monitor::{Monitor, Watched};
pub use netlink::{Kernel, Netlink, Pauses};
pub use rule::{Reject, Rule, Selector};
pub use set::{Contents, Data, Element, Member, Set};
pub use table::{Chain, ChainKind, Family, Hook, Table, Verdict};
pub use transaction::Transaction;
pub use value::{AddressKind, Field, Protocol, Value};
