//! Passes queries for other names to the node's resolvers, byte for byte but for the id.
//!
//! The same question is asked once at a time, whoever else wants the answer. That spares resolvers work, and it is what ends a
//! loop: a resolver of the node may well ask the cluster's DNS (systemd-resolved does, when told to), and a question that
//! comes back then waits for itself, once, until its time is over.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::OnceCell,
    time::timeout,
};
use tracing::debug;

/// How long one resolver may take; then the next is asked.
const RESOLVER_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer that UDP can carry.
const UDP_LIMIT_BYTES: usize = 65_535;

/// A message without its id, and whether it goes over TCP.
type Question = (Vec<u8>, bool);
/// What the one who asks will have learnt.
type Pending = Arc<OnceCell<Option<Vec<u8>>>>;

/// Asks resolvers in their order.
pub struct Forwarder {
    resolvers: Vec<SocketAddr>,
    /// What is being asked. As many as the server lets wait.
    pending: Mutex<HashMap<Question, Pending>>,
}

impl Forwarder {
    pub fn new(resolvers: Vec<SocketAddr>) -> Self {
        Self {
            resolvers,
            pending: Mutex::default(),
        }
    }

    /// The answer of the first resolver that gives one. `query` is a whole message.
    pub async fn ask(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let (id, rest) = query.split_first_chunk::<2>()?;
        let question = (rest.to_vec(), tcp);
        let pending = self
            .pending
            .lock()
            .entry(question.clone())
            .or_default()
            .clone();
        let answer = pending.get_or_init(|| self.exchange(query, tcp)).await;
        // The first to be here; a later one may have begun anew.
        if let Entry::Occupied(entry) = self.pending.lock().entry(question)
            && Arc::ptr_eq(entry.get(), &pending)
        {
            entry.remove();
        }
        let mut answer = answer.clone()?;
        replace_id(&mut answer, *id).ok()?;
        Some(answer)
    }

    async fn exchange(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        for resolver in &self.resolvers {
            let exchange = async {
                if tcp {
                    over_tcp(*resolver, query).await
                } else {
                    over_udp(*resolver, query).await
                }
            };
            match timeout(RESOLVER_TIMEOUT, exchange).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => debug!(%resolver, %error, "resolver failed"),
                Err(_) => debug!(%resolver, "resolver gave no answer"),
            }
        }
        None
    }
}

/// A socket of its own for each query: a random port is what makes a forged answer hard.
async fn over_udp(resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let local: SocketAddr = match resolver {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(resolver).await?;
    let mut message = query.to_vec();
    let id = fastrand::u16(..).to_be_bytes();
    replace_id(&mut message, id)?;
    socket.send(&message).await?;
    let mut buffer = vec![0; UDP_LIMIT_BYTES];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if buffer[..length].starts_with(&id) {
            return Ok(buffer[..length].to_vec());
        }
    }
}

async fn over_tcp(resolver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    write_framed(&mut stream, query).await?;
    read_framed(&mut stream)
        .await?
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn replace_id(message: &mut [u8], id: [u8; 2]) -> io::Result<()> {
    let place = message.get_mut(..2).ok_or(io::ErrorKind::InvalidData)?;
    place.copy_from_slice(&id);
    Ok(())
}

/// Writes a message with DNS-over-TCP's two bytes of length.
pub async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend(length.to_be_bytes());
    framed.extend(message);
    stream.write_all(&framed).await
}

/// Reads one such message; `None` at the end of the stream.
pub async fn read_framed(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}
