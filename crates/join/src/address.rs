//! Where a server is: `https://host:port`.

use std::{fmt, net::IpAddr, str::FromStr};

use http::{Uri, uri::Authority};
use rustls_pki_types::ServerName;

/// Port where an address names none, as upstream's API servers have it.
const DEFAULT_PORT: u16 = 6443;

/// Why a text is no server's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no server's address: it is to be https://HOST:PORT")]
pub struct AddressError(String);

/// An API server's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// Without brackets.
    host: String,
    port: u16,
}

impl ServerAddress {
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What its certificate has to name.
    pub(crate) fn server_name(&self) -> Result<ServerName<'static>, AddressError> {
        ServerName::try_from(self.host.clone()).map_err(|_| AddressError(self.to_string()))
    }

    /// What stands in requests.
    pub(crate) fn nominal(&self) -> Result<Authority, AddressError> {
        let authority = self.authority().parse();
        authority.map_err(|_| AddressError(self.to_string()))
    }

    /// `host:port`, as in a URL.
    fn authority(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
        if uri.scheme_str() != Some("https") || !plain || authority.contains('@') {
            return Err(wrong());
        }
        let host = uri.host().unwrap_or_default();
        let port = match authority.strip_prefix(host).unwrap_or_default() {
            "" => DEFAULT_PORT,
            port => {
                (port.strip_prefix(':').and_then(|port| port.parse().ok())).ok_or_else(wrong)?
            }
        };
        let address = Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
        };
        address.server_name().map_err(|_| wrong())?;
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_urls() {
        for (text, expected) in [
            ("https://10.0.0.1:6443", Some("https://10.0.0.1:6443")),
            ("https://server", Some("https://server:6443")),
            ("https://server:443/", Some("https://server:443")),
            ("https://[fd00::1]:6443", Some("https://[fd00::1]:6443")),
            ("http://10.0.0.1:6443", None),
            ("10.0.0.1:6443", None),
            ("https://", None),
            ("https://a:b@server", None),
            ("https://server/path", None),
            ("https://server?query", None),
            ("https://server:99999", None),
            ("https://under_score..", None),
        ] {
            let parsed = text.parse::<ServerAddress>().ok();
            let parsed = parsed.map(|address| address.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}");
        }
    }
}
