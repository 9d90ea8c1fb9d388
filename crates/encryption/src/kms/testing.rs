//! A plugin for tests: it answers on a socket, and does as it is told.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, transport::Server};

use super::v2::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest,
    StatusResponse,
    key_management_service_server::{KeyManagementService, KeyManagementServiceServer},
};

/// What the plugin says and does.
#[derive(Clone, Debug)]
pub struct Behaviour {
    pub key_id: String,
    pub healthz: String,
    pub version: String,
    pub annotations: BTreeMap<String, Vec<u8>>,
    /// It refuses to decrypt.
    pub refuses: bool,
    /// It refuses what was encrypted with the key of this name.
    pub lost: Option<String>,
    /// It gives something else than was encrypted.
    pub lies: bool,
    /// It answers nothing at all.
    pub hangs: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            key_id: "1".to_owned(),
            healthz: "ok".to_owned(),
            version: "v2".to_owned(),
            annotations: BTreeMap::from([("key.example.com".to_owned(), b"note".to_vec())]),
            refuses: false,
            lost: None,
            lies: false,
            hangs: false,
        }
    }
}

#[derive(Default)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    calls: Mutex<BTreeMap<&'static str, usize>>,
}

/// A plugin that listens until it is dropped.
pub struct Plugin {
    shared: Arc<Shared>,
    socket: PathBuf,
    stop: CancellationToken,
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = std::fs::remove_file(&self.socket);
    }
}

impl Plugin {
    /// Listens on `socket`. Within a runtime.
    ///
    /// # Panics
    /// Where nobody can listen there.
    pub fn start(socket: &Path, behaviour: Behaviour) -> Plugin {
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            calls: Mutex::default(),
        });
        let listener = UnixListener::bind(socket).expect("a socket");
        let stop = CancellationToken::new();
        let service = KeyManagementServiceServer::new(Served(shared.clone()));
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        let served = Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        tokio_util::task::TaskTracker::new().spawn(served);
        Plugin {
            shared,
            socket: socket.to_owned(),
            stop,
        }
    }

    /// What it does from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock());
    }

    /// How often it was asked for something.
    pub fn calls(&self, method: &'static str) -> usize {
        let calls = self.shared.calls.lock();
        calls.get(method).copied().unwrap_or(0)
    }
}

struct Served(Arc<Shared>);

impl Served {
    async fn called(&self, method: &'static str) -> Behaviour {
        let behaviour = self.0.behaviour.lock().clone();
        let count = self
            .0
            .calls
            .lock()
            .entry(method)
            .or_default()
            .saturating_add(1);
        self.0.calls.lock().insert(method, count);
        if behaviour.hangs {
            std::future::pending::<()>().await;
        }
        behaviour
    }
}

/// No encryption, but nobody would take it for the plaintext.
fn turned(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x5a).collect()
}

#[tonic::async_trait]
impl KeyManagementService for Served {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let now = self.called("Status").await;
        Ok(Response::new(StatusResponse {
            version: now.version,
            healthz: now.healthz,
            key_id: now.key_id,
        }))
    }

    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        let now = self.called("Encrypt").await;
        Ok(Response::new(EncryptResponse {
            ciphertext: turned(&request.into_inner().plaintext),
            key_id: now.key_id,
            annotations: now.annotations,
        }))
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        let now = self.called("Decrypt").await;
        let request = request.into_inner();
        if now.refuses || now.lost.is_some_and(|lost| lost == request.key_id) {
            return Err(Status::internal("no such key"));
        }
        let mut plaintext = turned(&request.ciphertext);
        if now.lies {
            plaintext.reverse();
        }
        Ok(Response::new(DecryptResponse { plaintext }))
    }
}
