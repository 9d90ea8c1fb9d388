//! What etcd's errors mean.

use std::error::Error as _;

use knarr_store::Error;
use tonic::{Code, ConnectError, Status};

/// etcd's default of `--max-request-bytes`: it does not say what it is.
const MAX_REQUEST_BYTES: usize = 3 << 19;

/// The store's error; what etcd does not tell is 0.
pub(crate) fn of(status: &Status, endpoint: &str) -> Error {
    let message = status.message();
    let says = |text: &str| message.contains(text);
    match status.code() {
        _ if is_unreachable(status) => Error::Unavailable {
            reason: format!("{endpoint}: {}", reason(status)),
        },
        Code::OutOfRange if says("compacted") => Error::Compacted { compacted: 0 },
        Code::OutOfRange if says("future") => Error::Future { current: 0 },
        Code::ResourceExhausted if says("space exceeded") => Error::Full,
        Code::InvalidArgument if says("too large") => Error::TooLarge {
            bytes: 0,
            limit: MAX_REQUEST_BYTES,
        },
        Code::ResourceExhausted if says("larger than max") => Error::TooLarge {
            bytes: 0,
            limit: MAX_REQUEST_BYTES,
        },
        _ => Error::Refused {
            reason: format!("{endpoint}: {}", reason(status)),
        },
    }
}

/// Whether another endpoint, or the same a while later, may answer.
pub(crate) fn is_unreachable(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => true,
        Code::ResourceExhausted => status.message().contains("too many requests"),
        // What comes from the connection and not from etcd has a cause.
        _ => status.source().is_some(),
    }
}

/// Whether etcd cannot have done what was asked for.
pub(crate) fn was_not_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    let message = status.message();
    message.contains("etcdserver: no leader") || message.contains("too many requests")
}

/// In one line, with the last cause, which says most.
fn reason(status: &Status) -> String {
    let mut last = None;
    let mut cause = status.source();
    while let Some(error) = cause {
        last = Some(error.to_string());
        cause = error.source();
    }
    match last {
        Some(last) if last != status.message() => format!("{}: {last}", status.message()),
        _ => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        let of = |code, message: &str| format!("{:?}", of(&Status::new(code, message), "a:1"));
        for (code, message, expected) in [
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                "Compacted { compacted: 0 }",
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
                "Future { current: 0 }",
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                "Full",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: request is too large",
                "TooLarge { bytes: 0, limit: 1572864 }",
            ),
            (
                Code::Unavailable,
                "etcdserver: leader changed",
                r#"Unavailable { reason: "a:1: etcdserver: leader changed" }"#,
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                r#"Unavailable { reason: "a:1: etcdserver: too many requests" }"#,
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                r#"Refused { reason: "a:1: etcdserver: permission denied" }"#,
            ),
        ] {
            assert_eq!(of(code, message), expected);
        }
    }

    #[test]
    fn only_what_was_not_sent_is_sent_again() {
        for (code, message, unsent) in [
            (Code::Unavailable, "etcdserver: no leader", true),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                true,
            ),
            (Code::Unavailable, "etcdserver: request timed out", false),
            (Code::Unavailable, "etcdserver: leader changed", false),
            (Code::DeadlineExceeded, "no answer in time", false),
        ] {
            assert_eq!(
                was_not_sent(&Status::new(code, message)),
                unsent,
                "{message}"
            );
        }
    }
}
