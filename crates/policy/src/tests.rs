mod traffic;

use std::sync::atomic::{AtomicBool, Ordering};

use knarr_client::fake;
use knarr_cni::policy::{Notice, tell};
use knarr_nft::{Error, Member};
use serde_json::json;
use tokio::time::timeout;

use super::*;

/// Longest wait for what takes a moment.
const SOON: Duration = Duration::from_secs(20);

/// A kernel that does as the test says.
struct Fake {
    refuses: Arc<AtomicBool>,
    taken: mpsc::UnboundedSender<String>,
}

impl Kernel for Fake {
    async fn apply(&mut self, transaction: Transaction, _: bool) -> Result<(), Error> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(Error::NoAnswer);
        }
        let _ = self.taken.send(transaction.to_string());
        Ok(())
    }

    async fn members(
        &mut self,
        sets: Vec<(Table, String)>,
        _: usize,
    ) -> Result<Vec<Vec<Member>>, Error> {
        Ok(vec![Vec::new(); sets.len()])
    }

    async fn changed(&mut self) {
        std::future::pending().await
    }
}

/// A component over informers and a kernel of the test's own.
struct Node {
    socket: PathBuf,
    policies: Informer<NetworkPolicy>,
    pods: Informer<Pod>,
    refuses: Arc<AtomicBool>,
    taken: mpsc::UnboundedReceiver<String>,
    server: fake::Server,
}

fn start(directory: &std::path::Path) -> Node {
    let socket = directory.join("policy.sock");
    let config = Config {
        table: "knarr-policy".to_owned(),
        node_name: "here".to_owned(),
        cluster_cidrs: vec!["10.42.0.0/16".parse().unwrap()],
        node_local_dns: Vec::new(),
        socket: socket.clone(),
        cni_data_dir: directory.to_owned(),
        cni_network: "knarr".to_owned(),
    };
    let (policies, pods, namespaces) = (Informer::new(), Informer::new(), Informer::new());
    let (client, server) = fake::client();
    let deny = json!({"metadata": {"name": "deny", "namespace": "x"}, "spec": {"podSelector": {}}});
    policies.replace(vec![serde_json::from_value(deny).unwrap()]);
    pods.replace(Vec::new());
    let x = json!({"metadata": {"name": "x"}});
    namespaces.replace(vec![serde_json::from_value(x).unwrap()]);
    let listener = listen(&socket).unwrap();
    let informers = (policies.clone(), pods.clone(), namespaces);
    let component = NetworkPolicies::with(config, listener, client, informers);
    let refuses = Arc::new(AtomicBool::new(false));
    let (sender, taken) = mpsc::unbounded_channel();
    let kernel = Fake {
        refuses: refuses.clone(),
        taken: sender,
    };
    knarr_tasks::spawn("the component", async move {
        component.enforce(kernel).await;
    });
    Node {
        socket,
        policies,
        pods,
        refuses,
        taken,
        server,
    }
}

fn pod(uid: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "a", "namespace": "x", "uid": uid},
        "spec": {"nodeName": "here", "containers": []},
    }))
    .unwrap()
}

fn notice(change: Change, pod: &str) -> Notice {
    Notice {
        change,
        address: [10, 42, 0, 9].into(),
        pod: pod.to_owned(),
    }
}

/// Waits for a transaction that says something.
async fn says(node: &mut Node, text: &str) -> String {
    let wait = async {
        loop {
            let taken = node.taken.recv().await.expect("a transaction");
            if taken.contains(text) {
                return taken;
            }
        }
    };
    timeout(SOON, wait).await.expect("the transaction")
}

#[tokio::test]
async fn a_plugin_is_answered_when_its_pod_is_known_and_isolated() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = start(directory.path());
    says(&mut node, "hook forward").await;
    let socket = node.socket.clone();
    let add = knarr_tasks::spawn("a plugin", async move {
        tell(&socket, &notice(Change::Add, "one")).await
    });
    // Nobody knows it: it reaches nobody, in both directions.
    let unknown = says(&mut node, "10.42.0.9").await;
    assert!(
        unknown.contains("10.42.0.9 : jump egress-")
            && unknown.contains("10.42.0.9 : jump ingress-"),
        "{unknown}"
    );
    node.pods.apply(pod("one"));
    let known = says(&mut node, "delete element").await;
    assert!(
        known.contains("delete element ip knarr-policy egress { 10.42.0.9"),
        "{known}"
    );
    add.await.unwrap().unwrap();
    let socket = node.socket.clone();
    tell(&socket, &notice(Change::Remove, "one")).await.unwrap();
    says(
        &mut node,
        "delete element ip knarr-policy ingress { 10.42.0.9",
    )
    .await;
}

