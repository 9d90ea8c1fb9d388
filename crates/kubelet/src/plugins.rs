//! Plugins of the kubelet: programs, mostly in pods, that make themselves known by a socket in `plugins_registry`.
//!
//! A plugin serves `pluginregistration.Registration` there and is asked who it is; the [`Handler`] of its type looks at it and takes
//! it, and the plugin is told what has become of it. One whose socket is gone, or is another one by now, is let go of. As upstream's
//! `pkg/kubelet/pluginmanager`.
//!
//! [`registry`] says which sockets there are; [`Manager`] compares them with what is registered, one operation a socket at a time. A
//! plugin that hangs costs nobody else anything, and one that fails is tried again, ever less often, while its socket is there.

mod registry;
mod telling;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use knarr_csi::Registrar;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::root::Root;
use registry::{Registry, Socket};
use telling::Telling;

/// What drivers of CSI call their type.
pub(crate) const CSI_PLUGIN: &str = "CSIPlugin";

/// First pause before a registration that failed is tried again; it doubles. As upstream's.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// Longest such pause.
const RETRY_LONGEST: Duration = Duration::from_secs(122);

/// A plugin, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plugin {
    /// Within its type.
    pub name: String,
    /// Socket of its service, as the plugin calls it; [`Root::resolve`] has it on this machine.
    pub endpoint: PathBuf,
    /// Versions of its service.
    pub versions: Vec<String>,
}

/// Takes the plugins of one type. Calls for one socket follow each other; those for different ones may come at the same time. All of
/// them bound what they wait for.
#[async_trait]
pub(crate) trait Handler: Send + Sync {
    /// Whether the plugin can be used; the error is told to it.
    async fn validate(&self, plugin: &Plugin) -> Result<(), String>;

    /// Begins to use the plugin. After an error there is nothing to [`Self::deregister`].
    async fn register(&self, plugin: &Plugin) -> Result<(), String>;

    /// Ceases to use the plugin: it is gone. Another one of its name may have come before that is noticed.
    async fn deregister(&self, plugin: &Plugin);
}

/// By the type that plugins say they are of.
pub(crate) type Handlers = HashMap<&'static str, Arc<dyn Handler>>;

