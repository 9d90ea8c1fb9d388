//! StorageVersionMigrations: every object of a resource is written anew, so that what is stored is of today's version.
//!
//! As upstream's `pkg/controller/storageversionmigrator`, whose three controllers are one here: of the migrations of a resource one
//! runs at a time; it notes the revision at which it began, and is done when nothing older than that is left. A definition of custom
//! resources says meanwhile that it is migrated, and forgets the versions in which nothing is stored any more. What is
//! remembered between turns only saves work: after a restart a migration walks its resource again.

mod definition;
mod plan;
mod rewrite;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use knarr_client::storagemigration::{GroupResource, StorageVersionMigration};
use knarr_client::{Informer, WorkQueue, errors};
use knarr_meta::clock;
use kube::Api;
use kube::api::{DynamicObject, ListParams, PostParams};

use self::definition::Step;
use self::plan::{FAILED, RUNNING, SUCCEEDED, message, plan};
use self::rewrite::{Turns, Unfinished};
use crate::conditions;
use crate::resources::{self, ServedResource};
use crate::runner::{Context, Error, Reconciler, synced, uid};

/// Resources that are migrated at the same time.
const WORKERS: usize = 5;
/// So long a resource may be missing before its migration fails: its definition may just have been made.
const PATIENCE: SignedDuration = SignedDuration::from_mins(1);
/// How soon a migration has its next turn.
const NEXT_TURN: Duration = Duration::from_millis(10);
const VERBS: [&str; 3] = ["update", "patch", "list"];

const RUNNING_REASON: &str = "MigrationRunning";
const SUCCEEDED_REASON: &str = "StorageVersionMigrationSucceeded";
const FAILED_REASON: &str = "StorageVersionMigrationFailed";

/// The resource whose migrations are looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(GroupResource);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.resource, self.0.group)
    }
}

