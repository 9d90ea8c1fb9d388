use expect_test::{Expect, expect};
use http::HeaderValue;

use super::*;

fn check(purpose: Purpose, lines: &[(&'static str, &str)], expected: Expect) {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let text = match negotiate(purpose, &headers) {
        Ok(protocol) => format!("{protocol:?}"),
        Err(refusal) => format!("{} {}", refusal.status, refusal.message),
    };
    expected.assert_eq(&text);
}

fn websocket_headers(protocols: &str) -> Vec<(&'static str, &str)> {
    let mut lines = vec![
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-key", "a2V5"),
        ("sec-websocket-version", "13"),
    ];
    if !protocols.is_empty() {
        lines.push(("sec-websocket-protocol", protocols));
    }
    lines
}

#[test]
fn websocket_subprotocols() {
    let command =
        |protocols, expected| check(Purpose::Command, &websocket_headers(protocols), expected);
    command(
        "v5.channel.k8s.io",
        expect![[
            r#"WebSocket { name: Some("v5.channel.k8s.io"), key: "a2V5", flavour: Channels { base64: false, format: Json, close: true } }"#
        ]],
    );
    command(
        "foo, v4.base64.channel.k8s.io, v4.channel.k8s.io",
        expect![[
            r#"WebSocket { name: Some("v4.base64.channel.k8s.io"), key: "a2V5", flavour: Channels { base64: true, format: Json, close: false } }"#
        ]],
    );
    command(
        "base64.channel.k8s.io",
        expect![[
            r#"WebSocket { name: Some("base64.channel.k8s.io"), key: "a2V5", flavour: Channels { base64: true, format: Text, close: false } }"#
        ]],
    );
    command(
        "",
        expect![[
            r#"WebSocket { name: None, key: "a2V5", flavour: Channels { base64: false, format: Text, close: false } }"#
        ]],
    );
    command(
        "v9",
        expect![[
            r#"403 Forbidden requested protocol(s) are not supported: ["v9"]; supports ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"]"#
        ]],
    );
    check(
        Purpose::PortForward,
        &websocket_headers("SPDY/3.1+portforward.k8s.io"),
        expect![[
            r#"WebSocket { name: Some("SPDY/3.1+portforward.k8s.io"), key: "a2V5", flavour: Tunnel }"#
        ]],
    );
    check(
        Purpose::PortForward,
        &websocket_headers("v4.channel.k8s.io"),
        expect![[
            r#"WebSocket { name: Some("v4.channel.k8s.io"), key: "a2V5", flavour: Channels { base64: false, format: Json, close: false } }"#
        ]],
    );
    check(
        Purpose::Command,
        &[("connection", "upgrade"), ("upgrade", "websocket")],
        expect!["400 Bad Request unable to upgrade: Sec-WebSocket-Key is required"],
    );
}

#[test]
fn spdy_versions() {
    let upgrade = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    let command = |versions: &[&'static str], expected| {
        let mut lines = upgrade.to_vec();
        lines.extend(versions.iter().map(|version| (PROTOCOL_VERSION, *version)));
        check(Purpose::Command, &lines, expected);
    };
    command(
        &[
            "v5.channel.k8s.io",
            "v4.channel.k8s.io",
            "v3.channel.k8s.io",
        ],
        expect![[r#"Spdy { name: "v4.channel.k8s.io", format: Json, resize: true }"#]],
    );
    command(
        &["v2.channel.k8s.io, channel.k8s.io"],
        expect![[r#"Spdy { name: "v2.channel.k8s.io", format: Text, resize: false }"#]],
    );
    command(
        &["v9"],
        expect![
            "403 Forbidden unable to upgrade: unable to negotiate protocol: client supports [v9], server accepts [v4.channel.k8s.io v3.channel.k8s.io v2.channel.k8s.io channel.k8s.io]"
        ],
    );
    command(
        &[],
        expect!["400 Bad Request unable to upgrade: X-Stream-Protocol-Version is required"],
    );
    check(
        Purpose::PortForward,
        &[
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            (PROTOCOL_VERSION, "portforward.k8s.io"),
        ],
        expect![[r#"Spdy { name: "portforward.k8s.io", format: Text, resize: false }"#]],
    );
    check(
        Purpose::Command,
        &[(PROTOCOL_VERSION, "v4.channel.k8s.io")],
        expect!["400 Bad Request unable to upgrade: missing upgrade headers in request"],
    );
}
