//! The audit of requests: what the log says of them, and that a webhook is sent the same.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, Identity, NODE_IP, Options, Raw, eventually};
use knarr_webhook::testing::{Reaction, Server};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{SOON, Shell, newest, step, with_cluster};

const PORT: u16 = 9443;
const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- {level: None, userGroups: [system:serviceaccounts, system:nodes]}
- {level: None, users: [system:kube-scheduler, system:kube-controller-manager, system:apiserver]}
- {level: Metadata, resources: [{resources: [secrets]}]}
- {level: RequestResponse, resources: [{resources: [configmaps]}], omitStages: [RequestReceived]}
- {level: Request, resources: [{resources: [pods]}], omitStages: [RequestReceived]}
- {level: Metadata, omitStages: [RequestReceived]}
";

#[test]
fn requests_are_told() {
    with_cluster(Options::default(), |cluster| {
        let runtime = Runtime::new()?;
        let told = Told::default();
        let server = step("a webhook", || told.serve(cluster, &runtime))?;
        let log = configure(cluster, &server)?;
        step("knarr up", || cluster.up())?;
        let story = Story {
            shell: Shell::new(cluster, newest()?, "default"),
            runtime,
            log,
        };
        step("secrets stay secret", || story.secrets())?;
        step("objects and answers", || story.objects())?;
        step("patches and deletions", || story.patches())?;
        step("refusals", || story.refusals(cluster))?;
        step("watches", || story.watches(cluster))?;
        step("what admission says", || story.annotations())?;
        step("the webhook", || told.has(&story.log()?))?;
        step("metrics", || story.metrics())?;
        drop(story);
        step("a policy that means nothing", || refused(cluster))
    });
}

/// Events that the webhook was sent.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Value>>>);

impl Told {
    fn serve(&self, cluster: &Cluster, runtime: &Runtime) -> Result<Server> {
        let address = SocketAddr::new(NODE_IP.parse()?, PORT);
        let listener = cluster.network().listen(address)?;
        let _entered = runtime.enter();
        let told = self.0.clone();
        let server = Server::on(listener, &[NODE_IP], move |_, list| {
            let items = list["items"].as_array().cloned().unwrap_or_default();
            told.lock().expect("no panic").extend(items);
            Reaction::Answer(json!({}))
        });
        server.context("cannot serve")
    }

    /// Whether it was sent what is in the log.
    fn has(&self, log: &[Value]) -> Result<()> {
        let last = log.last().context("the log is empty")?;
        eventually(SOON, "the webhook has the events of the log", || {
            let told = self.0.lock().expect("no panic");
            ensure!(
                told.iter().any(|event| is_same(event, last)),
                "it has {} events of {}",
                told.len(),
                log.len()
            );
            Ok(())
        })
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    (&one["auditID"], &one["stage"]) == (&other["auditID"], &other["stage"])
}

fn configure(cluster: &mut Cluster, server: &Server) -> Result<PathBuf> {
    let directory = cluster.directory();
    let (policy, webhook) = (
        directory.join("policy.yaml"),
        directory.join("webhook.yaml"),
    );
    let log = directory.join("audit.log");
    fs::write(&policy, POLICY)?;
    let ca = server.ca_bundle();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {
            "server": format!("https://{NODE_IP}:{PORT}/audit"), "certificate-authority-data": ca,
        }}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": ""}}],
    });
    fs::write(&webhook, kubeconfig.to_string())?;
    for (flag, path) in [
        ("audit-policy-file", &policy),
        ("audit-log-path", &log),
        ("audit-webhook-config-file", &webhook),
    ] {
        cluster.add_flag(format!("--{flag}={}", path.display()));
    }
    cluster.add_flag("--audit-webhook-batch-max-wait=1s".to_owned());
    Ok(log)
}

struct Story<'a> {
    shell: Shell<'a>,
    runtime: Runtime,
    log: PathBuf,
}

