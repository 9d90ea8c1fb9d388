//! One-time tokens: a checked request waits here until its client comes.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Error;
use crate::exec::{AttachRequest, ExecRequest, PortForwardRequest, Streaming};
use crate::id;

/// How long a token is good for.
const TICKET_TTL: Duration = Duration::from_secs(60);
/// Requests that may wait.
const MAX_TICKETS: usize = 1000;
/// Random bytes of a token.
const TOKEN_BYTES: usize = 16;

/// What a client may do once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ticket {
    Exec(ExecRequest),
    Attach(AttachRequest),
    PortForward(PortForwardRequest),
}

impl Ticket {
    /// The container or sandbox that it is for.
    pub fn target(&self) -> &str {
        match self {
            Self::Exec(request) => &request.container_id,
            Self::Attach(request) => &request.container_id,
            Self::PortForward(request) => &request.sandbox_id,
        }
    }

    /// First segment of its URL's path.
    fn verb(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Attach(_) => "attach",
            Self::PortForward(_) => "portforward",
        }
    }
}

/// The tokens that are out.
pub struct Tickets {
    address: SocketAddr,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    tickets: HashMap<String, (Ticket, Instant)>,
    /// The tokens of all of them, oldest first.
    order: VecDeque<(String, Instant)>,
}

impl Tickets {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            waiting: Mutex::default(),
        }
    }

    /// The ticket of a path such as `/exec/TOKEN`. There is none the second time, after a minute, or under another verb.
    pub fn redeem(&self, path: &str) -> Option<Ticket> {
        self.redeem_at(path, Instant::now())
    }

    fn redeem_at(&self, path: &str, now: Instant) -> Option<Ticket> {
        let (verb, token) = path.strip_prefix('/')?.split_once('/')?;
        let mut waiting = self.waiting.lock();
        let (ticket, expires) = waiting.tickets.remove(token)?;
        // Its place is free: a busy client uses more than there are places within the life of one.
        waiting.order.retain(|(other, _)| other != token);
        (now <= expires && ticket.verb() == verb).then_some(ticket)
    }

    fn issue(&self, ticket: Ticket) -> Result<String, Error> {
        self.issue_at(ticket, Instant::now())
    }

    fn issue_at(&self, ticket: Ticket, now: Instant) -> Result<String, Error> {
        let token = random_token()?;
        let mut waiting = self.waiting.lock();
        while waiting
            .order
            .front()
            .is_some_and(|(_, expires)| *expires < now)
        {
            if let Some((token, _)) = waiting.order.pop_front() {
                waiting.tickets.remove(&token);
            }
        }
        if waiting.order.len() >= MAX_TICKETS {
            return Err(Error::Exhausted(
                "maximum number of in-flight requests exceeded".to_owned(),
            ));
        }
        let url = format!("http://{}/{}/{token}", self.address, ticket.verb());
        let expires = now.checked_add(TICKET_TTL).unwrap_or(now);
        waiting.order.push_back((token.clone(), expires));
        waiting.tickets.insert(token, (ticket, expires));
        Ok(url)
    }
}

impl Streaming for Tickets {
    fn exec_url(&self, request: ExecRequest) -> Result<String, Error> {
        self.issue(Ticket::Exec(request))
    }

    fn attach_url(&self, request: AttachRequest) -> Result<String, Error> {
        self.issue(Ticket::Attach(request))
    }

    fn port_forward_url(&self, request: PortForwardRequest) -> Result<String, Error> {
        self.issue(Ticket::PortForward(request))
    }
}

/// From the kernel's generator: the token is all that protects the URL from other users of this machine.
fn random_token() -> Result<String, Error> {
    let mut bytes = [0u8; TOKEN_BYTES];
    // SAFETY: the pointer and the length are of one live array. Up to 256 bytes getrandom(2) fills in one go.
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if count != TOKEN_BYTES as isize {
        return Err(Error::Io {
            what: "make a random token",
            source: std::io::Error::last_os_error(),
        });
    }
    Ok(id::hex(&bytes))
}

#[cfg(test)]
mod tests;
