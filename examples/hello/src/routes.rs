//! What is answered to which request.

use std::{
    fmt::Write,
    fs,
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::{
    request::{Request, respond},
    say,
};

/// A caller that says nothing for so long is let go.
const CALLER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest delay that may be asked for.
const MAX_DELAY_MS: u64 = 60_000;

/// What the answers are made from.
pub struct Site {
    greeting: String,
    secret: String,
    ready: AtomicBool,
}

type Answer = (u16, Vec<u8>);

impl Site {
    pub fn new(greeting: String, secret: String) -> Self {
        Self {
            greeting,
            secret,
            ready: AtomicBool::new(true),
        }
    }

    fn answer(&self, request: &Request, pod: SocketAddr, caller: SocketAddr) -> Answer {
        let method = if request.method == "HEAD" {
            "GET"
        } else {
            &request.method
        };
        match (method, request.path.as_str()) {
            ("GET", "/") => text(self.front_page(pod)),
            ("GET", "/healthz") => text("ok\n"),
            ("GET", "/readyz") if self.ready.load(Ordering::Relaxed) => text("ok\n"),
            ("GET", "/readyz") => (503, b"not ready\n".to_vec()),
            ("POST", "/ready") => self.set_ready(true),
            ("POST", "/unready") => self.set_ready(false),
            ("GET", "/env") => text(environment()),
            ("GET", "/file") => file(request),
            ("GET", "/delay") => delay(request),
            ("GET", "/clientip") => text(format!("{}\n", plain(caller))),
            ("POST", "/exit") => exit(request),
            (_, "/exit" | "/ready" | "/unready") => (405, b"use POST\n".to_vec()),
            ("GET", _) => (404, b"not found\n".to_vec()),
            _ => (405, b"use GET\n".to_vec()),
        }
    }

    fn front_page(&self, pod: SocketAddr) -> String {
        let greeting = fs::read_to_string(&self.greeting).unwrap_or_else(|_| "Hello!".to_owned());
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let version = std::env::var("HELLO_VERSION").unwrap_or_else(|_| "none".to_owned());
        let secret = if Path::new(&self.secret).is_file() {
            "present"
        } else {
            "absent"
        };
        format!(
            "{}\nhost: {}\naddress: {}\nversion: {version}\nsecret: {secret}\n",
            greeting.trim_end(),
            host.trim_end(),
            plain(pod)
        )
    }

    fn set_ready(&self, ready: bool) -> Answer {
        self.ready.store(ready, Ordering::Relaxed);
        text("ok\n")
    }
}

/// An address of IPv4 as one, which a socket of both families has within one of IPv6.
fn plain(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

/// Serves one request of a connection.
pub fn connection(site: &Site, stream: TcpStream, caller: SocketAddr) {
    let _ = stream.set_read_timeout(Some(CALLER_TIMEOUT));
    let _ = stream.set_write_timeout(Some(CALLER_TIMEOUT));
    let Ok(pod) = stream.local_addr() else { return };
    let Ok(Some(request)) = Request::read(&stream) else {
        return;
    };
    let (code, body) = site.answer(&request, pod, caller);
    let sent = respond(&stream, code, &body, request.method != "HEAD");
    // Probes would drown everything else.
    if !matches!(request.path.as_str(), "/healthz" | "/readyz") {
        let outcome = if sent.is_ok() { "" } else { " (caller gone)" };
        say(&format!(
            "{} {} {code} {}{outcome}",
            request.method,
            request.path,
            plain(caller)
        ));
    }
}

fn text(body: impl Into<String>) -> Answer {
    (200, body.into().into_bytes())
}

fn environment() -> String {
    let mut lines = String::new();
    for (name, value) in std::env::vars_os() {
        let _ = writeln!(
            lines,
            "{}={}",
            name.to_string_lossy(),
            value.to_string_lossy()
        );
    }
    lines
}

fn file(request: &Request) -> Answer {
    let Some(path) = request.parameter("path") else {
        return (400, b"path is missing\n".to_vec());
    };
    match fs::read(&path) {
        Ok(content) => (200, content),
        Err(error) => (404, format!("{path}: {error}\n").into_bytes()),
    }
}

fn delay(request: &Request) -> Answer {
    let Some(ms) = request
        .parameter("ms")
        .and_then(|ms| ms.parse::<u64>().ok())
    else {
        return (400, b"ms is missing or not a number\n".to_vec());
    };
    thread::sleep(Duration::from_millis(ms.min(MAX_DELAY_MS)));
    text("ok\n")
}

fn exit(request: &Request) -> Answer {
    let code = request.parameter("code").unwrap_or_else(|| "0".to_owned());
    match code.parse() {
        Ok(code) => {
            say(&format!("hello: asked to exit with {code}"));
            std::process::exit(code)
        }
        Err(_) => (400, b"code is not a number\n".to_vec()),
    }
}
