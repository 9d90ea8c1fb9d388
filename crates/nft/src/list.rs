//! What is there, for who puts something into chains of others.

use std::{net::IpAddr, time::Duration};

use crate::{
    Connection, Error,
    connection::{Asked, comment},
    kernel::{self, elements, message},
    set::Member,
    table::{Family, Hook, Table},
    wire::{Attributes, Message, Writer},
};

/// A chain that somebody has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedChain {
    pub table: Table,
    pub name: String,
    /// Where packets come in; none if from other chains only.
    pub hook: Option<Hook>,
}

/// A rule that somebody has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRule {
    /// Names it for as long as it is there.
    pub handle: u64,
    pub comment: Option<String>,
}

impl Connection {
    /// The chains of a family's tables, whoever made them.
    ///
    /// # Errors
    /// When the kernel gives no answer.
    pub fn chains(&mut self, family: Family) -> Result<Vec<ListedChain>, Error> {
        let mut found = Vec::new();
        let asked = Asked::list(message::GET_CHAIN, family);
        self.ask(asked, |_| {}, |answer| found.extend(chain(&answer, family)))?;
        Ok(found)
    }

    /// The rules of a chain in their order, whoever made them; none where there is no such chain.
    ///
    /// # Errors
    /// When the kernel gives no answer.
    pub fn rules(&mut self, table: &Table, chain: &str) -> Result<Vec<ListedRule>, Error> {
        let mut found = Vec::new();
        let asked = Asked::list(message::GET_RULE, table.family);
        let named = |writer: &mut Writer| {
            writer.text(kernel::table::NAME, &table.name);
            writer.text(kernel::rule::CHAIN, chain);
        };
        self.ask(asked, named, |answer| found.extend(rule(&answer, chain)))?;
        Ok(found)
    }

    /// The addresses that rules have put into a set of addresses, each with the time that it has left; `limit` of them where there
    /// are more, none where there is no such set. One that comes or goes meanwhile may be among them.
    ///
    /// # Errors
    /// When the kernel gives no answer.
    pub fn members(
        &mut self,
        table: &Table,
        set: &str,
        limit: usize,
    ) -> Result<Vec<Member>, Error> {
        let mut found = Vec::new();
        let asked = Asked::list(message::GET_ELEMENTS, table.family);
        let named = |writer: &mut Writer| {
            writer.text(kernel::table::NAME, &table.name);
            writer.text(elements::SET, set);
        };
        self.ask(asked, named, |answer| {
            let room = limit.saturating_sub(found.len());
            found.extend(members(&answer).take(room));
        })?;
        Ok(found)
    }
}

fn members<'a>(answer: &Message<'a>) -> impl Iterator<Item = Member> + use<'a> {
    let is_of_elements = answer.kind == message::NEW_ELEMENTS;
    let attributes = answer.attributes();
    let list = attributes
        .find(elements::LIST)
        .filter(|_| is_of_elements)
        .unwrap_or_default();
    Attributes::new(list).filter_map(|(_, _, element)| {
        let element = Attributes::new(element);
        let key = Attributes::new(element.find(elements::KEY)?).find(kernel::data::VALUE)?;
        let left = element.find(elements::EXPIRATION)?.first_chunk()?;
        let left = Duration::from_millis(u64::from_be_bytes(*left));
        Some((address(key)?, left)).filter(|_| !left.is_zero())
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn chain(answer: &Message<'_>, family: Family) -> Option<ListedChain> {
    let attributes = answer.attributes();
    if answer.kind != message::NEW_CHAIN {
        return None;
    }
    let hook = attributes
        .find(kernel::chain::HOOK)
        .and_then(|hook| Attributes::new(hook).u32(kernel::chain::HOOK_NUMBER));
    Some(ListedChain {
        table: Table::new(family, attributes.text(kernel::table::NAME)?),
        name: attributes.text(kernel::chain::NAME)?.to_owned(),
        hook: hook.and_then(Hook::of_number),
    })
}

fn rule(answer: &Message<'_>, chain: &str) -> Option<ListedRule> {
    let attributes = answer.attributes();
    // Kernels that do not know what they are asked about tell of all.
    if answer.kind != message::NEW_RULE || attributes.text(kernel::rule::CHAIN) != Some(chain) {
        return None;
    }
    let handle = attributes.find(kernel::rule::HANDLE)?.first_chunk()?;
    Some(ListedRule {
        handle: u64::from_be_bytes(*handle),
        comment: attributes.find(kernel::rule::USER_DATA).and_then(comment),
    })
}
