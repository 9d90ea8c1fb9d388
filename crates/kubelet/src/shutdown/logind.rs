//! The machine's shutdown as systemd-logind tells of it, which is delayed for as long as a lock is held.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::bus::{self, Body, Bus, Message, Passed};

const SERVICE: &str = "org.freedesktop.login1";
const OBJECT: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const RULE: &str = "type='signal',interface='org.freedesktop.login1.Manager',member='PrepareForShutdown',path='/org/freedesktop/login1'";
const SYSTEMD: (&str, &str, &str) = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
);
const HANG_UP: i32 = 1;
/// Where logind is told how long it may be delayed, as upstream.
const DIRECTORY: &str = "/etc/systemd/logind.conf.d";
const FILE: &str = "99-kubelet.conf";
/// How often it is looked whether logind has read that, and the first pause between.
const LOOKS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Signals that nobody has taken yet.
const PENDING: usize = 8;

/// What delays the machine's shutdown as long as it is there.
pub(super) struct Lock {
    _held: Passed,
}

/// What the machine is up to.
pub(super) enum ShutdownSignal {
    /// It goes down once the lock is let go.
    Down(Lock),
    /// It stays up after all.
    Up,
}

/// Logind at the other end of the system's bus.
#[derive(Clone, Debug)]
pub(crate) struct Logind {
    socket: PathBuf,
    directory: PathBuf,
}

impl Logind {
    /// Of this machine.
    ///
    /// # Errors
    /// The environment names something else than a socket.
    pub(crate) fn of_machine() -> Result<Self, String> {
        Ok(Self::at(bus::socket()?, PathBuf::from(DIRECTORY)))
    }

    pub(super) fn at(socket: PathBuf, directory: PathBuf) -> Self {
        Self { socket, directory }
    }

    /// Whether there is one. Blocks.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut bus = self.connect()?;
        delay(&mut bus).map(drop).map_err(|error| error.to_string())
    }

    fn connect(&self) -> Result<Bus, String> {
        let connected = Bus::connect(&self.socket);
        connected.map_err(|error| format!("{}: {error}", self.socket.display()))
    }

    /// Takes the lock for as long as `period` and waits for what happens, on a thread of its own, until the token is cancelled or the
    /// bus is gone.
    pub(super) fn watch(
        &self,
        period: Duration,
        token: CancellationToken,
    ) -> Result<mpsc::Receiver<ShutdownSignal>, String> {
        let mut bus = self.connect()?;
        let failed = |error: io::Error| error.to_string();
        self.allow(&mut bus, period)?;
        bus.subscribe(RULE).map_err(failed)?;
        let mut lock = Some(inhibit(&mut bus).map_err(failed)?);
        let handle = bus.handle().map_err(failed)?;
        let (sender, receiver) = mpsc::channel(PENDING);
        knarr_tasks::spawn("the end of a watch of the machine's shutdown", async move {
            token.cancelled().await;
            // Nobody reads any more.
            let _ended = handle.shutdown(std::net::Shutdown::Both);
        });
        tokio::task::spawn_blocking(move || {
            if let Err(error) = follow(&mut bus, &mut lock, &sender) {
                tracing::debug!(%error, "the machine's shutdown is not watched any more");
            }
        });
        Ok(receiver)
    }

    /// Has logind wait as long as is needed, if it would not.
    fn allow(&self, bus: &mut Bus, period: Duration) -> Result<(), String> {
        let mut allowed = delay(bus).map_err(|error| error.to_string())?;
        if allowed >= period {
            return Ok(());
        }
        write(&self.directory, period).map_err(|error| {
            format!("unable to override inhibit delay by shutdown manager: {error}")
        })?;
        let body = Body::texts(&["systemd-logind.service", "all"]).with_number(HANG_UP);
        let reload = Message::call(SYSTEMD, "KillUnit", body);
        bus.call(&reload)
            .map_err(|error| format!("unable to reload logind conf: {error}"))?;
        let mut pause = FIRST_PAUSE;
        for _ in 0..LOOKS {
            allowed = delay(bus).map_err(|error| error.to_string())?;
            if allowed >= period {
                return Ok(());
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        Err(format!(
            "node shutdown manager was timed out after {LOOKS} attempts waiting for logind InhibitDelayMaxSec to update to {period:?} (ShutdownGracePeriod), current value is {allowed:?}"
        ))
    }
}

fn write(directory: &Path, period: Duration) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let seconds = period.as_secs();
    let text = format!("# Kubelet logind override\n[Login]\nInhibitDelayMaxSec={seconds}\n");
    fs::write(directory.join(FILE), text)
}

/// How long logind lets itself be delayed.
fn delay(bus: &mut Bus) -> io::Result<Duration> {
    let body = Body::texts(&[MANAGER, "InhibitDelayMaxUSec"]);
    let answer = bus.call(&Message::call((SERVICE, OBJECT, PROPERTIES), "Get", body))?;
    let micros = answer.body.large_in_variant().ok_or_else(|| {
        io::Error::other("InhibitDelayMaxUSec from logind is not a uint64 as expected")
    })?;
    Ok(Duration::from_micros(micros))
}

fn inhibit(bus: &mut Bus) -> io::Result<Lock> {
    let why = "Kubelet needs time to handle node shutdown";
    let body = Body::texts(&["shutdown", "kubelet", why, "delay"]);
    bus.call(&Message::call((SERVICE, OBJECT, MANAGER), "Inhibit", body))?;
    let passed = bus.passed();
    passed
        .map(|held| Lock { _held: held })
        .ok_or_else(|| io::Error::other("logind passed no lock on"))
}

/// Tells of what happens: the lock goes with the news that the machine goes down, and is taken again when it does not.
fn follow(
    bus: &mut Bus,
    lock: &mut Option<Lock>,
    to: &mpsc::Sender<ShutdownSignal>,
) -> io::Result<()> {
    loop {
        let signal = bus.signal()?;
        if signal.member != "PrepareForShutdown" || signal.interface != MANAGER {
            continue;
        }
        let told = match (signal.body.truth(), lock.take()) {
            (Some(true), Some(held)) => ShutdownSignal::Down(held),
            (Some(true), None) | (None, None) => continue,
            (Some(false), held) => {
                *lock = Some(match held {
                    Some(held) => held,
                    None => inhibit(bus)?,
                });
                ShutdownSignal::Up
            }
            (None, held) => {
                *lock = held;
                continue;
            }
        };
        if to.blocking_send(told).is_err() {
            return Ok(());
        }
    }
}
