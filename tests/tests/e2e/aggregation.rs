//! An aggregated API server behind a Service: how it is found and asked, and what one that misbehaves costs.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use knarr_testkit::{Cluster, Identity, NODE_IP, Raw, eventually};
use knarr_webhook::testing::api::{ApiServer, Behaviour, GROUP, PROTOCOL, VERSION};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Runtime,
    time::timeout,
};

use crate::support::{SOON, Shell, newest, step, with_running_cluster};

const PORT: u16 = 9444;
const NAME: &str = "gadgets.default.svc";
const API_SERVICE: &str = "apiservice/v1.things.example.com";
const ROOT: &str = "/apis/things.example.com/v1";
const GADGETS: &str = "/apis/things.example.com/v1/namespaces/default/gadgets";
/// Somebody who may do what a ClusterRole says, and nothing else.
const JANE: &str = "jane";
/// What a request costs while another server hangs.
const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn another_server_serves_a_group() {
    with_running_cluster(|cluster| {
        let runtime = Runtime::new()?;
        let server = step("an aggregated server", || serve(cluster, &runtime))?;
        let shell = Shell::new(cluster, newest()?, "default");
        let story = Story {
            shell,
            server,
            runtime,
        };
        step("local group-versions", || story.local())?;
        step("registration", || story.register())?;
        step("discovery", || story.discovery())?;
        step("schemas", || story.schemas())?;
        step("requests", || story.requests())?;
        step("streams", || story.streams())?;
        step("a server that hangs", || story.hangs())?;
        step("servers that lie", || story.lies())?;
        step("the end", || story.end())
    });
}

fn serve(cluster: &Cluster, runtime: &Runtime) -> Result<ApiServer> {
    let address = SocketAddr::new(NODE_IP.parse()?, PORT);
    let listener = cluster.network().listen(address)?;
    let authority = cluster.data_dir().join("pki/front-proxy-ca.crt");
    let authority = std::fs::read_to_string(authority)?;
    let _entered = runtime.enter();
    ApiServer::on(listener, &[NAME], &authority).context("cannot serve")
}

struct Story<'a> {
    shell: Shell<'a>,
    server: ApiServer,
    runtime: Runtime,
}

