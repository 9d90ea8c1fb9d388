//! Sockets and messages: what arrives, who answers it, and how the answer is put together.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use knarr_tasks::accept;
use parking_lot::RwLock;
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{
    forward::{Forwarder, read_framed, write_framed},
    zone::{Answer, Zone},
};

/// Queries that wait for a resolver, and TCP connections, at once; more are dropped and asked again.
const FORWARDED_AT_ONCE: usize = 1024;
const CONNECTIONS_AT_ONCE: usize = 256;
/// A TCP client that says nothing for this long is done.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest query over UDP.
const QUERY_LIMIT_BYTES: usize = 4096;
/// What fits into a UDP answer by default and at most (the size that crosses the internet unfragmented).
const PLAIN_LIMIT_BYTES: u16 = 512;
const EDNS_LIMIT_BYTES: u16 = 1232;
/// CNAMEs within the cluster that are followed.
const CHAIN_LIMIT: usize = 8;

struct Shared {
    zone: Zone,
    /// What was known of it before, until it is known.
    kept: RwLock<Option<Arc<Zone>>>,
    forwarder: Forwarder,
}

/// Answers queries.
pub struct Server {
    shared: Arc<Shared>,
}

/// A query after the cluster's zones were looked at.
enum Outcome {
    Answered(Vec<u8>),
    Forward,
    Follow(Box<Follow>),
    Ignore,
}

/// An answer that lacks what an alias outside of the cluster stands for. Clients do not look for that themselves.
struct Follow {
    response: Message,
    target: Name,
    kind: RecordType,
    limit: u16,
}

/// How far the cluster knows a name.
enum Known {
    Whole,
    /// Up to this one, which is somebody else's.
    Alias(Name),
    Nothing,
}

impl Server {
    /// `kept` is what was known of the zone before; it is good until the zone has its first lists.
    pub fn new(zone: Zone, kept: Option<Zone>, forwarder: Forwarder) -> Self {
        Self {
            shared: Arc::new(Shared {
                zone,
                kept: RwLock::new(kept.map(Arc::new)),
                forwarder,
            }),
        }
    }

    /// What is answered to a message without asking the node's resolvers, if anything is.
    pub fn answer(&self, message: &[u8], tcp: bool) -> Option<Vec<u8>> {
        match self.shared.answer(message, tcp) {
            Outcome::Answered(answer) => Some(answer),
            Outcome::Forward | Outcome::Follow(_) | Outcome::Ignore => None,
        }
    }

    pub async fn run(self, udp: UdpSocket, tcp: TcpListener, token: CancellationToken) {
        let tracker = TaskTracker::new();
        let udp = self.serve_udp(Arc::new(udp), &tracker);
        let tcp = self.serve_tcp(tcp, &tracker);
        token
            .run_until_cancelled(futures::future::join(udp, tcp))
            .await;
        // What still waits for a resolver has nobody to answer to: it ends by its own deadline.
        tracker.close();
    }

    async fn serve_udp(&self, socket: Arc<UdpSocket>, tracker: &TaskTracker) {
        let permits = Arc::new(Semaphore::new(FORWARDED_AT_ONCE));
        let mut buffer = vec![0; QUERY_LIMIT_BYTES];
        loop {
            let (length, client) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // An ICMP error for an earlier answer; the socket itself is fine.
                    debug!(%error, "receiving failed");
                    continue;
                }
            };
            let query = &buffer[..length];
            match self.shared.answer(query, false) {
                Outcome::Answered(answer) => {
                    if let Err(error) = socket.send_to(&answer, client).await {
                        debug!(%error, %client, "answering failed");
                    }
                }
                Outcome::Ignore => {}
                outcome => {
                    let Ok(permit) = permits.clone().try_acquire_owned() else {
                        warn!("too many queries wait for the node's resolvers; dropping one");
                        continue;
                    };
                    let (shared, socket, query) =
                        (self.shared.clone(), socket.clone(), query.to_vec());
                    tracker.spawn(async move {
                        let _permit = permit;
                        let answer = shared.ask_others(outcome, &query, false).await;
                        socket.send_to(&answer, client).await.ok();
                    });
                }
            }
        }
    }

    async fn serve_tcp(&self, listener: TcpListener, tracker: &TaskTracker) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_AT_ONCE));
        loop {
            // The semaphore is never closed.
            let permit = permits.clone().acquire_owned().await.ok();
            let (stream, _) = accept("a DNS connection", || listener.accept()).await;
            let shared = self.shared.clone();
            tracker.spawn(async move {
                let _permit = permit;
                shared.serve_connection(stream).await;
            });
        }
    }
}

