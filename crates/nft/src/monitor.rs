//! Who else changes a table.

use std::io;

use netlink_sys::{AsyncSocket, AsyncSocketExt, Socket, TokioSocket, protocols::NETLINK_NETFILTER};
use nix::{
    errno::Errno,
    sys::socket::{setsockopt, sockopt},
};

use crate::{
    kernel::{self, message},
    ports,
    table::Table,
    wire,
};

/// What may wait to be read: some thousand changes. Beyond that it is known that some were lost.
const RECEIVE_BYTES: usize = 4 << 20;
/// The kernel fills a page or so a datagram.
const DATAGRAM_BYTES: usize = 64 << 10;

/// What of a table is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// All of it.
    Everything,
    /// Chains and rules, and whether it is there: its sets are for several processes to fill.
    Rules,
}

impl Watched {
    fn includes(self, kind: u16) -> bool {
        match kind {
            message::NEW_GENERATION => false,
            message::NEW_SET | message::NEW_ELEMENTS | message::DELETE_ELEMENTS => {
                self == Self::Everything
            }
            _ => true,
        }
    }
}

/// The changes that other processes make to the rulesets of the network namespace in which it was opened, from then on.
pub struct Monitor {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Within a tokio runtime.
    ///
    /// # Errors
    /// When there is no netfilter.
    pub fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        ports::bind(socket.socket_mut())?;
        let plain: &Socket = socket.socket_ref();
        ports::leave_out_ours(plain)?;
        if setsockopt(plain, sockopt::RcvBufForce, &RECEIVE_BYTES).is_err() {
            let _ = setsockopt(plain, sockopt::RcvBuf, &RECEIVE_BYTES);
        }
        plain.add_membership(kernel::GROUP)?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(DATAGRAM_BYTES),
        })
    }

    /// Waits until another process changes one of `tables`, or may have: changes that come faster than they are read are lost. May be
    /// cancelled and called again.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn changed(&mut self, tables: &[Table], watched: Watched) -> io::Result<()> {
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer).await {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => return Ok(()),
                Err(error) => return Err(error),
            }
            let foreign = wire::messages(&self.buffer).any(|message| {
                watched.includes(message.kind)
                    && !ports::is_ours(message.port)
                    && tables.iter().any(|table| {
                        message.family() == Some(table.family.number())
                            && message.attributes().text(kernel::table::NAME) == Some(&*table.name)
                    })
            });
            if foreign {
                return Ok(());
            }
        }
    }
}
