//! Handing transactions to the kernel.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::{
    errno::Errno,
    libc::{AF_UNSPEC, ERESTART, MSG_DONTWAIT, NLM_F_DUMP, NLMSG_ERROR},
    sys::socket::{setsockopt, sockopt},
};

use crate::{
    Error, Transaction,
    kernel::{self, message},
    ports,
    table::{Family, Table},
    transaction::Encoded,
    wire::{self, Attributes, Header, Message, Writer},
};

/// Answers of one transaction: an acknowledgement, or an error for each message that fails.
const RECEIVE_BYTES: usize = 1 << 20;
/// The kernel sends answers one by one.
const DATAGRAM_BYTES: usize = 16 << 10;
/// What the kernel wants beside the messages.
const SEND_OVERHEAD_BYTES: usize = 4 << 10;

// Attributes of an error.
const HINT: u16 = 1;
const OFFSET: u16 = 2;
/// The error's number, and the header of the message it is about.
const ERROR_BYTES: usize = 4 + wire::MESSAGE_HEADER_BYTES;

/// A socket to nf_tables of the network namespace in which it was opened, whoever uses it.
///
/// Calls block for as long as the kernel works on them: microseconds for a small change, a second or so for 100 000 elements.
pub struct Connection {
    socket: Socket,
    /// Of the next message.
    sequence: u32,
    /// What the socket takes in one piece by now.
    send_bytes: usize,
}

impl Connection {
    /// # Errors
    /// When there is no netfilter.
    pub fn open() -> Result<Self, Error> {
        let open = || {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            ports::bind(&mut socket)?;
            socket.connect(&SocketAddr::new(0, 0))?;
            // Which attribute was wrong, and why in words; without a copy of the message.
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            Ok(socket)
        };
        let socket = open().map_err(Error::Socket)?;
        // Best effort: an answer that is lost is noticed.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BYTES).is_err() {
            let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BYTES);
        }
        Ok(Self {
            socket,
            sequence: 1,
            send_bytes: 0,
        })
    }

    /// Applies a transaction: all of it, or nothing if an error is returned but [`Error::NoAnswer`].
    ///
    /// With a `generation` it is [`Error::Changed`] if anybody has changed the ruleset of this network namespace since it was
    /// that; a transaction that is applied makes the next generation. One that is empty is not sent.
    ///
    /// # Errors
    /// Names the operation that the kernel did not like.
    pub fn commit(
        &mut self,
        transaction: &Transaction,
        generation: Option<u32>,
    ) -> Result<(), Error> {
        if transaction.is_empty() {
            return Ok(());
        }
        let first = self.sequence;
        let encoded = transaction.encode(first, generation);
        // Numbers are not used again: late answers would be taken for those of others.
        self.sequence = first.wrapping_add(encoded.messages());
        self.send(&encoded.bytes)?;
        let mut outcome = Outcome::default();
        self.answers(|answer| {
            let place = answer.sequence.wrapping_sub(first);
            if place < encoded.messages() {
                outcome.record(place, &answer);
            }
        })?;
        outcome.judge(&encoded)
    }

    /// The number of changes that were made to the ruleset of this network namespace.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn generation(&mut self) -> Result<u32, Error> {
        let mut found = None;
        let asked = Asked::of_all(message::GET_GENERATION);
        self.ask(
            asked,
            |_| {},
            |answer| {
                if answer.kind == message::NEW_GENERATION {
                    found = answer.attributes().u32(kernel::GENERATION_ID);
                }
            },
        )?;
        found.ok_or(Error::NoAnswer)
    }

    /// The comment of a table, if it is there and has one.
    ///
    /// # Errors
    /// When the kernel gives no answer.
    pub fn comment(&mut self, table: &Table) -> Result<Option<String>, Error> {
        let mut found = None;
        let asked = Asked::of(message::GET_TABLE, table.family);
        let named = |writer: &mut Writer| writer.text(kernel::table::NAME, &table.name);
        self.ask(asked, named, |answer| {
            if answer.kind == message::NEW_TABLE {
                found = answer
                    .attributes()
                    .find(kernel::table::USER_DATA)
                    .and_then(comment);
            }
        })?;
        Ok(found)
    }

    pub(crate) fn ask(
        &mut self,
        asked: Asked,
        body: impl FnOnce(&mut Writer),
        mut answer: impl FnMut(Message<'_>),
    ) -> Result<(), Error> {
        let header = Header {
            kind: asked.kind,
            flags: asked.flags,
            family: asked.family,
            resource: 0,
            sequence: self.sequence,
        };
        let mut writer = Writer::default();
        writer.message(header, body);
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        self.send(&writer.into_bytes())?;
        self.answers(|message| {
            if message.sequence == sequence {
                answer(message);
            }
        })
    }

    /// The kernel takes a batch in one piece and is done with it when this returns.
    fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let wanted = bytes.len().saturating_add(SEND_OVERHEAD_BYTES);
        if wanted > self.send_bytes {
            // Beyond the system's limit, if we may. The kernel doubles what it is told.
            if setsockopt(&self.socket, sockopt::SndBufForce, &wanted).is_err() {
                let _ = setsockopt(&self.socket, sockopt::SndBuf, &wanted);
            }
            self.send_bytes = wanted;
        }
        loop {
            match self.socket.send(bytes, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {
                    let bytes = bytes.len();
                    return Err(Error::TooLarge { bytes });
                }
                Err(error) => return Err(Error::Socket(error)),
            }
        }
    }

    /// All answers that are there.
    fn answers(&mut self, mut each: impl FnMut(Message<'_>)) -> Result<(), Error> {
        let mut buffer = Vec::with_capacity(DATAGRAM_BYTES);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, MSG_DONTWAIT) {
                Ok(_) => wire::messages(&buffer).for_each(&mut each),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Some did not fit; the first ones are there.
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {}
                Err(error) => return Err(Error::Socket(error)),
            }
        }
    }
}

