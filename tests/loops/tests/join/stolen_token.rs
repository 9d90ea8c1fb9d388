//! What somebody can do who has a bootstrap token and no business with it.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret, ServiceAccount};
use knarr_join::JoinToken;
use knarr_x509::{Key, KeyType, Subject, pem};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, Config};
use serde_json::json;
use tokio::time::sleep;

use crate::cluster::{Cluster, api, code, object, until};

pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

/// A client of who has a bearer token.
pub fn bearer(cluster: &Cluster, token: &str) -> Client {
    let mut config = Config::new(cluster.server.parse().expect("a URL"));
    let blocks = pem::blocks(cluster.pki.ca_pem().as_bytes());
    config.root_cert = Some(blocks.map(|block| block.der).collect());
    config.auth_info.token = Some(token.to_owned().into());
    Client::try_from(config).expect("a client")
}

/// A request as its maker sends it.
pub struct Asked<'a> {
    pub signer: &'a str,
    pub common_name: &'a str,
    pub organization: &'a str,
    pub names: &'a [&'a str],
    pub usage: &'a str,
}

pub async fn ask(client: &Client, name: &str, asked: &Asked<'_>) -> u16 {
    let key = Key::generate(KeyType::EcdsaP256).expect("a key");
    let addresses: Vec<IpAddr> = asked.names.iter().filter_map(|n| n.parse().ok()).collect();
    let dns = asked.names.iter().filter(|n| n.parse::<IpAddr>().is_err());
    let dns: Vec<String> = dns.map(ToString::to_string).collect();
    let request = key.request(&Subject {
        common_name: asked.common_name,
        organization: asked.organization,
        dns_names: &dns,
        ip_addresses: &addresses,
    });
    let request = pem::encode(pem::REQUEST, &request.expect("a request"));
    let mut csr: CertificateSigningRequest = object(json!({
        "metadata": {"name": name},
        "spec": {
            "signerName": asked.signer, "usages": ["digital signature", asked.usage], "request": "",
        },
    }));
    csr.spec.request = ByteString(request.into_bytes());
    code(
        api::<CertificateSigningRequest>(client)
            .create(&PostParams::default(), &csr)
            .await,
    )
}

/// What became of a request: approved, denied or nothing, and whether there is a certificate.
pub async fn fate(cluster: &Cluster, name: &str) -> (String, bool) {
    let csr = api::<CertificateSigningRequest>(&cluster.admin)
        .get(name)
        .await;
    let status = csr.expect("the request").status.unwrap_or_default();
    let types = status.conditions.iter().flatten();
    let types: Vec<&str> = types.map(|condition| condition.type_.as_str()).collect();
    (types.join(","), status.certificate.is_some())
}

