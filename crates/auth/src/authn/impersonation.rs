//! `Impersonate-*` headers: acting as someone else, where authorizers allow it.
//!
//! There are several [modes]. Those that are constrained ask for the verb `impersonate:<mode>` on everything that is assumed, and for
//! `impersonate-on:<mode>:<verb>` on what the request is about; the oldest asks for `impersonate` alone.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroUsize,
};

use http::HeaderMap;
use knarr_meta::status::Status;
use lru::LruCache;
use parking_lot::Mutex;

use crate::{
    UserInfo,
    request::{Authorizer, RequestInfo},
};

mod headers;
mod modes;
#[cfg(test)]
mod tests;

pub use headers::strip;
use modes::{Ask, MODES, Mode};

/// Impersonators of whom it is remembered which mode they may use: 16 bytes each.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("is not zero");

/// Whom a request acts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acting {
    pub user: UserInfo,
    /// The verb of the constrained mode that allowed it; empty for the oldest one.
    pub constraint: &'static str,
}

/// Decides who may act as whom.
///
/// The mode that an impersonator may use is tried first the next time, so that who uses the oldest one, which is asked last, costs
/// an authorizer behind a webhook no more than it did before there were others.
pub struct Impersonation {
    last: Mutex<LruCache<u64, Mode>>,
    hashes: RandomState,
}

impl Default for Impersonation {
    fn default() -> Impersonation {
        Impersonation {
            last: Mutex::new(LruCache::new(REMEMBERED)),
            hashes: RandomState::new(),
        }
    }
}

impl Impersonation {
    /// Whom a user's request acts as; `Ok(None)` without such headers. The caller removes the headers before it proxies a request
    /// ([`strip`]).
    ///
    /// # Errors
    /// 400 for headers that cannot be understood; 403 with what the first mode lacks where no mode allows it.
    pub fn act(
        &self,
        authorizer: &dyn Authorizer,
        user: &UserInfo,
        headers: &HeaderMap,
        request: &RequestInfo<'_>,
    ) -> Result<Option<Acting>, Status> {
        let Some(wanted) = headers::wanted(headers)? else {
            return Ok(None);
        };
        let ask = Ask {
            authorizer,
            user,
            wanted: &wanted,
            request,
        };
        // Users whose hashes are the same only change the order of modes for each other.
        let key = self.hashes.hash_one(&user.name);
        let last = self.last.lock().get(&key).copied();
        let others = MODES.into_iter().filter(|mode| Some(*mode) != last);
        let mut first = None;
        for mode in last.into_iter().chain(others) {
            match ask.of(mode) {
                Ok(Some(user)) => {
                    if last != Some(mode) {
                        self.last.lock().put(key, mode);
                    }
                    let constraint = mode.constraint();
                    return Ok(Some(Acting { user, constraint }));
                }
                Ok(None) => {}
                Err(refused) => {
                    first.get_or_insert(refused);
                }
            }
        }
        Err(first.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
    }
}
