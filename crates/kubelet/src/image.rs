//! Images: whether to pull, with which credentials, and how long to hold off after a failure.

mod credentials;
mod places;
mod rate;
mod records;

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use knarr_cri::{
    reference::{DEFAULT_REGISTRY, DEFAULT_TAG, Reference, ReferenceError},
    v1,
};
use knarr_meta::field::quote;
use parking_lot::Mutex;
use tokio::time::Instant;

use self::{
    credentials::{Credentials, Source},
    places::Places,
    rate::Rate,
    records::{Pulling, Records, Verification},
};
use crate::{
    backoff::Backoff,
    configuration::Settings,
    context,
    events::{Events, NORMAL, WARNING},
    runtime::Runtime,
};

/// How long a container shows the failed pull itself before it shows that it waits for the next.
const SHOW_ERROR: Duration = Duration::from_secs(3);
/// How long an image that a pod was given is not removed, although nothing is made of it yet.
const WANTED_FOR: Duration = Duration::from_secs(120);

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

impl<'a> Wanted<'a> {
    /// A container's own image.
    pub(crate) fn of(pod: &'a Pod, container: &'a Container) -> Self {
        Self {
            pod,
            container: Some(&container.name),
            reference: container.image.as_deref().unwrap_or_default(),
            policy: container.image_pull_policy.as_deref(),
        }
    }
}

/// Why a container cannot have its image; `reason` is that of its waiting state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub reason: &'static str,
    pub message: String,
    /// When another try makes sense.
    pub retry: Duration,
}

/// Of a failure to pull that has just happened.
pub(crate) const PULL_FAILED: &str = "ErrImagePull";

/// An image that is there.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// What to create the container from: the image's id.
    pub id: String,
    /// The user it runs as: a number, or a name.
    pub uid: Option<i64>,
    pub username: String,
    /// Its references that the runtime knows.
    pub references: Vec<String>,
    /// It was not pulled for this.
    pub was_there: bool,
    /// It was put on the node by hand, which runtimes tell by never removing it.
    pub preloaded: bool,
}

