//! Tokens that were made for service accounts of themselves, as clusters did until v1.23, go when nobody uses them: after a year without
//! use they are marked as invalid, after a year more they are deleted (upstream's `legacy_serviceaccount_token_cleaner`).
//!
//! Such a token's Secret is in its account's list; one that people made is not, and stays. The API server notes uses
//! (`knarr_auth::tokens::legacy`) and since when it does.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec, Secret, ServiceAccount, Volume};
use knarr_auth::tokens::legacy;
use knarr_client::{Event, Informer, InformerScope, WorkQueue};
use knarr_meta::clock;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

use crate::deletion;
use crate::runner::{Context, Error, Key, Reconciler, synced, uid};
use crate::serviceaccount_token::{TYPE, account_of, is_of};

const WORKERS: usize = 1;
const ACCOUNT: &str = "legacy-service-account-token-cleaner";
/// Between looks at a token that stays (upstream's `DefaultCleanerSyncInterval`).
const INTERVAL: Duration = Duration::from_secs(24 * 3600);

struct LegacyTokenCleaner {
    client: kube::Client,
    /// For how long a token is not used before it is marked, and is marked before it is deleted.
    period: SignedDuration,
    secrets: Informer<Secret>,
    accounts: Informer<ServiceAccount>,
    pods: Informer<Pod>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let scope = InformerScope {
        field_selector: Some(format!("type={TYPE}")),
        ..InformerScope::default()
    };
    let period = context.config.legacy_token_clean_up_period;
    let controller = Arc::new(LegacyTokenCleaner {
        client: context.client(ACCOUNT),
        period: SignedDuration::try_from(period).unwrap_or(SignedDuration::MAX),
        secrets: context.informers.informer_with(scope),
        accounts: context.informers.informer(),
        pods: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.secrets.on_event(move |event| {
        if !matches!(event, Event::Deleted(_)) {
            queue.add(Key::of(&**event.object()));
        }
    });
    let informers = vec![
        synced(&controller.secrets),
        synced(&controller.accounts),
        synced(&controller.pods),
    ];
    context.start(controller, WORKERS, informers);
}

/// What is to be done about a token that was not used for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Mark,
    Delete,
}

/// A day of a label; `None` where there is none, an error where it is none.
fn day(secret: &Secret, label: &str) -> Result<Option<Date>, ()> {
    let labels = secret.metadata.labels.as_ref();
    match labels.and_then(|labels| labels.get(label)) {
        Some(text) => legacy::parse(text).map(Some).ok_or(()),
        None => Ok(None),
    }
}

/// Whether a token is older than the limit, and was not used since then. A last use that cannot be read is no reason to do anything.
fn is_unused(secret: &Secret, limit: Timestamp) -> bool {
    let meta = &secret.metadata;
    let created = meta.creation_timestamp.as_ref();
    let old = created.is_some_and(|created| created.0 < limit);
    let used = match day(secret, legacy::LAST_USED) {
        Ok(used) => used.is_some_and(|used| used >= day_of(limit)),
        Err(()) => true,
    };
    meta.deletion_timestamp.is_none() && old && !used
}

fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// Whether the account lists the Secret: then it was made with the account.
fn is_generated(secret: &Secret, account: &ServiceAccount) -> bool {
    let mut listed = account.secrets.iter().flatten();
    is_of(secret, account) && listed.any(|reference| reference.name == secret.metadata.name)
}

/// What becomes of a generated token that is unused, when uses have been noted for long enough.
fn verdict(secret: &Secret, limit: Timestamp) -> Verdict {
    match day(secret, legacy::INVALID_SINCE) {
        Ok(Some(since)) if since < day_of(limit) => Verdict::Delete,
        Ok(Some(_)) => Verdict::Keep,
        Ok(None) | Err(()) => Verdict::Mark,
    }
}

/// Whether uses have been noted since before the limit. The first day does not count: it was not noted from its beginning.
fn is_tracked(map: &ConfigMap, limit: Timestamp) -> bool {
    let data = map.data.as_ref();
    let since = data.and_then(|data| data.get(legacy::TRACKING_SINCE));
    let first = since.and_then(|since| legacy::parse(since)?.tomorrow().ok());
    let first = first.and_then(|first| first.to_zoned(TimeZone::UTC).ok());
    first.is_some_and(|first| first.timestamp() <= limit)
}

/// Whether a pod uses a Secret, in whatever way.
fn uses(pod: &Pod, secret: &str) -> bool {
    let Some(spec) = &pod.spec else {
        return false;
    };
    let mut pulls = spec.image_pull_secrets.iter().flatten();
    pulls.any(|reference| reference.name == secret)
        || in_environment(spec, secret)
        || spec
            .volumes
            .iter()
            .flatten()
            .any(|volume| mounts(volume, secret))
}

fn in_environment(spec: &PodSpec, secret: &str) -> bool {
    let init = spec.init_containers.iter().flatten();
    let containers = init.chain(&spec.containers);
    let of_containers = containers.map(|c| (&c.env, &c.env_from));
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let of_ephemeral = ephemeral.map(|c| (&c.env, &c.env_from));
    of_containers.chain(of_ephemeral).any(|(env, from)| {
        let mut from = from.iter().flatten().filter_map(|f| f.secret_ref.as_ref());
        let sources = env.iter().flatten().filter_map(|e| e.value_from.as_ref());
        let mut keys = sources.filter_map(|source| source.secret_key_ref.as_ref());
        from.any(|reference| reference.name == secret) || keys.any(|key| key.name == secret)
    })
}

fn mounts(volume: &Volume, secret: &str) -> bool {
    let projected = volume
        .projected
        .iter()
        .flat_map(|p| p.sources.iter().flatten());
    let projected = projected.filter_map(|source| Some(source.secret.as_ref()?.name.as_str()));
    let references = [
        volume.cephfs.as_ref().and_then(|v| v.secret_ref.as_ref()),
        volume.cinder.as_ref().and_then(|v| v.secret_ref.as_ref()),
        volume
            .flex_volume
            .as_ref()
            .and_then(|v| v.secret_ref.as_ref()),
        volume.rbd.as_ref().and_then(|v| v.secret_ref.as_ref()),
        volume.scale_io.as_ref().map(|v| &v.secret_ref),
        volume.iscsi.as_ref().and_then(|v| v.secret_ref.as_ref()),
        volume
            .storageos
            .as_ref()
            .and_then(|v| v.secret_ref.as_ref()),
        volume
            .csi
            .as_ref()
            .and_then(|v| v.node_publish_secret_ref.as_ref()),
    ];
    let azure = volume.azure_file.as_ref().map(|v| v.secret_name.as_str());
    let own = volume
        .secret
        .as_ref()
        .and_then(|v| v.secret_name.as_deref());
    let references = references.into_iter().flatten().map(|r| r.name.as_str());
    projected
        .chain(references)
        .chain(azure)
        .chain(own)
        .any(|name| name == secret)
}

impl LegacyTokenCleaner {
    /// Unused for long, made with its account, and in no pod's hands.
    fn is_forgotten(&self, secret: &Secret, limit: Timestamp) -> bool {
        let Key { namespace, name } = Key::of(secret);
        let account = account_of(secret);
        is_unused(secret, limit)
            && (self.accounts.get(&namespace, &account.name))
                .is_some_and(|account| is_generated(secret, &account))
            && !(self.pods.list_in(&namespace).iter()).any(|pod| uses(pod, &name))
    }

