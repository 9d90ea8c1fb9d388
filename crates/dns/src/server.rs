//! Sockets and messages: what arrives, who answers it, and how the answer is put together.

mod messages;

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

use self::messages::{limit_of, name_of, refusal, rewritten, undone};
use crate::{
    cache::Entry,
    fit::{fit, fit_bytes},
    forward::Asked,
    frame::{read_framed, write_framed},
    outside::Known,
    rewrite::Undo,
    settings::{Settings, Site},
    wire::{EDNS_LIMIT_BYTES, PLAIN_LIMIT_BYTES, Question},
    zone::{Answer, Zone},
};

/// Queries that wait for a resolver, and TCP connections, at once; more are dropped and asked again.
const FORWARDED_AT_ONCE: usize = 1024;
const CONNECTIONS_AT_ONCE: usize = 256;
/// A TCP client that says nothing for this long is done.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest query over UDP.
const QUERY_LIMIT_BYTES: usize = 4096;
/// CNAMEs within the cluster that are followed.
const CHAIN_LIMIT: usize = 8;

/// Settings that change while they are gone by.
pub type Live = RwLock<Arc<Settings>>;

struct Shared {
    zone: Zone,
    /// What was known of it before, until it is known.
    kept: RwLock<Option<Arc<Zone>>>,
    settings: Arc<Live>,
}

/// Answers queries.
pub struct Server {
    shared: Arc<Shared>,
}

/// A query after the cluster's zones were looked at.
enum Outcome {
    Answered(Vec<u8>),
    /// To the resolvers, perhaps with an old answer.
    Forward(Arc<Site>, Option<Arc<Entry>>),
    Follow(Box<Follow>),
    /// One of these two, of another question.
    Rewritten(Box<Rewritten>),
    Ignore,
}

/// A question that is asked under another name.
struct Rewritten {
    query: Vec<u8>,
    outcome: Outcome,
    undo: Undo,
    limit: u16,
}

/// An answer that lacks what an alias outside of the cluster stands for. Clients do not look for that themselves.
struct Follow {
    response: Message,
    target: Name,
    kind: RecordType,
    limit: u16,
}

impl Outcome {
    fn of(answer: Option<Vec<u8>>) -> Self {
        answer.map_or(Self::Ignore, Self::Answered)
    }
}

/// How far the cluster knows a name.
enum Resolved {
    Whole,
    /// Up to this one, which is somebody else's.
    Alias(Name),
    Nothing,
}

impl Server {
    /// `kept` is what was known of the zone before; it is good until the zone has its first lists.
    pub fn new(zone: Zone, kept: Option<Zone>, settings: Arc<Live>) -> Self {
        Self {
            shared: Arc::new(Shared {
                zone,
                kept: RwLock::new(kept.map(Arc::new)),
                settings,
            }),
        }
    }

