//! As much of D-Bus as it takes to hold a lock of logind: calls, their answers with descriptors, and signals, over the system's socket.
//! Blocking, for a thread of its own.

mod message;
#[cfg(test)]
pub(super) mod testing;

use std::{
    collections::VecDeque,
    io::{self, IoSliceMut, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};

pub(super) use message::{Body, Message};

/// Where the system's bus is unless the environment says otherwise.
const SOCKET: &str = "/run/dbus/system_bus_socket";
const ADDRESS: &str = "DBUS_SYSTEM_BUS_ADDRESS";
/// Of the bus itself.
const BUS: &str = "org.freedesktop.DBus";
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A line while the two get to know each other, bytes.
const MAX_LINE: usize = 512;
/// Signals that came while an answer was waited for.
const MAX_PENDING: usize = 64;

/// A descriptor that the bus has passed on, which is closed with it.
#[derive(Debug)]
pub(super) struct Passed(RawFd);

impl Drop for Passed {
    fn drop(&mut self) {
        // There is nobody to tell, and nothing that can be done.
        let _closed = nix::unistd::close(self.0);
    }
}

/// A connection.
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Read, but not looked at.
    input: Vec<u8>,
    passed: VecDeque<Passed>,
    signals: VecDeque<Message>,
}

/// The system's socket.
pub(super) fn socket() -> Result<PathBuf, String> {
    let Some(address) = std::env::var_os(ADDRESS) else {
        return Ok(PathBuf::from(SOCKET));
    };
    let address = address.to_string_lossy().into_owned();
    let first = address.split(';').next().unwrap_or_default();
    let path = first.strip_prefix("unix:").and_then(|options| {
        let mut options = options.split(',');
        options.find_map(|option| option.strip_prefix("path="))
    });
    path.map(PathBuf::from)
        .ok_or_else(|| format!("{ADDRESS}={address} names no unix socket"))
}

impl Bus {
    /// Connects, and takes a name on the bus.
    pub(super) fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut bus = Self {
            stream,
            serial: 0,
            input: Vec::new(),
            passed: VecDeque::new(),
            signals: VecDeque::new(),
        };
        bus.introduce()?;
        bus.call(&Message::call(
            (BUS, "/org/freedesktop/DBus", BUS),
            "Hello",
            Body::default(),
        ))?;
        Ok(bus)
    }

    /// Who we are is what the kernel says of the socket.
    fn introduce(&mut self) -> io::Result<()> {
        let user = nix::unistd::geteuid().to_string();
        let hex: String = user.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.stream
            .write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        self.expect("OK")?;
        self.stream.write_all(b"NEGOTIATE_UNIX_FD\r\n")?;
        self.expect("AGREE_UNIX_FD")?;
        self.stream.write_all(b"BEGIN\r\n")
    }

    fn expect(&mut self, word: &str) -> io::Result<()> {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            if line.len() > MAX_LINE {
                return Err(io::Error::other(
                    "the bus answers with a line without an end",
                ));
            }
            self.stream.read_exact(&mut byte)?;
            line.extend(byte);
        }
        let line = String::from_utf8_lossy(&line);
        match line.split_whitespace().next() == Some(word) {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "the bus answers {:?}",
                line.trim_end()
            ))),
        }
    }

    /// Asks, and waits for the answer.
    pub(super) fn call(&mut self, message: &Message) -> io::Result<Message> {
        self.serial += 1;
        let serial = self.serial;
        self.stream.write_all(&message.encode(serial))?;
        loop {
            let answer = self.read()?;
            if answer.reply_to == Some(serial) {
                return match answer.error() {
                    Some(error) => Err(io::Error::other(error)),
                    None => Ok(answer),
                };
            }
            self.keep(answer);
        }
    }

    /// Has signals sent that match a rule.
    pub(super) fn subscribe(&mut self, rule: &str) -> io::Result<()> {
        let body = Body::texts(&[rule]);
        let at = (BUS, "/org/freedesktop/DBus", BUS);
        self.call(&Message::call(at, "AddMatch", body)).map(drop)
    }

    /// Waits for the next signal, however long.
    pub(super) fn signal(&mut self) -> io::Result<Message> {
        self.stream.set_read_timeout(None)?;
        while self.signals.is_empty() {
            let message = self.read()?;
            self.keep(message);
        }
        self.stream.set_read_timeout(Some(TIMEOUT))?;
        self.signals
            .pop_front()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn keep(&mut self, message: Message) {
        if message.is_signal() && self.signals.len() < MAX_PENDING {
            self.signals.push_back(message);
        }
    }

    /// The oldest descriptor that was passed on.
    pub(super) fn passed(&mut self) -> Option<Passed> {
        self.passed.pop_front()
    }

    /// What ends a wait of [`Self::signal`], from any thread.
    pub(super) fn handle(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    fn read(&mut self) -> io::Result<Message> {
        loop {
            match message::length(&self.input)? {
                Some(length) if self.input.len() >= length => {
                    let bytes: Vec<u8> = self.input.drain(..length).collect();
                    return Message::decode(&bytes);
                }
                _ => self.fill()?,
            }
        }
    }

    /// Reads what there is, descriptors with it.
    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        let mut control = nix::cmsg_space!([RawFd; 4]);
        let (count, passed) = {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            let fd = self.stream.as_raw_fd();
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            let received = recvmsg::<UnixAddr>(fd, &mut slices, Some(&mut control), flags)?;
            let mut passed = Vec::new();
            for control in received.cmsgs()? {
                if let ControlMessageOwned::ScmRights(all) = control {
                    passed.extend(all.into_iter().map(Passed));
                }
            }
            (received.bytes, passed)
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.passed.extend(passed);
        self.input.extend(bytes.get(..count).unwrap_or_default());
        Ok(())
    }
}
