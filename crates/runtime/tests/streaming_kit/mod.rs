//! A streaming server over processes of this machine, and the clients to try it with.

pub mod api;
pub mod executor;
pub mod kubectl;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use knarr_runtime::exec::{ExecRequest, PortForwardRequest, Streaming};
use knarr_runtime::streaming::{Server, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::sync::CancellationToken;

use executor::Processes;
pub use kubectl::kubectls;

/// Longest wait for anything: the machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Kit {
    pub processes: Arc<Processes>,
    urls: Arc<dyn Streaming>,
    address: SocketAddr,
    /// Of the API server.
    api: SocketAddr,
    token: CancellationToken,
}

impl Drop for Kit {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl Kit {
    pub async fn start() -> Self {
        let processes = Arc::new(Processes::default());
        let server = Server::bind(Timeouts::default()).await.unwrap();
        let (address, urls) = (server.address().unwrap(), server.urls());
        let token = CancellationToken::new();
        tokio::spawn(server.run(processes.clone(), token.clone()));
        let api = api::start(urls.clone(), token.clone()).await;
        Self {
            processes,
            urls,
            address,
            api,
            token,
        }
    }

    /// How many processes have not ended.
    pub fn running(&self) -> usize {
        self.processes.running()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn exec(&self, command: &[&str], stdin: bool, tty: bool) -> String {
        let request = ExecRequest {
            container_id: "container".to_owned(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            tty,
            stdin,
            stdout: true,
            stderr: !tty,
        };
        self.urls.exec_url(request).unwrap()
    }

    pub fn port_forward(&self, ports: &[u16]) -> String {
        let request = PortForwardRequest {
            sandbox_id: "sandbox".to_owned(),
            ports: ports.to_vec(),
        };
        self.urls.port_forward_url(request).unwrap()
    }

    pub async fn websocket(&self, url: &str, protocol: &str) -> WebSocketStream<TcpStream> {
        let mut request = url.replacen("http", "ws", 1).into_client_request().unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocol.parse().unwrap());
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (socket, answer) = tokio_tungstenite::client_async(request, stream)
            .await
            .unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], protocol);
        socket
    }

    /// The whole answer to a request of HTTP/1.1.
    pub async fn get(&self, url: &str, headers: &[&str]) -> String {
        let path = url.strip_prefix(&self.url("")).unwrap();
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n");
        for header in headers {
            request.push_str(&format!("{header}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.patiently(stream.read_to_string(&mut answer))
            .await
            .unwrap();
        answer
    }

    /// Sends back what it gets, then ends. Its port.
    pub async fn echo_server(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(self.token.clone().run_until_cancelled_owned(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
            }
        }));
        port
    }

    pub async fn patiently<T>(&self, future: impl Future<Output = T>) -> T {
        tokio::time::timeout(PATIENCE, future).await.unwrap()
    }

    pub async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !condition() {
            assert!(
                tokio::time::Instant::now() < deadline,
                "not so in time: {what}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn api(&self) -> SocketAddr {
        self.api
    }
}
