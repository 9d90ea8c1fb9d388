//! A registry that says what a test wants, also what no registry should: HTTP over threads, one request a connection.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::image::{Blob, Image};

const MAX_REQUEST_BYTES: u64 = 64 << 10;
/// Between two bytes of a body that drips.
const DRIP: Duration = Duration::from_secs(1);
/// How often a connection that says nothing looks whether it is over.
const PAUSE: Duration = Duration::from_millis(100);
/// A client that takes nothing has gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

/// What was asked.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub path: String,
    pub query: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Code and reason.
    pub status: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub enum Body {
    Whole(Arc<[u8]>),
    /// As many bytes are promised; these come, and then the connection ends.
    CutOff(Arc<[u8]>, u64),
    /// These bytes over and over, as fast as they are taken.
    Endless(Arc<[u8]>),
    /// So many bytes are promised, and one comes a second.
    Drip(u64),
    /// A header that does not end instead of a body.
    EndlessHeader,
    /// Nothing, not even a head.
    Silence,
}

impl Answer {
    pub fn new(status: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self::of(status, Body::Whole(body.into().into()))
    }

    pub fn of(status: &'static str, body: Body) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body,
        }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

type Handler = dyn Fn(&Request) -> Answer + Send + Sync;

/// A server; it stops when this is dropped.
pub struct Registry {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Registry {
    pub fn serve(
        listener: TcpListener,
        handler: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let registry = Self {
            address: listener.local_addr()?,
            stop: Arc::default(),
            requests: Arc::default(),
        };
        let (stop, requests) = (Arc::clone(&registry.stop), Arc::clone(&registry.requests));
        let handler: Arc<Handler> = Arc::new(handler);
        listener.set_nonblocking(true)?;
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(PAUSE / 10);
                    continue;
                };
                let (handler, stop, requests) = (
                    Arc::clone(&handler),
                    Arc::clone(&stop),
                    Arc::clone(&requests),
                );
                // A client that goes away is its own affair.
                thread::spawn(move || converse(&stream, &*handler, &stop, &requests));
            }
        });
        Ok(registry)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What an honest registry answers about images, all of them of the tag `latest`, by their repository.
pub fn honest(images: &BTreeMap<String, Image>, request: &Request) -> Answer {
    let missing = || {
        Answer::new(
            "404 Not Found",
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#,
        )
    };
    let Some(path) = request.path.strip_prefix("/v2/") else {
        return missing();
    };
    let found = images.iter().find_map(|(name, image)| {
        let rest = path.strip_prefix(name.as_str())?.strip_prefix('/')?;
        Some((rest, image.manifest()))
    });
    let Some((rest, (manifest, blobs))) = found else {
        return missing();
    };
    if let Some(reference) = rest.strip_prefix("manifests/") {
        return if reference == "latest" || reference == manifest.digest {
            of_manifest(&manifest)
        } else {
            missing()
        };
    }
    let wanted = |blob: &&Blob| rest.strip_prefix("blobs/") == Some(&blob.digest);
    match blobs.iter().find(wanted) {
        Some(blob) => Answer::of("200 OK", Body::Whole(Arc::clone(&blob.bytes))),
        None => missing(),
    }
}

/// An answer that is a manifest.
pub fn of_manifest(manifest: &Blob) -> Answer {
    Answer::of("200 OK", Body::Whole(Arc::clone(&manifest.bytes)))
        .with("Content-Type", "application/vnd.oci.image.manifest.v1+json")
        .with("Docker-Content-Digest", manifest.digest.clone())
}

fn converse(
    stream: &TcpStream,
    handler: &Handler,
    stop: &AtomicBool,
    requests: &Mutex<Vec<Request>>,
) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(WRITE_TIMEOUT))?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let request = read(stream)?;
    requests
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(request.clone());
    write(stream, &handler(&request), stop)
}

fn read(stream: &TcpStream) -> io::Result<Request> {
    let mut lines = BufReader::new(stream.take(MAX_REQUEST_BYTES)).lines();
    let first = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
    let target = first.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        path: path.to_owned(),
        query: query.to_owned(),
        headers: BTreeMap::new(),
    };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let (name, value) = (name.to_lowercase(), value.trim().to_owned());
        request.headers.insert(name, value);
    }
    Ok(request)
}

fn write(mut to: &TcpStream, answer: &Answer, stop: &AtomicBool) -> io::Result<()> {
    let goes_on = || !stop.load(Ordering::Relaxed);
    let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let promised = match &answer.body {
        Body::Whole(bytes) => Some(bytes.len() as u64),
        Body::CutOff(_, promised) | Body::Drip(promised) => Some(*promised),
        Body::Endless(_) | Body::EndlessHeader | Body::Silence => None,
    };
    if let Some(promised) = promised {
        head.push_str(&format!("Content-Length: {promised}\r\n"));
    }
    match &answer.body {
        Body::Silence => {
            while goes_on() && !is_closed(to) {
                thread::sleep(PAUSE);
            }
            return Ok(());
        }
        Body::EndlessHeader => {
            to.write_all(head.as_bytes())?;
            while goes_on() {
                to.write_all(b"X-More: and more and more and more and more and more\r\n")?;
            }
            return Ok(());
        }
        _ => to.write_all(format!("{head}\r\n").as_bytes())?,
    }
    match &answer.body {
        Body::Whole(bytes) | Body::CutOff(bytes, _) => to.write_all(bytes)?,
        Body::Endless(bytes) => {
            while goes_on() {
                to.write_all(bytes)?;
            }
        }
        Body::Drip(promised) => {
            for _ in 0..*promised {
                if !goes_on() {
                    break;
                }
                to.write_all(b"x")?;
                thread::sleep(DRIP);
            }
        }
        Body::EndlessHeader | Body::Silence => {}
    }
    Ok(())
}

fn is_closed(stream: &TcpStream) -> bool {
    let _ = stream.set_nonblocking(true);
    let closed = matches!(stream.peek(&mut [0]), Ok(0));
    let _ = stream.set_nonblocking(false);
    closed
}
