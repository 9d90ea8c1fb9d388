//! One watch that goes on where it was after each crash, and checks that nothing is missed or repeated.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::{
    Shared, lock,
    writers::{Contents, content},
};

/// The name by which the end is known.
pub const LAST: &str = "the-last-one";
const FINISH_DEADLINE: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(20);
const WATCH_SECONDS: u32 = 290;

pub struct Watcher {
    task: JoinHandle<()>,
    state: Shared<State>,
    done: watch::Receiver<bool>,
}

#[derive(Default)]
struct State {
    contents: Contents,
    revision: u64,
    error: Option<String>,
}

impl Watcher {
    /// Watches from now on.
    pub async fn start(maps: Api<ConfigMap>) -> Result<Self> {
        let listed = maps.list(&ListParams::default()).await?;
        let revision = listed
            .metadata
            .resource_version
            .context("lists have a revision")?;
        let state = Shared::new(std::sync::Mutex::new(State {
            contents: listed.items.iter().map(content).collect(),
            revision: revision.parse()?,
            error: None,
        }));
        let (sender, done) = watch::channel(false);
        let shared = state.clone();
        let task = tokio::spawn(async move {
            loop {
                match follow(&maps, &shared).await {
                    Ok(true) => break,
                    // The server went away.
                    Ok(false) => tokio::time::sleep(RETRY_PAUSE).await,
                    Err(error) => {
                        lock(&shared).error = Some(format!("{error:#}"));
                        break;
                    }
                }
            }
            sender.send_replace(true);
        });
        Ok(Self { task, state, done })
    }

    /// Fails when the watch has seen what must not be.
    pub fn check(&self) -> Result<()> {
        match &lock(&self.state).error {
            Some(error) => bail!("the watch: {error}"),
            None => Ok(()),
        }
    }

    /// Waits for the last write; everything the watch has learnt.
    pub async fn finish(&self) -> Result<Contents> {
        let mut done = self.done.clone();
        timeout(FINISH_DEADLINE, done.wait_for(|done| *done))
            .await
            .with_context(|| {
                format!("the watch hangs at revision {}", lock(&self.state).revision)
            })??;
        self.check()?;
        Ok(lock(&self.state).contents.clone())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Follows one connection to its end; true when the last write was seen.
async fn follow(maps: &Api<ConfigMap>, state: &Shared<State>) -> Result<bool> {
    let revision = lock(state).revision.to_string();
    let parameters = WatchParams::default().timeout(WATCH_SECONDS);
    let Ok(stream) = maps.watch(&parameters, &revision).await else {
        return Ok(false);
    };
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        let Ok(event) = event else { return Ok(false) };
        if lock(state).apply(event)? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl State {
    fn apply(&mut self, event: WatchEvent<ConfigMap>) -> Result<bool> {
        let (kind, map) = match event {
            WatchEvent::Added(map) => ("ADDED", map),
            WatchEvent::Modified(map) => ("MODIFIED", map),
            WatchEvent::Deleted(map) => ("DELETED", map),
            WatchEvent::Bookmark(_) => return Ok(false),
            WatchEvent::Error(status) => bail!("ended with {status:?}"),
        };
        let (name, value) = content(&map);
        let revision: u64 = map.metadata.resource_version.unwrap_or_default().parse()?;
        ensure!(
            revision > self.revision,
            "{kind} {name} at revision {revision} after {}",
            self.revision
        );
        self.revision = revision;
        let known = match kind {
            "DELETED" => self.contents.remove(&name),
            _ => self.contents.insert(name.clone(), value),
        };
        // Something was missed when a change meets nothing, something repeated when a birth meets something.
        ensure!(
            known.is_some() == (kind != "ADDED"),
            "{kind} {name}, known before: {known:?}"
        );
        Ok(name == LAST)
    }
}
