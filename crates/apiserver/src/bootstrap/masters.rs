//! Which servers there are: those of one store write a key each, as upstream's lease endpoint reconciler does, and whose key is not
//! written any more is gone.
//!
//! Upstream's keys go by themselves, with leases of the store. Here each server judges by its own clock for how long a key has been as it
//! is, and deletes it; so clocks are not compared, and any store will do.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use knarr_meta::object;
use knarr_store::{KeyValue, Op, Store};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Upstream's keys: an Endpoints object with one address below each.
const PREFIX: &str = "/registry/masterleases/";
/// How old a key may get, as upstream's `--apiserver-lease-ttl`.
const LIFE: Duration = Duration::from_secs(15);
/// Servers of one cluster, at most; more are not looked at.
const MAX_SERVERS: usize = 256;

/// The servers of a store.
pub(super) struct Masters {
    own: IpAddr,
    /// None where no other server can be.
    store: Option<Arc<dyn Store>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How often this server has said that it is there.
    generation: u64,
    /// Keys at their revisions, and since when they have been so.
    seen: HashMap<Arc<str>, (u64, Instant)>,
    others: Vec<IpAddr>,
}

impl Masters {
    pub(super) fn new(own: IpAddr, store: Option<Arc<dyn Store>>) -> Masters {
        Masters {
            own,
            store,
            state: Mutex::default(),
        }
    }

    /// Whether there can be others.
    pub(super) fn are_several(&self) -> bool {
        self.store.is_some()
    }

    /// All of them, in order.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let mut all = self.state.lock().others.clone();
        all.push(self.own);
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Says that this server is there, and looks which others are.
    pub(super) async fn renew(&self) -> Result<(), knarr_store::Error> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let generation = {
            let mut state = self.state.lock();
            state.generation = state.generation.saturating_add(1);
            state.generation
        };
        let value = self.endpoints(generation).to_string();
        store.commit(Op::put(self.key(), value)).await?;
        let kvs = store.range(PREFIX, None, MAX_SERVERS, None).await?.kvs;
        let gone = self.state.lock().look(&kvs, Instant::now());
        for (key, revision) in gone {
            // One that was written meanwhile stays.
            store.commit(Op::delete_at(&*key, revision)).await?;
        }
        Ok(())
    }

    /// Says that this server goes.
    pub(super) async fn leave(&self) {
        let Some(store) = &self.store else {
            return;
        };
        if let Err(error) = store.commit(Op::delete(self.key())).await {
            tracing::warn!(%error, "cannot say that this server goes; it is missed after a while");
        }
    }

    fn key(&self) -> String {
        format!("{PREFIX}{}", self.own)
    }

    fn endpoints(&self, generation: u64) -> Value {
        json!({
            "kind": "Endpoints",
            "apiVersion": "v1",
            "metadata": {"generation": generation},
            "subsets": [{"addresses": [{"ip": self.own.to_string()}]}],
        })
    }
}

impl State {
    /// Takes in what is stored; which keys, at which revisions, are of servers that are gone.
    fn look(&mut self, kvs: &[KeyValue], now: Instant) -> Vec<(Arc<str>, u64)> {
        let before = std::mem::take(&mut self.seen);
        self.others.clear();
        let mut gone = Vec::new();
        for kv in kvs {
            let since = match before.get(&kv.key) {
                Some((revision, since)) if *revision == kv.mod_revision => *since,
                _ => now,
            };
            if now.duration_since(since) >= LIFE {
                gone.push((kv.key.clone(), kv.mod_revision));
                continue;
            }
            self.seen.insert(kv.key.clone(), (kv.mod_revision, since));
            self.others.extend(address(kv));
        }
        gone
    }
}

/// Upstream's servers store theirs as protobuf, and name the address in the key, too.
fn address(kv: &KeyValue) -> Option<IpAddr> {
    let value: Option<Value> = serde_json::from_slice(&kv.value).ok();
    let told = value.and_then(|value| {
        let subset = object::list_at(&value, &["subsets"]).first()?.clone();
        let address = object::list_at(&subset, &["addresses"]).first()?.clone();
        object::str_at(&address, &["ip"]).parse().ok()
    });
    told.or_else(|| kv.key.strip_prefix(PREFIX)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use knarr_store::Memory;

    use super::*;

    fn masters(store: &Arc<Memory>, ip: &str) -> Masters {
        Masters::new(ip.parse().expect("an address"), Some(store.clone()))
    }

    fn texts(masters: &Masters) -> Vec<String> {
        masters
            .addresses()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[tokio::test]
    async fn servers_see_each_other_come_and_go() {
        let store = Arc::new(Memory::default());
        let (one, other) = (masters(&store, "10.0.0.2"), masters(&store, "10.0.0.1"));
        one.renew().await.expect("a store");
        assert_eq!(texts(&one), ["10.0.0.2"]);
        other.renew().await.expect("a store");
        one.renew().await.expect("a store");
        assert_eq!(texts(&one), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(texts(&other), texts(&one));
        other.leave().await;
        one.renew().await.expect("a store");
        assert_eq!(texts(&one), ["10.0.0.2"]);
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_gone() {
        let store = Arc::new(Memory::default());
        masters(&store, "10.0.0.1").renew().await.expect("a store");
        let kvs = store.range(PREFIX, None, 0, None).await.expect("keys").kvs;
        let (mut state, start) = (State::default(), Instant::now());
        assert_eq!(state.look(&kvs, start), []);
        assert_eq!(state.look(&kvs, start + LIFE - Duration::from_secs(1)), []);
        assert_eq!(state.others.len(), 1);
        let gone = state.look(&kvs, start + LIFE);
        assert_eq!(gone, [(kvs[0].key.clone(), kvs[0].mod_revision)]);
        assert!(state.others.is_empty());
    }
}
