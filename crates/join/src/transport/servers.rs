//! The servers of a cluster, in the order in which a node asks them.
//!
//! Each node has an order of its own, which follows from its name: nodes spread over the servers, those of one that is lost over the
//! others, and one that comes takes its share of each. One that does not answer comes last for a while.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use http::uri::Authority;
use parking_lot::Mutex;
use rustls::ClientConfig;
use sha2::{Digest, Sha256};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::client::TlsStream;

use super::connect::{ConnectError, ConnectErrorKind, connect};
use crate::{Error, ServerAddress};

/// How long one that did not answer comes after all others.
const AVOIDED: Duration = Duration::from_secs(10);
/// How long one is waited for before the next is asked, too.
const NEXT_AFTER: Duration = Duration::from_secs(1);
/// A cluster has a handful; more are not learned.
const SERVERS_MAX: usize = 64;

/// The servers of a cluster.
pub(crate) struct Servers {
    /// By the user; at least one.
    named: Vec<ServerAddress>,
    /// Whose order it is.
    node_name: String,
    /// What stands in requests, whoever answers them.
    nominal: Authority,
    state: Mutex<State>,
}

struct State {
    /// All that are known: at least one.
    order: Vec<ServerAddress>,
    /// The one that answered last.
    current: ServerAddress,
    /// Those that did not answer, and until when they come last.
    avoided: HashMap<ServerAddress, Instant>,
}

impl Servers {
    pub(crate) fn new(named: Vec<ServerAddress>, node_name: &str) -> Result<Self, Error> {
        let nominal = named.first().ok_or(Error::NoServer)?.nominal()?;
        let order = ordered(node_name, named.clone());
        // There is one, of which the order was made.
        let current = order.first().cloned().ok_or(Error::NoServer)?;
        Ok(Self {
            named,
            node_name: node_name.to_owned(),
            nominal,
            state: Mutex::new(State {
                order,
                current,
                avoided: HashMap::new(),
            }),
        })
    }

    pub(crate) fn nominal(&self) -> Authority {
        self.nominal.clone()
    }

    /// Knows these from now on, beside those that the user has named, and no others.
    pub(crate) fn learn(&self, told: Vec<ServerAddress>) {
        let mut all = self.named.clone();
        all.extend(told.into_iter().take(SERVERS_MAX));
        let order = ordered(&self.node_name, all);
        let mut state = self.state.lock();
        state.avoided.retain(|server, _| order.contains(server));
        if !order.contains(&state.current)
            && let Some(first) = order.first()
        {
            state.current = first.clone();
        }
        state.order = order;
    }

    /// The servers, beginning with the one that answered last; last those that did not.
    fn in_order(&self) -> Vec<ServerAddress> {
        let (state, now) = (self.state.lock(), Instant::now());
        let others = state.order.iter().filter(|one| **one != state.current);
        let mut all: Vec<_> = [&state.current]
            .into_iter()
            .chain(others)
            .cloned()
            .collect();
        all.sort_by_key(|server| state.is_avoided(server, now));
        all
    }

    /// The one that answered last.
    pub(crate) fn current(&self) -> ServerAddress {
        self.state.lock().current.clone()
    }

    /// A connection to the first server that answers; the error is the last one's.
    pub(crate) async fn connect(
        &self,
        tls: &Arc<ClientConfig>,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let mut last = None;
        let mut left = self.in_order().into_iter();
        let mut trying = FuturesUnordered::new();
        loop {
            if let Some(server) = left.next() {
                trying.push(self.connect_to(server, tls));
            }
            let next = match left.len() {
                0 => trying.next().await,
                // What does not even refuse is not waited for alone.
                _ => match timeout(NEXT_AFTER, trying.next()).await {
                    Ok(next) => next,
                    Err(_) => continue,
                },
            };
            match next {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = Some(error),
                None => break,
            }
        }
        // There is at least one.
        Err(last.unwrap_or_else(|| ConnectError {
            server: self.current(),
            kind: ConnectErrorKind::Timeout,
        }))
    }