async fn thief(cluster: &Cluster) -> (JoinToken, Client) {
    let token = cluster.token().await;
    let client = bearer(cluster, &token.token.reveal());
    (token, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_reads_and_changes_nothing() {
    let cluster = Cluster::start().await;
    let (token, thief) = thief(&cluster).await;
    let list = ListParams::default();
    let system = || "kube-system";
    let secrets: Api<Secret> = Api::namespaced(thief.clone(), system());
    assert_eq!(code(secrets.list(&list).await), 403);
    assert_eq!(code(secrets.get(&token.token.secret_name()).await), 403);
    let accounts: Api<ServiceAccount> = Api::namespaced(thief.clone(), system());
    let asked: TokenRequest = object(json!({"spec": {"audiences": []}}));
    let granted = accounts
        .create_subresource::<_, TokenRequest>(
            "token",
            "kube-proxy",
            &PostParams::default(),
            &asked,
        )
        .await;
    assert_eq!(code(granted), 403);
    let settings: Api<ConfigMap> = Api::namespaced(thief.clone(), system());
    assert_eq!(code(settings.get("knarr-node-config").await), 403);
    assert_eq!(code(api::<Node>(&thief).list(&list).await), 403);
    assert_eq!(code(api::<Pod>(&thief).list(&list).await), 403);
    assert_eq!(code(api::<Namespace>(&thief).list(&list).await), 403);
    let node: Node = object(json!({"metadata": {"name": "evil"}}));
    let created = api::<Node>(&thief)
        .create(&PostParams::default(), &node)
        .await;
    assert_eq!(code(created), 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_gets_a_new_nodes_certificate_and_no_other() {
    let cluster = Cluster::start().await;
    let _node = cluster.node("n1", [10, 9, 0, 1]).await;
    let (_, thief) = thief(&cluster).await;
    let nodes = "system:nodes";
    let masters = Asked {
        signer: CLIENT,
        common_name: "admin",
        organization: "system:masters",
        names: &[],
        usage: "client auth",
    };
    assert_eq!(ask(&thief, "masters", &masters).await, 403);
    let client = |signer, common_name, organization, names| Asked {
        signer,
        common_name,
        organization,
        names,
        usage: "client auth",
    };
    let server = |common_name, names| Asked {
        signer: KUBELET_SERVING,
        common_name,
        organization: nodes,
        names,
        usage: "server auth",
    };
    for (at, (asked, expected)) in [
        (client(CLIENT, "admin", "devs", &[]), ""),
        (client(KUBELET_CLIENT, "admin", "system:masters", &[]), ""),
        (
            client(KUBELET_CLIENT, "system:node:n9", "system:masters", &[]),
            "",
        ),
        (client(KUBELET_CLIENT, "system:apiserver", nodes, &[]), ""),
        (
            client(KUBELET_CLIENT, "system:node:n9", nodes, &["10.9.0.9"]),
            "",
        ),
        (
            client(KUBELET_CLIENT, "system:node:n1", nodes, &[]),
            "Denied",
        ),
        (server("system:node:n9", &["n9"]), ""),
        (server("system:node:n1", &["10.9.0.1"]), ""),
        (server("system:node:n9", &["kubernetes.default.svc"]), ""),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("theft-{at}");
        assert_eq!(ask(&thief, &name, &asked).await, 200, "{name}");
        if expected.is_empty() {
            continue;
        }
        until(&name, async || fate(&cluster, &name).await.0 == expected).await;
    }
    // A request that is granted shows that those before it were looked at.
    let asked = client(KUBELET_CLIENT, "system:node:n9", nodes, &[]);
    assert_eq!(ask(&thief, "granted", &asked).await, 200);
    until("a grant", async || fate(&cluster, "granted").await.1).await;
    sleep(Duration::from_millis(100)).await;
    for at in 0..9 {
        let (decision, issued) = fate(&cluster, &format!("theft-{at}")).await;
        assert!(decision != "Approved" && !issued, "theft-{at}: {decision}");
    }
    // Nobody approves for oneself.
    let requests = api::<CertificateSigningRequest>(&thief);
    let mut own = requests.get("theft-0").await.expect("the request");
    let condition = json!([{"type": "Approved", "status": "True", "reason": "x"}]);
    own.status.get_or_insert_default().conditions = object(condition);
    let approved = requests
        .replace_subresource("approval", "theft-0", &PostParams::default(), &own)
        .await;
    assert_eq!(code(approved), 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_public_is_one_object() {
    let cluster = Cluster::start().await;
    let mut config = Config::new(cluster.server.parse().expect("a URL"));
    let blocks = pem::blocks(cluster.pki.ca_pem().as_bytes());
    config.root_cert = Some(blocks.map(|block| block.der).collect());
    let anybody = Client::try_from(config).expect("a client");
    let public: Api<ConfigMap> = Api::namespaced(anybody.clone(), "kube-public");
    let info = public.get("cluster-info").await.expect("it is public");
    let data = info.data.clone().unwrap_or_default();
    assert!(data["kubeconfig"].contains("certificate-authority-data"));
    assert_eq!(code(public.list(&ListParams::default()).await), 401);
    assert_eq!(code(public.get("other").await), 401);
    let replaced = public
        .replace("cluster-info", &PostParams::default(), &info)
        .await;
    assert_eq!(code(replaced), 403);
    let deleted = public.delete("cluster-info", &Default::default()).await;
    assert_eq!(code(deleted), 403);
    assert_eq!(
        code(api::<Node>(&anybody).list(&ListParams::default()).await),
        401
    );
}
