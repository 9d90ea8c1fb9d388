//! A driver in this process, on a socket, and an API server that answers by hand.

use std::{collections::HashMap, path::Path, sync::Arc};

use knarr_client::fake::{self, Server};
use knarr_kubelet_api::{
    dra::v1::{
        Device as Answered, NodePrepareResourceResponse, NodePrepareResourcesResponse,
        NodeUnprepareResourceResponse, NodeUnprepareResourcesResponse,
        dra_plugin_server::{DraPlugin, DraPluginServer},
    },
    tonic::{self, Request, Response, Status},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::testing::object;

/// What it was asked, and what it is to say.
#[derive(Default)]
struct Script {
    calls: Vec<String>,
    error: String,
}

#[derive(Clone, Default)]
struct Driver(Arc<Mutex<Script>>);

impl Driver {
    fn note(&self, call: &str, claims: &[Wanted]) -> String {
        let mut script = self.0.lock();
        let names: Vec<&str> = claims.iter().map(|claim| claim.name.as_str()).collect();
        script.calls.push(format!("{call} {}", names.join(" ")));
        script.error.clone()
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().calls)
    }

    /// Serves on a socket.
    fn serve(&self, socket: &Path) {
        let listener = tokio::net::UnixListener::bind(socket).expect("a socket");
        let incoming = futures::stream::poll_fn(move |task| {
            let accepted = listener.poll_accept(task);
            accepted.map(|accepted| Some(accepted.map(|(stream, _)| stream)))
        });
        let server = tonic::transport::Server::builder();
        let server = { server }.add_service(DraPluginServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
    }
}

#[async_trait::async_trait]
impl DraPlugin for Driver {
    async fn node_prepare_resources(
        &self,
        request: Request<NodePrepareResourcesRequest>,
    ) -> Result<Response<NodePrepareResourcesResponse>, Status> {
        let claims = request.into_inner().claims;
        let error = self.note("prepare", &claims);
        let device = |request: &str, name: &str| Answered {
            request_names: vec![request.to_owned()],
            pool_name: "p".to_owned(),
            device_name: name.to_owned(),
            cdi_device_ids: vec![format!("d.io/gpu={name}")],
            share_id: None,
        };
        let devices = vec![device("one", "a"), device("two", "b")];
        let answers = claims.into_iter().map(|claim| {
            let answer = NodePrepareResourceResponse {
                devices: devices.clone(),
                error: error.clone(),
            };
            (claim.uid, answer)
        });
        let claims: HashMap<_, _> = answers.collect();
        Ok(Response::new(NodePrepareResourcesResponse { claims }))
    }

    async fn node_unprepare_resources(
        &self,
        request: Request<NodeUnprepareResourcesRequest>,
    ) -> Result<Response<NodeUnprepareResourcesResponse>, Status> {
        let claims = request.into_inner().claims;
        let error = self.note("unprepare", &claims);
        let answers = claims.into_iter().map(|claim| {
            let answer = NodeUnprepareResourceResponse {
                error: error.clone(),
            };
            (claim.uid, answer)
        });
        let claims: HashMap<_, _> = answers.collect();
        Ok(Response::new(NodeUnprepareResourcesResponse { claims }))
    }
}

fn pod(uid: &str) -> Pod {
    let container =
        |name: &str, claims: Value| json!({"name": name, "resources": {"claims": claims}});
    object(json!({
        "metadata": {"namespace": "x", "name": uid, "uid": uid},
        "spec": {
            "resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}],
            "containers": [
                container("all", json!([{"name": "gpu"}])),
                container("one", json!([{"name": "gpu", "request": "one"}])),
                container("none", json!([])),
            ],
        },
    }))
}

fn claim(pods: &[&str]) -> Value {
    let reserved: Vec<Value> = pods
        .iter()
        .map(|uid| json!({"resource": "pods", "name": uid, "uid": uid}))
        .collect();
    let result = json!({"request": "one", "driver": "d.io", "pool": "p", "device": "a"});
    json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {"namespace": "x", "name": "c", "uid": "uid-c"}, "spec": {},
        "status": {"allocation": {"devices": {"results": [result]}}, "reservedFor": reserved},
    })
}

struct Bench {
    dir: tempfile::TempDir,
    driver: Driver,
    dra: Dra,
    client: kube::Client,
    api: Server,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let driver = Driver::default();
        driver.serve(&dir.path().join("d.sock"));
        let (client, api) = fake::client();
        let bench = Self {
            dra: Dra::load(dir.path().join("record.json")),
            dir,
            driver,
            client,
            api,
        };
        bench.register();
        bench
    }

    fn register(&self) {
        let versions = ["v1.DRAPlugin".to_owned()];
        let socket = self.dir.path().join("d.sock");
        self.dra
            .drivers
            .add("d.io", socket, &versions)
            .expect("a driver");
    }

    /// A kubelet that comes after this one.
    fn restart(&mut self) {
        self.dra = Dra::load(self.dir.path().join("record.json"));
        self.register();
    }

    async fn prepare(&mut self, pod: &Pod, claim: Value) -> Result<(), String> {
        let answer = async { self.api.next().await.answer(200, &claim) };
        let (prepared, ()) = tokio::join!(self.dra.prepare(&self.client, pod), answer);
        prepared
    }

    fn cdi(&self, pod: &Pod, container: usize) -> Vec<String> {
        let spec = pod.spec.as_ref().expect("a specification");
        let devices = self.dra.cdi_devices(pod, &spec.containers[container]);
        let devices = devices.expect("they are prepared").into_iter();
        devices.map(|device| device.name).collect()
    }
}

