//! One resolver: an exchange with it, and whether it is there.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    net::{TcpStream, UdpSocket},
    time::{sleep, timeout},
};
use tracing::{debug, info};

use crate::{
    frame::{read_framed, write_framed},
    wire::{HEADER_BYTES, Question, RCODE, RESPONSE},
};

/// How long it may take; then the next is asked.
const RESOLVER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one that is asked whether it is back may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// `. IN NS`, that wants recursion.
const PROBE: [u8; 17] = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
/// The largest answer that UDP can carry.
const UDP_LIMIT_BYTES: usize = 65_535;

/// A resolver.
pub struct Upstream {
    pub address: SocketAddr,
    /// Failures in a row; that many make it one that is not asked, unless that is zero.
    most_fails: u32,
    probe_interval: Duration,
    fails: AtomicU32,
    is_probed: AtomicBool,
}

impl Upstream {
    pub fn new(address: SocketAddr, most_fails: u32, probe_interval: Duration) -> Arc<Self> {
        Arc::new(Self {
            address,
            most_fails,
            probe_interval,
            fails: AtomicU32::new(0),
            is_probed: AtomicBool::new(false),
        })
    }

    /// It has failed so often that others are asked instead.
    pub fn is_down(&self) -> bool {
        self.most_fails > 0 && self.fails.load(Ordering::Relaxed) >= self.most_fails
    }

    /// Asks; `None` where there is no answer to this message.
    pub async fn ask(self: &Arc<Self>, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let exchange = async {
            match tcp {
                true => over_tcp(self.address, query).await,
                false => over_udp(self.address, query).await,
            }
        };
        let resolver = self.address;
        let answer = match timeout(RESOLVER_TIMEOUT, exchange).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                debug!(%resolver, %error, "resolver failed");
                None
            }
            Err(_) => {
                debug!(%resolver, "resolver gave no answer");
                None
            }
        };
        match answer {
            Some(_) => self.fails.store(0, Ordering::Relaxed),
            None => self.fail(),
        }
        answer
    }

    /// Counts a failure, and sees to it that somebody looks when it is back.
    fn fail(self: &Arc<Self>) {
        let fails = self.fails.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if self.most_fails > 0 && fails == self.most_fails {
            info!(resolver = %self.address, "a resolver does not answer; others are asked until it does");
        }
        if self.most_fails > 0 && !self.is_probed.swap(true, Ordering::Relaxed) {
            let probing = probe(Arc::downgrade(self), self.probe_interval);
            knarr_tasks::spawn("the probe of a resolver", probing);
        }
    }
}

/// Asks a resolver that has failed until it answers, or nobody has it any more.
async fn probe(upstream: Weak<Upstream>, interval: Duration) {
    loop {
        sleep(interval).await;
        let Some(upstream) = upstream.upgrade() else {
            return;
        };
        let answer = timeout(PROBE_TIMEOUT, over_udp(upstream.address, &PROBE)).await;
        if matches!(answer, Ok(Ok(_))) {
            upstream.is_probed.store(false, Ordering::Relaxed);
            if upstream.fails.swap(0, Ordering::Relaxed) >= upstream.most_fails {
                info!(resolver = %upstream.address, "a resolver answers again");
            }
            return;
        }
        upstream.fails.fetch_add(1, Ordering::Relaxed);
    }
}

/// A socket of its own for each query: a random port is what makes a forged answer hard.
async fn over_udp(resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let local: SocketAddr = match resolver {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    // What others send does not arrive.
    socket.connect(resolver).await?;
    let message = with_random_id(query)?;
    socket.send(&message).await?;
    let mut buffer = Vec::with_capacity(UDP_LIMIT_BYTES);
    loop {
        buffer.clear();
        socket.recv_buf(&mut buffer).await?;
        if is_answer(&message, &buffer) {
            return Ok(buffer.as_slice().to_vec());
        }
    }
}

async fn over_tcp(resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let message = with_random_id(query)?;
    write_framed(&mut stream, &message).await?;
    loop {
        let answer = read_framed(&mut stream).await?;
        let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        if is_answer(&message, &answer) {
            return Ok(answer);
        }
    }
}

fn with_random_id(query: &[u8]) -> io::Result<Vec<u8>> {
    let mut message = query.to_vec();
    let place = message.get_mut(..2).ok_or(io::ErrorKind::InvalidData)?;
    // Answers are kept: nobody may foresee by which id one is believed.
    let random = SystemRandom::new().fill(place);
    random.map_err(|_| io::Error::other("the system has no randomness"))?;
    Ok(message)
}

/// Whether a resolver's message answers ours: its id, and its question where ours is an ordinary one.
fn is_answer(query: &[u8], answer: &[u8]) -> bool {
    answer.len() >= HEADER_BYTES
        && answer[..2] == query[..2]
        && answer[2] & RESPONSE != 0
        && Question::read(query).is_none_or(|question| {
            // A resolver that cannot read the question may leave it out.
            let is_complaint = answer[4..6] == [0, 0] && answer[3] & RCODE != 0;
            is_complaint || question.is_answered_by(answer)
        })
}
