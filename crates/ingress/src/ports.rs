//! The ports that are listened on: those of Ingresses always, those of Gateways as they come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use knarr_tasks::Tasks;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    handshake::Handshakes,
    listen::{Gate, Port, State},
    serve::Core,
};

/// What ports are opened with.
pub struct Opening {
    /// The address for all.
    pub any: IpAddr,
    pub core: Arc<Core>,
    pub handshakes: Arc<Handshakes>,
    pub gate: Gate,
    pub tasks: Tasks,
    pub token: CancellationToken,
}

/// A port that is listened on, or that is to be.
struct Open {
    stop: CancellationToken,
    state: watch::Receiver<State>,
    /// It is Ingresses', and is never closed.
    kept: bool,
}

/// All of them.
pub struct Ports {
    opening: Opening,
    open: BTreeMap<u16, Open>,
    /// Told when one's state changes.
    changed: Arc<Notify>,
}

impl Ports {
    pub fn new(opening: Opening, changed: Arc<Notify>) -> Self {
        Self {
            opening,
            open: BTreeMap::new(),
            changed,
        }
    }

    /// Opens a port for good.
    pub fn keep(&mut self, number: u16) -> watch::Receiver<State> {
        let open = self.start(number, true);
        let state = open.state.clone();
        self.open.insert(number, open);
        state
    }

    /// Opens these, and closes all others that are not kept.
    pub fn open(&mut self, wanted: &BTreeSet<u16>) {
        self.open.retain(|number, open| {
            let stays = open.kept || wanted.contains(number);
            if !stays {
                open.stop.cancel();
            }
            stays
        });
        let is_new = |number: &u16| !self.open.contains_key(number);
        let new: Vec<u16> = wanted.iter().copied().filter(is_new).collect();
        for number in new {
            let open = self.start(number, false);
            self.open.insert(number, open);
        }
    }

    /// How a port is.
    pub fn state(&self, number: u16) -> State {
        let open = self.open.get(&number);
        open.map_or(State::Waiting, |open| open.state.borrow().clone())
    }

    fn start(&self, number: u16, kept: bool) -> Open {
        let opening = &self.opening;
        let (sender, state) = watch::channel(State::Waiting);
        let stop = opening.token.child_token();
        let port = Port {
            address: SocketAddr::new(opening.any, number),
            core: opening.core.clone(),
            handshakes: opening.handshakes.clone(),
            gate: opening.gate.clone(),
            state: sender,
        };
        let running = port.run(opening.tasks.clone(), stop.clone());
        match kept {
            true => opening.tasks.keep("a port of the Ingress", running),
            false => {
                opening.tasks.spawn("a port of a Gateway", running);
                opening.tasks.spawn(
                    "the state of a port",
                    tell(state.clone(), self.changed.clone(), stop.clone()),
                );
            }
        }
        Open { stop, state, kept }
    }
}

async fn tell(mut state: watch::Receiver<State>, changed: Arc<Notify>, stop: CancellationToken) {
    while let Some(Ok(())) = stop.run_until_cancelled(state.changed()).await {
        changed.notify_one();
    }
}