/// The node knows it by a uid of its own, and the API by its mirror.
#[tokio::test]
async fn a_static_pod_is_known_by_its_mirror() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = start(directory.path());
    says(&mut node, "hook forward").await;
    let socket = node.socket.clone();
    tell(&socket, &notice(Change::Add, "hash")).await.unwrap();
    let unknown = says(&mut node, "10.42.0.9").await;
    assert!(unknown.contains("10.42.0.9 : jump egress-"), "{unknown}");
    let mut mirror = pod("uid");
    mirror.metadata.annotations = Some([(MIRROR_ANNOTATION.to_owned(), "hash".to_owned())].into());
    node.pods.apply(mirror);
    // Nobody has said whom it may call.
    says(
        &mut node,
        "delete element ip knarr-policy egress { 10.42.0.9",
    )
    .await;
}

/// As after a start of a cluster of both families with one of them alone.
#[tokio::test]
async fn no_pod_gets_an_address_that_nobody_judges() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = start(directory.path());
    says(&mut node, "hook forward").await;
    node.pods.apply(pod("one"));
    let mut six = notice(Change::Add, "one");
    six.address = "fd42::9".parse().unwrap();
    let refused = tell(&node.socket, &six).await.unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("nobody enforces network policies for fd42::9"),
        "{refused}"
    );
    // What is left of it goes.
    six.change = Change::Remove;
    tell(&node.socket, &six).await.unwrap();
}

#[tokio::test]
async fn no_pod_starts_while_the_kernel_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = start(directory.path());
    says(&mut node, "hook forward").await;
    node.refuses.store(true, Ordering::Relaxed);
    node.pods.apply(pod("one"));
    let socket = node.socket.clone();
    let refused = tell(&socket, &notice(Change::Add, "one"))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("does not have them yet"),
        "{refused}"
    );
    let event = timeout(SOON, node.server.next()).await.unwrap();
    assert!(event.body.to_string().contains("NetworkPolicyNotEnforced"));
    node.refuses.store(false, Ordering::Relaxed);
    // All of it, in one transaction.
    let whole = says(&mut node, "hook forward").await;
    assert!(whole.contains("10.42.0.9 : jump ingress-"), "{whole}");
    tell(&socket, &notice(Change::Add, "one")).await.unwrap();
}

#[tokio::test]
async fn a_policy_that_allows_less_than_it_says_has_an_event() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = start(directory.path());
    says(&mut node, "hook forward").await;
    let rules: Vec<_> = (0..3000)
        .map(|n| json!({"ports": [{"port": n + 1}]}))
        .collect();
    // Together more than the sets of a namespace, each less than a policy may have.
    let policy = |name: &str, rules: &[serde_json::Value]| {
        let meta = json!({"name": name, "namespace": "x"});
        serde_json::from_value(
            json!({"metadata": meta, "spec": {"podSelector": {}, "ingress": rules}}),
        )
        .unwrap()
    };
    node.policies.apply(policy("first", &rules[..1500]));
    node.policies.apply(policy("second", &rules[1500..]));
    node.pods.apply(pod("one"));
    let socket = node.socket.clone();
    tell(&socket, &notice(Change::Add, "one")).await.unwrap();
    let event = timeout(SOON, node.server.next()).await.unwrap();
    let event = event.body.to_string();
    assert!(event.contains("NetworkPolicyLimited"), "{event}");
    assert!(
        event.contains("sets of peers and ports of a node than 2048"),
        "{event}"
    );
}

#[tokio::test]
async fn leases_of_before_the_start_are_known() {
    let directory = tempfile::tempdir().unwrap();
    let network = directory.path().join("networks/knarr");
    std::fs::create_dir_all(&network).unwrap();
    std::fs::write(network.join("10.42.0.7"), "sandbox eth0\n[]\nsomebody\n").unwrap();
    let mut node = start(directory.path());
    let whole = says(&mut node, "hook forward").await;
    assert!(whole.contains("10.42.0.7 : jump ingress-"), "{whole}");
}

#[tokio::test]
async fn what_is_no_notice_is_refused() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let directory = tempfile::tempdir().unwrap();
    let node = start(directory.path());
    for line in ["{}\n", "\n", "rubbish\n"] {
        let mut stream = tokio::net::UnixStream::connect(&node.socket).await.unwrap();
        stream.write_all(line.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(answer.contains("error"), "{line:?}: {answer}");
    }
}
