//! Webhooks with kubectl: what they change and refuse, what becomes of requests when they fail, and versions that one converts.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, NODE_IP};
use knarr_webhook::testing::{Reaction, Server, allow, patch, refuse};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{Shell, newest, step, with_running_cluster};

/// Where the webhook listens; its certificate names the service.
const PORT: u16 = 9443;
const NAME: &str = "judge.default.svc";

#[test]
fn webhooks_judge_and_convert() {
    with_running_cluster(|cluster| {
        let runtime = Runtime::new()?;
        let server = step("a webhook", || serve(cluster, &runtime))?;
        let shell = Shell::new(cluster, newest()?, "default");
        let story = Story { shell, server };
        step("a service", || story.service())?;
        step("refusals", || story.refusals())?;
        step("changes", || story.changes())?;
        step("failures", || story.failures())?;
        step("custom resources", || story.custom())?;
        step("conversion", || story.conversion())?;
        step("knarr down", || cluster_down(story, cluster))
    });
}

fn cluster_down(story: Story<'_>, cluster: &Cluster) -> Result<()> {
    story
        .shell
        .run("delete validatingwebhookconfigurations,mutatingwebhookconfigurations --all")?;
    drop(story);
    ensure!(cluster.pid().is_some(), "the cluster runs");
    Ok(())
}

fn serve(cluster: &Cluster, runtime: &Runtime) -> Result<Server> {
    let address = SocketAddr::new(NODE_IP.parse()?, PORT);
    let listener = cluster.network().listen(address)?;
    let _entered = runtime.enter();
    Server::on(listener, &[NAME], decide).context("cannot serve")
}

fn decide(path: &str, review: &Value) -> Reaction {
    let object = &review["request"]["object"];
    match path.split('?').next().unwrap_or_default() {
        "/hang" => Reaction::Hang,
        "/convert" => Reaction::Answer(convert(review)),
        "/label" => {
            let labels =
                json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}]);
            Reaction::Answer(allow(review, patch(&labels)))
        }
        _ => {
            let of = if object.is_null() {
                &review["request"]["oldObject"]
            } else {
                object
            };
            let says = of["data"]["say"].as_str().or(of["spec"]["say"].as_str());
            let operation = review["request"]["operation"].as_str().unwrap_or_default();
            Reaction::Answer(match says {
                Some("no") => refuse(review, json!({"status": {"message": "it says no"}})),
                Some("keep") if operation == "DELETE" => {
                    refuse(review, json!({"status": {"message": "it is to be kept"}}))
                }
                _ => allow(
                    review,
                    json!({"warnings": [format!("{operation} was seen")]}),
                ),
            })
        }
    }
}

/// `hostPort` of v1 is `host` and `port` of v2.
fn convert(review: &Value) -> Value {
    let wanted = &review["request"]["desiredAPIVersion"];
    let objects = review["request"]["objects"]
        .as_array()
        .into_iter()
        .flatten();
    let converted = objects.map(|object| {
        let mut object = object.clone();
        object["apiVersion"] = wanted.clone();
        let spec = object["spec"].take();
        let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
        object["spec"] = match wanted.as_str() {
            Some("example.com/v2") => {
                let both = text("hostPort");
                let (host, port) = both.split_once(':').unwrap_or((&both, ""));
                json!({"host": host, "port": port})
            }
            _ => json!({"hostPort": format!("{}:{}", text("host"), text("port"))}),
        };
        object
    });
    json!({
        "kind": "ConversionReview",
        "apiVersion": review["apiVersion"],
        "response": {
            "uid": review["request"]["uid"],
            "result": {"status": "Success"},
            "convertedObjects": converted.collect::<Vec<_>>(),
        },
    })
}

struct Story<'a> {
    shell: Shell<'a>,
    server: Server,
}

