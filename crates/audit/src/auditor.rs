//! The auditor of a server: its policy, and the backends that take events.

use std::{
    fmt,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use knarr_auth::{UserInfo, request::RequestInfo};
use knarr_meta::time;
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Level, Options, Policy,
    backend::{Backend, log, webhook},
    event::{Event, ObjectRef},
    policy::Decision,
    source,
};

/// Longest user agent that is told whole, bytes; what is longer is cut there, and says so.
const USER_AGENT_BYTES: usize = 1024;
const CUT: &str = "...TRUNCATED";

/// Audits requests.
pub struct Auditor {
    policy: Policy,
    backends: Vec<Backend>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    events: AtomicU64,
    levels: [AtomicU64; Level::ALL.len()],
    rejected: AtomicU64,
}

/// What was counted since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    pub events: u64,
    /// Events that a backend could not keep.
    pub errors: Vec<(&'static str, u64)>,
    /// Requests by level.
    pub levels: Vec<(&'static str, u64)>,
    /// Requests that were refused because they could not be audited.
    pub rejected: u64,
}

/// A request that has come, and whose it is.
#[derive(Clone, Copy)]
pub struct Received<'r> {
    pub audit_id: &'r str,
    pub at: Timestamp,
    /// Path and query, as they were sent.
    pub uri: &'r str,
    pub headers: &'r HeaderMap,
    /// The other end of the connection.
    pub peer: Option<IpAddr>,
    pub user_agent: &'r str,
    /// Absent where nobody could be authenticated.
    pub user: Option<&'r UserInfo>,
    pub info: &'r RequestInfo<'r>,
}

impl Auditor {
    /// Reads the policy and opens the backends. `None`: nothing is to be audited, because there is no policy or nowhere to write to.
    ///
    /// # Errors
    /// Where the policy is none, the log cannot be written, or the webhook's file names no server.
    pub fn open(options: &Options) -> Result<Option<Auditor>, Error> {
        let Some(file) = &options.policy_file else {
            return Ok(None);
        };
        let policy = Policy::read(file)?;
        let mut backends = Vec::new();
        if let Some(options) = &options.log {
            backends.push(log::backend(options)?);
        }
        if let Some(options) = &options.webhook {
            backends.push(webhook::backend(options)?);
        }
        Ok((!backends.is_empty()).then(|| Auditor {
            policy,
            backends,
            counters: Counters::default(),
        }))
    }

    /// Delivers events until the token is cancelled and what was taken before is delivered. To be called once.
    pub async fn run(&self, stop: CancellationToken) {
        let running = self.backends.iter().map(|backend| backend.run(&stop));
        futures::future::join_all(running).await;
    }

    /// What the policy says of a request, which is counted.
    pub(crate) fn decide(&self, received: &Received<'_>) -> Decision {
        let decision = self.policy.evaluate(received.user, received.info);
        self.counters.levels[decision.level as usize].fetch_add(1, Ordering::Relaxed);
        decision
    }

    /// What `/metrics` tells.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let levels = Level::ALL.iter().zip(&self.counters.levels);
        let errors = self.backends.iter();
        Counts {
            events: read(&self.counters.events),
            errors: errors.map(|b| (b.name(), b.errors())).collect(),
            levels: levels.map(|(l, n)| (l.as_str(), read(n))).collect(),
            rejected: read(&self.counters.rejected),
        }
    }

    /// Gives an event to every backend, waiting for those that block. False where one in mode `blocking-strict` could not keep it.
    pub(crate) async fn send(&self, event: &Bytes) -> bool {
        self.counters.events.fetch_add(1, Ordering::Relaxed);
        let mut kept = true;
        for backend in &self.backends {
            kept &= backend.send(event.clone()).await;
        }
        kept
    }

    /// Gives an event to every backend, waiting for none.
    pub(crate) fn offer(&self, event: &Bytes) {
        self.counters.events.fetch_add(1, Ordering::Relaxed);
        for backend in &self.backends {
            backend.offer(event.clone());
        }
    }

    pub(crate) fn rejected(&self) {
        self.counters.rejected.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Auditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auditor")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Received<'_> {
    pub(crate) fn event(&self) -> Event {
        Event {
            audit_id: self.audit_id.to_owned(),
            request_uri: self.uri.to_owned(),
            verb: self.info.verb.to_owned(),
            user: self.user.map(Into::into).unwrap_or_default(),
            source_ips: source::addresses(self.headers, self.peer),
            user_agent: cut(self.user_agent),
            object_ref: ObjectRef::of(self.info),
            request_received_timestamp: time::format_micro(self.at),
            ..Event::default()
        }
    }
}

fn cut(agent: &str) -> String {
    if agent.len() <= USER_AGENT_BYTES {
        return agent.to_owned();
    }
    let mut end = USER_AGENT_BYTES;
    while !agent.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    format!("{}{CUT}", &agent[..end])
}