#[tokio::test]
async fn claims_are_prepared_once_and_undone_with_their_last_pod() {
    let mut bench = Bench::new();
    let (p, q) = (pod("p"), pod("q"));
    assert!(
        bench
            .dra
            .cdi_devices(&p, &p.spec.as_ref().unwrap().containers[0])
            .is_err()
    );
    bench.prepare(&p, claim(&["p", "q"])).await.unwrap();
    assert_eq!(bench.driver.calls(), ["prepare c"]);
    assert_eq!(bench.cdi(&p, 0), ["d.io/gpu=a", "d.io/gpu=b"]);
    assert_eq!(bench.cdi(&p, 1), ["d.io/gpu=a"]);
    assert_eq!(bench.cdi(&p, 2), [""; 0]);

    bench.restart();
    assert_eq!(bench.cdi(&p, 1), ["d.io/gpu=a"], "the record says so");
    bench.prepare(&q, claim(&["p", "q"])).await.unwrap();
    bench.dra.unprepare("p").await.unwrap();
    assert_eq!(bench.driver.calls(), [""; 0], "the other one uses it");
    bench.dra.unprepare("q").await.unwrap();
    bench.dra.unprepare("q").await.unwrap();
    assert_eq!(bench.driver.calls(), ["unprepare c"]);
    assert!(bench.dra.records.pods().is_empty());
}

#[tokio::test]
async fn what_fails_is_tried_again() {
    let mut bench = Bench::new();
    let p = pod("p");
    bench.driver.0.lock().error = "no power".to_owned();
    let error = bench.prepare(&p, claim(&["p"])).await.unwrap_err();
    assert_eq!(
        error,
        "NodePrepareResources failed for ResourceClaim c: no power"
    );
    bench.driver.0.lock().error.clear();
    bench.prepare(&p, claim(&["p"])).await.unwrap();
    assert_eq!(bench.driver.calls(), ["prepare c", "prepare c"]);

    bench.driver.0.lock().error = "busy".to_owned();
    let error = bench.dra.unprepare("p").await.unwrap_err();
    assert_eq!(
        error,
        "unprepare dynamic resources: NodeUnprepareResources failed for ResourceClaim c: busy"
    );
    let error = bench
        .prepare(&pod("q"), claim(&["p", "q"]))
        .await
        .unwrap_err();
    assert_eq!(error, "ResourceClaim c is being unprepared");
    bench.restart();
    bench.driver.0.lock().error.clear();
    assert_eq!(
        bench.dra.records.pods().into_iter().collect::<Vec<_>>(),
        ["p"]
    );
    bench.dra.unprepare("p").await.unwrap();
    assert!(bench.dra.records.pods().is_empty());
}

#[tokio::test]
async fn pods_use_what_is_theirs() {
    let mut bench = Bench::new();
    let p = pod("p");
    let error = bench.prepare(&p, claim(&["q"])).await.unwrap_err();
    assert_eq!(
        error,
        "pod p (p) is not allowed to use ResourceClaim c (uid-c)"
    );
    let mut waits = claim(&["p"]);
    waits["status"]["allocation"] = Value::Null;
    let error = bench.prepare(&p, waits).await.unwrap_err();
    assert_eq!(error, "ResourceClaim c: claim not allocated");
    let mut other = claim(&["p"]);
    other["status"]["allocation"]["devices"]["results"][0]["driver"] = json!("e.io");
    let error = bench.prepare(&p, other).await.unwrap_err();
    assert_eq!(error, "DRA driver e.io is not registered");
    bench.prepare(&p, claim(&["p"])).await.unwrap();
    let mut anew = claim(&["p"]);
    anew["metadata"]["uid"] = json!("uid-2");
    let error = bench.prepare(&p, anew).await.unwrap_err();
    assert!(
        error.starts_with("old ResourceClaim with same name c"),
        "{error}"
    );
}

#[test]
fn extended_resources_are_claims_too() {
    let mut pod = pod("p");
    let status = json!({"extendedResourceClaimStatus": {
        "resourceClaimName": "made",
        "requestMappings": [{"containerName": "none", "resourceName": "d.io/gpu", "requestName": "container-2-request-0"}],
    }});
    pod.status = Some(object(status));
    let found = names(&pod).unwrap();
    assert_eq!(found, [("c".to_owned(), false), ("made".to_owned(), false)]);
    let container = &pod.spec.as_ref().unwrap().containers[2];
    let requests = requests(&pod, container).unwrap();
    let wanted = BTreeMap::from([("made".to_owned(), vec!["container-2-request-0".to_owned()])]);
    assert_eq!(requests, wanted);
}