/// A question.
pub(crate) struct Asked {
    kind: u16,
    flags: i32,
    family: u8,
}

impl Asked {
    /// About one thing of no family.
    fn of_all(kind: u16) -> Self {
        Self {
            kind,
            flags: 0,
            family: u8::try_from(AF_UNSPEC).unwrap_or_default(),
        }
    }

    /// About one thing.
    fn of(kind: u16, family: Family) -> Self {
        Self {
            kind,
            flags: 0,
            family: family.number(),
        }
    }

    /// About whatever there is.
    pub fn list(kind: u16, family: Family) -> Self {
        Self {
            flags: NLM_F_DUMP,
            ..Self::of(kind, family)
        }
    }
}

/// Applies one transaction in the calling thread's network namespace.
///
/// # Errors
/// As [`Connection::commit`].
pub async fn apply(transaction: Transaction) -> Result<(), Error> {
    let mut connection = Connection::open()?;
    let work = move || connection.commit(&transaction, None);
    match tokio::task::spawn_blocking(work).await {
        Ok(applied) => applied,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// What the kernel said of a transaction.
#[derive(Default)]
struct Outcome {
    is_acknowledged: bool,
    failure: Option<Failure>,
}

/// The first of its messages that the kernel did not like; others may follow from it.
struct Failure {
    place: usize,
    errno: i32,
    hint: Option<String>,
    /// Where in the message.
    offset: Option<usize>,
}

impl Outcome {
    fn record(&mut self, place: u32, answer: &Message<'_>) {
        if i32::from(answer.kind) != NLMSG_ERROR {
            return;
        }
        let code = wire::u32_at(answer.body, 0).map_or(0, u32::cast_signed);
        if code == 0 {
            self.is_acknowledged = true;
        } else if self.failure.is_none() {
            let details = Attributes::new(answer.body.get(ERROR_BYTES..).unwrap_or_default());
            let offset = details
                .find(OFFSET)
                .and_then(|bytes| wire::u32_at(bytes, 0));
            self.failure = Some(Failure {
                place: place as usize,
                errno: code.wrapping_neg(),
                hint: details.text(HINT).map(str::to_owned),
                offset: offset.map(|offset| offset as usize),
            });
        }
    }

    fn judge(self, encoded: &Encoded<'_>) -> Result<(), Error> {
        match self.failure {
            Some(failure) if failure.place == 0 && failure.errno == ERESTART => Err(Error::Changed),
            Some(failure) => {
                let entry = failure
                    .offset
                    .and_then(|offset| entry_at(&encoded.bytes, failure.place, offset));
                let what = encoded.describe(failure.place, entry);
                Err(Error::refused(what, failure.errno, failure.hint.as_deref()))
            }
            None if self.is_acknowledged => Ok(()),
            None => Err(Error::NoAnswer),
        }
    }
}

/// Which element of the message at `place` is at `offset`.
fn entry_at(bytes: &[u8], place: usize, offset: usize) -> Option<usize> {
    let message = wire::messages(bytes).nth(place)?;
    const START: usize =
        wire::MESSAGE_HEADER_BYTES + wire::NETFILTER_HEADER_BYTES + wire::ATTRIBUTE_HEADER_BYTES;
    let mut lists = message
        .attributes()
        .filter(|(kind, ..)| *kind == kernel::elements::LIST);
    let (_, list, entries) = lists.next()?;
    let within = offset.checked_sub(START)?.checked_sub(list)?;
    // A range has two entries, of which the second one is marked.
    let starts = Attributes::new(entries).filter(|(_, _, entry)| {
        Attributes::new(entry)
            .find(kernel::elements::FLAGS)
            .is_none()
    });
    let before = starts.take_while(|(_, start, _)| *start <= within).count();
    before.checked_sub(1)
}

/// Of nft's own record: a kind, a length, a text with a NUL.
pub(crate) fn comment(user_data: &[u8]) -> Option<String> {
    let [kernel::table::COMMENT, length, rest @ ..] = user_data else {
        return None;
    };
    let text = rest.get(..usize::from(*length))?;
    Some(
        std::str::from_utf8(text.strip_suffix(&[0])?)
            .ok()?
            .to_owned(),
    )
}