pub(crate) struct StorageVersionMigrator {
    client: kube::Client,
    migrations: Informer<StorageVersionMigration>,
    turns: Turns,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(StorageVersionMigrator {
        client: context.client("storage-version-migrator-controller"),
        migrations: context.informers.informer(),
        turns: Turns::default(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.migrations.on_event(move |event| {
        let resource = event.object().spec.resource.clone();
        queue.add(Key(resource));
    });
    let informers = vec![synced(&controller.migrations)];
    context.start(controller, WORKERS, informers);
}

impl Reconciler for StorageVersionMigrator {
    const NAME: &'static str = "storage-version-migrator";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let all = self.migrations.list();
        self.turns
            .retain(|known| all.iter().any(|migration| uid(&**migration) == known));
        let its = all.into_iter().filter(|m| m.spec.resource == key.0);
        let plan = plan(its.collect());
        for migration in &plan.ended {
            self.end(migration).await?;
        }
        if let Some(next) = &plan.next {
            // Its own event brings it back here.
            return self.begin(next).await;
        }
        for migration in &plan.running {
            match migration.status.resource_version.parse::<u64>() {
                Ok(checkpoint) => self.migrate(key, migration, checkpoint).await?,
                Err(_) => self.note_checkpoint(migration).await?,
            }
        }
        Ok(())
    }
}

impl StorageVersionMigrator {
    async fn begin(&self, migration: &StorageVersionMigration) -> Result<(), Error> {
        let name = migration.metadata.name.as_deref().unwrap_or_default();
        let resource = &migration.spec.resource;
        definition::mark(&self.client, resource, Step::Begin(name)).await?;
        let running = [(RUNNING, true, RUNNING_REASON, message(0, 0, None))];
        self.write(migration, &running).await
    }

    async fn end(&self, migration: &StorageVersionMigration) -> Result<(), Error> {
        let success = conditions::is_true(&migration.status.conditions, SUCCEEDED);
        let resource = &migration.spec.resource;
        definition::mark(&self.client, resource, Step::End(success)).await?;
        let why = "Migration completed".to_owned();
        let ended = [(RUNNING, false, "MigrationCompleted", why)];
        self.write(migration, &ended).await
    }

    /// What is written after now is in today's version.
    async fn note_checkpoint(&self, migration: &StorageVersionMigration) -> Result<(), Error> {
        let Some(resource) = self.find(migration).await? else {
            let why = "resource does not exist in discovery";
            return self.wait_or_fail(migration, why).await;
        };
        if !VERBS.iter().all(|verb| resource.supports(verb)) {
            let (api, verbs) = (&resource.api, VERBS.join(" "));
            let (group, version, plural) = (&api.group, &api.version, &api.plural);
            let why = format!(
                "resource \"{group}/{version}, Resource={plural}\" does not support discovery operations: [{verbs}]"
            );
            return self.fail(migration, &why).await;
        }
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource.api);
        let page = api.list_metadata(&ListParams::default().limit(1)).await?;
        let mut wanted = migration.clone();
        wanted.status.resource_version = page.metadata.resource_version.unwrap_or_default();
        if wanted.status.resource_version.parse::<u64>().is_err() {
            let version = &wanted.status.resource_version;
            let why = format!(
                "latest resourceVersion for {} is not valid: resource version is not well formed: {version}",
                resource.api.plural
            );
            return self.fail(migration, &why).await;
        }
        self.put(wanted).await
    }

    async fn migrate(
        &self,
        key: &Key,
        migration: &StorageVersionMigration,
        checkpoint: u64,
    ) -> Result<(), Error> {
        let Some(resource) = self.find(migration).await? else {
            let why = "migration encountered unhandled error: unable to obtain GVR from discovery";
            return self.wait_or_fail(migration, why).await;
        };
        let progress = self.turns.take(uid(migration));
        let outcome = rewrite::run(&self.client, &resource, checkpoint, progress).await;
        let running = |left, total, error: Option<&str>| {
            (RUNNING, true, RUNNING_REASON, message(left, total, error))
        };
        match outcome {
            Ok(done) => {
                let text = "Migration completed".to_owned();
                let done = running(0, done.total, None);
                let succeeded = (SUCCEEDED, true, SUCCEEDED_REASON, text);
                self.write(migration, &[done, succeeded]).await
            }
            Err(Unfinished::Later(progress, error)) => {
                let left = progress.total.saturating_sub(progress.migrated);
                let text = error.as_ref().map(errors::message);
                let state = running(left, progress.total, text.as_deref());
                self.turns.keep(uid(migration), progress);
                self.write(migration, &[state]).await?;
                match error {
                    Some(error) => Err(error.into()),
                    None => {
                        self.queue.add_after(key.clone(), NEXT_TURN);
                        Ok(())
                    }
                }
            }
            Err(Unfinished::Failed(progress, error)) => {
                let (total, error) = (progress.total, errors::message(&error));
                let left = total.saturating_sub(progress.migrated);
                let text = format!(
                    "{left}/{total} not yet migrated. migration encountered unhandled error: {error}"
                );
                let state = running(left, total, None);
                let failed = (FAILED, true, FAILED_REASON, text);
                self.write(migration, &[state, failed]).await
            }
        }
    }

    async fn find(
        &self,
        migration: &StorageVersionMigration,
    ) -> Result<Option<ServedResource>, Error> {
        let wanted = &migration.spec.resource;
        let served = resources::discover(&self.client).await?;
        let mut served = served.resources.into_iter();
        Ok(served.find(|one| one.api.group == wanted.group && one.api.plural == wanted.resource))
    }

    async fn wait_or_fail(
        &self,
        migration: &StorageVersionMigration,
        why: &str,
    ) -> Result<(), Error> {
        let created = migration.metadata.creation_timestamp.as_ref();
        let age = created.map(|Time(at)| clock::now().duration_since(*at));
        match age {
            Some(age) if age < PATIENCE => Err(Error::Again("the resource is not served yet")),
            _ => self.fail(migration, why).await,
        }
    }

    async fn fail(&self, migration: &StorageVersionMigration, why: &str) -> Result<(), Error> {
        let failed = [(FAILED, true, FAILED_REASON, why.to_owned())];
        self.write(migration, &failed).await
    }

    async fn write(
        &self,
        migration: &StorageVersionMigration,
        states: &[(&str, bool, &str, String)],
    ) -> Result<(), Error> {
        let mut wanted = migration.clone();
        let (now, mut changed) = (clock::now(), false);
        for (type_, status, reason, message) in states {
            let known = &mut wanted.status.conditions;
            changed |= conditions::set(known, type_, *status, reason, message, now);
        }
        match changed {
            true => self.put(wanted).await,
            false => Ok(()),
        }
    }

    async fn put(&self, wanted: StorageVersionMigration) -> Result<(), Error> {
        let api: Api<StorageVersionMigration> = Api::all(self.client.clone());
        let name = wanted.metadata.name.clone().unwrap_or_default();
        api.replace_status(&name, &PostParams::default(), &wanted)
            .await?;
        Ok(())
    }
}
