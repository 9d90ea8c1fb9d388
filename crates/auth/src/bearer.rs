//! Bearer tokens: from the `Authorization` header, or from a WebSocket's subprotocols where browsers put them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, header};
use knarr_meta::status::Status;

use crate::headers::{text, texts};

/// A subprotocol with this prefix is a token, base64url without padding.
const PROTOCOL_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";
const PROTOCOLS: HeaderName = header::SEC_WEBSOCKET_PROTOCOL;

/// The token of a request. Other schemes are no token, as upstream; what is one and cannot be read is a 401.
pub fn token(headers: &HeaderMap) -> Result<Option<String>, Status> {
    let authorization = text(headers, &header::AUTHORIZATION).map_err(|_| unauthorized())?;
    if let Some(token) = of_authorization(authorization) {
        return Ok(Some(token.to_owned()));
    }
    match is_websocket(headers) {
        true => from_protocols(headers).map_err(|_| unauthorized()),
        false => Ok(None),
    }
}

/// The token in an `Authorization` header's value: its second word. None is none, whatever comes after it.
pub fn of_authorization(authorization: &str) -> Option<&str> {
    let mut words = authorization.trim().splitn(3, ' ');
    let (scheme, token) = (words.next()?, words.next()?);
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Upstream's 401, which says nothing else.
#[must_use]
pub fn unauthorized() -> Status {
    Status::unauthorized("Unauthorized")
}

/// True for the opening handshake of a WebSocket.
pub fn is_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// One token at most, and another protocol beside it: the server must name one in its answer.
fn from_protocols(headers: &HeaderMap) -> Result<Option<String>, Status> {
    let (tokens, others) = protocols(headers)?;
    let encoded = match (tokens.as_slice(), others.is_empty()) {
        ([], _) => return Ok(None),
        ([encoded], false) => encoded,
        _ => return Err(unauthorized()),
    };
    let bytes = URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| unauthorized())?;
    let token = String::from_utf8(bytes).map_err(|_| unauthorized())?;
    Ok((!token.is_empty()).then_some(token))
}

/// The subprotocols that a WebSocket's client offers: encoded tokens, and real ones.
pub fn protocols(headers: &HeaderMap) -> Result<(Vec<&str>, Vec<&str>), Status> {
    let values = texts(headers, &PROTOCOLS)?;
    let all = values.into_iter().flat_map(|value| value.split(','));
    let (mut tokens, mut others) = (Vec::new(), Vec::new());
    for protocol in all.map(str::trim) {
        match protocol.strip_prefix(PROTOCOL_PREFIX) {
            Some(token) => tokens.push(token),
            None => others.push(protocol),
        }
    }
    Ok((tokens, others))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(HeaderName, &[u8])]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let value = HeaderValue::from_bytes(value).unwrap();
            (name.clone(), value)
        });
        pairs.collect()
    }

    #[test]
    fn reads_the_authorization_header() {
        for (value, wanted) in [
            (&b"Bearer abc"[..], Ok(Some("abc"))),
            (b"bearer abc", Ok(Some("abc"))),
            (b"Bearer abc def", Ok(Some("abc"))),
            (b"Bearer", Ok(None)),
            (b"Bearer  abc", Ok(None)),
            (b"Basic YTpi", Ok(None)),
            (b"Bearer \xff\xfe", Err(401)),
        ] {
            let found = token(&headers(&[(header::AUTHORIZATION, value)]));
            let found = found.map_err(|status| status.code);
            assert_eq!(found, wanted.map(|t| t.map(String::from)), "{value:?}");
        }
    }

    #[test]
    fn reads_a_websockets_protocols() {
        let prefix = PROTOCOL_PREFIX;
        for (value, wanted) in [
            (format!("{prefix}YWJj, v5.channel.k8s.io"), Ok(Some("abc"))),
            ("v5.channel.k8s.io".to_owned(), Ok(None)),
            (format!("{prefix}YWJj"), Err(401)),
            (format!("{prefix}YWJj,{prefix}YWJk,v5"), Err(401)),
            (format!("{prefix}!,v5"), Err(401)),
        ] {
            let mut map = headers(&[(PROTOCOLS, value.as_bytes())]);
            assert_eq!(token(&map), Ok(None), "no WebSocket: {value}");
            map.insert(header::UPGRADE, HeaderValue::from_static("WebSocket"));
            let found = token(&map).map_err(|status| status.code);
            assert_eq!(found, wanted.map(|t| t.map(String::from)), "{value}");
        }
    }
}
