use std::{path::Path, time::Duration};

use tonic::{Code, Request, Response, Status, transport::Server};

use super::*;
use crate::{
    registration::{
        InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
        registration_server::{self, RegistrationServer},
    },
    v1::node_server::{self, NodeServer},
};

/// Answers with a message of that many bytes.
struct Plugin(usize);

#[tonic::async_trait]
impl registration_server::Registration for Plugin {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        let info = PluginInfo {
            name: "x".repeat(self.0),
            ..Default::default()
        };
        Ok(Response::new(info))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        let said = format!("{} {}", status.plugin_registered, status.error);
        Err(Status::aborted(said))
    }
}

/// Implements nothing.
struct Driver;

#[tonic::async_trait]
impl node_server::Node for Driver {}

fn serve(socket: &Path, answer: usize) {
    // Bound from within its directory, as plugins in containers do: the kernel takes short paths only.
    let (parent, name) = (socket.parent().unwrap(), socket.file_name().unwrap());
    std::fs::create_dir_all(parent).unwrap();
    let directory = std::fs::File::open(parent).unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&directory);
    let short = Path::new("/proc/self/fd").join(fd.to_string()).join(name);
    let listener = tokio::net::UnixListener::bind(short).unwrap();
    let incoming = futures::stream::poll_fn(move |task| {
        listener
            .poll_accept(task)
            .map(|accepted| Some(accepted.map(|(stream, _)| stream)))
    });
    let server = Server::builder()
        .add_service(RegistrationServer::new(Plugin(answer)))
        .add_service(NodeServer::new(Driver));
    tokio::spawn(server.serve_with_incoming(incoming));
}

#[tokio::test]
async fn sockets_with_long_paths_are_reached() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("d".repeat(100)).join("csi.sock");
    serve(&socket, 3);
    let info = Registrar::new(socket).info().await.unwrap();
    assert_eq!(info.name, "xxx");
}

#[tokio::test]
async fn what_a_plugin_says_is_told_as_grpc_tells_it() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("csi.sock");
    serve(&socket, 3);
    let registrar = Registrar::new(socket.clone());
    let refused = registrar.notify(Err("bad".to_owned())).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "rpc error: code = Aborted desc = false bad"
    );
    assert!(!refused.is_final());
    let request = v1::NodeGetInfoRequest {};
    let unknown = Node::new(socket).info(request).await.unwrap_err();
    assert_eq!(unknown.code, Code::Unimplemented);
    assert!(unknown.is_final());
}

#[tokio::test]
async fn long_answers_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("csi.sock");
    serve(&socket, 1 << 20);
    let error = Registrar::new(socket).info().await.unwrap_err();
    assert_eq!(error.code, Code::OutOfRange, "{error}");
}

#[tokio::test]
async fn a_plugin_that_is_not_there_is_unavailable() {
    let socket = Path::new("/nonexistent/csi.sock").to_owned();
    let error = Node::new(socket)
        .info(v1::NodeGetInfoRequest {})
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert!(
        error
            .to_string()
            .contains("dial unix /nonexistent/csi.sock: No such file"),
        "{error}"
    );
}

#[tokio::test]
async fn a_plugin_that_hangs_costs_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("csi.sock");
    // Accepts, and says nothing.
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let begun = std::time::Instant::now();
    let error = Registrar::new(socket).info().await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded, "{error}");
    assert!(begun.elapsed() < GET_INFO_TIMEOUT + Duration::from_secs(5));
}

#[test]
fn secrets_are_not_printed() {
    let request = v1::NodeStageVolumeRequest {
        volume_id: "v1".to_owned(),
        secrets: [("password".to_owned(), "hunter2".to_owned())].into(),
        ..Default::default()
    };
    let shown = format!("{request:?}");
    assert!(
        shown.contains("v1") && !shown.contains("hunter2"),
        "{shown}"
    );
}