/// Registers plugins until the token is cancelled. They stay registered then, as far as that outlives the process.
pub(crate) async fn run(
    registry: PathBuf,
    root: Root,
    handlers: Handlers,
    token: CancellationToken,
) {
    let mut registry = Registry::new(registry);
    let mut manager = Manager::new(root, handlers);
    let work = async {
        loop {
            manager.found(registry.read().await);
            let due = manager.step();
            tokio::select! {
                () = registry.changed() => {}
                () = manager.progress() => {}
                () = until(due) => {}
            }
        }
    };
    token.run_until_cancelled(work).await;
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// What is known of one socket.
struct Entry {
    /// What is there now.
    found: Option<Socket>,
    state: State,
}

enum State {
    /// Not registered.
    Idle { failures: u32, due: Instant },
    /// An operation is under way.
    Busy { failures: u32 },
    Registered {
        socket: Socket,
        plugin: Plugin,
        handler: Arc<dyn Handler>,
    },
}

/// What an operation has brought about.
enum Outcome {
    Registered(Socket, Plugin, Arc<dyn Handler>),
    Failed(String),
    Deregistered,
}

struct Manager {
    root: Root,
    handlers: Arc<Handlers>,
    entries: BTreeMap<PathBuf, Entry>,
    operations: JoinSet<(PathBuf, Outcome)>,
    telling: Telling,
}

impl Manager {
    fn new(root: Root, handlers: Handlers) -> Self {
        Self {
            root,
            handlers: Arc::new(handlers),
            entries: BTreeMap::new(),
            operations: JoinSet::new(),
            telling: Telling::new(Instant::now()),
        }
    }

    /// These are all sockets that there are now.
    fn found(&mut self, sockets: BTreeMap<PathBuf, Socket>) {
        for (path, entry) in &mut self.entries {
            let found = sockets.get(path).copied();
            if entry.found != found
                && let State::Idle { failures, due } = &mut entry.state
            {
                (*failures, *due) = (0, Instant::now());
            }
            entry.found = found;
        }
        for (path, socket) in sockets {
            let state = State::Idle {
                failures: 0,
                due: Instant::now(),
            };
            let found = Some(socket);
            self.entries.entry(path).or_insert(Entry { found, state });
        }
    }

    /// Begins what is due; returns when more is.
    fn step(&mut self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let (root, handlers, operations) = (&self.root, &self.handlers, &mut self.operations);
        self.entries.retain(|path, entry| {
            match (&entry.state, entry.found) {
                (State::Idle { .. }, None) => return false,
                (State::Idle { failures, due }, Some(socket)) if *due <= Instant::now() => {
                    let failures = *failures;
                    entry.state = State::Busy { failures };
                    let (path, handlers, root) = (path.clone(), handlers.clone(), root.clone());
                    operations.spawn(async move {
                        let done = register(&path, &root, &handlers).await;
                        let outcome = match done {
                            Ok((plugin, handler)) => Outcome::Registered(socket, plugin, handler),
                            Err(error) => Outcome::Failed(error),
                        };
                        (path, outcome)
                    });
                }
                (State::Idle { due, .. }, Some(_)) => {
                    next = Some(next.map_or(*due, |next| next.min(*due)));
                }
                (State::Registered { socket, .. }, found) if found != Some(*socket) => {
                    let busy = State::Busy { failures: 0 };
                    let State::Registered {
                        plugin, handler, ..
                    } = std::mem::replace(&mut entry.state, busy)
                    else {
                        return true;
                    };
                    let path = path.clone();
                    operations.spawn(async move {
                        handler.deregister(&plugin).await;
                        tracing::info!(plugin = plugin.name, socket = %path.display(), "a plugin is gone");
                        (path, Outcome::Deregistered)
                    });
                }
                (State::Busy { .. } | State::Registered { .. }, _) => {}
            }
            true
        });
        next
    }

    /// Waits for an operation to end.
    async fn progress(&mut self) {
        let Some(done) = self.operations.join_next().await else {
            return std::future::pending().await;
        };
        // Of a panic others have told.
        let Ok((path, outcome)) = done else { return };
        let Some(entry) = self.entries.get_mut(&path) else {
            return;
        };
        let State::Busy { failures } = entry.state else {
            return;
        };
        entry.state = match outcome {
            Outcome::Registered(socket, plugin, handler) => State::Registered {
                socket,
                plugin,
                handler,
            },
            Outcome::Failed(error) => {
                self.telling.failed(&path, &error, Instant::now());
                State::Idle {
                    failures: failures.saturating_add(1),
                    due: Instant::now() + pause(failures),
                }
            }
            Outcome::Deregistered => State::Idle {
                failures: 0,
                due: Instant::now(),
            },
        };
    }
}

/// Before the next try, after so many failures before the last one.
fn pause(failures: u32) -> Duration {
    let doubled = RETRY_FIRST.saturating_mul(2_u32.saturating_pow(failures));
    doubled.min(RETRY_LONGEST)
}

/// Asks who is behind a socket, and has its handler take it.
async fn register(
    socket: &Path,
    root: &Root,
    handlers: &Handlers,
) -> Result<(Plugin, Arc<dyn Handler>), String> {
    let registrar = Registrar::new(socket.to_owned());
    let info = registrar.info().await.map_err(|error| {
        let socket = socket.display();
        format!("failed to get plugin info using RPC GetInfo at socket {socket}, err: {error}")
    })?;
    let refuse = async |why: String| {
        // What it says to that changes nothing.
        if let Err(error) = registrar.notify(Err(why.clone())).await {
            tracing::debug!(%error, plugin = info.name, "cannot tell a plugin that it is refused");
        }
        why
    };
    let Some(handler) = handlers.get(info.r#type.as_str()) else {
        let (kind, socket) = (&info.r#type, socket.display());
        let why = format!(
            "RegisterPlugin error -- no handler registered for plugin type: {kind} at socket {socket}"
        );
        return Err(refuse(why).await);
    };
    let endpoint = match info.endpoint.is_empty() {
        true => root.called(socket, crate::root::Naming::Own),
        false => PathBuf::from(&info.endpoint),
    };
    let plugin = Plugin {
        name: info.name.clone(),
        endpoint,
        versions: info.supported_versions.clone(),
    };
    if let Err(why) = handler.validate(&plugin).await {
        let why = format!("RegisterPlugin error -- plugin validation failed with err: {why}");
        return Err(refuse(why).await);
    }
    if let Err(why) = handler.register(&plugin).await {
        let why = format!("RegisterPlugin error -- plugin registration failed with err: {why}");
        return Err(refuse(why).await);
    }
    if let Err(error) = registrar.notify(Ok(())).await {
        handler.deregister(&plugin).await;
        return Err(format!(
            "RegisterPlugin error -- failed to send registration status at socket {}, err: {error}",
            socket.display()
        ));
    }
    let (kind, endpoint) = (&info.r#type, plugin.endpoint.display());
    tracing::info!(plugin = plugin.name, kind, %endpoint, "registered a plugin");
    Ok((plugin, handler.clone()))
}

#[cfg(test)]
mod tests;
