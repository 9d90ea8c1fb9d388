//! The hollow kubelets: what each of them knows of itself.

use std::{collections::HashMap, net::IpAddr};

use knarr_client::lease::NodeLease;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    config::Config,
    node::{self, Seen},
    pool::Pool,
    range::Range,
};

/// The range's own address comes before the first node's.
const FIRST_ADDRESS: u128 = 1;
/// Why a node is not ready, where that is simulated.
const TROUBLE: &str = "[container runtime is not ready: RuntimeReady=false reason:Simulated message:it is simulated not to work]";

/// One of them.
pub(crate) struct Hollow {
    pub name: String,
    pub address: IpAddr,
    /// Its container runtime never works.
    is_broken: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Its Node's; `None` while there is no such Node.
    uid: Option<String>,
    /// Its machine is off for the moment.
    is_down: bool,
    /// Somebody has annotated its Node.
    is_stopped: bool,
    is_broken: bool,
    pool: Option<Pool>,
    next_report: Option<Instant>,
    lease: Option<NodeLease>,
}

/// What has become of a node by what is seen of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turned {
    /// Its kubelet works again, or for the first time.
    pub is_alive: bool,
    /// Its pods may go on.
    pub runs_pods: bool,
}

impl Hollow {
    /// Whether its kubelet says anything.
    pub(crate) fn beats(&self) -> bool {
        self.state.lock().beats()
    }

    /// Whether its pods start, run and end.
    pub(crate) fn runs_pods(&self) -> bool {
        let beats = self.beats();
        beats && self.trouble().is_none()
    }

    /// Why its kubelet is not ready.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        let said = self.state.lock().is_broken;
        (self.is_broken || said).then_some(TROUBLE)
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.state.lock().uid.is_some()
    }

    /// Registered, and nobody has given its pods a range of addresses.
    pub(crate) fn lacks_range(&self) -> bool {
        let state = self.state.lock();
        state.uid.is_some() && state.pool.is_none()
    }

    /// Registered, and neither heard nor seen.
    pub(crate) fn is_down(&self) -> bool {
        let state = self.state.lock();
        state.uid.is_some() && !state.beats()
    }

    /// Takes in what its object says now; what that changes.
    pub(crate) fn see(&self, seen: &Seen) -> Turned {
        let before = self.condition();
        {
            let mut state = self.state.lock();
            if state.uid.as_deref() != Some(seen.uid.as_str()) {
                state.uid = Some(seen.uid.clone());
                state.lease = None;
                state.next_report = None;
            }
            state.is_stopped = seen.is_stopped;
            state.is_broken = seen.is_broken;
            let range: Option<Range> = seen.range.as_deref().and_then(|range| range.parse().ok());
            if state.pool.as_ref().map(Pool::range) != range {
                state.pool = range.map(Pool::new);
            }
        }
        let now = self.condition();
        Turned {
            is_alive: now.0 && !before.0,
            runs_pods: now.1 && !before.1,
        }
    }

    /// Whether it beats, and whether its pods get anywhere.
    fn condition(&self) -> (bool, bool) {
        (self.beats(), self.runs_pods())
    }

    /// Its object is gone: it is no node any more.
    pub(crate) fn lose(&self) {
        let mut state = self.state.lock();
        *state = State {
            is_down: state.is_down,
            ..State::default()
        };
    }

    /// Turns its machine off or on; whether it is on now.
    pub(crate) fn turn(&self) -> bool {
        let mut state = self.state.lock();
        state.is_down = !state.is_down;
        !state.is_down
    }

    /// When its status is due although nothing has changed; at once where it never was told.
    pub(crate) fn next_report(&self) -> Option<Instant> {
        self.state.lock().next_report
    }

    pub(crate) fn reported(&self, next: Instant) {
        self.state.lock().next_report = Some(next);
    }

    /// Its lease, for one renewal; `None` while it has no object.
    pub(crate) fn take_lease(&self, client: &kube::Client) -> Option<NodeLease> {
        let mut state = self.state.lock();
        let uid = state.uid.clone()?;
        let make = || NodeLease::new(client.clone(), self.name.as_str(), Some(uid));
        Some(state.lease.take().unwrap_or_else(make))
    }

    pub(crate) fn put_lease(&self, lease: NodeLease) {
        self.state.lock().lease = Some(lease);
    }

    /// A free address for a pod.
    pub(crate) fn take_address(&self) -> Option<IpAddr> {
        self.state.lock().pool.as_mut()?.take()
    }

    pub(crate) fn occupy(&self, address: IpAddr) {
        if let Some(pool) = &mut self.state.lock().pool {
            pool.occupy(address);
        }
    }

    pub(crate) fn free(&self, address: IpAddr) {
        if let Some(pool) = &mut self.state.lock().pool {
            pool.free(address);
        }
    }
}

