//! Compaction as upstream's API servers do it, with the same key, so that servers of both kinds agree who does it.
//!
//! The key's version counts compactions. Whoever raises it first compacts, to where the store was an interval before; the others
//! see that somebody has, and wait for the next turn.

use std::{sync::Arc, time::Duration};

use knarr_store::Result;
use tokio::time::sleep;

use crate::{
    Shared,
    api::{
        Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, compare::CompareTarget,
        compare::TargetUnion, request_op::Request, response_op::Response,
    },
    messages,
};

const KEY: &str = "compact_rev_key";

/// What the last turn has told.
#[derive(Clone, Copy, Default)]
struct Turn {
    /// Compactions so far.
    count: i64,
    /// Where the store was; 0 before the first turn.
    revision: u64,
}

/// Runs until it is dropped.
pub(crate) async fn run(shared: Arc<Shared>, interval: Duration) {
    let mut last = Turn::default();
    loop {
        sleep(interval).await;
        match take(&shared, last).await {
            Ok(turn) => last = turn,
            Err(error) => tracing::warn!(%error, "cannot compact etcd"),
        }
    }
}

async fn take(shared: &Shared, last: Turn) -> Result<Turn> {
    let response = shared.calls.txn(&claim(last)).await?;
    let revision = messages::revision(response.header.as_ref());
    if response.succeeded {
        if last.revision > 0 {
            shared.calls.compact(last.revision).await?;
            shared.note_compaction(last.revision);
            tracing::debug!(revision = last.revision, "compacted etcd");
        }
        let count = last.count.saturating_add(1);
        return Ok(Turn { count, revision });
    }
    let there = response.responses.into_iter().next();
    let kv = match there.and_then(|there| there.response) {
        Some(Response::ResponseRange(range)) => range.kvs.into_iter().next(),
        _ => None,
    };
    let count = kv.as_ref().map_or(0, |kv| kv.version);
    // Another's turn; what it compacts is gone for everybody.
    let text = kv.and_then(|kv| String::from_utf8(kv.value).ok());
    if let Some(compacted) = text.and_then(|text| text.parse().ok()) {
        shared.note_compaction(compacted);
    }
    Ok(Turn { count, revision })
}

fn claim(last: Turn) -> TxnRequest {
    let op = |request| RequestOp {
        request: Some(request),
    };
    TxnRequest {
        compare: vec![Compare {
            target: CompareTarget::Version.into(),
            key: KEY.into(),
            target_union: Some(TargetUnion::Version(last.count)),
        }],
        success: vec![op(Request::RequestPut(PutRequest {
            key: KEY.into(),
            value: last.revision.to_string().into_bytes(),
            prev_kv: false,
        }))],
        failure: vec![op(Request::RequestRange(RangeRequest {
            key: KEY.into(),
            ..RangeRequest::default()
        }))],
    }
}
