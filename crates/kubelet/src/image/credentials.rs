//! Credentials for pulls: which of a pod's pull secrets are for an image, and what makes them the same.

use std::{collections::HashMap, sync::Arc};

use base64::Engine as _;
use k8s_openapi::api::core::v1::Secret;
use knarr_cri::{reference::DEFAULT_REGISTRY, v1};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// A pull secret's credentials for an image.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    pub auth: v1::AuthConfig,
    pub source: Source,
}

/// Where credentials are from, without telling them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Of what they are.
    pub hash: String,
}

impl Source {
    fn of(secret: &Secret, auth: &v1::AuthConfig) -> Self {
        let meta = &secret.metadata;
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            hash: hash(auth),
        }
    }

    /// Whether it is the same secret, whatever is in it now.
    pub(super) fn is_same_secret(&self, other: &Self) -> bool {
        (&self.namespace, &self.name, &self.uid) == (&other.namespace, &other.name, &other.uid)
    }
}

fn hash(auth: &v1::AuthConfig) -> String {
    let mut context = Context::new(&SHA256);
    for field in [
        &auth.username,
        &auth.password,
        &auth.identity_token,
        &auth.registry_token,
    ] {
        context.update(&field.len().to_le_bytes());
        context.update(field.as_bytes());
    }
    hex(context.finish().as_ref())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: HashMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

/// Those of the pull secrets that apply to `image`, the longest match first.
pub(super) fn of_secrets(image: &str, secrets: &[Arc<Secret>]) -> Vec<Credentials> {
    let mut found: Vec<(usize, Credentials)> = Vec::new();
    for secret in secrets {
        for (server, auth) in docker_auths(secret) {
            if let Some(length) = matches_registry(image, &server) {
                let auth = auth_config(auth);
                let source = Source::of(secret, &auth);
                found.push((length, Credentials { auth, source }));
            }
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found
        .into_iter()
        .map(|(_, credentials)| credentials)
        .collect()
}

fn docker_auths(secret: &Secret) -> HashMap<String, DockerAuth> {
    let Some(data) = &secret.data else {
        return HashMap::new();
    };
    if let Some(text) = data.get(".dockerconfigjson") {
        return serde_json::from_slice::<DockerConfig>(&text.0)
            .map(|c| c.auths)
            .unwrap_or_default();
    }
    // The older form is the map itself.
    let old = data
        .get(".dockercfg")
        .and_then(|text| serde_json::from_slice(&text.0).ok());
    old.unwrap_or_default()
}

/// Names no server, as upstream: the match is made here, and a runtime would not find a pattern in the image's name.
fn auth_config(auth: DockerAuth) -> v1::AuthConfig {
    let mut config = v1::AuthConfig {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identitytoken,
        registry_token: auth.registrytoken,
        ..Default::default()
    };
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(auth.auth.trim())
        .ok();
    if let Some(text) = decoded.and_then(|d| String::from_utf8(d).ok())
        && let Some((user, password)) = text.split_once(':')
    {
        user.clone_into(&mut config.username);
        password
            .trim_end_matches('\0')
            .clone_into(&mut config.password);
    }
    config
}

/// How much of the image's address an entry of a docker configuration matches; `None` when it does not.
fn matches_registry(image: &str, server: &str) -> Option<usize> {
    let server = server
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let server = server
        .trim_end_matches('/')
        .trim_end_matches("/v1")
        .trim_end_matches("/v2");
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    let host = if host == "index.docker.io" {
        DEFAULT_REGISTRY
    } else {
        host
    };
    let (image_host, image_path) = match image.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (DEFAULT_REGISTRY, image),
    };
    let host_fits = matches_host(host, image_host);
    let path_fits = path.is_empty()
        || image_path == path
        || image_path
            .strip_prefix(path)
            .is_some_and(|r| r.starts_with(['/', ':']));
    (host_fits && path_fits).then_some(server.len())
}

/// Part by part, each of which may be a pattern; ports are the same or absent.
fn matches_host(pattern: &str, host: &str) -> bool {
    let split = |address: &str| match address.rsplit_once(':') {
        Some((name, port)) => (name.to_owned(), port.to_owned()),
        None => (address.to_owned(), String::new()),
    };
    let ((pattern, wanted_port), (host, port)) = (split(pattern), split(host));
    let (patterns, parts) = (pattern.split('.'), host.split('.'));
    wanted_port == port
        && patterns.clone().count() == parts.clone().count()
        && patterns
            .zip(parts)
            .all(|(pattern, part)| matches_part(pattern.as_bytes(), part.as_bytes()))
}

/// `*` stands for any letters, `?` for one. Every star but the last takes as little as it can, so that no pattern is slow.
fn matches_part(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(letter) if *letter == b'?' || *letter == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match star {
                Some((before, taken)) => {
                    star = Some((before, taken + 1));
                    (at, seen) = (before + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}
