//! Objects are written anew by patches that change nothing: the server stores what it reads in today's version, and only where
//! that is another one.

use std::collections::HashMap;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use knarr_client::errors;
use kube::Api;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use crate::resources::ServedResource;

/// Objects that are read at a time.
const PAGE: u32 = 500;
/// Patches that are on their way at the same time.
const CONCURRENCY: usize = 8;
/// So long a migration works before others have their turn; it goes on from there.
const TURN: Duration = Duration::from_secs(60);
const MANAGER: &str = "storage-version-migrator-controller";

/// How far a migration has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Where the list goes on.
    token: Option<String>,
    pub migrated: usize,
    /// What is known of how many there are.
    pub total: usize,
}

/// Why a migration is not finished.
pub(super) enum Unfinished {
    /// It goes on later, from where it is.
    Later(Progress, Option<kube::Error>),
    /// It cannot go on.
    Failed(Progress, kube::Error),
}

/// Migrations under way, by uid: only so that they do not begin again after each turn. After a restart they do.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<String, Progress>>);

impl Turns {
    pub(super) fn take(&self, uid: &str) -> Progress {
        self.0.lock().remove(uid).unwrap_or_default()
    }

    pub(super) fn keep(&self, uid: &str, progress: Progress) {
        self.0.lock().insert(uid.to_owned(), progress);
    }

    /// Forgets those of migrations that are not there any more.
    pub(super) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.0.lock().retain(|uid, _| is_there(uid));
    }
}

/// What an object's key and version are.
struct Candidate {
    namespace: Option<String>,
    name: String,
    version: String,
}

/// Writes every object anew that is not newer than `checkpoint`.
pub(super) async fn run(
    client: &kube::Client,
    resource: &ServedResource,
    checkpoint: u64,
    mut progress: Progress,
) -> Result<Progress, Unfinished> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource.api);
    let until = Instant::now() + TURN;
    loop {
        let mut params = ListParams::default().limit(PAGE);
        params.continue_token = progress.token.clone();
        let page = match api.list_metadata(&params).await {
            Ok(page) => page,
            Err(error) if errors::is_expired(&error) && progress.token.is_some() => {
                // What has come meanwhile is newer than the checkpoint; what is migrated costs a patch that changes nothing.
                progress.token = token_to_go_on(&error);
                if progress.token.is_none() {
                    progress.migrated = 0;
                }
                continue;
            }
            Err(error) => return Err(Unfinished::Later(progress, Some(error))),
        };
        let next = page.metadata.continue_.clone().filter(|t| !t.is_empty());
        let left = page.metadata.remaining_item_count.unwrap_or_default();
        let count = page.items.len();
        let seen = progress.migrated + count;
        progress.total = seen + usize::try_from(left).unwrap_or_default();
        let candidates = page.items.into_iter().filter_map(|object| {
            let meta = object.metadata;
            let version = meta.resource_version?;
            // A version that is no number is none of this server's: the patch will tell.
            let newer = version.parse::<u64>().is_ok_and(|v| v > checkpoint);
            (!newer).then_some(Candidate {
                namespace: meta.namespace,
                name: meta.name?,
                version,
            })
        });
        let patches = candidates.map(|candidate| patch(client, resource, candidate));
        let mut patches = stream::iter(patches).buffer_unordered(CONCURRENCY);
        while let Some(result) = patches.next().await {
            match result {
                Ok(()) => {}
                Err(error) if is_transient(&error) => {
                    return Err(Unfinished::Later(progress, Some(error)));
                }
                Err(error) => return Err(Unfinished::Failed(progress, error)),
            }
        }
        progress.migrated = seen;
        progress.token = next;
        if progress.token.is_none() {
            return Ok(progress);
        }
        if Instant::now() >= until {
            return Err(Unfinished::Later(progress, None));
        }
    }
}

async fn patch(
    client: &kube::Client,
    resource: &ServedResource,
    candidate: Candidate,
) -> Result<(), kube::Error> {
    let api: Api<DynamicObject> = match candidate.namespace.as_deref() {
        Some(namespace) if resource.namespaced => {
            Api::namespaced_with(client.clone(), namespace, &resource.api)
        }
        _ => Api::all_with(client.clone(), &resource.api),
    };
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let body = json!({
        "apiVersion": resource.api.api_version,
        "kind": resource.api.kind,
        "metadata": {"resourceVersion": candidate.version},
    });
    let patched = api
        .patch_metadata(&candidate.name, &params, &Patch::Merge(&body))
        .await;
    match patched {
        Ok(_) => Ok(()),
        // Somebody else wrote it, or deleted it: nothing old is left of it.
        Err(error) if errors::is_conflict(&error) || errors::is_not_found(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Where a list whose token is too old goes on without consistency; `None`: from its beginning.
fn token_to_go_on(error: &kube::Error) -> Option<String> {
    let metadata = errors::status(error)?.metadata.as_ref()?;
    metadata.continue_.clone().filter(|token| !token.is_empty())
}

/// Whether the same request may succeed later: upstream's `isRetriableError`, where all that is no answer of the API counts.
fn is_transient(error: &kube::Error) -> bool {
    let Some(status) = errors::status(error) else {
        return true;
    };
    matches!(status.code, 429 | 500 | 503 | 504)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn some_errors_pass() {
        for (code, transient) in [
            (429, true),
            (500, true),
            (503, true),
            (422, false),
            (403, false),
        ] {
            let error = kube::Error::Api(Box::new(Status {
                code,
                ..Status::default()
            }));
            assert_eq!(is_transient(&error), transient, "{code}");
        }
    }
}
