//! `clientConfig` of a webhook: where its server is, and what proves that it is the one.

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_meta::object::{i64_at, str_at, struct_at};
use serde_json::Value;

use crate::Error;

/// The port of a service that names none.
const DEFAULT_PORT: u16 = 443;

/// Where a webhook is, and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientConfig {
    pub target: Target,
    /// PEM of the authorities. Empty: those of the system.
    pub ca_bundle: Vec<u8>,
}

/// The server of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Url(String),
    Service {
        namespace: String,
        name: String,
        port: u16,
        path: String,
    },
}

impl ClientConfig {
    /// Reads the value of a `clientConfig`, of admission or conversion.
    ///
    /// # Errors
    /// Where it names neither service nor URL.
    pub fn new(value: &Value) -> Result<ClientConfig, Error> {
        let target = match struct_at(value, &["service"]) {
            Some(service) => {
                let port = i64_at(service, &["port"]).map_or(Ok(DEFAULT_PORT), u16::try_from);
                Target::Service {
                    namespace: str_at(service, &["namespace"]).to_owned(),
                    name: str_at(service, &["name"]).to_owned(),
                    port: port.map_err(|_| Error::config("port is not valid"))?,
                    path: str_at(service, &["path"]).to_owned(),
                }
            }
            None => match str_at(value, &["url"]) {
                "" => {
                    return Err(Error::config(
                        "webhook configuration must have either service or URL",
                    ));
                }
                url => Target::Url(url.to_owned()),
            },
        };
        let ca_bundle = STANDARD
            .decode(str_at(value, &["caBundle"]))
            .map_err(Error::config)?;
        Ok(ClientConfig { target, ca_bundle })
    }
}
