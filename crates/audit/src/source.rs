//! From where a request comes.

use std::net::IpAddr;

use http::HeaderMap;

/// Addresses that a header may name; a client can send any number.
const MAX_FORWARDED: usize = 32;

/// The addresses that a request came by, the client's first, as upstream's `SourceIPs`: what X-Forwarded-For says, X-Real-Ip, and the
/// connection's other end. All but the last are the client's own word.
pub fn addresses(headers: &HeaderMap, peer: Option<IpAddr>) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let parse = |text: &str| text.trim().parse::<IpAddr>().ok();
    let forwarded = text("x-forwarded-for").unwrap_or_default().split(',');
    let mut found: Vec<IpAddr> = forwarded.filter_map(parse).take(MAX_FORWARDED).collect();
    if let Some(real) = text("x-real-ip").and_then(parse)
        && !found.contains(&real)
    {
        found.push(real);
    }
    if let Some(peer) = peer.map(|peer| peer.to_canonical())
        && found.last() != Some(&peer)
    {
        found.push(peer);
    }
    found.iter().map(IpAddr::to_string).collect()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn proxies_come_before_the_connection() {
        for (headers, wanted) in [
            (&[][..], "10.0.0.1"),
            (
                &[("x-forwarded-for", "1.1.1.1, nonsense,2.2.2.2")],
                "1.1.1.1 2.2.2.2 10.0.0.1",
            ),
            (
                &[("x-forwarded-for", "1.1.1.1"), ("x-real-ip", "1.1.1.1")],
                "1.1.1.1 10.0.0.1",
            ),
            (&[("x-real-ip", "10.0.0.1")], "10.0.0.1"),
        ] {
            let headers: HeaderMap = headers
                .iter()
                .map(|(name, value)| {
                    let name = HeaderName::from_static(name);
                    (name, HeaderValue::from_static(value))
                })
                .collect();
            let peer = "::ffff:10.0.0.1".parse().ok();
            assert_eq!(addresses(&headers, peer).join(" "), wanted);
        }
    }
}
