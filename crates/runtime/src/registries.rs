//! Where images of a registry are pulled from: k3s' `registries.yaml`, which people have.
//!
//! ```yaml
//! mirrors:
//!   docker.io:              # or "*", for all that are not named
//!     endpoint: ["https://mirror.example:5000", "http://10.0.0.7/v2/hub"]
//!     rewrite: { "^library/(.*)": "hub/$1" }
//! configs:
//!   mirror.example:5000:    # HOST or HOST:PORT as the endpoint has it, or "*", for all that are not named
//!     auth: { username: u, password: p }
//!     tls: { ca_file: /etc/ca.pem, cert_file: ..., key_file: ..., insecure_skip_verify: false }
//! ```
//!
//! A registry's mirrors are asked in their order, then the registry itself, unless one of them is at its address. What is not known is refused, not ignored:
//! a mirror that silently is none is found when the registry is away.
//!
//! As with k3s, names are rewritten for every endpoint but the registry's own address, which `https://r.example:443` is not:
//! so written, it has the registry's names rewritten, too.

mod rewrites;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use knarr_config::ConfigFile;
use reqwest::Url;
use serde::Deserialize;

use crate::images::{pull::Credentials, reference::DEFAULT_REGISTRY};
use rewrites::Rewrites;

/// Where the default registry is.
const DEFAULT_REGISTRY_HOST: &str = "registry-1.docker.io";
/// The registry that has mirrors, or what is known of a host, for all that have none of their own.
const ANY: &str = "*";
/// Largest file, bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Mirrors by registry, and what registries and mirrors want of their clients.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    mirrors: BTreeMap<String, Mirrors>,
    hosts: BTreeMap<String, Host>,
}

/// Those of one registry.
#[derive(Debug, Clone, Default)]
struct Mirrors {
    places: Vec<Place>,
    rewrites: Rewrites,
}

/// An address as it is asked and as it was written: a port that goes without saying makes a difference there.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    base: Url,
    /// Host, and port if there was one.
    authority: String,
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
    /// Of the registry's repositories, here.
    pub rewrites: Rewrites,
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
            check_name(&registry).map_err(|why| format!("mirrors: {registry}: {why}"))?;
            let mirrors = mirror
                .unwrap_or_default()
                .mirrors()
                .map_err(|why| format!("mirrors: {registry}: {why}"))?;
            registries.mirrors.insert(registry, mirrors);
        }
        for (name, config) in file.configs.unwrap_or_default() {
            check_name(&name).map_err(|why| format!("configs: {name}: {why}"))?;
            let host = config
                .unwrap_or_default()
                .host()
                .map_err(|why| format!("configs: {name}: {why}"))?;
            if name == ANY && host.credentials.is_some() {
                // Every registry that somebody names in a pod would be shown them.
                return Err(format!(
                    "configs: {name}: auth belongs to a registry by name"
                ));
            }
            registries.hosts.insert(name, host);
        }
        Ok(registries)
    }

    /// Where to pull a registry's images from, in order; the registry itself is the last.
    pub(crate) fn endpoints(&self, registry: &str) -> Result<Vec<Endpoint>, String> {
        let own = place(registry)?;
        let mirrors = self.mirrors.get(registry).or_else(|| self.mirrors.get(ANY));
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for place in mirrors.map(|mirrors| &mirrors.places).into_iter().flatten() {
            let mirror = place.base.authority() != own.base.authority();
            let rewrites = mirrors.map(|mirrors| mirrors.rewrites.clone());
            endpoints.push(Endpoint {
                mirror,
                host: self.host(place, Some(registry).filter(|_| !mirror)),
                rewrites: rewrites.filter(|_| *place != own).unwrap_or_default(),
                base: place.base.clone(),
            });
        }
        // One at the registry's own address says how the registry itself is spoken to.
        if endpoints.iter().all(|endpoint| endpoint.mirror) {
            endpoints.push(Endpoint {
                mirror: false,
                host: self.host(&own, Some(registry)),
                rewrites: Rewrites::default(),
                base: own.base,
            });
        }
        Ok(endpoints)
    }

    /// What is known of a place, by its host and port as they were written: what is for one port of a host is not for others. A place
    /// that is the registry itself is known by the registry's name, too.
    fn host(&self, place: &Place, registry: Option<&str>) -> Host {
        let authority = place.authority.as_str();
        let names = [
            Some(authority),
            Some(DEFAULT_REGISTRY).filter(|_| authority == DEFAULT_REGISTRY_HOST),
            registry,
            Some(ANY),
        ];
        let mut known = names
            .into_iter()
            .flatten()
            .filter_map(|name| self.hosts.get(name));
        known.next().cloned().unwrap_or_default()
    }
}

/// What images are named by has neither scheme nor path: one that has would be nobody's.
fn check_name(registry: &str) -> Result<(), String> {
    if registry.is_empty() || registry.contains('/') {
        return Err("a registry is named as in images: HOST or HOST:PORT".to_owned());
    }
    Ok(())
}

/// As k3s: without a path it is a registry, with one it is the path.
fn place(text: &str) -> Result<Place, String> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => (scheme(text), text),
    };
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    let authority = match authority {
        DEFAULT_REGISTRY => DEFAULT_REGISTRY_HOST,
        other => other,
    };
    let mut url =
        Url::parse(&format!("{scheme}://{authority}{path}")).map_err(|error| error.to_string())?;
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
    Ok(Place {
        base: url,
        authority: authority.to_owned(),
    })
}

/// Of a registry, where nobody says. On this machine's loopback nothing that TLS would protect leaves it.
fn scheme(text: &str) -> &'static str {
    let registry = text.split('/').next().unwrap_or(text);
    if is_loopback(registry) && !registry.ends_with(":443") {
        "http"
    } else {
        "https"
    }
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

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct MirrorEntry {
    endpoint: Option<Vec<String>>,
    rewrite: Option<Rewrites>,
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
    username: Option<String>,
    password: Option<String>,
    /// Both in base64, as docker's configuration has them.
    auth: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct TlsEntry {
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    insecure_skip_verify: bool,
}

impl MirrorEntry {
    fn mirrors(self) -> Result<Mirrors, String> {
        let mut places: Vec<Place> = Vec::new();
        for text in self.endpoint.unwrap_or_default() {
            let place = place(&text).map_err(|why| format!("{text}: {why}"))?;
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Ok(Mirrors {
            places,
            rewrites: self.rewrite.unwrap_or_default(),
        })
    }
}

impl AuthEntry {
    fn login(self) -> Result<Login, String> {
        let incomplete = || "auth is a username and a password, or both in base64".to_owned();
        let (username, password) = match (self.username, self.password, self.auth) {
            (Some(username), Some(password), None) => (username, password),
            (None, None, Some(auth)) => match Credentials::decode(&auth)? {
                Credentials::Password { username, password } => (username, password),
                _ => return Err(incomplete()),
            },
            _ => return Err(incomplete()),
        };
        Ok(Login { username, password })
    }
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
            credentials: self.auth.map(AuthEntry::login).transpose()?,
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