impl Story<'_> {
    /// What is served here has APIServices.
    fn local(&self) -> Result<()> {
        let told = self.shell.says(
            "get apiservices",
            &[
                "NAME",
                "SERVICE",
                "AVAILABLE",
                "AGE",
                "v1.apps",
                "v2.autoscaling",
            ],
        )?;
        let other = told
            .lines()
            .skip(1)
            .find(|line| !line.contains("Local") || !line.contains("True"));
        ensure!(other.is_none(), "not local: {other:?}");
        let reason = self
            .shell
            .path("apiservice/v1.", "{.status.conditions[0].reason}")?;
        ensure!(reason == "Local", "{reason}");
        self.shell.apply(
            r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: cogs.custom.example.com}
spec:
  group: custom.example.com
  names: {plural: cogs, kind: Cog}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
"#,
        )?;
        eventually(SOON, "the APIService of a definition", || {
            let managed = "{.metadata.labels.kube-aggregator\\.kubernetes\\.io/automanaged}";
            let managed = self
                .shell
                .path("apiservice/v1.custom.example.com", managed)?;
            ensure!(managed == "true", "{managed}");
            Ok(())
        })?;
        self.shell.run("delete crd cogs.custom.example.com")?;
        eventually(SOON, "it goes with the definition", || {
            ensure!(
                !self
                    .shell
                    .run("get apiservices")?
                    .contains("custom.example.com")
            );
            Ok(())
        })?;
        let trust = self
            .shell
            .get("configmap/extension-apiserver-authentication -n kube-system")?;
        ensure!(
            trust["data"]["requestheader-allowed-names"] == r#"["front-proxy-client"]"#,
            "{trust}"
        );
        Ok(())
    }

    fn slice(&self, more: &str) -> Result<()> {
        let port = self.server.address.port();
        self.shell.apply(&format!(
            r#"
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: gadgets-1, labels: {{kubernetes.io/service-name: gadgets}}}}
addressType: IPv4
ports: [{{name: https, port: {port}}}]
endpoints: [{{addresses: ["{NODE_IP}"], conditions: {{ready: true}}}}{more}]
"#
        ))?;
        Ok(())
    }

    fn available(&self, status: &str, reason: &str) -> Result<String> {
        eventually(SOON, &format!("{status} {reason}"), || {
            let condition = self.shell.path(API_SERVICE, "{.status.conditions[0]}")?;
            let condition: Value = serde_json::from_str(&condition)?;
            let is = condition["status"] == status && condition["reason"] == reason;
            ensure!(is, "{condition}");
            Ok(condition["message"].as_str().unwrap_or_default().to_owned())
        })
    }

    fn register(&self) -> Result<()> {
        let service = self.server.api_service("default", "gadgets");
        self.shell.apply(&service.to_string())?;
        self.available("False", "ServiceNotFound")?;
        let refused = self.raw("GET", GADGETS, &[], "")?;
        ensure!(
            refused.code == 503 && refused.text == "service unavailable\n",
            "{refused:?}"
        );
        self.shell.apply(
            r#"
apiVersion: v1
kind: Service
metadata: {name: gadgets}
spec: {ports: [{name: https, port: 443}]}
"#,
        )?;
        self.available("False", "EndpointsNotFound")?;
        self.slice("")?;
        let message = self.available("True", "Passed")?;
        ensure!(message == "all checks passed", "{message}");
        self.shell.says("get apiservices", &["default/gadgets"])?;
        Ok(())
    }

    fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Raw> {
        self.runtime.block_on(async {
            let client = self.shell.cluster.client().await?;
            Raw::send(&client, method, path, headers, body).await
        })
    }

    fn groups(&self) -> Result<Value> {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        Ok(self.raw("GET", "/apis", &[("accept", accept)], "")?.body)
    }

    /// A group in aggregated discovery.
    fn group(&self, name: &str) -> Result<Value> {
        let groups = self.groups()?;
        let items = groups["items"].as_array().context("no list")?;
        let found = items.iter().find(|group| group["metadata"]["name"] == name);
        Ok(found.cloned().unwrap_or_default())
    }

    fn discovery(&self) -> Result<()> {
        self.shell.says(
            &format!("api-resources --api-group={GROUP}"),
            &["gadgets", "gad", "Gadget", "things.example.com/v1"],
        )?;
        let group = self.group(GROUP)?;
        let wanted = json!({"version": VERSION, "freshness": "Current"});
        let version = &group["versions"][0];
        ensure!(
            version["version"] == wanted["version"] && version["freshness"] == wanted["freshness"],
            "{group}"
        );
        let apps = self.group("apps")?.to_string();
        ensure!(
            apps.contains("deployments") && !apps.contains("stolen"),
            "{apps}"
        );
        let list = self.raw("GET", "/apis", &[], "")?.body.to_string();
        ensure!(list.contains("things.example.com/v1"), "{list}");
        let one = self.raw("GET", &format!("/apis/{GROUP}"), &[], "")?.body;
        ensure!(one["preferredVersion"]["version"] == VERSION, "{one}");
        let resources = self.raw("GET", ROOT, &[], "")?.body;
        ensure!(
            resources["resources"][0]["name"] == "gadgets",
            "{resources}"
        );
        self.shell
            .says("explain gadgets.spec", &["What the gadget is told."])?;
        Ok(())
    }

    /// What it says of itself is in the document of all servers, also while it hangs.
    fn schemas(&self) -> Result<()> {
        let gvk = json!({"group": GROUP, "version": VERSION, "kind": "Gadget"});
        let schema = json!({"$ref": "#/definitions/Gadget"});
        let operation = json!({
            "responses": {"200": {"description": "OK", "schema": schema}},
            "x-kubernetes-action": "list", "x-kubernetes-group-version-kind": gvk,
        });
        let path = format!("{ROOT}/gadgets");
        let document = json!({
            "swagger": "2.0",
            "paths": {&path: {"get": operation}, "/api/v1/pods": {"get": {"responses": {}}}},
            "definitions": {"Gadget": {"type": "object", "x-kubernetes-group-version-kind": [gvk]}},
        });
        self.server.describe("\"1\"", document.to_string());
        let merged = || {
            let v2 = self.raw("GET", "/openapi/v2", &[], "")?.body;
            let pods = &v2["paths"]["/api/v1/pods"]["get"]["operationId"];
            ensure!(*pods == "listCoreV1PodForAllNamespaces", "{pods}");
            let gadget = &v2["definitions"]["Gadget"]["x-kubernetes-group-version-kind"][0];
            ensure!(*gadget == gvk && v2["paths"][&path].is_object(), "{gadget}");
            Ok(())
        };
        merged()?;
        self.server.behave(Behaviour::Hang);
        let began = Instant::now();
        merged()?;
        ensure!(
            began.elapsed() < AT_ONCE,
            "it waits for a server that hangs"
        );
        self.server.behave(Behaviour::Good);
        let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
        let protobuf = self.raw("GET", "/openapi/v2", &[("accept", accept)], "")?;
        ensure!(
            protobuf.text.contains(&path),
            "protobuf says nothing of {path}"
        );
        Ok(())
    }

    fn requests(&self) -> Result<()> {
        self.shell.says("get gad", &["NAME", "a"])?;
        let forged = [
            ("x-remote-user", "system:admin"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-scopes", "all"),
            ("authorization", "Basic YTpi"),
        ];
        let seen = self.raw("GET", &format!("{GADGETS}/whoami?a=b%20c"), &forged, "")?;
        let spec = &seen.body["spec"];
        let headers = &spec["headers"];
        ensure!(
            spec["known"] == true,
            "the server does not know who asks: {seen:?}"
        );
        ensure!(spec["uri"] == format!("{GADGETS}/whoami?a=b%20c"), "{spec}");
        ensure!(
            headers["x-remote-user"] == json!(["kubernetes-admin"]),
            "{headers}"
        );
        let groups = json!(["system:masters", "system:authenticated"]);
        ensure!(headers["x-remote-group"] == groups, "{headers}");
        for gone in ["authorization", "x-remote-extra-scopes"] {
            ensure!(headers[gone].is_null(), "{gone}: {headers}");
        }
        let posted = self.raw(
            "POST",
            GADGETS,
            &[("content-type", "application/json")],
            r#"{"a":1}"#,
        )?;
        ensure!(
            posted.code == 201 && posted.body == json!({"a": 1}),
            "{posted:?}"
        );
        for odd in ["/../secrets", "//a", "/%2e%2e/secrets"] {
            let refused = self.raw("GET", &format!("{GADGETS}{odd}"), &[], "")?;
            ensure!(refused.code == 404, "{odd}: {refused:?}");
        }
        let moved = self.raw("GET", &format!("{GADGETS}/moved"), &[], "")?;
        ensure!(
            moved.code == 502 && moved.text.contains("redirect"),
            "{moved:?}"
        );
        self.authorization()
    }

    /// This server's authorizer comes first.
    fn authorization(&self) -> Result<()> {
        let calls = self.server.calls();
        let as_jane = |path: &str| {
            self.runtime.block_on(async {
                let identity = Identity::Impersonated(JANE.to_owned());
                let client = self.shell.cluster.client_as(&identity).await?;
                Raw::send(&client, "GET", path, &[], "").await
            })
        };
        let refused = as_jane(GADGETS)?;
        ensure!(refused.code == 403, "{refused:?}");
        ensure!(self.server.calls() == calls, "it was asked all the same");
        self.shell.run(&format!(
            "create clusterrole gadgeteer --verb=get,list --resource=gadgets.{GROUP}"
        ))?;
        self.shell.run(&format!(
            "create clusterrolebinding gadgeteer --clusterrole=gadgeteer --user={JANE}"
        ))?;
        eventually(SOON, "jane may ask", || {
            let seen = as_jane(&format!("{GADGETS}/whoami"))?;
            let user = &seen.body["spec"]["headers"]["x-remote-user"];
            ensure!(*user == json!([JANE]), "{seen:?}");
            let impersonated = &seen.body["spec"]["headers"]["impersonate-user"];
            ensure!(impersonated.is_null(), "{seen:?}");
            Ok(())
        })
    }

    /// Watches come as they are sent; upgrades are spliced.
    fn streams(&self) -> Result<()> {
        self.runtime.block_on(async {
            let client = self.shell.cluster.client().await?;
            let request = http::Request::get(format!("{GADGETS}?watch=true"))
                .body(kube::client::Body::empty())?;
            let response = timeout(AT_ONCE, client.send(request)).await??;
            let mut body = response.into_body();
            let mut lines = String::new();
            while lines.matches('\n').count() < 3 {
                let frame = timeout(AT_ONCE, body.frame())
                    .await?
                    .context("the watch ended")??;
                if let Ok(data) = frame.into_data() {
                    lines.push_str(&String::from_utf8_lossy(&data));
                }
            }
            drop(body);
            let request = http::Request::get(format!("{GADGETS}/a/stream"))
                .header("connection", "Upgrade")
                .header("upgrade", PROTOCOL)
                .body(kube::client::Body::empty())?;
            let response = timeout(AT_ONCE, client.send(request)).await??;
            ensure!(response.status() == 101, "{response:?}");
            let mut stream = TokioIo::new(hyper::upgrade::on(response).await?);
            stream.write_all(b"hello").await?;
            let mut back = [0; 5];
            timeout(AT_ONCE, stream.read_exact(&mut back)).await??;
            ensure!(&back == b"hello");
            Ok(())
        })
    }

    fn hangs(&self) -> Result<()> {
        self.server.behave(Behaviour::Hang);
        self.runtime.block_on(async {
            let client = self.shell.cluster.client().await?;
            let asks = (0..50).map(|_| Raw::send(&client, "GET", GADGETS, &[], ""));
            let hanging = timeout(AT_ONCE, futures::future::join_all(asks));
            ensure!(hanging.await.is_err(), "it answers");
            let other = Raw::send(
                &client,
                "GET",
                "/api/v1/namespaces/default/configmaps",
                &[],
                "",
            );
            let other = timeout(AT_ONCE, other)
                .await
                .context("others wait for it")??;
            ensure!(other.code == 200, "{other:?}");
            anyhow::Ok(())
        })?;
        // Another endpoint is a reason to look.
        self.slice(r#", {addresses: ["192.0.2.7"], conditions: {ready: false}}"#)?;
        let message = self.available("False", "FailedDiscoveryCheck")?;
        ensure!(message.contains("context deadline exceeded"), "{message}");
        let group = self.group(GROUP)?;
        ensure!(group["versions"][0]["freshness"] == "Stale", "{group}");
        let refused = self.raw("GET", GADGETS, &[], "")?;
        ensure!(refused.code == 503, "{refused:?}");
        self.namespace_waits()?;
        self.server.behave(Behaviour::Good);
        self.slice("")?;
        self.available("True", "Passed")?;
        eventually(SOON, "the namespace goes", || {
            let gone = self.shell.run("get namespaces")?;
            ensure!(!gone.contains("doomed"), "{gone}");
            Ok(())
        })
    }

    /// What can be deleted goes; the namespace says why it stays.
    fn namespace_waits(&self) -> Result<()> {
        self.shell.run("create namespace doomed")?;
        self.shell.run("create configmap last -n doomed")?;
        self.shell.run("delete namespace doomed --wait=false")?;
        eventually(SOON, "a condition of the namespace", || {
            let conditions = self
                .shell
                .path("namespace/doomed", "{.status.conditions}")?;
            let conditions: Value = serde_json::from_str(&conditions)?;
            let all = conditions.as_array().context("no list")?;
            let kind = "NamespaceDeletionDiscoveryFailure";
            let failure = all
                .iter()
                .find(|one| one["type"] == kind)
                .context("no condition")?;
            let message = failure["message"].as_str().unwrap_or_default();
            let told =
                failure["status"] == "True" && message.contains("things.example.com/v1: stale");
            ensure!(told, "{failure}");
            Ok(())
        })?;
        eventually(SOON, "its content goes", || {
            let left = self.shell.run("get configmaps -n doomed -o name")?;
            ensure!(!left.contains("last"), "{left}");
            Ok(())
        })
    }

    fn lies(&self) -> Result<()> {
        for (behaviour, told) in [
            (Behaviour::Large(10 << 20), "the answer is longer than"),
            (Behaviour::Redirect, "bad status"),
            (Behaviour::Fail(500), "bad status"),
        ] {
            self.server.behave(behaviour);
            self.slice(r#", {addresses: ["192.0.2.7"], conditions: {ready: false}}"#)?;
            let message = self.available("False", "FailedDiscoveryCheck")?;
            ensure!(message.contains(told), "{behaviour:?}: {message}");
            self.server.behave(Behaviour::Good);
            self.slice("")?;
            self.available("True", "Passed")?;
        }
        let mut other = self.server.api_service("default", "gadgets");
        let bundle = self
            .shell
            .path("configmap/kube-root-ca.crt", "{.data.ca\\.crt}")?;
        other["spec"]["caBundle"] = json!(STANDARD.encode(bundle));
        self.shell.apply(&other.to_string())?;
        let message = self.available("False", "FailedDiscoveryCheck")?;
        ensure!(
            message.contains("x509: certificate signed by unknown authority"),
            "{message}"
        );
        let spec = other["spec"].as_object_mut().context("a spec")?;
        spec.remove("caBundle");
        spec.insert("insecureSkipTLSVerify".to_owned(), json!(true));
        self.shell.apply(&other.to_string())?;
        self.available("True", "Passed")?;
        Ok(())
    }

    fn end(&self) -> Result<()> {
        self.shell.run("delete apiservice v1.things.example.com")?;
        eventually(SOON, "the group goes", || {
            let group = self.group(GROUP)?;
            ensure!(group.is_null(), "{group}");
            match self.raw("GET", GADGETS, &[], "")?.code {
                404 => Ok(()),
                code => bail!("{code}"),
            }
        })?;
        self.shell.run("delete service gadgets")?;
        Ok(())
    }
}