impl Shared {
    async fn serve_connection(&self, mut stream: TcpStream) {
        while let Ok(Ok(Some(query))) = timeout(IDLE_TIMEOUT, read_framed(&mut stream)).await {
            let answer = match self.answer(&query, true) {
                Outcome::Answered(answer) => answer,
                Outcome::Ignore => return,
                outcome => self.ask_others(outcome, &query, true).await,
            };
            let written = timeout(IDLE_TIMEOUT, write_framed(&mut stream, &answer)).await;
            if !matches!(written, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn answer(&self, bytes: &[u8], tcp: bool) -> Outcome {
        let Ok(query) = Message::from_vec(bytes) else {
            // Without a readable header there is no id to answer to; with one, the client learns what is wrong.
            return match bytes {
                [a, b, ..] if bytes.len() >= 12 => {
                    let id = u16::from_be_bytes([*a, *b]);
                    encode(&Message::error_msg(
                        id,
                        OpCode::Query,
                        ResponseCode::FormErr,
                    ))
                }
                _ => Outcome::Ignore,
            };
        };
        if query.metadata.message_type != MessageType::Query {
            return Outcome::Ignore;
        }
        let mut response = Message::response(query.metadata.id, query.metadata.op_code);
        response.metadata.recursion_desired = query.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        response.add_queries(query.queries.iter().cloned());
        if query.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(EDNS_LIMIT_BYTES);
            response.set_edns(edns);
        }
        let [question] = query.queries.as_slice() else {
            response.metadata.response_code = ResponseCode::FormErr;
            return encode(&response);
        };
        if query.metadata.op_code != OpCode::Query {
            response.metadata.response_code = ResponseCode::NotImp;
            return encode(&response);
        }
        let kind = question.query_type();
        let known = self.resolve(&mut response, question.name(), kind);
        let limit = match (tcp, &query.edns) {
            (true, _) => u16::MAX,
            (false, None) => PLAIN_LIMIT_BYTES,
            (false, Some(edns)) => edns
                .max_payload()
                .clamp(PLAIN_LIMIT_BYTES, EDNS_LIMIT_BYTES),
        };
        match known {
            Known::Nothing => Outcome::Forward,
            Known::Whole => fit(response, limit),
            Known::Alias(target) => Outcome::Follow(Box::new(Follow {
                response,
                target,
                kind,
                limit,
            })),
        }
    }

    /// What is known of a name, now or from before.
    fn lookup(&self, name: &Name, kind: RecordType) -> Answer {
        let kept = self.kept.read().clone();
        match kept {
            Some(_) if self.zone.is_synced() => {
                *self.kept.write() = None;
                self.zone.lookup(name, kind)
            }
            Some(kept) => kept.lookup(name, kind),
            None => self.zone.lookup(name, kind),
        }
    }

    /// Fills in what the cluster knows.
    fn resolve(&self, response: &mut Message, name: &Name, kind: RecordType) -> Known {
        let mut name = name.clone();
        for step in 0..=CHAIN_LIMIT {
            let records = match self.lookup(&name, kind) {
                Answer::Foreign if step > 0 => return Known::Alias(name),
                Answer::Foreign => return Known::Nothing,
                Answer::NoName if !self.zone.is_synced() => {
                    response.metadata.response_code = ResponseCode::ServFail;
                    return Known::Whole;
                }
                Answer::NoName if step > 0 => break,
                Answer::NoName => {
                    response.metadata.response_code = ResponseCode::NXDomain;
                    break;
                }
                Answer::Records(records) if records.is_empty() => break,
                Answer::Records(records) => records,
            };
            response.metadata.authoritative = true;
            let alias = match records.as_slice() {
                [one] if kind != RecordType::CNAME => match &one.data {
                    RData::CNAME(target) => Some(target.0.clone()),
                    _ => None,
                },
                _ => None,
            };
            let targets = self.targets(&records);
            response.add_additionals(targets);
            response.add_answers(records);
            match alias {
                Some(target) => name = target,
                None => return Known::Whole,
            }
        }
        // Aliases within the cluster are told with what they lead to or, as by CoreDNS, not at all.
        response.answers.clear();
        response.additionals.clear();
        response.metadata.authoritative = true;
        response.add_authorities(self.zone.soa());
        Known::Whole
    }

    /// The addresses of what SRV and NS records name.
    fn targets(&self, records: &[Record]) -> Vec<Record> {
        let names: BTreeSet<&Name> = records
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(&srv.target),
                RData::NS(server) => Some(&server.0),
                _ => None,
            })
            .collect();
        let lookup = |name, kind| match self.lookup(name, kind) {
            Answer::Records(records) => records,
            _ => Vec::new(),
        };
        let found = names
            .into_iter()
            .flat_map(|name| [RecordType::A, RecordType::AAAA].map(|kind| lookup(name, kind)));
        found.flatten().collect()
    }

