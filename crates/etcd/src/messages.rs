//! Requests and answers of etcd's API, in the store's terms.

use std::sync::Arc;

use bytes::Bytes;
use knarr_store::{Change, Error, Expect, KeyValue, Op, Outcome, Result};

use crate::api::{
    self, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader,
    ResponseOp, TxnRequest, TxnResponse, compare::CompareTarget, compare::TargetUnion,
    request_op::Request, response_op::Response,
};

/// The end of a range that has none; as its start, the first key.
pub(crate) const ALL: &[u8] = &[0];

pub(crate) fn unsigned(number: i64) -> u64 {
    number.max(0).unsigned_abs()
}

pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn revision(header: Option<&ResponseHeader>) -> u64 {
    header.map_or(0, |header| unsigned(header.revision))
}

/// Counts a key that nobody has.
pub(crate) fn nothing() -> RangeRequest {
    RangeRequest {
        key: ALL.to_vec(),
        count_only: true,
        ..RangeRequest::default()
    }
}

pub(crate) fn get(key: &str, at: u64) -> RangeRequest {
    RangeRequest {
        key: key.into(),
        revision: signed(at),
        ..RangeRequest::default()
    }
}

/// Keys with the prefix from `start` on.
pub(crate) fn page(start: Vec<u8>, prefix: &str, limit: usize, at: u64) -> RangeRequest {
    RangeRequest {
        key: start,
        range_end: end(prefix),
        limit: i64::try_from(limit).unwrap_or(i64::MAX),
        revision: signed(at),
        ..RangeRequest::default()
    }
}

/// The first key that can be in a range.
pub(crate) fn start(prefix: &str, start_after: Option<&str>) -> Vec<u8> {
    match start_after {
        Some(key) if key >= prefix => after(key.as_bytes()),
        _ if prefix.is_empty() => ALL.to_vec(),
        _ => prefix.into(),
    }
}

/// The first key after this one.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The first key after all that have the prefix.
fn end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // The bytes of a string are below 0xff.
    match end.last_mut() {
        Some(last) => *last = last.saturating_add(1),
        None => end = ALL.to_vec(),
    }
    end
}

/// Bytes of what is sent.
pub(crate) fn size(op: &Op) -> usize {
    let value = match &op.change {
        Change::Put(value) => value.len(),
        Change::Delete => 0,
    };
    op.key.len().saturating_add(value)
}

/// The change if the key is as expected, else what it is.
pub(crate) fn txn(op: Op) -> TxnRequest {
    let key = op.key.into_bytes();
    let compare = |revision| Compare {
        target: CompareTarget::Mod.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::ModRevision(revision)),
    };
    let compare = match op.expect {
        Expect::Any => Vec::new(),
        Expect::Absent => vec![compare(0)],
        Expect::Revision(revision) => vec![compare(signed(revision))],
    };
    let failure = Request::RequestRange(RangeRequest {
        key: key.clone(),
        ..RangeRequest::default()
    });
    let success = match op.change {
        Change::Put(value) => Request::RequestPut(PutRequest {
            key,
            value: value.into(),
            prev_kv: true,
        }),
        Change::Delete => Request::RequestDeleteRange(DeleteRangeRequest { key, prev_kv: true }),
    };
    let op = |request| RequestOp {
        request: Some(request),
    };
    TxnRequest {
        compare,
        success: vec![op(success)],
        failure: vec![op(failure)],
    }
}

pub(crate) fn outcome(response: TxnResponse) -> Result<Outcome> {
    let revision = revision(response.header.as_ref());
    let op = response.responses.into_iter().next();
    let kv = match op.and_then(|ResponseOp { response }| response) {
        Some(Response::ResponsePut(put)) => put.prev_kv,
        Some(Response::ResponseDeleteRange(delete)) => delete.prev_kvs.into_iter().next(),
        Some(Response::ResponseRange(range)) => range.kvs.into_iter().next(),
        None => return Err(unexpected("a transaction without a result")),
    };
    let kv = kv.map(key_value).transpose()?;
    Ok(match response.succeeded {
        true => Outcome::Committed {
            revision,
            previous: kv,
        },
        false => Outcome::Conflict {
            current: kv,
            revision,
        },
    })
}

/// `Corrupt` where the key is no text, as all of ours are.
pub(crate) fn key_value(kv: api::KeyValue) -> Result<KeyValue> {
    let key = String::from_utf8(kv.key);
    Ok(KeyValue {
        key: Arc::from(key.map_err(|_| unexpected("a key that is not UTF-8"))?),
        value: Bytes::from(kv.value),
        create_revision: unsigned(kv.create_revision),
        mod_revision: unsigned(kv.mod_revision),
        version: unsigned(kv.version),
    })
}

fn unexpected(what: &str) -> Error {
    Error::Corrupt(format!("etcd answered with {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_of_a_prefix() {
        for (prefix, after, expected) in [
            ("/a/", None, (&b"/a/"[..], &b"/a0"[..])),
            ("/a/", Some("/a/b"), (b"/a/b\0", b"/a0")),
            ("/a/", Some("/Z"), (b"/a/", b"/a0")),
            ("/a/", Some("/b"), (b"/b\0", b"/a0")),
            ("", None, (b"\0", b"\0")),
        ] {
            let page = page(start(prefix, after), prefix, 1, 0);
            assert_eq!(
                (&*page.key, &*page.range_end),
                expected,
                "{prefix} {after:?}"
            );
        }
    }
}