impl Story<'_> {
    fn log(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(&self.log)?;
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }

    /// The last event of a stage whose request's verb and path are these.
    fn event(&self, stage: &str, verb: &str, path: &str) -> Result<Value> {
        let log = self.log()?;
        let found = log.into_iter().rev().find(|event| {
            let uri = event["requestURI"].as_str().unwrap_or_default();
            event["stage"] == stage
                && event["verb"] == verb
                && uri.split('?').next().is_some_and(|uri| uri.ends_with(path))
        });
        found.with_context(|| format!("the log has no {stage} of {verb} {path}"))
    }

    fn complete(&self, verb: &str, path: &str) -> Result<Value> {
        self.event("ResponseComplete", verb, path)
    }

    fn secrets(&self) -> Result<()> {
        self.shell
            .run("create secret generic hidden --from-literal=word=xyzzy")?;
        self.event("RequestReceived", "create", "/secrets")?;
        let event = self.complete("create", "/secrets")?;
        expect(&event, "/kind", "Event")?;
        expect(&event, "/apiVersion", "audit.k8s.io/v1")?;
        expect(&event, "/level", "Metadata")?;
        expect(&event, "/user/username", "kubernetes-admin")?;
        expect(&event, "/objectRef/name", "hidden")?;
        expect(&event, "/objectRef/apiVersion", "v1")?;
        expect(&event, "/responseStatus/code", 201)?;
        expect(
            &event,
            "/annotations/authorization.k8s.io~1decision",
            "allow",
        )?;
        let agent = event["userAgent"].as_str().unwrap_or_default();
        ensure!(agent.starts_with("kubectl"), "{agent}");
        ensure!(event["sourceIPs"][0].is_string(), "{event}");
        let text = fs::read_to_string(&self.log)?;
        // As it is and in base64.
        ensure!(!text.contains("xyzzy") && !text.contains("eHl6enk"));
        Ok(())
    }

    fn objects(&self) -> Result<()> {
        self.shell
            .run("create configmap told --from-literal=word=plugh")?;
        let event = self.complete("create", "/configmaps")?;
        expect(&event, "/requestObject/data/word", "plugh")?;
        expect(&event, "/responseObject/data/word", "plugh")?;
        ensure!(event["responseObject"]["metadata"]["uid"].is_string());
        let managed = event.pointer("/responseObject/metadata/managedFields");
        ensure!(managed.is_none(), "{event}");
        self.shell.run("get configmaps")?;
        let event = self.complete("list", "/configmaps")?;
        expect(&event, "/responseObject/kind", "Table")
    }

    fn patches(&self) -> Result<()> {
        self.shell.words(&[
            "patch",
            "configmap",
            "told",
            "--type=merge",
            "-p",
            "{\"data\":{\"more\":\"yes\"}}",
        ])?;
        let event = self.complete("patch", "/configmaps/told")?;
        expect(&event, "/requestObject/data/more", "yes")?;
        self.shell.run("delete configmap told")?;
        let event = self.complete("delete", "/configmaps/told")?;
        expect(&event, "/requestObject/kind", "DeleteOptions")?;
        expect(&event, "/responseStatus/status", "Success")?;
        expect(&event, "/responseObject/kind", "Status")
    }

    fn refusals(&self, cluster: &Cluster) -> Result<()> {
        let refused = self.shell.run("get nodes --as=jane --as-group=dev");
        ensure!(refused.is_err(), "jane may not see nodes");
        let event = self.complete("list", "/nodes")?;
        expect(&event, "/user/username", "kubernetes-admin")?;
        expect(&event, "/impersonatedUser/username", "jane")?;
        expect(&event, "/responseStatus/code", 403)?;
        expect(&event, "/responseStatus/reason", "Forbidden")?;
        expect(
            &event,
            "/annotations/authorization.k8s.io~1decision",
            "forbid",
        )?;
        let answer = self.runtime.block_on(async {
            let client = cluster
                .client_as(&Identity::Token("a.b.c".to_owned()))
                .await?;
            let headers = [("audit-id", "nobody"), ("x-forwarded-for", "192.0.2.7")];
            Raw::send(&client, "GET", "/api/v1/podtemplates", &headers, "").await
        })?;
        ensure!(answer.code == 401, "{}", answer.code);
        ensure!(answer.headers["audit-id"] == "nobody");
        let event = self.event("ResponseStarted", "list", "/podtemplates")?;
        expect(&event, "/auditID", "nobody")?;
        expect(&event, "/user", json!({}))?;
        expect(&event, "/responseStatus/code", 401)?;
        expect(&event, "/sourceIPs/0", "192.0.2.7")?;
        ensure!(self.complete("list", "/podtemplates").is_err());
        Ok(())
    }

    fn watches(&self, cluster: &Cluster) -> Result<()> {
        self.runtime.block_on(async {
            let client = cluster.client().await?;
            let path = "/api/v1/endpoints?watch=1&timeoutSeconds=1";
            let answer = Raw::send(&client, "GET", path, &[], "").await?;
            ensure!(answer.code == 200, "{}", answer.code);
            Ok(())
        })?;
        eventually(SOON, "the end of a watch is told", || {
            let ended = self.complete("watch", "/endpoints")?;
            let started = self.event("ResponseStarted", "watch", "/endpoints")?;
            expect(&started, "/auditID", ended["auditID"].clone())
        })
    }

    fn annotations(&self) -> Result<()> {
        self.shell.run("create namespace strict")?;
        self.shell
            .run("label namespace strict pod-security.kubernetes.io/audit=restricted")?;
        let run = "run loose --image=knarr.test/hello:1 -n strict --dry-run=server";
        self.shell.run(run)?;
        let event = self.complete("create", "/namespaces/strict/pods")?;
        let key = "/annotations/pod-security.kubernetes.io~1audit-violations";
        let said = event.pointer(key).and_then(Value::as_str);
        let said = said.with_context(|| event.to_string())?;
        ensure!(said.starts_with("would violate PodSecurity"), "{said}");
        ensure!(event["requestObject"]["spec"].is_object() && event["responseObject"].is_null());
        Ok(())
    }

    fn metrics(&self) -> Result<()> {
        let page = self.shell.run("get --raw /metrics")?;
        for wanted in [
            "apiserver_audit_error_total{plugin=\"log\"} 0",
            "apiserver_audit_level_total{level=\"RequestResponse\"}",
        ] {
            ensure!(page.contains(wanted), "{wanted}");
        }
        Ok(())
    }
}

/// Whether an event has a value at a JSON pointer.
fn expect(event: &Value, pointer: &str, wanted: impl Into<Value>) -> Result<()> {
    let (found, wanted) = (event.pointer(pointer), wanted.into());
    ensure!(found == Some(&wanted), "{pointer} is not {wanted}: {event}");
    Ok(())
}

fn refused(cluster: &mut Cluster) -> Result<()> {
    cluster.stop()?;
    let policy = cluster.directory().join("policy.yaml");
    fs::write(
        &policy,
        POLICY.replace("level: Request,", "level: Everything,"),
    )?;
    let error = cluster.up().map(drop);
    let error = error
        .err()
        .context("a policy that means nothing was taken")?;
    let told = format!("{error:#}");
    ensure!(
        told.contains("rules[4].level: Unsupported value: \"Everything\""),
        "{told}"
    );
    Ok(())
}
