//! The calls of a plugin. Each dials anew: they are few, and a plugin that was replaced needs no detection.

use std::{
    collections::BTreeMap,
    io,
    os::{linux::net::SocketAddrExt, unix::net},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use percent_encoding::percent_decode_str;
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout},
};
use tonic::{
    Code,
    transport::{Channel, Endpoint, Uri},
};

use self::v2::key_management_service_client::KeyManagementServiceClient;
use super::Options;
use crate::metrics::Metrics;

/// Longest answer that is read: an encrypted seed with its annotations has far less.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// What a plugin says of itself or of an error is told so far: it is in every answer about health, and in the log.
const MAX_TEXT_BYTES: usize = 1 << 10;
/// Between attempts to reach a plugin that does not listen.
const DIAL_PAUSE: Duration = Duration::from_millis(100);

/// Messages, clients and servers of the protocol.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v2 {
    tonic::include_proto!("v2");
}

/// A call failed; shown as gRPC's own clients show it.
#[derive(Debug, thiserror::Error)]
#[error("rpc error: code = {code:?} desc = {description}")]
pub struct CallError {
    code: Code,
    description: String,
}

impl CallError {
    /// Whether the plugin has said no: otherwise it may say something else the next time.
    pub fn is_final(&self) -> bool {
        !matches!(
            self.code,
            Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Unavailable
                | Code::ResourceExhausted
                | Code::Aborted
        )
    }
}

impl From<tonic::Status> for CallError {
    fn from(status: tonic::Status) -> Self {
        Self {
            code: status.code(),
            description: cut(status.message()).to_owned(),
        }
    }
}

