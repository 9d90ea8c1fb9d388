//! Continue tokens, byte for byte upstream's: base64url JSON of a version, a revision and a start key.

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD,
    },
};
use knarr_meta::{json::explain, status::Status};
use knarr_registry::cache::resource::Slice;
use serde::Serialize;
use serde_json::{Value, json};

const VERSION: &str = "meta.k8s.io/v1";

/// Goes on at whatever is current: in tokens that are handed out with an expired list.
pub const INCONSISTENT: i64 = -1;

#[derive(Debug, Serialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

impl Token {
    /// What Go makes of a token: what is not there, or null, is empty.
    fn read(bytes: &[u8]) -> Result<Token, String> {
        let tree: Value = serde_json::from_slice(bytes).map_err(|error| explain(&error, bytes))?;
        let of_type = |value: &Value, place: &str| {
            let found = match value {
                Value::Array(_) => "array".to_owned(),
                Value::String(_) => "string".to_owned(),
                Value::Bool(_) => "bool".to_owned(),
                Value::Number(number) if place.ends_with("int64") => format!("number {number}"),
                Value::Number(_) => "number".to_owned(),
                Value::Object(_) | Value::Null => "object".to_owned(),
            };
            format!("json: cannot unmarshal {found} into Go {place}")
        };
        if !tree.is_object() && !tree.is_null() {
            return Err(of_type(&tree, "value of type storage.continueToken"));
        }
        let text = |field: &str| match tree.get(field) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => {
                let place = format!("struct field continueToken.{field} of type string");
                Err(of_type(other, &place))
            }
        };
        let rv = match tree.get("rv") {
            None | Some(Value::Null) => 0,
            Some(other) => other
                .as_i64()
                .ok_or_else(|| of_type(other, "struct field continueToken.rv of type int64"))?,
        };
        Ok(Token {
            v: text("v")?,
            rv,
            start: text("start")?,
        })
    }
}

/// The bytes of a token, as lenient as Go: the last character may have bits that say nothing, and there may be line breaks.
fn decode_base64(token: &str) -> Result<Vec<u8>, String> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let corrupt = |at: usize| format!("illegal base64 data at input byte {at}");
    let is_break = |byte: u8| matches!(byte, b'\r' | b'\n');
    if let Some(at) = token
        .bytes()
        .position(|byte| !is_known(byte) && !is_break(byte))
    {
        return Err(corrupt(at));
    }
    let known: Vec<u8> = token.bytes().filter(|byte| is_known(*byte)).collect();
    LENIENT
        .decode(known)
        .map_err(|_| corrupt(token.len().saturating_sub(1)))
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

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
        let bytes = decode_base64(token).map_err(invalid)?;
        let token = Token::read(&bytes).map_err(invalid)?;
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
            ("%", "is not valid: illegal base64 data at input byte 0"),
            ("abc=", "is not valid: illegal base64 data at input byte 3"),
            ("abcde", "is not valid: illegal base64 data at input byte 4"),
            (
                "zzz",
                "invalid continue token: continue key is not valid: invalid character '\\xcf' looking for beginning of value",
            ),
            (
                &*URL_SAFE_NO_PAD.encode("{}"),
                "is not valid: server does not recognize this encoded version ",
            ),
            (
                &*URL_SAFE_NO_PAD.encode("[]"),
                "is not valid: json: cannot unmarshal array into Go value of type storage.continueToken",
            ),
            (
                &*URL_SAFE_NO_PAD.encode(r#"{"rv":"1"}"#),
                "is not valid: json: cannot unmarshal string into Go struct field continueToken.rv of type int64",
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