impl State {
    fn beats(&self) -> bool {
        self.uid.is_some() && !self.is_down && !self.is_stopped
    }
}

/// All of them.
pub(crate) struct Table {
    all: Vec<Hollow>,
    by_name: HashMap<String, u32>,
}

impl Table {
    /// `None` where there are fewer addresses than nodes.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let mut all = Vec::new();
        let mut by_name = HashMap::new();
        for index in 0..config.count {
            let name = node::name(config, index);
            by_name.insert(name.clone(), index);
            let place = FIRST_ADDRESS.checked_add(index.into())?;
            all.push(Hollow {
                address: config.node_range.nth(place)?,
                is_broken: config.not_ready.has(config.seed, &name),
                name,
                state: Mutex::default(),
            });
        }
        Some(Self { all, by_name })
    }

    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Hollow> {
        self.all.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn index(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn of(&self, name: &str) -> Option<&Hollow> {
        self.get(self.index(name)?)
    }

    pub(crate) fn all(&self) -> &[Hollow] {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures::{config, seen};

    fn node(annotations: Value, range: Option<&str>) -> Seen {
        seen(
            &json!({"metadata": {"name": "sim-1", "uid": "u", "annotations": annotations}, "spec": {"podCIDR": range}}),
        )
    }

    #[test]
    fn a_node_lives_by_what_is_seen_of_it() {
        let table = Table::new(&config()).expect("addresses");
        let hollow = table.of("sim-1").expect("a node");
        assert!(!hollow.beats() && !hollow.is_registered());
        let range = Some("10.42.1.0/24");
        let turned = |is_alive, runs_pods| Turned {
            is_alive,
            runs_pods,
        };
        assert_eq!(hollow.see(&node(json!({}), None)), turned(true, true));
        assert!(hollow.lacks_range());
        assert_eq!(hollow.see(&node(json!({}), range)), turned(false, false));
        let address = hollow.take_address();
        assert_eq!(address.map(|a| a.to_string()), Some("10.42.1.2".into()));
        // The same range again keeps what is taken.
        assert_eq!(hollow.see(&node(json!({}), range)), turned(false, false));
        assert_ne!(hollow.take_address(), address);
        let stopped = json!({node::STOPPED_ANNOTATION: "true"});
        assert_eq!(hollow.see(&node(stopped, range)), turned(false, false));
        assert!(hollow.is_down() && !hollow.runs_pods());
        let broken = json!({node::NOT_READY_ANNOTATION: "true"});
        assert_eq!(hollow.see(&node(broken, range)), turned(true, false));
        assert!(hollow.beats() && hollow.trouble().is_some() && !hollow.runs_pods());
        assert_eq!(hollow.see(&node(json!({}), range)), turned(false, true));
        hollow.lose();
        assert!(!hollow.beats() && !hollow.is_down());
    }

    #[test]
    fn machines_go_off_and_on() {
        let table = Table::new(&config()).expect("addresses");
        let hollow = table.of("sim-2").expect("a node");
        hollow.see(&node(json!({}), Some("10.42.1.0/24")));
        assert!(!hollow.turn());
        assert!(hollow.is_down() && !hollow.beats());
        assert!(hollow.turn());
        assert!(hollow.beats());
    }

    #[test]
    fn more_nodes_than_addresses_are_none() {
        let mut config = config();
        config.node_range = "198.18.0.0/30".parse().expect("a range");
        assert!(Table::new(&config).is_some());
        config.count = 4;
        assert!(Table::new(&config).is_none());
    }
}
