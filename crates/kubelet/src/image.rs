//! Images: whether to pull, with which credentials, and how long to hold off after a failure.

mod places;

use std::{collections::HashMap, sync::Arc, time::Duration};

use base64::Engine as _;
use k8s_openapi::api::core::v1::{Pod, Secret};
use knarr_cri::{
    reference::{DEFAULT_REGISTRY, DEFAULT_TAG, Reference, ReferenceError},
    v1,
};
use knarr_meta::field::quote;
use parking_lot::Mutex;
use serde::Deserialize;

use self::places::Places;
use crate::{
    backoff::Backoff,
    context,
    events::{Events, NORMAL, WARNING},
    runtime::Runtime,
};

/// How long a container shows the failed pull itself before it shows that it waits for the next.
const SHOW_ERROR: Duration = Duration::from_secs(3);

/// An image that is wanted, and what for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub pod: &'a Pod,
    /// The container that is to run it; `None` for an image volume, which is the whole pod's.
    pub container: Option<&'a str>,
    /// As the pod has it.
    pub reference: &'a str,
    pub policy: Option<&'a str>,
}

/// Why a container cannot have its image; `reason` is that of its waiting state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub reason: &'static str,
    pub message: String,
    /// When another try makes sense.
    pub retry: Duration,
}

/// An image that is there.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// What to create the container from: the image's id.
    pub id: String,
    /// The user it runs as: a number, or a name.
    pub uid: Option<i64>,
    pub username: String,
}

/// Makes images present; clones share the back-off.
#[derive(Clone)]
pub(crate) struct Images {
    runtime: Runtime,
    events: Events,
    backoff: Arc<Mutex<HashMap<String, Backoff>>>,
    places: Arc<Places>,
}

impl Images {
    pub(crate) fn new(runtime: Runtime, events: Events) -> Self {
        Self {
            runtime,
            events,
            backoff: Arc::default(),
            places: Arc::new(Places::new()),
        }
    }

    /// Tells whom the image is for.
    fn tell(&self, wanted: Wanted<'_>, type_: &'static str, reason: &str, note: String) {
        match wanted.container {
            Some(name) => self.events.container(wanted.pod, name, type_, reason, note),
            None => self.events.pod(wanted.pod, type_, reason, note),
        }
    }

    /// Makes an image present as its pull policy says.
    pub(crate) async fn ensure(
        &self,
        wanted: Wanted<'_>,
        secrets: &[Arc<Secret>],
    ) -> Result<Ready, Failure> {
        let result = self.find_or_pull(wanted, secrets).await;
        // Beside the event that says why: a container is told that it does not start.
        if let (Err(failure), Some(_)) = (&result, wanted.container) {
            let note = format!("Error: {}", failure.reason);
            self.tell(wanted, WARNING, "Failed", note);
        }
        result
    }

    async fn find_or_pull(
        &self,
        wanted: Wanted<'_>,
        secrets: &[Arc<Secret>],
    ) -> Result<Ready, Failure> {
        let given = wanted.reference;
        let image = with_tag(given).map_err(|error| {
            let (given, retry) = (quote(given), Duration::from_secs(10));
            let message = format!(
                "Failed to apply default image tag {given}: couldn't parse image name {given}: {error}"
            );
            self.tell(wanted, WARNING, "InspectFailed", message.clone());
            Failure {
                reason: "InvalidImageName",
                message,
                retry,
            }
        })?;
        let present = self.status(&image).await.map_err(|error| {
            let message = format!("Failed to inspect image \"{image}\": {error}");
            self.tell(wanted, WARNING, "InspectFailed", message.clone());
            Failure {
                reason: "ImageInspectError",
                message,
                retry: Duration::from_secs(10),
            }
        })?;
        let policy = wanted.policy.unwrap_or_else(|| default_policy(&image));
        match (present, policy) {
            (Some(ready), "IfNotPresent" | "Never") => {
                let note = format!("Container image \"{given}\" already present on machine");
                self.tell(wanted, NORMAL, "Pulled", note);
                return Ok(ready);
            }
            (None, "Never") => {
                let message =
                    format!("Container image \"{given}\" is not present with pull policy of Never");
                self.tell(wanted, WARNING, "ErrImageNeverPull", message.clone());
                let retry = Duration::from_secs(10);
                return Err(Failure {
                    reason: "ErrImageNeverPull",
                    message,
                    retry,
                });
            }
            _ => {}
        }
        self.pull(wanted, &image, secrets).await
    }