    async fn is_tracked(&self, limit: Timestamp) -> Result<bool, Error> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), legacy::TRACKING_NAMESPACE);
        let map = knarr_client::errors::optional(maps.get(legacy::TRACKING_NAME).await)?;
        Ok(map.is_some_and(|map| is_tracked(&map, limit)))
    }

    async fn carry_out(&self, secret: &Secret, verdict: Verdict) -> Result<(), Error> {
        let Key { namespace, name } = Key::of(secret);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
        match verdict {
            Verdict::Keep => Ok(()),
            Verdict::Mark => {
                let today = legacy::date(clock::now());
                tracing::info!(
                    namespace,
                    secret = name,
                    "marking a service account's unused token as invalid"
                );
                let patch = json!({"metadata": {"uid": uid(secret), "labels": {legacy::INVALID_SINCE: today}}});
                let params = PatchParams::default();
                secrets.patch(&name, &params, &Patch::Merge(patch)).await?;
                Ok(())
            }
            Verdict::Delete => {
                tracing::info!(
                    namespace,
                    secret = name,
                    "deleting a service account's unused token"
                );
                let params = DeleteParams {
                    // Whoever takes the mark away meanwhile keeps it.
                    preconditions: Some(Preconditions {
                        resource_version: secret.metadata.resource_version.clone(),
                        uid: None,
                    }),
                    ..DeleteParams::default()
                };
                deletion::delete(&secrets, &secret.metadata, params).await?;
                Ok(())
            }
        }
    }
}

impl Reconciler for LegacyTokenCleaner {
    const NAME: &'static str = "legacy-service-account-token-cleaner";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(secret) = self.secrets.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let limit = clock::now().checked_sub(self.period);
        let limit = limit.unwrap_or(Timestamp::MIN);
        if self.is_forgotten(&secret, limit) && self.is_tracked(limit).await? {
            self.carry_out(&secret, verdict(&secret, limit)).await?;
        }
        self.queue.add_after(key.clone(), INTERVAL);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