/// Makes images present; clones share the back-off.
#[derive(Clone)]
pub(crate) struct Images {
    runtime: Runtime,
    events: Events,
    backoff: Arc<Mutex<HashMap<String, Backoff>>>,
    places: Arc<Places>,
    records: Arc<Records>,
    rate: Arc<Rate>,
    /// Images that pods were given, by id: they may not have a container yet.
    wanted: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Images {
    /// What was pulled, and by whom, is kept in `records`.
    pub(crate) fn new(
        runtime: Runtime,
        events: Events,
        records: PathBuf,
        settings: &Settings,
    ) -> Self {
        let policy = &settings.image_pull_credentials_verification_policy;
        let most = match settings.serialize_image_pulls {
            true => Some(1),
            false => settings.max_parallel_image_pulls,
        };
        let most = most.map(|most| usize::try_from(most).unwrap_or(1));
        Self {
            runtime,
            events,
            backoff: Arc::default(),
            places: Arc::new(Places::new(most)),
            records: Arc::new(Records::load(records, Verification::of(policy))),
            rate: Arc::new(Rate::new(
                settings.registry_pull_qps,
                settings.registry_burst,
            )),
            wanted: Arc::default(),
        }
    }

    /// Images that pods were given a short while ago.
    pub(crate) fn wanted_lately(&self) -> Vec<String> {
        let mut wanted = self.wanted.lock();
        wanted.retain(|_, at| at.elapsed() < WANTED_FOR);
        wanted.keys().cloned().collect()
    }

    /// Takes note that a pod was given an image.
    pub(crate) fn want(&self, id: &str) {
        self.wanted.lock().insert(id.to_owned(), Instant::now());
    }

    /// The image is not there any more.
    pub(crate) fn forget_image(&self, id: &str) {
        self.wanted.lock().remove(id);
    }

    /// Tells whom the image is for.
    fn tell(&self, wanted: Wanted<'_>, type_: &'static str, reason: &str, note: String) {
        match wanted.container {
            Some(name) => self.events.container(wanted.pod, name, type_, reason, note),
            None => self.events.pod(wanted.pod, type_, reason, note),
        }
    }

    /// Tells that an image need not be pulled.
    pub(crate) fn tell_of_present(&self, wanted: Wanted<'_>) {
        let given = wanted.reference;
        let note = format!(
            "Container image \"{given}\" already present on machine and can be accessed by the pod"
        );
        self.tell(wanted, NORMAL, "Pulled", note);
    }

    /// Makes an image present as its pull policy says.
    pub(crate) async fn ensure(
        &self,
        wanted: Wanted<'_>,
        secrets: &[Arc<Secret>],
    ) -> Result<Ready, Failure> {
        let result = self.find_or_pull(wanted, secrets).await;
        if let Ok(ready) = &result {
            self.want(&ready.id);
        }
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
        let credentials = credentials::of_secrets(&image, secrets);
        // Whoever may not have it is not told that it is there.
        let present = present.filter(|ready| self.records.allow(&image, ready, &credentials));
        match (present, policy) {
            (Some(ready), "IfNotPresent" | "Never") => {
                // A container is told when there is all else that it needs: while its volumes are not there it is looked for again and
                // again.
                if wanted.container.is_none() {
                    self.tell_of_present(wanted);
                }
                return Ok(Ready {
                    was_there: true,
                    ..ready
                });
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
        self.pull(wanted, &image, credentials).await
    }

    async fn pull(
        &self,
        wanted: Wanted<'_>,
        image: &str,
        credentials: Vec<Credentials>,
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
                format!("{note}: {PULL_FAILED}: {error}")
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
        let result = self.fetch(image, credentials).await;
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
                    reason: PULL_FAILED,
                    message: error,
                    retry,
                })
            }
        }
    }

    async fn fetch(
        &self,
        image: &str,
        credentials: Vec<Credentials>,
    ) -> Result<(Ready, u64), String> {
        if !self.rate.take() {
            return Err("pull QPS exceeded".to_owned());
        }
        self.prune_records().await;
        let pulling = self.records.begin(image).map_err(|error| {
            format!("Failed to record image pull intent for container image \"{image}\": {error}")
        })?;
        let attempts = attempts(credentials);
        let mut last = String::new();
        for (auth, source) in attempts {
            let request = v1::PullImageRequest {
                image: Some(spec(image)),
                auth,
                sandbox_config: None,
            };
            match self.runtime.pull_image(request).await {
                Ok(response) => {
                    let reference = match response.image_ref.as_str() {
                        "" => image,
                        reference => reference,
                    };
                    return self.pulled(image, reference, pulling, source).await;
                }
                Err(error) => last = error.of_pull(),
            }
        }
        pulling.failed();
        Err(last)
    }

    /// Takes note of who has pulled an image, and reads it back.
    async fn pulled(
        &self,
        image: &str,
        reference: &str,
        pulling: Pulling<'_>,
        source: Option<Source>,
    ) -> Result<(Ready, u64), String> {
        let size = self.size(reference).await;
        match self.status(reference).await {
            Ok(Some(ready)) => {
                pulling.succeeded(&ready, source);
                Ok((ready, size))
            }
            Ok(None) => Err(format!("image \"{image}\" is not there after its pull")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Forgets images that are gone, when there are many of them.
    async fn prune_records(&self) {
        if !self.records.are_many() {
            return;
        }
        let request = v1::ListImagesRequest { filter: None };
        match self.runtime.list_images(request).await {
            Ok(answer) => self.records.retain(&answer.images),
            Err(error) => tracing::warn!(%error, "cannot list images, records of gone ones stay"),
        }
    }

    async fn size(&self, image: &str) -> u64 {
        let request = v1::ImageStatusRequest {
            image: Some(spec(image)),
            verbose: false,
        };
        let response = self.runtime.image_status(request).await.ok();
        response.and_then(|r| r.image).map_or(0, |i| i.size)
    }

    async fn status(&self, image: &str) -> Result<Option<Ready>, crate::runtime::Error> {
        let request = v1::ImageStatusRequest {
            image: Some(spec(image)),
            verbose: false,
        };
        let found = self.runtime.image_status(request).await?.image;
        Ok(found.filter(|i| !i.id.is_empty()).map(|image| Ready {
            uid: image.uid.map(|uid| uid.value),
            username: image.username,
            references: [image.repo_tags, image.repo_digests].concat(),
            id: image.id,
            was_there: false,
            preloaded: image.pinned,
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

/// Credentials are tried from the most specific on; without any, once anonymously.
fn attempts(credentials: Vec<Credentials>) -> Vec<(Option<v1::AuthConfig>, Option<Source>)> {
    if credentials.is_empty() {
        return vec![(None, None)];
    }
    let attempt = |own: Credentials| (Some(own.auth), Some(own.source));
    credentials.into_iter().map(attempt).collect()
}

fn spec(image: &str) -> v1::ImageSpec {
    v1::ImageSpec {
        image: image.to_owned(),
        ..Default::default()
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

#[cfg(test)]
mod tests;
