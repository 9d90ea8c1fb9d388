use std::{os::unix::net::UnixListener as StdListener, sync::Mutex};

use knarr_csi::{
    registration::{
        InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
        registration_server::{Registration, RegistrationServer},
    },
    tonic::{Request, Response, Status, transport::Server},
};
use tokio::sync::watch;

use super::*;

/// Longest wait for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Notes what it is asked, and what plugins are told.
#[derive(Clone, Default)]
struct Log(watch::Sender<Vec<String>>);

impl Log {
    fn note(&self, what: String) {
        self.0.send_modify(|all| all.push(what));
    }

    /// Waits until just this was noted since the last time.
    async fn expect(&self, wanted: &[&str]) {
        let mut log = self.0.subscribe();
        let waiting = log.wait_for(|all| all.len() >= wanted.len());
        let found = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(found.is_ok(), "{:?}, not {wanted:?}", self.0.borrow());
        drop(found);
        let found = self.0.send_replace(Vec::new());
        assert_eq!(found, wanted);
    }
}

impl Log {
    /// Waits until this was noted, among others; they are forgotten.
    async fn until(&self, wanted: &str) {
        let mut log = self.0.subscribe();
        let waiting = log.wait_for(|all| all.iter().any(|one| one == wanted));
        let found = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
        let all = self.0.send_replace(Vec::new());
        assert!(found, "{wanted} is not in {all:?}");
    }
}

struct Taker {
    log: Log,
    refuses: Mutex<Option<String>>,
}

#[async_trait]
impl Handler for Taker {
    async fn validate(&self, plugin: &Plugin) -> Result<(), String> {
        match plugin.versions.is_empty() {
            true => Err("no versions".to_owned()),
            false => Ok(()),
        }
    }

    async fn register(&self, plugin: &Plugin) -> Result<(), String> {
        if let Some(why) = self.refuses.lock().unwrap().take() {
            return Err(why);
        }
        let endpoint = plugin.endpoint.file_name().unwrap().to_string_lossy();
        self.log.note(format!("+{} {endpoint}", plugin.name));
        Ok(())
    }

    async fn deregister(&self, plugin: &Plugin) {
        self.log.note(format!("-{}", plugin.name));
    }
}

struct Fake {
    info: PluginInfo,
    log: Log,
}

#[knarr_csi::tonic::async_trait]
impl Registration for Fake {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(self.info.clone()))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        self.log.note(match status.plugin_registered {
            true => format!("{} knows", self.info.name),
            false => format!("{} is refused: {}", self.info.name, status.error),
        });
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

struct Bench {
    dir: tempfile::TempDir,
    log: Log,
    taker: Arc<Taker>,
    token: CancellationToken,
    servers: JoinSet<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl Bench {
    fn new() -> Self {
        let log = Log::default();
        Self {
            dir: tempfile::tempdir().unwrap(),
            taker: Arc::new(Taker {
                log: log.clone(),
                refuses: Mutex::default(),
            }),
            log,
            token: CancellationToken::new(),
            servers: JoinSet::new(),
        }
    }

    fn start(&mut self) {
        let registry = self.dir.path().join("registry");
        let root = Root::new(self.dir.path().to_owned());
        let taker: Arc<dyn Handler> = self.taker.clone();
        let handlers = Handlers::from([("T", taker)]);
        self.servers
            .spawn(run(registry, root, handlers, self.token.clone()));
    }

    /// Makes a plugin that registers on `socket` of the registry.
    fn plugin(&mut self, socket: &str, kind: &str, endpoint: &str, versions: &[&str]) -> PathBuf {
        let path = self.dir.path().join("registry").join(socket);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let incoming = futures::stream::poll_fn(move |task| {
            listener
                .poll_accept(task)
                .map(|accepted| Some(accepted.map(|(stream, _)| stream)))
        });
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let info = PluginInfo {
            r#type: kind.to_owned(),
            name,
            endpoint: endpoint.to_owned(),
            supported_versions: versions.iter().map(|v| (*v).to_owned()).collect(),
        };
        let service = RegistrationServer::new(Fake {
            info,
            log: self.log.clone(),
        });
        let server = Server::builder().add_service(service);
        self.servers.spawn(async move {
            server.serve_with_incoming(incoming).await.unwrap();
        });
        path
    }
}

#[tokio::test]
async fn plugins_come_and_go_with_their_sockets() {
    let mut bench = Bench::new();
    // There before the kubelet is.
    let first = bench.plugin("a.sock", "T", "", &["1"]);
    bench.start();
    bench.log.expect(&["+a a.sock", "a knows"]).await;
    let nested = bench.plugin("deep/er/b.sock", "T", "/x/b-csi.sock", &["1"]);
    bench.log.expect(&["+b b-csi.sock", "b knows"]).await;
    std::fs::remove_file(&first).unwrap();
    bench.log.expect(&["-a"]).await;
    // Another one in the place of the first.
    bench.plugin("a.sock", "T", "", &["1"]);
    bench.log.expect(&["+a a.sock", "a knows"]).await;
    std::fs::remove_file(&first).unwrap();
    bench.plugin("a.sock", "T", "", &["1"]);
    bench.log.expect(&["-a", "+a a.sock", "a knows"]).await;
    std::fs::remove_dir_all(nested.parent().unwrap()).unwrap();
    bench.log.expect(&["-b"]).await;
}

#[tokio::test]
async fn plugins_that_cannot_be_taken_are_told_so_and_tried_again() {
    let mut bench = Bench::new();
    *bench.taker.refuses.lock().unwrap() = Some("not now".to_owned());
    bench.start();
    bench.plugin("a.sock", "T", "", &["1"]);
    let refused =
        "a is refused: RegisterPlugin error -- plugin registration failed with err: not now";
    bench.log.expect(&[refused, "+a a.sock", "a knows"]).await;
    let path = bench.plugin("b.sock", "T", "", &[]);
    let refused =
        "b is refused: RegisterPlugin error -- plugin validation failed with err: no versions";
    bench.log.until(refused).await;
    std::fs::remove_file(path).unwrap();
    let path = bench.plugin("c.sock", "Other", "", &["1"]);
    let refused = format!(
        "c is refused: RegisterPlugin error -- no handler registered for plugin type: Other at socket {}",
        path.display()
    );
    bench.log.until(&refused).await;
}

#[tokio::test]
async fn what_is_no_plugin_is_in_nobodys_way() {
    let mut bench = Bench::new();
    let registry = bench.dir.path().join("registry");
    std::fs::create_dir_all(registry.join(".hidden")).unwrap();
    std::fs::write(registry.join("file"), "").unwrap();
    bench.plugin(".hidden/h.sock", "T", "", &["1"]);
    bench.plugin(".h.sock", "T", "", &["1"]);
    // Nobody answers on it, and nobody listens on the other.
    let _silent = StdListener::bind(registry.join("silent.sock")).unwrap();
    drop(StdListener::bind(registry.join("stale.sock")).unwrap());
    std::os::unix::fs::symlink("/", registry.join("everything")).unwrap();
    bench.start();
    bench.plugin("a.sock", "T", "", &["1"]);
    bench.log.expect(&["+a a.sock", "a knows"]).await;
}

#[test]
fn pauses_between_tries_grow_to_a_limit() {
    for (failures, wanted) in [
        (0, 500),
        (1, 1_000),
        (4, 8_000),
        (8, 122_000),
        (u32::MAX, 122_000),
    ] {
        assert_eq!(pause(failures), Duration::from_millis(wanted), "{failures}");
    }
}
