//! Where etcd is: `etcd://HOST:PORT,HOST:PORT`.

use std::{fmt, net::IpAddr, str::FromStr};

/// etcd's port for clients.
const PORT: u16 = 2379;
const SCHEME: &str = "etcd://";

/// Why a text is no address of etcd.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("must be etcd://HOST:PORT, with further HOST:PORT after commas")]
    Form,
    #[error("{0:?} is no host with a port")]
    Host(String),
}

/// The endpoints of an etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `HOST:PORT`, at least one.
    endpoints: Vec<String>,
}

impl Address {
    /// `HOST:PORT` of each endpoint.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Whether only this machine can read what goes there.
    pub fn is_local(&self) -> bool {
        self.endpoints.iter().all(|endpoint| {
            let host = endpoint
                .rsplit_once(':')
                .map_or(endpoint.as_str(), |it| it.0);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        })
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let hosts = text.strip_prefix(SCHEME).ok_or(AddressError::Form)?;
        let endpoints: Result<Vec<String>, AddressError> = hosts.split(',').map(endpoint).collect();
        Ok(Address {
            endpoints: endpoints?,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.endpoints.join(","))
    }
}

fn endpoint(text: &str) -> Result<String, AddressError> {
    let bad = || AddressError::Host(text.to_owned());
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an address without a port.
        Some((_, port)) if port.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let port = match port {
        Some(port) => port.parse::<u16>().ok().filter(|port| *port > 0),
        None => Some(PORT),
    };
    let port = port.ok_or_else(bad)?;
    let v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good = match v6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
            !host.is_empty() && host.chars().all(plain)
        }
    };
    match good {
        true => Ok(format!("{host}:{port}")),
        false => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse() {
        for (text, endpoints, local) in [
            ("etcd://127.0.0.1", &["127.0.0.1:2379"][..], true),
            (
                "etcd://localhost:1,[::1]:2",
                &["localhost:1", "[::1]:2"],
                true,
            ),
            ("etcd://[fd00::1]", &["[fd00::1]:2379"], false),
            (
                "etcd://a.b:2379,10.0.0.2:3",
                &["a.b:2379", "10.0.0.2:3"],
                false,
            ),
        ] {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.endpoints(), endpoints, "{text}");
            assert_eq!(address.is_local(), local, "{text}");
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        for text in [
            "",
            "a:1",
            "http://a:1",
            "etcd://",
            "etcd://a:0",
            "etcd://a:x",
            "etcd://a,,b",
            "etcd://a/b",
            "etcd://u:p@a:1",
            "etcd://fd00::1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
