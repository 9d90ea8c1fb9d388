//! Which protocol a request asks for.

use http::{HeaderMap, StatusCode, header};

use super::status::Format;

pub const PROTOCOL_VERSION: &str = "x-stream-protocol-version";
pub const ACCEPTED_PROTOCOL_VERSIONS: &str = "x-accepted-stream-protocol-versions";
pub const SPDY: &str = "SPDY/3.1";

const PORT_FORWARD: &str = "portforward.k8s.io";
const PORT_FORWARD_TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";
const V4_BASE64: &str = "v4.base64.channel.k8s.io";
const V3: &str = "v3.channel.k8s.io";
const V2: &str = "v2.channel.k8s.io";
const V1: &str = "channel.k8s.io";
const V1_BASE64: &str = "base64.channel.k8s.io";

/// Newest first, as they are told to a client that speaks none of them.
const COMMAND_SPDY: [&str; 4] = [V4, V3, V2, V1];
const COMMAND_WEBSOCKET: [&str; 5] = [V5, V4, V4_BASE64, V1, V1_BASE64];
const FORWARD_SPDY: [&str; 1] = [PORT_FORWARD];
const FORWARD_WEBSOCKET: [&str; 3] = [PORT_FORWARD_TUNNEL, V4, V4_BASE64];

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Command,
    PortForward,
}

/// What will be spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// The subprotocol's name goes into the answer; a client may name none.
    WebSocket {
        name: Option<&'static str>,
        /// Of the client's handshake.
        key: String,
        flavour: Flavour,
    },
    Spdy {
        name: &'static str,
        format: Format,
        resize: bool,
    },
}

/// What WebSocket messages carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    Channels {
        /// Text messages with the channel's digit and base64.
        base64: bool,
        format: Format,
        /// The client can end one channel.
        close: bool,
    },
    /// A SPDY connection's bytes.
    Tunnel,
}

/// An answer other than 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub message: String,
    /// Values of [`ACCEPTED_PROTOCOL_VERSIONS`].
    pub accepted: &'static [&'static str],
}

fn refuse(status: StatusCode, message: String) -> Refusal {
    Refusal {
        status,
        message,
        accepted: &[],
    }
}

/// Chooses by the client's order, as upstream does.
pub fn negotiate(purpose: Purpose, headers: &HeaderMap) -> Result<Protocol, Refusal> {
    let upgrade = text(headers, header::UPGRADE.as_str()).to_ascii_lowercase();
    let upgrading = list(headers, header::CONNECTION.as_str())
        .any(|value| value.eq_ignore_ascii_case("upgrade"));
    if upgrading && upgrade == "websocket" {
        websocket(purpose, headers)
    } else {
        spdy(purpose, headers, upgrading && upgrade.contains("spdy/3.1"))
    }
}

fn websocket(purpose: Purpose, headers: &HeaderMap) -> Result<Protocol, Refusal> {
    let bad = |message: &str| Err(refuse(StatusCode::BAD_REQUEST, message.to_owned()));
    let key = text(headers, header::SEC_WEBSOCKET_KEY.as_str());
    if key.is_empty() {
        return bad("unable to upgrade: Sec-WebSocket-Key is required");
    }
    if text(headers, header::SEC_WEBSOCKET_VERSION.as_str()) != "13" {
        return bad("unable to upgrade: websocket version 13 is required");
    }
    let supported: &'static [&'static str] = match purpose {
        Purpose::Command => &COMMAND_WEBSOCKET,
        Purpose::PortForward => &FORWARD_WEBSOCKET,
    };
    let mut offered = list(headers, header::SEC_WEBSOCKET_PROTOCOL.as_str()).peekable();
    let name = if offered.peek().is_none() {
        None
    } else {
        let offered: Vec<&str> = offered.collect();
        let chosen = choose(&offered, supported);
        if chosen.is_none() {
            let message = format!(
                "requested protocol(s) are not supported: {offered:?}; supports {supported:?}"
            );
            return Err(refuse(StatusCode::FORBIDDEN, message));
        }
        chosen
    };
    let flavour = match name {
        Some(PORT_FORWARD_TUNNEL) => Flavour::Tunnel,
        name => Flavour::Channels {
            base64: matches!(name, Some(V4_BASE64 | V1_BASE64)),
            format: if matches!(name, Some(V5 | V4 | V4_BASE64)) {
                Format::Json
            } else {
                Format::Text
            },
            close: name == Some(V5),
        },
    };
    Ok(Protocol::WebSocket {
        name,
        key: key.to_owned(),
        flavour,
    })
}

fn spdy(purpose: Purpose, headers: &HeaderMap, upgrade: bool) -> Result<Protocol, Refusal> {
    let supported: &'static [&'static str] = match purpose {
        Purpose::Command => &COMMAND_SPDY,
        Purpose::PortForward => &FORWARD_SPDY,
    };
    let offered: Vec<&str> = list(headers, PROTOCOL_VERSION).collect();
    if offered.is_empty() {
        let message = "unable to upgrade: X-Stream-Protocol-Version is required".to_owned();
        return Err(refuse(StatusCode::BAD_REQUEST, message));
    }
    let Some(name) = choose(&offered, supported) else {
        return Err(Refusal {
            status: StatusCode::FORBIDDEN,
            message: format!(
                "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
                offered.join(" "),
                supported.join(" ")
            ),
            accepted: supported,
        });
    };
    if !upgrade {
        let message = "unable to upgrade: missing upgrade headers in request".to_owned();
        return Err(refuse(StatusCode::BAD_REQUEST, message));
    }
    Ok(Protocol::Spdy {
        name,
        format: if name == V4 {
            Format::Json
        } else {
            Format::Text
        },
        resize: matches!(name, V4 | V3),
    })
}

fn choose(offered: &[&str], supported: &'static [&'static str]) -> Option<&'static str> {
    offered
        .iter()
        .find_map(|name| supported.iter().find(|known| *known == name))
        .copied()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .trim()
}

/// Values of a header that may come several times and have commas.
fn list<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
