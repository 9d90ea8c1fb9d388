//! What of a message's head is for the next, and what was for us alone.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::connection::Client;

/// Of one connection (RFC 9110, 7.6.1), and what says how long a message is: that is told anew.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Only these become another protocol: HTTP/2 within a connection would be requests that nobody looks at.
const WEBSOCKET: &str = "websocket";
/// As this we stand in `Via`.
const VIA: &str = "1.1 knarr-ingress";
/// How often a request may come by here.
const MAX_TURNS: usize = 8;

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

/// Whether a request asks for a WebSocket.
pub fn wants_websocket(method: &Method, headers: &HeaderMap) -> bool {
    let mut connection = tokens(headers, &header::CONNECTION);
    let mut upgrade = tokens(headers, &header::UPGRADE);
    *method == Method::GET
        && connection.any(|token| token.eq_ignore_ascii_case("upgrade"))
        && upgrade.any(|token| token.eq_ignore_ascii_case(WEBSOCKET))
}

/// Whether a request has come by too often: it would do so for ever.
pub fn goes_in_circles(headers: &HeaderMap) -> bool {
    let own = tokens(headers, &header::VIA).filter(|via| *via == VIA);
    own.count() >= MAX_TURNS
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = (tokens(headers, &header::CONNECTION))
        .filter_map(|token| token.parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Some servers take both for one: what a client says of itself must not pass for what we say.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str().replace('_', "-");
    name.starts_with("x-forwarded-") || name == "x-real-ip" || name == "forwarded"
}

/// Makes a client's headers those of the request to a backend. `host` is what the client asked for.
pub fn of_request(headers: &mut HeaderMap, client: &Client, host: HeaderValue, websocket: bool) {
    let trailers = tokens(headers, &header::TE).any(|te| te.eq_ignore_ascii_case("trailers"));
    strip(headers);
    let foreign: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_ours(name))
        .cloned()
        .collect();
    for name in foreign {
        headers.remove(name);
    }
    headers.remove(header::CONTENT_LENGTH);
    // Answered here: the body is asked for when the backend reads it.
    headers.remove(header::EXPECT);
    if let Ok(address) = HeaderValue::from_str(&client.address.to_string()) {
        headers.insert(X_FORWARDED_FOR, address.clone());
        headers.insert(X_REAL_IP, address);
    }
    let scheme = if client.tls { "https" } else { "http" };
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    headers.insert(X_FORWARDED_PORT, HeaderValue::from(client.port));
    headers.insert(X_FORWARDED_HOST, host.clone());
    headers.insert(header::HOST, host);
    headers.append(header::VIA, HeaderValue::from_static(VIA));
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
    }
}

/// Makes a backend's headers those of the answer to a client.
pub fn of_answer(headers: &mut HeaderMap, websocket: bool) {
    strip(headers);
    if websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let pairs = lines.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        });
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    fn client() -> Client {
        Client {
            address: [192, 0, 2, 2].into(),
            port: 80,
            tls: false,
        }
    }

    fn sent(lines: &[(&str, &str)], websocket: bool) -> Vec<String> {
        let mut headers = headers(lines);
        let host = HeaderValue::from_static("h");
        of_request(&mut headers, &client(), host, websocket);
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("a text")));
        let mut lines: Vec<String> = lines.collect();
        lines.sort();
        lines
    }

    const OURS: [&str; 7] = [
        "host: h",
        "via: 1.1 knarr-ingress",
        "x-forwarded-for: 192.0.2.2",
        "x-forwarded-host: h",
        "x-forwarded-port: 80",
        "x-forwarded-proto: http",
        "x-real-ip: 192.0.2.2",
    ];

    #[test]
    fn what_a_client_says_of_itself_or_for_us_alone() {
        let lines = [
            ("host", "h"),
            ("connection", "keep-alive, x-secret, x-forwarded-for"),
            ("x-secret", "a"),
            ("keep-alive", "5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("expect", "100-continue"),
            ("upgrade", "h2c"),
            ("x-forwarded-for", "203.0.113.1"),
            ("x_forwarded_for", "203.0.113.1"),
            ("x_real-ip", "203.0.113.1"),
            ("forwarded", "for=203.0.113.1"),
            ("x-forwarded-client-cert", "x"),
        ];
        assert_eq!(sent(&lines, false), OURS);
    }

    #[test]
    fn what_is_kept() {
        let lines = [
            ("te", "trailers, deflate"),
            ("authorization", "x"),
            ("via", "1.0 a"),
        ];
        let sent = sent(&lines, false);
        for line in ["te: trailers", "authorization: x", "via: 1.0 a"] {
            assert!(sent.contains(&line.to_owned()), "{line}: {sent:?}");
        }
    }

    #[test]
    fn only_websockets_become_something_else() {
        let asks = |connection: &str, upgrade: &str| {
            let headers = headers(&[("connection", connection), ("upgrade", upgrade)]);
            wants_websocket(&Method::GET, &headers)
        };
        assert!(asks("keep-alive, Upgrade", "WebSocket"));
        assert!(!asks("keep-alive", "websocket"));
        assert!(!asks("upgrade, HTTP2-Settings", "h2c"));
        let lines = [("connection", "Upgrade"), ("upgrade", "websocket")];
        let sent = sent(&lines, true);
        assert!(sent.contains(&"upgrade: websocket".to_owned()), "{sent:?}");
    }

    #[test]
    fn circles() {
        let mut headers = HeaderMap::new();
        for _ in 0..MAX_TURNS {
            assert!(!goes_in_circles(&headers));
            of_request(
                &mut headers,
                &client(),
                HeaderValue::from_static("h"),
                false,
            );
        }
        assert!(goes_in_circles(&headers));
    }
}
