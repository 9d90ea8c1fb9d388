//! The API as any client sees it: codes, reasons, wording, headers. One cluster, each subject in a namespace of its own.

mod access;
mod kubelet;
mod objects;
mod patches;
mod reading;
mod service;
mod watching;
mod writing;

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, Raw};
use kube::Client;
use serde_json::{Value, json};

use crate::support::{block_on, step, step_async, with_running_cluster};

#[test]
fn the_api_answers_as_upstream_does() {
    with_running_cluster(|cluster| {
        let failures = block_on(subjects(cluster))?;
        ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

/// Every subject is looked at, also after one has failed: their failures.
async fn subjects(cluster: &Cluster) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    macro_rules! subject {
        ($name:literal, $check:path) => {
            let work = async {
                let api = Caller::new(cluster, $name).await?;
                $check(&api).await
            };
            if let Err(error) = step_async($name, work).await {
                failures.push(format!("{error:#}"));
            }
        };
    }
    subject!("service-endpoints", service::endpoints);
    subject!("discovery", service::discovery);
    subject!("openapi", service::openapi);
    subject!("unknown-paths", service::unknown);
    subject!("anonymous", access::anonymous);
    subject!("rbac", access::rbac);
    subject!("tokens", access::tokens);
    subject!("reviews", access::reviews);
    subject!("validation", objects::validation);
    subject!("field-validation", objects::field_validation);
    subject!("defaults", objects::defaults);
    subject!("node-ports", objects::node_ports);
    subject!("create", writing::create);
    subject!("update", writing::update);
    subject!("dry-run", writing::dry_run);
    subject!("delete", writing::delete);
    subject!("finalizers", writing::finalizers);
    subject!("status-and-scale", writing::subresources);
    subject!("namespaces", writing::namespaces);
    subject!("node-proxy", access::node_proxy);
    subject!("kubelet-authority", kubelet::authority);
    subject!("patch-types", patches::types);
    subject!("strategic-patch", patches::strategic);
    subject!("selectors", reading::selectors);
    subject!("chunks", reading::chunks);
    subject!("tables", reading::tables);
    subject!("revisions", reading::revisions);
    subject!("watch", watching::changes);
    subject!("watch-selector", watching::selector);
    subject!("watch-initial-events", watching::initial_events);
    Ok(failures)
}

/// A client, and the namespace that a subject has for itself.
struct Caller<'a> {
    cluster: &'a Cluster,
    client: Client,
    namespace: String,
}

impl<'a> Caller<'a> {
    async fn new(cluster: &'a Cluster, namespace: &str) -> Result<Self> {
        let client = cluster.client().await?;
        let caller = Self {
            cluster,
            client,
            namespace: namespace.to_owned(),
        };
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        caller.post("/api/v1/namespaces", &object).await?.is(201)?;
        Ok(caller)
    }

    /// The path of core resources in the namespace.
    fn core(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    /// The path of apps resources in the namespace.
    fn apps(&self, rest: &str) -> String {
        format!("/apis/apps/v1/namespaces/{}/{rest}", self.namespace)
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer> {
        send(&self.client, method, path, headers, body).await
    }

    async fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, object: &Value) -> Result<Answer> {
        self.send("POST", path, &[JSON], &object.to_string()).await
    }

    async fn put(&self, path: &str, object: &Value) -> Result<Answer> {
        self.send("PUT", path, &[JSON], &object.to_string()).await
    }

    async fn delete(&self, path: &str) -> Result<Answer> {
        self.send("DELETE", path, &[], "").await
    }

    async fn patch(&self, path: &str, kind: &str, patch: &Value) -> Result<Answer> {
        self.send("PATCH", path, &[("content-type", kind)], &patch.to_string())
            .await
    }

    /// Makes a config map.
    async fn config_map(&self, name: &str, labels: Value) -> Result<Value> {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "labels": labels}, "data": {"a": "1"},
        });
        Ok(self
            .post(&self.core("configmaps"), &object)
            .await?
            .is(201)?
            .body)
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

async fn send(
    client: &Client,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer> {
    let raw = Raw::send(client, method, path, headers, body).await?;
    Ok(Answer {
        asked: format!("{method} {path}"),
        code: raw.code,
        text: raw.text.clone(),
        headers: headers_of(&raw),
        body: raw.body,
    })
}

fn headers_of(raw: &Raw) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    raw.headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
        .collect()
}

/// An answer with what was asked.
#[derive(Debug)]
struct Answer {
    asked: String,
    code: u16,
    headers: Vec<(String, String)>,
    body: Value,
    text: String,
}

impl Answer {
    /// Fails unless the answer has that code.
    fn is(self, code: u16) -> Result<Self> {
        ensure!(
            self.code == code,
            "{}: {} instead of {code}: {}",
            self.asked,
            self.code,
            self.text
        );
        Ok(self)
    }

    /// Fails unless the answer is a Status of that code and reason with exactly that message.
    fn fails(self, code: u16, reason: &str, message: &str) -> Result<Self> {
        let answer = self.is(code)?;
        let body = &answer.body;
        ensure!(
            body["kind"] == "Status"
                && body["apiVersion"] == "v1"
                && body["status"] == "Failure"
                && body["code"] == code,
            "{}: not a failure's Status: {}",
            answer.asked,
            answer.text
        );
        ensure!(
            body["reason"] == reason && body["message"] == message,
            "{}: wanted {reason}: {message}\nfound {}: {}",
            answer.asked,
            body["reason"],
            body["message"].as_str().unwrap_or_default()
        );
        Ok(answer)
    }

    fn header(&self, name: &str) -> &str {
        let found = self
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    fn revision(&self) -> Result<u64> {
        revision(&self.body)
    }
}

/// Of an object or a list.
fn revision(object: &Value) -> Result<u64> {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|text| text.parse().ok())
        .with_context(|| format!("no resourceVersion in {object}"))
}

/// Names of a list's items, in order.
fn names(list: &Value) -> Vec<&str> {
    let items = list["items"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    items.iter().map(crate::support::name).collect()
}
