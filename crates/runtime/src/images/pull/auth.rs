//! What a registry is told of who pulls.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use knarr_cri::v1::AuthConfig;

/// Credentials of one pull.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credentials {
    Anonymous,
    Password {
        username: String,
        password: String,
    },
    /// A bearer token for the registry itself.
    Token(String),
}

impl Credentials {
    /// From the CRI's message, for a registry. Credentials for another server are none. The error is a message.
    pub fn of(config: Option<AuthConfig>, registry: &str) -> Result<Self, String> {
        let Some(config) = config else {
            return Ok(Self::Anonymous);
        };
        if !config.server_address.is_empty() && host(&config.server_address) != host(registry) {
            return Ok(Self::Anonymous);
        }
        if !config.registry_token.is_empty() {
            return Ok(Self::Token(config.registry_token));
        }
        if !config.username.is_empty() {
            return Ok(Self::Password {
                username: config.username,
                password: config.password,
            });
        }
        if !config.auth.is_empty() {
            return Self::decode(&config.auth);
        }
        if !config.identity_token.is_empty() {
            return Err("identity tokens are not supported: use a username and a password, or a registry token".to_owned());
        }
        Ok(Self::Anonymous)
    }

    /// `username:password` in base64, padded with zero bytes by some.
    pub(crate) fn decode(auth: &str) -> Result<Self, String> {
        let invalid = || "auth is not base64 of username:password".to_owned();
        let bytes = STANDARD.decode(auth.trim()).map_err(|_| invalid())?;
        let text = String::from_utf8(bytes).map_err(|_| invalid())?;
        let (username, password) = text.split_once(':').ok_or_else(invalid)?;
        Ok(Self::Password {
            username: username.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
        })
    }
}

/// `https://index.docker.io/v1/` is `docker.io`.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or(rest) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests;
