//! Lets what is forwarded for a cluster through a chain of others that drops it.
//!
//! A packet has to be accepted by the chains of every table. Docker and ufw have the chain `FORWARD` of iptables drop whatever no rule of
//! it accepts, hosts of clouds have it reject that; so whoever forwards on a machine puts its exceptions there, as kube-proxy and flannel
//! do: two rules a range of ours, before all others. What policies refuse is dropped by tables of our own, whatever these accept.
//!
//! Firewalls in chains of other names are their administrator's own word, and are left as they are.

use knarr_meta::prefix::Prefix;
use knarr_nft::{Connection, Error, Family, Hook, Rule, Selector, Table, Transaction, Verdict};

use super::table;
use crate::InstanceId;

/// Where iptables has the rules for what is forwarded.
const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";

/// The tables of others in which something may change for us.
pub(super) fn tables() -> Vec<Table> {
    super::tables(Family::BOTH, TABLE)
}

/// What ranges are for; each purpose of a cluster has its own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Pods,
    /// Those that share the machine.
    Nodes,
}

impl Purpose {
    /// What the comments of its rules begin with.
    fn prefix(self, instance: &InstanceId) -> String {
        let purpose = match self {
            Self::Pods => "pods",
            Self::Nodes => "nodes",
        };
        format!("{} {purpose} ", table(instance))
    }
}

/// Has the chains that are there accept what comes from these ranges and what goes to them, and nothing else for this purpose: rules
/// of other ranges go. Blocks.
///
/// # Errors
/// When the kernel refuses. Chains of the other family may have theirs.
pub(crate) fn admit(
    instance: &InstanceId,
    purpose: Purpose,
    ranges: &[Prefix],
) -> Result<(), Error> {
    let mut connection = Connection::open()?;
    for table in tables() {
        let ranges = ranges.iter().copied();
        let own = ranges.filter(|range| Family::of(range.address()) == table.family);
        let wanted: Vec<_> = own
            .flat_map(|range| exceptions(&purpose.prefix(instance), range))
            .collect();
        settle(&mut connection, &table, &purpose.prefix(instance), wanted)?;
    }
    Ok(())
}

/// Takes the rules of a cluster away, of all purposes. Blocks.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn dismiss(instance: &InstanceId) -> Result<(), Error> {
    let mut connection = Connection::open()?;
    let prefix = format!("{} ", table(instance));
    tables()
        .iter()
        .try_for_each(|table| settle(&mut connection, table, &prefix, Vec::new()))
}

/// From a range and to it: how each is known again, and what it says.
fn exceptions(prefix: &str, range: Prefix) -> [(String, Rule); 2] {
    let family = Family::of(range.address());
    let of = |way: &str, what: Selector| {
        let rule = Rule::new().prefix(what, range.pair());
        (
            format!("{prefix}{way} {range}"),
            rule.verdict(Verdict::Accept),
        )
    };
    [
        of("to", Selector::Destination(family)),
        of("from", Selector::Source(family)),
    ]
}

/// Makes the rules whose comments begin with `prefix` those that are wanted. Rules that are there stay where they are.
fn settle(
    connection: &mut Connection,
    table: &Table,
    prefix: &str,
    wanted: Vec<(String, Rule)>,
) -> Result<(), Error> {
    let chains = connection.chains(table.family)?;
    let is_it = |chain: &knarr_nft::ListedChain| {
        chain.table == *table && chain.name == CHAIN && chain.hook == Some(Hook::Forward)
    };
    if !chains.iter().any(is_it) {
        return Ok(());
    }
    let mut known = Vec::new();
    let mut change = Transaction::new();
    for rule in connection.rules(table, CHAIN)? {
        let Some(comment) = rule.comment.filter(|comment| comment.starts_with(prefix)) else {
            continue;
        };
        let is_wanted = wanted.iter().any(|(wanted, _)| *wanted == comment);
        if is_wanted && !known.contains(&comment) {
            known.push(comment);
        } else {
            change.delete_rule(table, CHAIN, rule.handle);
        }
    }
    for (comment, rule) in wanted {
        if !known.contains(&comment) {
            change.insert_rule(table, CHAIN, rule, comment);
        }
    }
    connection.commit(&change, None)
}

#[cfg(test)]
mod tests;
