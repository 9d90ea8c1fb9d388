//! The headers that decide something, read once, and header values as text.
//!
//! A header that is present and cannot be understood refuses the request: to go on without it would do something else than the
//! client asked for, in the worst case with more rights.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header};
use knarr_meta::status::Status;

/// Headers of a request, decoded; empty where absent.
#[derive(Clone, Debug, Default)]
pub struct Headers<'r> {
    pub accept: &'r str,
    pub accept_encoding: &'r str,
    pub content_type: &'r str,
    pub if_none_match: &'r str,
    /// For people's tools and logs only; what is not UTF-8 in it is replaced.
    pub user_agent: Cow<'r, str>,
}

impl<'r> Headers<'r> {
    pub fn parse(headers: &'r HeaderMap) -> Result<Headers<'r>, Status> {
        Ok(Headers {
            accept: text(headers, &header::ACCEPT)?,
            accept_encoding: text(headers, &header::ACCEPT_ENCODING)?,
            content_type: text(headers, &header::CONTENT_TYPE)?,
            if_none_match: text(headers, &header::IF_NONE_MATCH)?,
            user_agent: headers
                .get(header::USER_AGENT)
                .map_or(Cow::Borrowed(""), |v| String::from_utf8_lossy(v.as_bytes())),
        })
    }
}

/// The first value of a header, as Go's `Header.Get`; empty where absent.
///
/// # Errors
/// 400 where it is no UTF-8.
pub fn text<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<&'r str, Status> {
    match headers.get(name) {
        None => Ok(""),
        Some(value) => decode(name.as_str(), value.as_bytes()),
    }
}

/// Every value of a header.
///
/// # Errors
/// 400 where one is no UTF-8.
pub fn texts<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Vec<&'r str>, Status> {
    let values = headers.get_all(name).into_iter();
    values
        .map(|value| decode(name.as_str(), value.as_bytes()))
        .collect()
}

fn decode<'r>(name: &str, value: &'r [u8]) -> Result<&'r str, Status> {
    std::str::from_utf8(value).map_err(|_| {
        Status::bad_request(format!("the value of the header {name} is not valid UTF-8"))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_refused() {
        for name in ["accept", "accept-encoding", "content-type", "if-none-match"] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(b"application/json\xff").unwrap();
            headers.insert(HeaderName::from_static(name), value);
            assert_eq!(Headers::parse(&headers).unwrap_err().code, 400, "{name}");
        }
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", HeaderValue::from_bytes(b"curl\xff").unwrap());
        let parsed = Headers::parse(&headers).unwrap();
        assert_eq!((parsed.accept, &*parsed.user_agent), ("", "curl\u{fffd}"));
    }
}
