//! What of a resolver's answer is kept, and for how long.

use hickory_proto::{
    op::Message,
    rr::{Name, RData, RecordType},
};

use super::Rules;
use crate::wire::{
    HEADER_BYTES, OPT_BYTES, Place, Question, RCODE, TRUNCATED, TYPE_OPT, TYPE_SOA, number, places,
};

const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_DNAME: u16 = 39;
/// Larger answers are passed on, and not kept.
const ANSWER_LIMIT_BYTES: usize = 16 * 1024;
/// Aliases of aliases that are followed.
const CHAIN_LIMIT: usize = 16;

/// What sort of an answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// There are records.
    Success,
    /// There is no such name, or nothing of that type (RFC 2308).
    Denial,
    /// The resolver cannot say.
    Failure,
}

/// An answer without its OPT record.
#[derive(Debug)]
pub struct Kept {
    bytes: Box<[u8]>,
    /// Where times to live are.
    ttls: Box<[u16]>,
    /// The addresses of the one name that has several: where they are, and how long one is.
    addresses: Box<[u16]>,
    address_bytes: usize,
}

/// An answer that may be kept.
#[derive(Debug)]
pub struct Judged {
    pub kept: Kept,
    pub sort: Sort,
    /// Seconds, within what the rules allow.
    pub ttl: u32,
}

impl Kept {
    /// Judges an answer that [`Question::is_answered_by`]. `None` where it is not to be kept: cut off, of another sort, with records
    /// of names that were not asked for, denied by nobody (RFC 2308, 5), or malformed.
    pub fn judge(answer: &[u8], question: &Question<'_>, rules: &Rules) -> Option<Judged> {
        let header = answer.first_chunk::<HEADER_BYTES>()?;
        if header[2] & TRUNCATED != 0 || answer.len() > ANSWER_LIMIT_BYTES {
            return None;
        }
        let count = |at: usize| number(header, at);
        let start = question.end();
        let (answers, end) = places(answer, start, count(6))?;
        let (authorities, end) = places(answer, end, count(8))?;
        let (mut additionals, end) = places(answer, end, count(10))?;
        let mut end = end;
        if let Some(at) = additionals.iter().position(|place| place.kind == TYPE_OPT) {
            let opt = additionals.remove(at);
            // Others might point into what comes after it. What is in its first byte of flags is a part of the code.
            if at != additionals.len() || answer.get(opt.ttl) != Some(&0) {
                return None;
            }
            end = opt.start;
        }
        let all = || answers.iter().chain(&authorities).chain(&additionals);
        let soa = authorities.iter().find(|place| place.kind == TYPE_SOA);
        let sort = match header[3] & RCODE {
            NO_ERROR if !answers.is_empty() => Sort::Success,
            NO_ERROR | NO_SUCH_NAME if soa.is_some() => Sort::Denial,
            SERVER_FAILURE => Sort::Failure,
            _ => return None,
        };
        let mut ttl = u32::MAX;
        for place in all() {
            ttl = ttl.min(place.ttl_seconds(answer)?);
        }
        if let (Sort::Denial, Some(soa)) = (sort, soa) {
            ttl = ttl.min(minimum(answer, soa)?);
        }
        if !is_of_the_question(answer) {
            return None;
        }
        let mut bytes = answer[..end].to_vec();
        bytes[..2].copy_from_slice(&[0, 0]);
        let additional = u16::try_from(additionals.len()).ok()?;
        bytes[10..12].copy_from_slice(&additional.to_be_bytes());
        let offset = |at: usize| u16::try_from(at).ok();
        let (addresses, address_bytes) = addresses(&answers);
        let kept = Self {
            ttls: all().filter_map(|place| offset(place.ttl)).collect(),
            addresses,
            address_bytes,
            bytes: bytes.into(),
        };
        let ttl = rules.ttl(sort, ttl);
        Some(Judged { kept, sort, ttl })
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        let places = self.ttls.len().saturating_add(self.addresses.len());
        places.saturating_mul(2).saturating_add(self.bytes.len())
    }

    /// The answer to whoever asks the question now.
    pub fn answer(&self, question: &Question<'_>, ttl: u32) -> Vec<u8> {
        let mut answer = Vec::with_capacity(self.bytes.len().saturating_add(OPT_BYTES));
        answer.extend(&*self.bytes);
        for at in &self.ttls {
            let at = usize::from(*at);
            answer[at..][..4].copy_from_slice(&ttl.to_be_bytes());
        }
        self.turn(&mut answer);
        question.address(&mut answer);
        answer
    }

    /// Begins with another of several addresses: many clients take the first.
    fn turn(&self, answer: &mut [u8]) {
        if self.addresses.len() < 2 {
            return;
        }
        let by = fastrand::usize(..self.addresses.len());
        let from = self.addresses.iter().cycle().skip(by);
        for (to, from) in self.addresses.iter().zip(from) {
            let (to, from) = (usize::from(*to), usize::from(*from));
            answer[to..][..self.address_bytes]
                .copy_from_slice(&self.bytes[from..][..self.address_bytes]);
        }
    }
}

/// The last field of an SOA record.
fn minimum(answer: &[u8], soa: &Place) -> Option<u32> {
    let data = answer.get(soa.data..soa.end)?;
    // Two names of at least a byte, and five numbers.
    if data.len() < 22 {
        return None;
    }
    Some(u32::from_be_bytes(*data.last_chunk()?))
}

/// Where the addresses of an answer are, if all are of one type, which is one name's then.
fn addresses(answers: &[Place]) -> (Box<[u16]>, usize) {
    let found: Vec<&Place> = answers
        .iter()
        .filter(|place| matches!(place.kind, TYPE_A | TYPE_AAAA))
        .collect();
    let Some(first) = found.first() else {
        return (Box::default(), 0);
    };
    let bytes = |place: &Place| place.end.saturating_sub(place.data);
    let length = bytes(first);
    let alike = |place: &&Place| place.kind == first.kind && bytes(place) == length;
    if !found.iter().all(alike) {
        return (Box::default(), 0);
    }
    let offsets = found.iter().map(|place| u16::try_from(place.data));
    (offsets.filter_map(Result::ok).collect(), length)
}

/// Whether the message can be read, and each record of the answer is the name's that was asked for, or what an alias of it leads to.
fn is_of_the_question(answer: &[u8]) -> bool {
    let Ok(message) = Message::from_vec(answer) else {
        return false;
    };
    let [question] = message.queries.as_slice() else {
        return false;
    };
    let mut known: Vec<Name> = vec![question.name().to_lowercase()];
    let mut rest: Vec<_> = message.answers.iter().collect();
    // Resolvers tell aliases in their order; each round of any other order finds one more.
    for _ in 0..CHAIN_LIMIT {
        rest.retain(|record| {
            let owner = record.name.to_lowercase();
            let is_above = record.record_type() == RecordType::from(TYPE_DNAME)
                && known.iter().any(|name| owner.zone_of(name));
            if !is_above && !known.contains(&owner) {
                return true;
            }
            if let RData::CNAME(target) = &record.data
                && known.len() < CHAIN_LIMIT
            {
                known.push(target.0.to_lowercase());
            }
            false
        });
        if rest.is_empty() {
            return true;
        }
    }
    false
}