    /// The answer to what the cluster does not know by itself.
    async fn ask_others(&self, outcome: Outcome, query: &[u8], tcp: bool) -> Vec<u8> {
        match outcome {
            Outcome::Follow(follow) => match self.follow(*follow, tcp).await {
                Outcome::Answered(answer) => answer,
                _ => Vec::new(),
            },
            _ => self.forward(query, tcp).await,
        }
    }

    /// Adds what the node's resolvers know of the alias: without, there is the alias alone, as in CoreDNS.
    async fn follow(&self, follow: Follow, tcp: bool) -> Outcome {
        let Follow {
            mut response,
            target,
            kind,
            limit,
        } = follow;
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(target, kind));
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_LIMIT_BYTES);
        query.set_edns(edns);
        if let Ok(bytes) = query.to_vec()
            && let Some(answer) = self.forwarder.ask(&bytes, tcp).await
            && let Ok(answer) = Message::from_vec(&answer)
        {
            response.metadata.truncation = answer.metadata.truncation;
            response.add_answers(answer.answers);
        }
        fit(response, limit)
    }

    async fn forward(&self, query: &[u8], tcp: bool) -> Vec<u8> {
        if let Some(answer) = self.forwarder.ask(query, tcp).await {
            return answer;
        }
        let failure = Message::from_vec(query).map(|query| {
            let mut failure = Message::error_msg(
                query.metadata.id,
                query.metadata.op_code,
                ResponseCode::ServFail,
            );
            failure.add_queries(query.queries);
            failure
        });
        failure
            .ok()
            .and_then(|message| message.to_vec().ok())
            .unwrap_or_default()
    }
}

/// A response of at most so many bytes.
fn fit(mut response: Message, limit: u16) -> Outcome {
    let fits = |message: &Message| {
        let bytes = message.to_vec().ok()?;
        (bytes.len() <= usize::from(limit)).then_some(bytes)
    };
    if let Some(bytes) = fits(&response) {
        return Outcome::Answered(bytes);
    }
    // They spare a client questions; it can ask them.
    response.additionals.clear();
    if let Some(bytes) = fits(&response) {
        return Outcome::Answered(bytes);
    }
    // The client asks again over TCP, unless it cannot: then it has what is here.
    response.metadata.truncation = true;
    let answers = std::mem::take(&mut response.answers);
    let kept = partition(answers.len(), |count| {
        response.answers = answers[..count].to_vec();
        fits(&response).is_some()
    });
    response.answers = answers[..kept].to_vec();
    encode(&response)
}

/// The largest of 0 to `limit` for which `holds`, which holds for all smaller ones; 0 if for none.
fn partition(limit: usize, mut holds: impl FnMut(usize) -> bool) -> usize {
    let (mut good, mut bad) = (0, limit + 1);
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if holds(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    good
}

fn encode(message: &Message) -> Outcome {
    match message.to_vec() {
        Ok(bytes) => Outcome::Answered(bytes),
        Err(_) => Outcome::Ignore,
    }
}

#[cfg(test)]
mod tests;