impl Story<'_> {
    fn service(&self) -> Result<()> {
        let port = self.server.address.port();
        self.shell.apply(&format!(
            r#"
apiVersion: v1
kind: Service
metadata: {{name: judge}}
spec: {{ports: [{{name: https, port: 443}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: judge-1, labels: {{kubernetes.io/service-name: judge}}}}
addressType: IPv4
ports: [{{name: https, port: {port}}}]
endpoints: [{{addresses: ["{NODE_IP}"], conditions: {{ready: true}}}}]
"#
        ))?;
        Ok(())
    }

    /// Replaces the configuration of a kind with one webhook.
    fn configure(&self, kind: &str, path: &str, resource: &str, more: Value) -> Result<()> {
        let group = if resource == "configmaps" {
            ""
        } else {
            "example.com"
        };
        let mut hook = json!({
            "name": "judge.example.com",
            "clientConfig": {
                "service": {"namespace": "default", "name": "judge", "path": path},
                "caBundle": self.server.ca_bundle(),
            },
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "rules": [{
                "operations": ["*"], "apiGroups": [group], "apiVersions": ["*"], "resources": [resource],
            }],
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            hook[field] = value.clone();
        }
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": "judge"}, "webhooks": [hook],
        });
        self.shell.apply(&configuration.to_string())?;
        Ok(())
    }

    /// What an apply says that must fail.
    fn refused(&self, words: &[&str], input: &str, wanted: &str) -> Result<()> {
        let told = match self.shell.output(words, input)?.success() {
            Ok(told) => anyhow::bail!("{words:?} was accepted: {told}"),
            Err(error) => format!("{error:#}"),
        };
        ensure!(
            told.contains(wanted),
            "{words:?} does not say {wanted:?}:\n{told}"
        );
        Ok(())
    }

    fn refusals(&self) -> Result<()> {
        const APPLY: &[&str] = &["apply", "-f", "-"];
        self.configure(
            "ValidatingWebhookConfiguration",
            "/",
            "configmaps",
            json!({}),
        )?;
        self.shell.says(
            "get validatingwebhookconfigurations",
            &["NAME", "WEBHOOKS", "judge", "1"],
        )?;
        let denied = "admission webhook \"judge.example.com\" denied the request: ";
        self.refused(APPLY, &map("a", "no"), &format!("{denied}it says no"))?;
        self.shell.apply(&map("a", "keep"))?;
        self.refused(
            &["delete", "configmap", "a"],
            "",
            &format!("{denied}it is to be kept"),
        )?;
        self.refused(
            &["delete", "configmap", "--all"],
            "",
            &format!("{denied}it is to be kept"),
        )?;
        self.shell.apply(&map("a", "yes"))?;
        self.shell.run("delete configmap a")?;
        let bad = json!({"matchConditions": [{"name": "c", "expression": "object.x =="}]});
        let error = self
            .configure("ValidatingWebhookConfiguration", "/", "configmaps", bad)
            .expect_err("it does not compile");
        ensure!(
            format!("{error:#}").contains("compilation failed"),
            "{error:#}"
        );
        let only = "request.operation != 'DELETE' && object.metadata.name == 'b'";
        let only = json!({"matchConditions": [{"name": "c", "expression": only}]});
        self.configure("ValidatingWebhookConfiguration", "/", "configmaps", only)?;
        self.shell.apply(&map("a", "no"))?;
        self.refused(APPLY, &map("b", "no"), "it says no")?;
        self.shell.run("delete configmap a")?;
        Ok(())
    }

    fn changes(&self) -> Result<()> {
        self.configure(
            "MutatingWebhookConfiguration",
            "/label",
            "configmaps",
            json!({}),
        )?;
        self.shell.apply(&map("c", "yes"))?;
        let seen = self.shell.path("configmap/c", "{.metadata.labels.seen}")?;
        ensure!(seen == "yes", "the label is {seen:?}");
        // No webhook is asked about the configurations themselves.
        self.shell
            .run("delete mutatingwebhookconfiguration judge")?;
        self.shell.run("delete configmap c")?;
        Ok(())
    }

    fn failures(&self) -> Result<()> {
        const APPLY: &[&str] = &["apply", "-f", "-"];
        let slow = json!({"timeoutSeconds": 1});
        self.configure(
            "ValidatingWebhookConfiguration",
            "/hang",
            "configmaps",
            slow,
        )?;
        self.refused(APPLY, &map("d", "yes"), "context deadline exceeded")?;
        let ignored = json!({"timeoutSeconds": 1, "failurePolicy": "Ignore"});
        self.configure(
            "ValidatingWebhookConfiguration",
            "/hang",
            "configmaps",
            ignored,
        )?;
        self.shell.apply(&map("d", "yes"))?;
        let lost = json!({"clientConfig": {"service": {"namespace": "default", "name": "lost"}}});
        self.configure("ValidatingWebhookConfiguration", "/", "configmaps", lost)?;
        self.refused(APPLY, &map("e", "yes"), "service \"lost\" not found")?;
        self.shell
            .run("delete validatingwebhookconfiguration judge")?;
        self.shell.run("delete configmap d")?;
        Ok(())
    }

    fn custom(&self) -> Result<()> {
        const APPLY: &[&str] = &["apply", "-f", "-"];
        self.shell.apply(&self.definition())?;
        self.shell
            .run("wait --for=condition=established --timeout=10s crd/ports.example.com")?;
        self.configure("ValidatingWebhookConfiguration", "/", "ports", json!({}))?;
        let port = |say: &str| {
            format!(
                "apiVersion: example.com/v1\nkind: Port\nmetadata: {{name: p}}\nspec: {{hostPort: 'h:1', say: '{say}'}}\n"
            )
        };
        self.refused(APPLY, &port("no"), "it says no")?;
        self.shell
            .run("delete validatingwebhookconfiguration judge")?;
        Ok(())
    }

    fn definition(&self) -> String {
        let version = |name: &str, storage: bool, fields: &[&str]| {
            let mut properties = json!({"say": {"type": "string"}});
            for field in fields {
                properties[field] = json!({"type": "string"});
            }
            let selectable: Vec<Value> = fields
                .iter()
                .map(|field| json!({"jsonPath": format!(".spec.{field}")}))
                .collect();
            json!({
                "name": name, "served": true, "storage": storage, "selectableFields": selectable,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": properties},
                }}},
            })
        };
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "ports.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"plural": "ports", "kind": "Port"},
                "versions": [version("v1", true, &["hostPort"]), version("v2", false, &["host", "port"])],
                "conversion": {"strategy": "Webhook", "webhook": {
                    "conversionReviewVersions": ["v1"],
                    "clientConfig": {
                        "service": {"namespace": "default", "name": "judge", "path": "/convert"},
                        "caBundle": self.server.ca_bundle(),
                    },
                }},
            },
        });
        definition.to_string()
    }

    fn conversion(&self) -> Result<()> {
        let shell = &self.shell;
        shell.apply("apiVersion: example.com/v1\nkind: Port\nmetadata: {name: one}\nspec: {hostPort: 'a:1'}\n")?;
        shell.apply("apiVersion: example.com/v2\nkind: Port\nmetadata: {name: two}\nspec: {host: b, port: '2'}\n")?;
        let found = |resource: &str, path: &str| -> Result<String> {
            shell.words(&["get", resource, "-o", &format!("jsonpath={path}")])
        };
        let both = found("ports.v1.example.com", "{.items[*].spec.hostPort}")?;
        ensure!(both == "a:1 b:2", "{both}");
        let both = found("ports.v2.example.com", "{.items[*].spec.host}")?;
        ensure!(both == "a b", "{both}");
        let only = shell.run("get ports.v2.example.com --field-selector spec.host=b -o name")?;
        ensure!(only.trim() == "port.example.com/two", "{only}");
        let only =
            shell.run("get ports.v1.example.com --field-selector spec.hostPort=a:1 -o name")?;
        ensure!(only.trim() == "port.example.com/one", "{only}");
        // An object stays what it was written as when another version is stored from now on.
        let patch = r#"[{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
            {"op": "replace", "path": "/spec/versions/1/storage", "value": true}]"#;
        shell.words(&[
            "patch",
            "crd",
            "ports.example.com",
            "--type=json",
            "-p",
            patch,
        ])?;
        shell.apply("apiVersion: example.com/v1\nkind: Port\nmetadata: {name: three}\nspec: {hostPort: 'c:3'}\n")?;
        let all = found("ports.v2.example.com", "{.items[*].spec.port}")?;
        ensure!(all == "1 3 2", "{all}");
        let change = r#"{"spec": {"port": "9"}}"#;
        shell.words(&[
            "patch",
            "ports.v2.example.com",
            "one",
            "--type=merge",
            "-p",
            change,
        ])?;
        let one = found("ports.v1.example.com/one", "{.spec.hostPort}")?;
        ensure!(one == "a:9", "{one}");
        shell.run("delete ports.v1.example.com --all")?;
        shell.run("delete crd ports.example.com")?;
        Ok(())
    }
}

fn map(name: &str, say: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{say: '{say}'}}\n")
}