    async fn connect_to(
        &self,
        server: ServerAddress,
        tls: &Arc<ClientConfig>,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let connected = connect(&server, tls).await;
        let mut state = self.state.lock();
        match connected {
            Ok(stream) => {
                state.avoided.remove(&server);
                state.current = server;
                Ok(stream)
            }
            Err(kind) => {
                let until = Instant::now() + AVOIDED;
                state.avoided.insert(server.clone(), until);
                Err(ConnectError { server, kind })
            }
        }
    }

    /// Whether the first server of this node's order answers, which is not the one that answered last.
    pub(crate) async fn go_back(&self, tls: &Arc<ClientConfig>) -> bool {
        let first = {
            let (state, now) = (self.state.lock(), Instant::now());
            let first = state.order.first();
            let first = first.filter(|first| **first != state.current);
            first.filter(|first| !state.is_avoided(first, now)).cloned()
        };
        match first {
            Some(first) => self.connect_to(first, tls).await.is_ok(),
            None => false,
        }
    }

    /// Says why there was no answer: another try to get a connection knows more than a request that had none.
    pub(crate) async fn explain(&self, tls: &Arc<ClientConfig>, error: Error) -> Error {
        let unsent = match &error {
            Error::Api { source, .. } => !matches!(source, kube::Error::Api(_)),
            // By a clock that is off, a certificate has ended that has not.
            Error::NoClusterInfo { .. } | Error::CertificateEnded { .. } => true,
            _ => false,
        };
        match unsent {
            true => self.connect(tls).await.err().map_or(error, Error::from),
            false => error,
        }
    }
}

impl State {
    fn is_avoided(&self, server: &ServerAddress, now: Instant) -> bool {
        self.avoided.get(server).is_some_and(|until| now < *until)
    }
}

/// Each once, by a hash of the node's name and its address: one more or less leaves the others in their order.
fn ordered(node_name: &str, mut servers: Vec<ServerAddress>) -> Vec<ServerAddress> {
    servers.sort_by_cached_key(|server| {
        let mut hash = Sha256::new();
        hash.update(node_name);
        hash.update([0]);
        hash.update(server.to_string());
        hash.finalize()
    });
    servers.dedup();
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(numbers: std::ops::Range<u8>) -> Vec<ServerAddress> {
        let address = |n| format!("https://10.0.0.{n}").parse().expect("an address");
        numbers.map(address).collect()
    }

    #[test]
    fn nodes_spread_over_servers_and_stay_where_they_are() {
        let first = |node: &str, count: u8| ordered(node, servers(1..count + 1))[0].clone();
        let mut shares = HashMap::<ServerAddress, usize>::new();
        let mut moved = 0;
        for n in 0..600 {
            let node = format!("node-{n}");
            let (of_three, of_four) = (first(&node, 3), first(&node, 4));
            *shares.entry(of_three.clone()).or_default() += 1;
            if of_three != of_four {
                moved += 1;
                assert_eq!(of_four, servers(4..5)[0], "to the new one alone");
            }
        }
        assert!(
            shares.values().all(|share| (140..260).contains(share)),
            "{shares:?}"
        );
        assert!((100..200).contains(&moved), "{moved}");
    }

    #[test]
    fn what_is_learned_is_asked_beside_what_was_named() {
        let named = servers(1..2);
        let known = Servers::new(named.clone(), "a").expect("servers");
        assert_eq!(known.in_order(), named);
        known.learn(servers(1..4));
        let all = known.in_order();
        assert_eq!(
            (all.len(), &all[0]),
            (3, &named[0]),
            "whoever answers is kept"
        );
        known.learn(servers(7..200));
        assert_eq!(known.in_order().len(), 1 + SERVERS_MAX);
        known.learn(Vec::new());
        assert_eq!(known.in_order(), named);
    }

    #[tokio::test]
    async fn one_that_does_not_answer_comes_last() {
        let silent = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("an address");
            format!("https://{address}").parse().expect("an address")
        };
        let named: Vec<ServerAddress> = vec![silent(), silent(), silent()];
        let known = Servers::new(named, "a").expect("servers");
        let before = known.in_order();
        let tls = rustls::ClientConfig::builder_with_provider(crate::tls::provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let tls = Arc::new(tls);
        assert!(known.connect_to(before[0].clone(), &tls).await.is_err());
        let after = known.in_order();
        assert_eq!(after[2], before[0]);
        assert!(!known.go_back(&tls).await, "nobody answers");
    }
}
