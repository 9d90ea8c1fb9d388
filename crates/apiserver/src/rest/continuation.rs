//! Continue tokens, byte for byte upstream's: base64url JSON of a version, a revision and a start key.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use knarr_meta::status::Status;
use knarr_registry::cache::resource::Slice;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::json::explain;

const VERSION: &str = "meta.k8s.io/v1";

/// Goes on at whatever is current: in tokens that are handed out with an expired list.
pub const INCONSISTENT: i64 = -1;

#[derive(Debug, Serialize, Deserialize)]
struct Token {
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continue {
    /// [`INCONSISTENT`] or the revision of the first page.
    pub revision: i64,
    /// First key of the next page, within the resource.
    pub start: String,
}

impl Continue {
    /// The token of the page after `last`.
    pub fn after(last: &str, revision: i64) -> String {
        encode(&format!("{last}\0"), revision)
    }

    pub fn decode(token: &str) -> Result<Continue, Status> {
        let invalid = |why: String| {
            Status::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|e| invalid(e.to_string()))?;
        let token: Token =
            serde_json::from_slice(&bytes).map_err(|e| invalid(explain(&e, &bytes)))?;
        if token.v != VERSION {
            return Err(invalid(format!(
                "server does not recognize this encoded version {}",
                token.v
            )));
        }
        if token.rv == 0 {
            return Err(invalid(format!(
                "incorrect encoded start resourceVersion (version {VERSION})"
            )));
        }
        if token.start.is_empty() {
            return Err(invalid(format!(
                "encoded start key empty (version {VERSION})"
            )));
        }
        let start = token.start.strip_prefix('/').unwrap_or(&token.start);
        if start.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(invalid(token.start));
        }
        Ok(Continue {
            revision: token.rv,
            start: start.to_owned(),
        })
    }

    /// The token that goes on from here without consistency.
    pub fn inconsistent(&self) -> String {
        encode(&self.start, INCONSISTENT)
    }

    /// The last key of the page before, after which the next one starts.
    pub fn start_after(&self) -> &str {
        self.start.strip_suffix('\0').unwrap_or(&self.start)
    }
}

fn encode(start: &str, revision: i64) -> String {
    let token = Token {
        v: VERSION.into(),
        rv: revision,
        start: start.to_owned(),
    };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

/// ListMeta of a page.
pub fn list_meta(slice: &Slice) -> Value {
    let mut meta = json!({});
    if slice.revision > 0 {
        meta["resourceVersion"] = json!(slice.revision.to_string());
    }
    if let Some(token) = continue_token(slice) {
        meta["continue"] = json!(token);
    }
    if let Some(remaining) = slice.remaining {
        meta["remainingItemCount"] = json!(remaining);
    }
    meta
}

/// The token of the page after this one.
pub fn continue_token(slice: &Slice) -> Option<String> {
    let last = slice.entries.last().filter(|_| slice.more)?;
    let revision = i64::try_from(slice.revision).ok()?;
    Some(Continue::after(&last.key, revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_upstreams_token() {
        let token =
            URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":51,"start":"default/a\u0000"}"#);
        let read = Continue::decode(&token).unwrap();
        assert_eq!((read.revision, read.start.as_str()), (51, "default/a\0"));
        assert_eq!(read.start_after(), "default/a");
        assert_eq!(Continue::after("default/a", 51), token);
        assert_eq!(
            Continue::decode(&read.inconsistent()).unwrap().revision,
            INCONSISTENT
        );
    }

    #[test]
    fn refuses_nonsense() {
        for (token, why) in [
            ("%", "invalid continue token: continue key is not valid: "),
            (
                &*URL_SAFE_NO_PAD.encode("{}"),
                "invalid continue token: continue key is not valid: missing field",
            ),
            (
                &*encode("../a", 3),
                "invalid continue token: continue key is not valid: ../a",
            ),
            (&*encode("a", 0), "incorrect encoded start resourceVersion"),
            (&*encode("", 3), "encoded start key empty"),
        ] {
            let status = Continue::decode(token).unwrap_err();
            assert_eq!(status.code, 400);
            assert!(status.message.contains(why), "{}", status.message);
        }
    }
}
