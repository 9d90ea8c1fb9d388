//! A bus with a logind on it, in this process.

use std::{
    io::{IoSlice, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};

use super::message::{Body, Message, length};

#[derive(Default)]
struct State {
    /// Ends of pipes whose other ends are locks.
    locks: Vec<OwnedFd>,
    delay: u64,
    clients: Vec<UnixStream>,
}

pub struct FakeLogind {
    pub socket: PathBuf,
    state: Arc<Mutex<State>>,
}

impl FakeLogind {
    /// One that waits `delay` microseconds, until its configuration is read again: then an hour.
    pub fn start(dir: &Path, delay: u64) -> Self {
        let socket = dir.join("bus");
        let listener = UnixListener::bind(&socket).unwrap();
        let state = Arc::new(Mutex::new(State {
            delay,
            ..State::default()
        }));
        let all = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = all.clone();
                std::thread::spawn(move || serve(client, &state));
            }
        });
        Self { socket, state }
    }

    /// How many locks are held.
    pub fn locks(&self) -> usize {
        let mut state = self.state.lock().unwrap();
        state.locks.retain(|pipe| {
            let mut polled = [nix::poll::PollFd::new(
                std::os::fd::AsFd::as_fd(pipe),
                nix::poll::PollFlags::POLLIN,
            )];
            nix::poll::poll(&mut polled, 0u8).unwrap();
            let events = polled[0].revents().unwrap();
            !events.contains(nix::poll::PollFlags::POLLHUP)
        });
        state.locks.len()
    }

    /// Tells everybody whether the machine goes down.
    pub fn tell(&self, down: bool) {
        let signal = Message {
            kind: 4,
            path: "/org/freedesktop/login1".to_owned(),
            interface: "org.freedesktop.login1.Manager".to_owned(),
            member: "PrepareForShutdown".to_owned(),
            body: Body {
                signature: "b".to_owned(),
                bytes: u32::from(down).to_le_bytes().to_vec(),
            },
            ..Message::default()
        };
        for client in &mut self.state.lock().unwrap().clients {
            // Those that have gone do not hear it.
            let _told = client.write_all(&signal.encode(1));
        }
    }
}

fn line(client: &mut UnixStream) -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        client.read_exact(&mut byte).ok()?;
        line.push(byte[0]);
    }
    Some(
        String::from_utf8_lossy(&line)
            .trim_matches(['\0', '\r', '\n'])
            .to_owned(),
    )
}

fn serve(mut client: UnixStream, state: &Mutex<State>) -> Option<()> {
    assert!(line(&mut client)?.starts_with("AUTH EXTERNAL "));
    client.write_all(b"OK 0123\r\n").ok()?;
    assert_eq!(line(&mut client)?, "NEGOTIATE_UNIX_FD");
    client.write_all(b"AGREE_UNIX_FD\r\n").ok()?;
    assert_eq!(line(&mut client)?, "BEGIN");
    let mut input = Vec::new();
    loop {
        let mut bytes = [0; 512];
        let count = client.read(&mut bytes).ok().filter(|count| *count > 0)?;
        input.extend(&bytes[..count]);
        while let Some(length) = length(&input)
            .unwrap()
            .filter(|length| input.len() >= *length)
        {
            let whole: Vec<u8> = input.drain(..length).collect();
            let serial = u32::from_le_bytes(*whole[8..].first_chunk().unwrap());
            answer(
                &mut client,
                &Message::decode(&whole).unwrap(),
                serial,
                state,
            )?;
        }
    }
}

fn answer(
    client: &mut UnixStream,
    call: &Message,
    serial: u32,
    state: &Mutex<State>,
) -> Option<()> {
    let mut reply = Message {
        kind: 2,
        reply_to: Some(serial),
        ..Message::default()
    };
    let mut state = state.lock().unwrap();
    match call.member.as_str() {
        "AddMatch" => state.clients.push(client.try_clone().ok()?),
        "KillUnit" => state.delay = 3_600_000_000,
        "Get" => {
            let mut bytes = b"\x01t\0\0\0\0\0\0".to_vec();
            bytes.extend(state.delay.to_le_bytes());
            reply.body = Body {
                signature: "v".to_owned(),
                bytes,
            };
        }
        "Inhibit" => {
            let (ours, theirs) = nix::unistd::pipe().unwrap();
            reply.body = Body {
                signature: "h".to_owned(),
                bytes: 0_u32.to_le_bytes().to_vec(),
            };
            let bytes = reply.encode(1);
            let passed = [theirs.as_raw_fd()];
            let rights = [ControlMessage::ScmRights(&passed)];
            let slices = [IoSlice::new(&bytes)];
            sendmsg::<UnixAddr>(
                client.as_raw_fd(),
                &slices,
                &rights,
                MsgFlags::empty(),
                None,
            )
            .ok()?;
            state.locks.push(ours);
            return Some(());
        }
        _ => {}
    }
    client.write_all(&reply.encode(1)).ok()
}