    /// What is answered to a message without asking the node's resolvers, if anything is.
    pub fn answer(&self, message: &[u8], tcp: bool) -> Option<Vec<u8>> {
        match self.shared.answer(message, tcp) {
            Outcome::Answered(answer) => Some(answer),
            Outcome::Forward(..) | Outcome::Follow(_) | Outcome::Rewritten(_) | Outcome::Ignore => {
                None
            }
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
        let settings = self.settings.read().clone();
        if let Some(site) = settings.only()
            && site.rewrites.is_empty()
        {
            return self.answer_at(site, bytes, tcp);
        }
        let Some(name) = name_of(bytes) else {
            // Whatever is wrong with it is so for every site; what has no name is for nobody.
            return match settings.site(&Name::root()) {
                Some(site) => self.answer_at(site, bytes, tcp),
                None => Outcome::of(refusal(bytes, ResponseCode::FormErr)),
            };
        };
        let Some(site) = settings.site(&name) else {
            return Outcome::of(refusal(bytes, ResponseCode::Refused));
        };
        let Some((query, undo)) = rewritten(&site.rewrites, &name, bytes) else {
            return self.answer_at(site, bytes, tcp);
        };
        let limit = limit_of(bytes, tcp);
        match self.answer_at(site, &query, true) {
            Outcome::Answered(answer) => Outcome::of(undone(&undo, &answer, limit)),
            Outcome::Ignore => Outcome::Ignore,
            outcome => Outcome::Rewritten(Box::new(Rewritten {
                query,
                outcome,
                undo,
                limit,
            })),
        }
    }

    fn answer_at(&self, site: &Arc<Site>, bytes: &[u8], tcp: bool) -> Outcome {
        let question = Question::read(bytes);
        // The cluster may come to know an address that it does not know yet.
        let mut known = match &question {
            Some(question) if !question.is_reverse() => site.outside.get(bytes, question),
            _ => Known::Nothing,
        };
        if let (Known::Answer(answer), Some(question)) = (&mut known, &question) {
            return Outcome::of(fit_bytes(std::mem::take(answer), question.limit(tcp)));
        }
        let outcome = self.answer_from_zone(site, bytes, tcp);
        let (Outcome::Forward(..), Some(question)) = (&outcome, &question) else {
            return outcome;
        };
        if question.is_reverse() {
            known = site.outside.get(bytes, question);
        }
        match known {
            Known::Answer(answer) => Outcome::of(fit_bytes(answer, question.limit(tcp))),
            Known::Old(entry) => Outcome::Forward(site.clone(), Some(entry)),
            Known::Nothing => outcome,
        }
    }

    fn answer_from_zone(&self, site: &Arc<Site>, bytes: &[u8], tcp: bool) -> Outcome {
        let Ok(query) = Message::from_vec(bytes) else {
            // Without a readable header there is no id to answer to; with one, the client learns what is wrong.
            return match bytes {
                [a, b, ..] if bytes.len() >= 12 => {
                    let id = u16::from_be_bytes([*a, *b]);
                    let error = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
                    Outcome::of(error.to_vec().ok())
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
            return Outcome::of(response.to_vec().ok());
        };
        if query.metadata.op_code != OpCode::Query {
            response.metadata.response_code = ResponseCode::NotImp;
            return Outcome::of(response.to_vec().ok());
        }
        let kind = question.query_type();
        let known = self.resolve(site, &mut response, question.name(), kind);
        let limit = match (tcp, &query.edns) {
            (true, _) => u16::MAX,
            (false, None) => PLAIN_LIMIT_BYTES,
            (false, Some(edns)) => edns
                .max_payload()
                .clamp(PLAIN_LIMIT_BYTES, EDNS_LIMIT_BYTES),
        };
        match known {
            Resolved::Nothing => Outcome::Forward(site.clone(), None),
            Resolved::Whole => Outcome::of(fit(response, limit)),
            Resolved::Alias(target) => Outcome::Follow(Box::new(Follow {
                response,
                target,
                kind,
                limit,
            })),
        }
    }

    /// What is known of a name, now or from before.
    fn lookup(&self, site: &Site, name: &Name, kind: RecordType) -> Answer {
        let kept = self.kept.read().clone();
        match kept {
            Some(_) if self.zone.is_synced() => {
                *self.kept.write() = None;
                site.lookup(&self.zone, name, kind)
            }
            Some(kept) => site.lookup(&kept, name, kind),
            None => site.lookup(&self.zone, name, kind),
        }
    }

    /// Fills in what the cluster knows.
    fn resolve(
        &self,
        site: &Site,
        response: &mut Message,
        name: &Name,
        kind: RecordType,
    ) -> Resolved {
        let mut name = name.clone();
        for step in 0..=CHAIN_LIMIT {
            let records = match self.lookup(site, &name, kind) {
                Answer::Foreign if step > 0 => return Resolved::Alias(name),
                Answer::Foreign => return Resolved::Nothing,
                Answer::Failure => {
                    response.metadata.response_code = ResponseCode::ServFail;
                    return Resolved::Whole;
                }
                Answer::NoName if !self.zone.is_synced() => {
                    response.metadata.response_code = ResponseCode::ServFail;
                    return Resolved::Whole;
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
            let targets = self.targets(site, &records);
            response.add_additionals(targets);
            response.add_answers(records);
            match alias {
                Some(target) => name = target,
                None => return Resolved::Whole,
            }
        }
        // Aliases within the cluster are told with what they lead to or, as by CoreDNS, not at all.
        response.answers.clear();
        response.additionals.clear();
        response.metadata.authoritative = true;
        response.add_authorities(self.zone.soa());
        Resolved::Whole
    }

    /// The addresses of what SRV and NS records name.
    fn targets(&self, site: &Site, records: &[Record]) -> Vec<Record> {
        let names: BTreeSet<&Name> = records
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(&srv.target),
                RData::NS(server) => Some(&server.0),
                _ => None,
            })
            .collect();
        let lookup = |name, kind| match self.lookup(site, name, kind) {
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
        let answer = match outcome {
            Outcome::Rewritten(rewritten) => {
                let Rewritten {
                    query,
                    outcome,
                    undo,
                    limit,
                } = *rewritten;
                let answer = self.ask_plainly(outcome, &query, tcp).await;
                answer.and_then(|answer| undone(&undo, &answer, limit))
            }
            outcome => self.ask_plainly(outcome, query, tcp).await,
        };
        answer.unwrap_or_default()
    }

    async fn ask_plainly(&self, outcome: Outcome, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        match outcome {
            Outcome::Answered(answer) => Some(answer),
            Outcome::Follow(follow) => self.follow(*follow, tcp).await,
            Outcome::Forward(site, old) => forward(&site, query, old, tcp).await,
            Outcome::Rewritten(_) | Outcome::Ignore => None,
        }
    }

    /// Adds what the node's resolvers know of the alias: without, there is the alias alone, as in CoreDNS.
    async fn follow(&self, follow: Follow, tcp: bool) -> Option<Vec<u8>> {
        let Follow {
            mut response,
            target,
            kind,
            limit,
        } = follow;
        let site = self.settings.read().site(&target).cloned();
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(target, kind));
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_LIMIT_BYTES);
        query.set_edns(edns);
        if let Some(site) = site
            && let Ok(bytes) = query.to_vec()
            && let Asked::Answer(answer) = ask(&site, &bytes, tcp).await
            && let Ok(answer) = Message::from_vec(&answer)
        {
            response.metadata.truncation = answer.metadata.truncation;
            response.add_answers(answer.answers);
        }
        fit(response, limit)
    }
}

/// What is kept of a question, or known to the resolvers.
async fn ask(site: &Site, query: &[u8], tcp: bool) -> Asked {
    let known = Question::read(query).map(|question| site.outside.get(query, &question));
    match known {
        Some(Known::Answer(answer)) => Asked::Answer(answer),
        Some(Known::Old(entry)) => site.outside.ask(query, Some(entry), tcp).await,
        Some(Known::Nothing) | None => site.outside.ask(query, None, tcp).await,
    }
}

async fn forward(site: &Site, query: &[u8], old: Option<Arc<Entry>>, tcp: bool) -> Option<Vec<u8>> {
    let code = match site.outside.ask(query, old, tcp).await {
        Asked::Answer(answer) => {
            // What is out of the ordinary comes back as it came.
            let limit = Question::read(query).map_or(u16::MAX, |question| question.limit(tcp));
            return fit_bytes(answer, limit);
        }
        Asked::Nothing => ResponseCode::ServFail,
        Asked::Refused => ResponseCode::Refused,
    };
    refusal(query, code)
}

#[cfg(test)]
mod tests;
