//! Where images of a registry are pulled from: k3s' `registries.yaml`, which people have.
//!
//! ```yaml
//! mirrors:
//!   docker.io:              # or "*", for all that are not named
//!     endpoint: ["https://mirror.example:5000", "http://10.0.0.7/v2/hub"]
//! configs:
//!   mirror.example:5000:
//!     auth: { username: u, password: p }
//!     tls: { ca_file: /etc/ca.pem, cert_file: ..., key_file: ..., insecure_skip_verify: false }
//! ```
//!
//! A registry's mirrors are asked in their order, then the registry itself, unless one of them is at its address. What is not known is refused, not ignored:
//! a mirror that silently is none is found when the registry is away.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use knarr_config::ConfigFile;
use reqwest::Url;
use serde::Deserialize;

/// The registry that has mirrors for all that have none of their own.
const ANY: &str = "*";
/// Largest file, bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Mirrors by registry, and what registries and mirrors want of their clients.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    mirrors: BTreeMap<String, Vec<Url>>,
    hosts: BTreeMap<String, Host>,
}

/// What is known of one `host` or `host:port`.
#[derive(Debug, Clone, Default)]
pub struct Host {
    pub credentials: Option<Login>,
    pub tls: Tls,
}

#[derive(Clone)]
pub struct Login {
    pub username: String,
    pub password: String,
}

/// The files' contents, PEM.
#[derive(Clone, Default)]
pub struct Tls {
    pub authorities: Option<Vec<u8>>,
    /// Certificate and key, one after the other.
    pub identity: Option<Vec<u8>>,
    pub unverified: bool,
}

/// One place to pull from.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// What repositories are below: `https://registry-1.docker.io/v2`.
    pub base: Url,
    /// It stands in for a registry of another name.
    pub mirror: bool,
    pub host: Host,
}

impl Registries {
    /// Reads a file and the files that it names.
    pub fn read(path: &Path) -> Result<Self, knarr_config::Error> {
        ConfigFile::new(path, MAX_FILE_BYTES).parse_text(Self::parse)
    }

    /// The error is a message.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: Option<File> = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let mut registries = Self::default();
        let Some(file) = file else {
            return Ok(registries);
        };
        for (registry, mirror) in file.mirrors.unwrap_or_default() {
            let endpoints = mirror
                .and_then(|mirror| mirror.endpoint)
                .unwrap_or_default();
            let endpoints: Vec<Url> = endpoints
                .iter()
                .map(|text| {
                    endpoint(text).map_err(|why| format!("mirrors: {registry}: {text}: {why}"))
                })
                .collect::<Result<_, _>>()?;
            registries.mirrors.insert(registry, endpoints);
        }
        for (name, config) in file.configs.unwrap_or_default() {
            let host = config
                .unwrap_or_default()
                .host()
                .map_err(|why| format!("configs: {name}: {why}"))?;
            registries.hosts.insert(name, host);
        }
        Ok(registries)
    }

    /// Where to pull a registry's images from, in order; the registry itself is the last.
    pub(crate) fn endpoints(&self, registry: &str) -> Result<Vec<Endpoint>, String> {
        let own = own(registry)?;
        let mirrors = self.mirrors.get(registry).or_else(|| self.mirrors.get(ANY));
        let mut endpoints: Vec<Endpoint> = mirrors
            .into_iter()
            .flatten()
            .map(|base| Endpoint {
                mirror: base.authority() != own.authority(),
                host: self.host(base, None),
                base: base.clone(),
            })
            .collect();
        // One at the registry's own address says how the registry itself is spoken to.
        if endpoints.iter().all(|endpoint| endpoint.mirror) {
            endpoints.push(Endpoint {
                mirror: false,
                host: self.host(&own, Some(registry)),
                base: own,
            });
        }
        Ok(endpoints)
    }

    fn host(&self, base: &Url, registry: Option<&str>) -> Host {
        let names = [registry, Some(base.authority()), base.host_str()];
        let mut known = names
            .into_iter()
            .flatten()
            .filter_map(|name| self.hosts.get(name));
        known.next().cloned().unwrap_or_default()
    }
}

/// The address of a registry that has no mirror. On this machine's loopback nothing that TLS would protect leaves it.
fn own(registry: &str) -> Result<Url, String> {
    let host = match registry {
        crate::images::reference::DEFAULT_REGISTRY => "registry-1.docker.io",
        other => other,
    };
    let scheme = if is_loopback(registry) {
        "http"
    } else {
        "https"
    };
    Url::parse(&format!("{scheme}://{host}/v2")).map_err(|error| error.to_string())
}

/// As k3s: without a path it is a registry, with one it is the path.
fn endpoint(text: &str) -> Result<Url, String> {
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let mut url = Url::parse(&whole).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("an endpoint is a URL of http or https".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials are given in configs".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("an endpoint has neither query nor fragment".to_owned());
    }
    let path = match url.path().trim_end_matches('/') {
        "" => "/v2".to_owned(),
        path => path.to_owned(),
    };
    url.set_path(&path);
    Ok(url)
}

fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => registry.split(':').next().unwrap_or(registry),
    };
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    mirrors: Option<BTreeMap<String, Option<MirrorEntry>>>,
    configs: Option<BTreeMap<String, Option<ConfigEntry>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MirrorEntry {
    endpoint: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ConfigEntry {
    auth: Option<AuthEntry>,
    tls: Option<TlsEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthEntry {
    username: String,
    password: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct TlsEntry {
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    insecure_skip_verify: bool,
}

impl ConfigEntry {
    fn host(self) -> Result<Host, String> {
        let read = |path: &PathBuf| {
            let file = ConfigFile::new(path, MAX_FILE_BYTES);
            file.read().map_err(|error| error.to_string())
        };
        let tls = self.tls.unwrap_or_default();
        let identity = match (&tls.cert_file, &tls.key_file) {
            (Some(certificate), Some(key)) => {
                Some([read(certificate)?, b"\n".to_vec(), read(key)?].concat())
            }
            (None, None) => None,
            _ => return Err("cert_file and key_file belong together".to_owned()),
        };
        Ok(Host {
            credentials: self.auth.map(|auth| Login {
                username: auth.username,
                password: auth.password,
            }),
            tls: Tls {
                authorities: tls.ca_file.as_ref().map(read).transpose()?,
                identity,
                unverified: tls.insecure_skip_verify,
            },
        })
    }
}

/// Nobody's password belongs in a log.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.username)
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("authorities", &self.authorities.is_some())
            .field("identity", &self.identity.is_some())
            .field("unverified", &self.unverified)
            .finish()
    }
}

#[cfg(test)]
mod tests;
