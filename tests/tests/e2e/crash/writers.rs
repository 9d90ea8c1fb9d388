//! Tasks that create, change and delete without a pause, and remember what was acknowledged.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use super::{Shared, lock};

const WRITERS: usize = 6;
const KEY: &str = "value";
/// How long a writer waits before it asks again a server that is not there.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Names and the value each has.
pub type Contents = BTreeMap<String, String>;

/// What must be so: a value, or nothing where a deletion was acknowledged. Names whose last write was not acknowledged
/// are not here: it may or may not have happened.
#[derive(Default)]
pub struct Expected {
    pub names: BTreeMap<String, Option<String>>,
    pub acknowledged: u64,
}

pub struct Writers {
    tasks: JoinSet<Result<()>>,
    expected: Shared<Expected>,
    count: watch::Sender<u64>,
    stopped: watch::Sender<bool>,
}

impl Writers {
    pub fn start(maps: &Api<ConfigMap>) -> Self {
        let mut writers = Self {
            tasks: JoinSet::new(),
            expected: Shared::default(),
            count: watch::Sender::new(0),
            stopped: watch::Sender::new(false),
        };
        for number in 0..WRITERS {
            let writer = Writer {
                maps: maps.clone(),
                expected: writers.expected.clone(),
                count: writers.count.clone(),
            };
            let stopped = writers.stopped.subscribe();
            writers.tasks.spawn(writer.run(number, stopped));
        }
        writers
    }

    /// Waits until so many more writes are acknowledged.
    pub async fn acknowledged(&self, more: u64) -> Result<()> {
        let mut count = self.count.subscribe();
        let wanted = *count.borrow() + more;
        count
            .wait_for(|count| *count >= wanted)
            .await
            .context("the writers are gone")?;
        Ok(())
    }

    /// Lets every writer end its current write.
    pub async fn stop(mut self) -> Result<Expected> {
        self.stopped.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a writer panicked")??;
        }
        Ok(std::mem::take(&mut *lock(&self.expected)))
    }
}

struct Writer {
    maps: Api<ConfigMap>,
    expected: Shared<Expected>,
    count: watch::Sender<u64>,
}

impl Writer {
    /// Every name is created; every second one is changed, every third one deleted.
    async fn run(self, number: usize, stopped: watch::Receiver<bool>) -> Result<()> {
        for round in 0.. {
            if *stopped.borrow() {
                break;
            }
            let name = format!("w{number}-{round}");
            let mut written = self.create(&name, &format!("{round}")).await;
            if written && round % 2 == 0 {
                written = self.change(&name, &format!("{round}-changed")).await;
            }
            if written && round % 3 == 0 {
                written = self.delete(&name).await;
            }
            if !written {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        Ok(())
    }

    async fn create(&self, name: &str, value: &str) -> bool {
        let map = serde_json::from_value(json!({"metadata": {"name": name}, "data": {KEY: value}}));
        let Ok(map) = map else { return false };
        let made = self.maps.create(&PostParams::default(), &map).await;
        self.note(made.is_ok(), name, Some(value))
    }

    async fn change(&self, name: &str, value: &str) -> bool {
        lock(&self.expected).names.remove(name);
        let patch = Patch::Merge(json!({"data": {KEY: value}}));
        let changed = self.maps.patch(name, &PatchParams::default(), &patch).await;
        self.note(changed.is_ok(), name, Some(value))
    }

    async fn delete(&self, name: &str) -> bool {
        lock(&self.expected).names.remove(name);
        let deleted = self.maps.delete(name, &DeleteParams::default()).await;
        self.note(deleted.is_ok(), name, None)
    }

    fn note(&self, acknowledged: bool, name: &str, value: Option<&str>) -> bool {
        if acknowledged {
            let mut expected = lock(&self.expected);
            expected
                .names
                .insert(name.to_owned(), value.map(str::to_owned));
            expected.acknowledged += 1;
            drop(expected);
            self.count.send_modify(|count| *count += 1);
        }
        acknowledged
    }
}

/// An object's name and value.
pub fn content(map: &ConfigMap) -> (String, String) {
    let value = map.data.as_ref().and_then(|data| data.get(KEY));
    (
        map.metadata.name.clone().unwrap_or_default(),
        value.cloned().unwrap_or_default(),
    )
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}
