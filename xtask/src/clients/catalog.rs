//! The clients there are.

use anyhow::Result;
use knarr_testkit::kubectls;

use crate::go::{CLIENTS, Module, SUITE};

use super::{
    build::{Program, Subject, cargo, go, go_tests, javascript, python, source, tool},
    critest, metrics_server,
};

/// The kubectl that is built from the pinned module.
const NEWEST_KUBECTL: u32 = 37;
/// Its definitions alone: they are in its module.
const CERT_MANAGER: Module = Module("cert-manager");
const CERT_MANAGER_PATH: &str = "github.com/cert-manager/cert-manager";
const KUBECTL_NAMESPACE: &str = "kubectl-walk";

/// A program that is pointed at a cluster.
pub struct Client {
    pub name: String,
    pub build: Box<dyn Fn() -> Result<Program>>,
    /// Where it makes its objects; empty for one that wants a runtime's socket, no API.
    pub namespace: &'static str,
}

impl Client {
    fn new(
        name: impl Into<String>,
        namespace: &'static str,
        build: impl Fn() -> Result<Program> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            build: Box::new(build),
            namespace,
        }
    }

    /// Whether this is what a user calls so: its name, or its name without the version.
    pub fn is(&self, name: &str) -> bool {
        let rest = self.name.strip_prefix(name);
        rest.is_some_and(|rest| {
            let version = rest.strip_prefix('-').unwrap_or_default();
            rest.is_empty() || version.starts_with(|c: char| c.is_ascii_digit())
        })
    }
}

/// All of them, in the order in which they are run.
pub fn clients() -> Result<Vec<Client>> {
    let mut clients = kubectl()?;
    clients.extend([
        helm("helm-3", Module("helm3"), "helm.sh/helm/v3/cmd/helm"),
        helm("helm-4", Module("helm4"), "helm.sh/helm/v4/cmd/helm"),
        Client::new("client-go", "client-go", || {
            go(CLIENTS, "./client-go").map(Program::new)
        }),
        Client::new("controller-runtime", "controller-runtime", || {
            go(CLIENTS, "./controller-runtime").map(Program::new)
        }),
        Client::new("python", "python", || script("client.py")),
        Client::new("kopf", "kopf", || script("kopf_operator.py")),
        Client::new("javascript", "javascript", || {
            let client = javascript()?.join("client.mjs");
            Ok(Program::new(tool("node", "Debian's nodejs")?).argument(&client))
        }),
        Client::new("kube-rs", "kube-rs", || {
            cargo("kube-rs", "knarr-client-kube-rs").map(Program::new)
        }),
        Client::new("k9s", "k9s-walk", || {
            tool("tmux", "Debian's tmux")?;
            let k9s = go(Module("k9s"), "github.com/derailed/k9s")?;
            Ok(Program::new(source("k9s/walk")).variable("K9S", &k9s))
        }),
        Client::new(
            "metrics-server",
            "metrics-server-walk",
            metrics_server::client,
        ),
        Client::new("cert-manager", "cert-manager-walk", || {
            let source_of = CERT_MANAGER.source_of(CERT_MANAGER_PATH)?;
            let walk = Program::new(source("cert-manager/walk"));
            Ok(walk.variable("CRDS", &source_of.join("deploy/crds")))
        }),
        Client::new("critest", "", || {
            Ok(critest()?.pointed_at(Subject::Runtime(critest::images()?)))
        }),
        // What fails here too is this machine's fault, or of the images that stand for upstream's.
        Client::new("critest-containerd", "", || {
            Ok(critest()?.pointed_at(Subject::Containerd {
                images: critest::images()?,
                pause: critest::PAUSE,
            }))
        }),
    ]);
    Ok(clients)
}

fn critest() -> Result<Program> {
    let package = "sigs.k8s.io/cri-tools/cmd/critest";
    let critest = go_tests(Module("cri-tools"), package)?;
    let python = tool("python3", "Debian's python3")?;
    Ok(Program::new(python)
        .argument(&source("critest/walk.py"))
        .variable("CRITEST", &critest))
}

/// Each version that is found, and the newest.
fn kubectl() -> Result<Vec<Client>> {
    let walk = || Program::new(source("kubectl/walk"));
    let mut clients: Vec<Client> = kubectls()?
        .into_iter()
        .filter(|kubectl| kubectl.minor != NEWEST_KUBECTL)
        .map(|kubectl| {
            Client::new(
                format!("kubectl-1.{}", kubectl.minor),
                KUBECTL_NAMESPACE,
                move || Ok(walk().variable("KUBECTL", &kubectl.path)),
            )
        })
        .collect();
    clients.push(Client::new(
        format!("kubectl-1.{NEWEST_KUBECTL}"),
        KUBECTL_NAMESPACE,
        move || {
            let kubectl = go(SUITE, "k8s.io/kubernetes/cmd/kubectl")?;
            Ok(walk().variable("KUBECTL", &kubectl))
        },
    ));
    Ok(clients)
}

fn helm(name: &'static str, module: Module, package: &'static str) -> Client {
    Client::new(name, "helm-walk", move || {
        let helm = go(module, package)?;
        Ok(Program::new(source("helm/walk")).variable("HELM", &helm))
    })
}

/// One of our programs in Python.
fn script(name: &str) -> Result<Program> {
    Ok(Program::new(python()?).argument(&source("python").join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_called_by_its_name_with_or_without_the_version() {
        let client = Client::new("kubectl-1.37", "", || Ok(Program::default()));
        for (name, wanted) in [
            ("kubectl-1.37", true),
            ("kubectl", true),
            ("kube", false),
            ("kubectl-1.3", false),
            ("kubectl-1", false),
        ] {
            assert_eq!(client.is(name), wanted, "{name}");
        }
        let client = Client::new("client-go", "", || Ok(Program::default()));
        assert!(client.is("client-go") && !client.is("client"));
    }
}