    async fn pull(
        &self,
        wanted: Wanted<'_>,
        image: &str,
        secrets: &[Arc<Secret>],
    ) -> Result<Ready, Failure> {
        let given = wanted.reference;
        let key = format!("{}/{image}", context::uid(wanted.pod));
        let last = self
            .backoff
            .lock()
            .get(&key)
            .map(|b| (b.remaining(), b.error.clone()));
        if let Some((remaining, error)) = last.filter(|(remaining, _)| !remaining.is_zero()) {
            let note = format!("Back-off pulling image \"{given}\"");
            self.tell(wanted, NORMAL, "BackOff", note.clone());
            let message = if error.is_empty() {
                note
            } else {
                format!("{note}: ErrImagePull: {error}")
            };
            return Err(Failure {
                reason: "ImagePullBackOff",
                message,
                retry: remaining,
            });
        }
        let note = format!("Pulling image \"{given}\"");
        self.tell(wanted, NORMAL, "Pulling", note);
        let begun = std::time::Instant::now();
        let namespace = context::namespace(wanted.pod);
        let place = self.places.take(namespace, registry(image)).await;
        let result = self.fetch(image, secrets).await;
        drop(place);
        match result {
            Ok((ready, size)) => {
                self.backoff.lock().remove(&key);
                let took =
                    Duration::from_millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(0));
                let note = format!(
                    "Successfully pulled image \"{given}\" in {} ({} including waiting). Image size: {size} bytes.",
                    go_duration(took),
                    go_duration(took),
                );
                self.tell(wanted, NORMAL, "Pulled", note);
                Ok(ready)
            }
            Err(error) => {
                let retry = {
                    let mut all = self.backoff.lock();
                    let entry = all.entry(key).or_default();
                    // Another that wanted the same image may have failed meanwhile: that is one failure.
                    if entry.remaining().is_zero() {
                        entry.next();
                    }
                    entry.error.clone_from(&error);
                    entry.remaining().min(SHOW_ERROR)
                };
                let note = format!("Failed to pull image \"{given}\": {error}");
                self.tell(wanted, WARNING, "Failed", note);
                Err(Failure {
                    reason: "ErrImagePull",
                    message: error,
                    retry,
                })
            }
        }
    }

    async fn fetch(&self, image: &str, secrets: &[Arc<Secret>]) -> Result<(Ready, u64), String> {
        // Credentials are tried from the most specific on; without any, once anonymously.
        let mut attempts: Vec<Option<v1::AuthConfig>> =
            credentials(image, secrets).into_iter().map(Some).collect();
        if attempts.is_empty() {
            attempts.push(None);
        }
        let mut last = String::new();
        for auth in attempts {
            let spec = v1::ImageSpec {
                image: image.to_owned(),
                ..Default::default()
            };
            let request = v1::PullImageRequest {
                image: Some(spec),
                auth,
                sandbox_config: None,
            };
            match self.runtime.pull_image(request).await {
                Ok(response) => {
                    let reference = if response.image_ref.is_empty() {
                        image
                    } else {
                        &response.image_ref
                    };
                    let size = self.size(reference).await;
                    return match self.status(reference).await {
                        Ok(Some(ready)) => Ok((ready, size)),
                        Ok(None) => Err(format!("image \"{image}\" is not there after its pull")),
                        Err(error) => Err(error.to_string()),
                    };
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }

    async fn size(&self, image: &str) -> u64 {
        let spec = v1::ImageSpec {
            image: image.to_owned(),
            ..Default::default()
        };
        let request = v1::ImageStatusRequest {
            image: Some(spec),
            verbose: false,
        };
        let response = self.runtime.image_status(request).await.ok();
        response.and_then(|r| r.image).map_or(0, |i| i.size)
    }

    async fn status(&self, image: &str) -> Result<Option<Ready>, crate::runtime::Error> {
        let spec = v1::ImageSpec {
            image: image.to_owned(),
            ..Default::default()
        };
        let request = v1::ImageStatusRequest {
            image: Some(spec),
            verbose: false,
        };
        let found = self.runtime.image_status(request).await?.image;
        Ok(found.filter(|i| !i.id.is_empty()).map(|image| Ready {
            uid: image.uid.map(|uid| uid.value),
            username: image.username,
            id: image.id,
        }))
    }

    /// Drops what is remembered of a pod.
    pub(crate) fn forget(&self, uid: &str) {
        let prefix = format!("{uid}/");
        self.backoff
            .lock()
            .retain(|key, _| !key.starts_with(&prefix));
    }
}

/// Adds `:latest` to a reference without tag and digest.
fn with_tag(image: &str) -> Result<String, ReferenceError> {
    let parsed = Reference::parse(image)?;
    // A parsed one has a tag always, its text may not.
    let tagged = image.contains('@')
        || parsed
            .tag
            .is_some_and(|tag| image.ends_with(&format!(":{tag}")));
    Ok(match tagged {
        true => image.to_owned(),
        false => format!("{image}:{DEFAULT_TAG}"),
    })
}

/// The registry of a reference, the default one where it names none.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => DEFAULT_REGISTRY,
    }
}

fn default_policy(image: &str) -> &'static str {
    if image.ends_with(":latest") {
        "Always"
    } else {
        "IfNotPresent"
    }
}

/// Go's rendering of a duration, cut to milliseconds.
fn go_duration(time: Duration) -> String {
    if time.as_secs() == 0 {
        return format!("{}ms", time.as_millis());
    }
    let millis = time.subsec_millis();
    let seconds = if millis == 0 {
        String::new()
    } else {
        format!(".{millis:03}").trim_end_matches('0').to_owned()
    };
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, s) => format!("{s}{seconds}s"),
        (m, s) => format!("{m}m{s}{seconds}s"),
    }
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

/// Credentials of the pull secrets that apply to `image`, the longest match first.
fn credentials(image: &str, secrets: &[Arc<Secret>]) -> Vec<v1::AuthConfig> {
    let mut found: Vec<(usize, v1::AuthConfig)> = Vec::new();
    for secret in secrets {
        for (server, auth) in docker_auths(secret) {
            if let Some(length) = matches_registry(image, &server) {
                found.push((length, auth_config(auth)));
            }
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, auth)| auth).collect()
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

#[cfg(test)]
mod tests;
