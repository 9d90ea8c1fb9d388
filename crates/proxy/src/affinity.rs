//! Clients keep their endpoint while the table is replaced: what the sets of the old table remember goes into those of the new one.
//!
//! A set is known by its name, which has the endpoint and how long a client is remembered (`rules::sticky`): one of an endpoint that
//! has gone, or of another time, is not there any more, and neither are its clients. A client that is new to the old table after it
//! was read is not remembered; that is the time in which the kernel makes the new one.

use knarr_nft::{Element, Kernel, Table, Transaction, Value};
use tracing::{debug, warn};

use crate::{network::Network, transaction::Applied};

/// Most clients that are carried over, of all endpoints together: what one of them may have, twice. A transaction of so many elements
/// takes the kernel a second.
const CARRIED_MAX: usize = 1 << 17;

/// What is to follow a transaction that makes the tables of `networks` anew with the services of `next`.
pub async fn carried(
    kernel: &mut impl Kernel,
    networks: &[Network],
    next: &[Applied],
) -> Transaction {
    let mut made = Transaction::new();
    let sets: Vec<(Table, String)> = networks
        .iter()
        .zip(next)
        .flat_map(|(network, next)| {
            let mut names: Vec<_> = next.client_sets().collect();
            names.sort_unstable();
            let named = names.into_iter();
            named.map(|name| (network.table.clone(), name.to_owned()))
        })
        .collect();
    if sets.is_empty() {
        return made;
    }
    let found = match kernel.members(sets.clone(), CARRIED_MAX).await {
        Ok(found) => found,
        Err(error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "clients with session affinity may get another endpoint"
            );
            return made;
        }
    };
    let clients: usize = found.iter().map(Vec::len).sum();
    if clients == CARRIED_MAX {
        warn!(
            clients,
            "not more clients with session affinity are remembered; others may get another endpoint"
        );
    }
    debug!(clients, "clients keep their endpoint");
    for ((table, set), members) in sets.iter().zip(found) {
        let elements = members.into_iter().map(|(client, left)| {
            let element = Element::new([Value::Address(client)]);
            element.expires(left)
        });
        made.add_elements(table, set.as_str(), elements.collect());
    }
    made
}