/// The beginning of what a plugin says.
pub fn cut(text: &str) -> &str {
    let mut ends = (0..=MAX_TEXT_BYTES.min(text.len())).rev();
    let end = ends.find(|at| text.is_char_boundary(*at));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

/// What a plugin says of itself.
pub struct Status {
    pub version: String,
    pub healthz: String,
    pub key_id: String,
}

/// A seed as the plugin has encrypted it.
pub struct Encrypted {
    pub ciphertext: Vec<u8>,
    pub key_id: String,
    pub annotations: BTreeMap<String, Vec<u8>>,
}

/// The way to a plugin.
pub struct Client {
    name: String,
    socket: Arc<Socket>,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

enum Socket {
    Path(PathBuf),
    /// In Linux' namespace of its own.
    Abstract(Vec<u8>),
}

impl Client {
    pub fn new(options: &Options, metrics: Arc<Metrics>) -> Result<Client, String> {
        Ok(Client {
            name: options.name.clone(),
            socket: Arc::new(socket(&options.endpoint)?),
            timeout: options.timeout,
            metrics,
        })
    }

    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    pub async fn status(&self) -> Result<Status, CallError> {
        let call = async {
            let answer = self.dialled().await.status(v2::StatusRequest {}).await;
            Ok(answer?.into_inner())
        };
        let answer = self.timed("Status", call).await?;
        Ok(Status {
            version: answer.version,
            healthz: answer.healthz,
            key_id: answer.key_id,
        })
    }

    pub async fn encrypt(&self, plaintext: &[u8]) -> Result<Encrypted, CallError> {
        let request = v2::EncryptRequest {
            plaintext: plaintext.to_vec(),
            uid: uuid::Uuid::new_v4().to_string(),
        };
        let call = async { Ok(self.dialled().await.encrypt(request).await?.into_inner()) };
        let answer = self.timed("Encrypt", call).await?;
        Ok(Encrypted {
            ciphertext: answer.ciphertext,
            key_id: answer.key_id,
            annotations: answer.annotations,
        })
    }

    pub async fn decrypt(&self, encrypted: Encrypted) -> Result<Vec<u8>, CallError> {
        let request = v2::DecryptRequest {
            ciphertext: encrypted.ciphertext,
            uid: uuid::Uuid::new_v4().to_string(),
            key_id: encrypted.key_id,
            annotations: encrypted.annotations,
        };
        let call = async { Ok(self.dialled().await.decrypt(request).await?.into_inner()) };
        Ok(self.timed("Decrypt", call).await?.plaintext)
    }

    /// One call, the dial included, within the timeout.
    async fn timed<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let start = Instant::now();
        let done = timeout(self.timeout, call).await.unwrap_or_else(|_| {
            Err(CallError {
                code: Code::DeadlineExceeded,
                description: "context deadline exceeded".to_owned(),
            })
        });
        let code = done.as_ref().err().map_or(Code::Ok, |error| error.code);
        self.metrics
            .kms_call(&self.name, method, code, start.elapsed());
        done
    }

    /// Waits until the plugin listens; callers have a deadline around it.
    async fn dialled(&self) -> KeyManagementServiceClient<Channel> {
        loop {
            let socket = self.socket.clone();
            // The URI is never dialled: the connector goes to the socket whatever it says.
            let dialled = Endpoint::from_static("http://localhost")
                .connect_with_connector(tower::service_fn(move |_: Uri| {
                    let socket = socket.clone();
                    async move { socket.connect().await.map(hyper_util::rt::TokioIo::new) }
                }))
                .await;
            match dialled {
                Ok(channel) => {
                    let client = KeyManagementServiceClient::new(channel);
                    return client.max_decoding_message_size(MAX_MESSAGE_BYTES);
                }
                Err(error) => {
                    tracing::debug!(%error, plugin = self.name, "cannot reach the KMS plugin");
                    sleep(DIAL_PAUSE).await;
                }
            }
        }
    }
}

impl Socket {
    async fn connect(&self) -> io::Result<UnixStream> {
        match self {
            Socket::Path(path) => UnixStream::connect(path).await,
            Socket::Abstract(name) => {
                let address = net::SocketAddr::from_abstract_name(name)?;
                // Either somebody listens there, or not: nothing is waited for.
                let stream = net::UnixStream::connect_addr(&address)?;
                stream.set_nonblocking(true)?;
                UnixStream::from_std(stream)
            }
        }
    }
}

/// `unix:///run/kms.sock`, or `unix:///@name` for an abstract one.
fn socket(endpoint: &str) -> Result<Socket, String> {
    let rest = endpoint.strip_prefix("unix:");
    let rest =
        rest.ok_or_else(|| format!("unsupported scheme of {endpoint:?} for remote KMS provider"))?;
    let path = match rest.strip_prefix("//") {
        // What comes before the path is a host, which is nobody's.
        Some(rest) => rest.find('/').map_or("", |at| &rest[at..]),
        None => rest,
    };
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let path: Vec<u8> = percent_decode_str(&path[..end]).collect();
    match path.strip_prefix(b"/@") {
        Some(name) => Ok(Socket::Abstract(name.to_vec())),
        None if path.is_empty() => Err(format!("{endpoint:?} has no path of a socket")),
        None => Ok(Socket::Path(
            String::from_utf8(path)
                .map_err(|_| format!("{endpoint:?} is no text"))?
                .into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_sockets() {
        let path = |endpoint: &str| match socket(endpoint) {
            Ok(Socket::Path(path)) => path.display().to_string(),
            Ok(Socket::Abstract(name)) => format!("@{}", String::from_utf8_lossy(&name)),
            Err(error) => error,
        };
        assert_eq!(path("unix:///run/kms.sock"), "/run/kms.sock");
        assert_eq!(path("unix:///run/a%20b.sock?x"), "/run/a b.sock");
        assert_eq!(path("unix:///@kms"), "@kms");
        assert_eq!(path("unix:/run/kms.sock"), "/run/kms.sock");
        assert_eq!(
            path("unix://kms.sock"),
            "\"unix://kms.sock\" has no path of a socket"
        );
        assert!(path("tcp://1.2.3.4:5").starts_with("unsupported scheme"));
    }
}
