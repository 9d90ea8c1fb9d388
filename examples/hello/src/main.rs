//! A small web server that tells where it runs: the image of `examples/hello.yaml` and of the end-to-end tests.
//!
//! It is the whole of its image, so it links nothing at run time and brings its own signal handling: as process 1 of a
//! container it gets SIGTERM only because it waits for it. One thread a connection and one request a connection: every
//! request through a Service is balanced anew, which is what an example should show. An HTTP library would be ten times
//! the program.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | host, pod address, version, the greeting (a ConfigMap's file), whether the Secret's file is there |
//! | `GET /healthz` | 200 |
//! | `GET /readyz` | 200, or 503 after `POST /unready` until `POST /ready` |
//! | `GET /env` | the environment, a variable a line |
//! | `GET /file?path=P` | the file's content |
//! | `GET /delay?ms=N` | 200 after N milliseconds |
//! | `GET /clientip` | the caller's address as this process sees it |
//! | `POST /exit?code=N` | none: the process ends with that code |

mod request;
mod routes;

use std::{
    io::Write,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use nix::sys::signal::{SigSet, Signal};

use crate::routes::Site;

const DEFAULT_PORT: u16 = 8080;
/// Connections served at once; more are closed at once.
const MAX_CONNECTIONS: usize = 256;
const USAGE: &str = "usage: hello [--port N] [--greeting PATH] [--secret PATH]";

struct Flags {
    port: u16,
    greeting: String,
    secret: String,
}

fn main() -> ExitCode {
    match flags(std::env::args().skip(1)).and_then(serve) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("hello: {error}");
            ExitCode::from(2)
        }
    }
}

fn flags(mut arguments: impl Iterator<Item = String>) -> Result<Flags, String> {
    let mut flags = Flags {
        port: DEFAULT_PORT,
        greeting: "/etc/hello/greeting".to_owned(),
        secret: "/etc/hello-secret/token".to_owned(),
    };
    while let Some(argument) = arguments.next() {
        let (flag, inline) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let value = || {
            inline
                .or_else(|| arguments.next())
                .ok_or_else(|| USAGE.to_owned())
        };
        match flag {
            "--port" => flags.port = value()?.parse().map_err(|_| USAGE.to_owned())?,
            "--greeting" => flags.greeting = value()?,
            "--secret" => flags.secret = value()?,
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(flags)
}

/// On all addresses of both families, or of IPv4 where the kernel has no other.
fn listen(port: u16) -> Result<(TcpListener, SocketAddr), String> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    if let Ok(listener) = TcpListener::bind(both) {
        return Ok((listener, both));
    }
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listener = TcpListener::bind(address);
    let listener = listener.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    Ok((listener, address))
}

/// Serves until a signal ends the process.
fn serve(flags: Flags) -> Result<std::convert::Infallible, String> {
    end_on_signal()?;
    // An address, not a name: looking names up would need what a static program cannot have.
    let (listener, address) = listen(flags.port)?;
    say(&format!("hello: listening on {address}"));
    let site = Arc::new(Site::new(flags.greeting, flags.secret));
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            // The caller went away, or there are no descriptors left: the next one may do better.
            Err(error) => {
                say(&format!("hello: accept: {error}"));
                thread::yield_now();
                continue;
            }
        };
        if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (site, open) = (site.clone(), open.clone());
        let counted = open.clone();
        let spawned = thread::Builder::new().stack_size(128 << 10).spawn(move || {
            routes::connection(&site, stream, peer);
            open.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            counted.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Ends the process on SIGTERM and SIGINT. Both are blocked, in every thread, since the kernel drops signals without a
/// handler that go to process 1, but keeps blocked ones for whoever waits.
fn end_on_signal() -> Result<(), String> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals
        .thread_block()
        .map_err(|errno| format!("cannot block signals: {errno}"))?;
    thread::spawn(move || {
        let Ok(signal) = signals.wait() else { return };
        say(&format!("hello: {signal}, stopping"));
        std::process::exit(0);
    });
    Ok(())
}

/// A line on standard output; nobody may be reading.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
