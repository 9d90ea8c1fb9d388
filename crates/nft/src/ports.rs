//! The netlink ports of this process: who made a change is told by its port.
//!
//! All sockets of the process have ports of one block, which is chosen once. So a monitor can have the kernel leave out what this
//! process did, whichever of its parts: a table of half a million rules tells of each of them, and a monitor that has to read all
//! of that misses what others do.

use std::{io, os::fd::AsRawFd, sync::OnceLock};

use netlink_sys::{Socket, SocketAddr};
use nix::{errno::Errno, libc};

/// Ports of a block, by their lowest bits.
const BLOCK_MASK: u32 = 0xff;
/// Neither process ids nor what the kernel chooses by itself look so.
const PREFIX: u32 = 0x4b00_0000;

/// The first port of this process's block.
fn block() -> u32 {
    static BLOCK: OnceLock<u32> = OnceLock::new();
    *BLOCK.get_or_init(|| PREFIX | u32::from(fastrand::u16(..)) << 8)
}

/// Whether a socket of this process has the port.
pub(crate) fn is_ours(port: u32) -> bool {
    port & !BLOCK_MASK == block()
}

/// Gives a socket a port of the block.
///
/// # Errors
/// When the system refuses, or as many sockets are open as the block has ports.
pub(crate) fn bind(socket: &mut Socket) -> io::Result<u32> {
    let mut last = io::Error::from(Errno::EADDRINUSE);
    for port in block()..=block() | BLOCK_MASK {
        match socket.bind(&SocketAddr::new(port, 0)) {
            Ok(()) => return Ok(port),
            Err(error) if error.raw_os_error() == Some(Errno::EADDRINUSE as i32) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Has the kernel keep from a socket what ports of the block have caused. A datagram is of one transaction, so its first message
/// speaks for all.
///
/// # Errors
/// When the system refuses.
pub(crate) fn leave_out_ours(socket: &Socket) -> io::Result<()> {
    const LOAD_WORD: u16 = 0x20;
    const AND: u16 = 0x54;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// Where a message's header has the port. The program reads big endian, headers are as the host is.
    const PORT_OFFSET: u32 = 12;
    let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let mut program = [
        step(LOAD_WORD, 0, PORT_OFFSET),
        step(AND, 0, (!BLOCK_MASK).to_be()),
        step(JUMP_EQUAL, 1, block().to_be()),
        step(RETURN, 0, 0),
        step(RETURN, 0, u32::MAX),
    ];
    attach(socket, &mut program)
}

#[allow(unsafe_code)]
fn attach(socket: &Socket, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the option is a `sock_fprog` whose program is borrowed for the call; the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use netlink_sys::protocols::NETLINK_NETFILTER;

    use super::*;

    #[test]
    fn ports_of_a_process_are_told_from_others() {
        let mut sockets = Vec::new();
        for _ in 0..3 {
            let mut socket = Socket::new(NETLINK_NETFILTER).unwrap();
            let port = bind(&mut socket).unwrap();
            assert!(is_ours(port), "{port:x}");
            assert!(sockets.iter().all(|(_, other)| *other != port));
            sockets.push((socket, port));
        }
        let mut other = Socket::new(NETLINK_NETFILTER).unwrap();
        let port = other.bind_auto().unwrap().port_number();
        assert!(!is_ours(port), "{port:x}");
        assert!(!is_ours(std::process::id()));
    }
}
