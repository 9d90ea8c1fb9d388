//! Certificates that are replaced while requests go on.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use knarr_x509::{Certificate, Key, KeyType, Policy, Request, Subject, pem};
use rustls::server::ResolvesServerCert;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, api, own, register, until};

/// Certificates as they are on disk after most of their life has passed.
fn age(cluster: &Cluster, dir: &Path, name: &str, address: IpAddr) {
    let user = format!("system:node:{name}");
    let names = [name.to_owned()];
    for (file, usage, dns_names, ip_addresses) in [
        ("kubelet-client", "client auth", &[][..], &[][..]),
        ("kubelet-serving", "server auth", &names, &[address]),
    ] {
        let key = Key::generate(KeyType::EcdsaP256).expect("a key");
        let request = key.request(&Subject {
            common_name: &user,
            organization: "system:nodes",
            dns_names,
            ip_addresses,
        });
        let request = Request::from_der(&request.expect("a request")).expect("a request");
        let policy = Policy {
            usages: &["digital signature", usage],
            life: Duration::from_secs(22 * 60),
            now: Timestamp::now() - SignedDuration::from_mins(20),
        };
        let signed = cluster.pki.signer().sign(&request, &policy);
        let text = format!("{}{}", signed.expect("a certificate"), key.to_pem());
        fs::write(dir.join(format!("{file}.pem")), text).expect("written");
    }
}

fn end_of(dir: &Path, file: &str) -> Timestamp {
    let text = fs::read(dir.join(file)).expect("a file");
    let block = pem::blocks(&text).next().expect("a block");
    let certificate = Certificate::from_der(&block.der).expect("a certificate");
    certificate.not_after
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_rotate_and_no_request_is_lost() {
    let cluster = Cluster::start().await;
    let token = cluster.token().await;
    let options = cluster.options("n1", [10, 9, 0, 1], Some(token));
    let first = knarr_join::join(&options).await.expect("a node");
    register(&first, "n1", [10, 9, 0, 1]).await;
    drop(first);
    let dir = cluster.machine("n1");
    age(&cluster, &dir, "n1", [10, 9, 0, 1].into());
    let soon = Timestamp::now() + SignedDuration::from_mins(3);

    let membership = knarr_join::join(&options).await.expect("the node");
    assert!(end_of(&dir, "kubelet-client.pem") < soon);
    let before = format!("{:?}", membership.serving());
    let own = own(&membership, "n1");
    let stop = CancellationToken::new();
    let answered = Arc::new(AtomicU32::new(0));
    let asking = tokio::spawn({
        let (stop, answered) = (stop.clone(), answered.clone());
        async move {
            while !stop.is_cancelled() {
                let node = api::<Node>(&own).get("n1").await;
                node.expect("every request is answered");
                answered.fetch_add(1, Relaxed);
            }
        }
    });
    let running = tokio::spawn(membership.run(stop.clone()));
    until("both rotated", async || {
        ["kubelet-client.pem", "kubelet-serving.pem"]
            .into_iter()
            .all(|file| end_of(&dir, file) > soon)
    })
    .await;
    let serving: Arc<dyn ResolvesServerCert> = membership.serving();
    until("the new one is shown", async || {
        format!("{serving:?}") != before
    })
    .await;
    let before = answered.load(Relaxed);
    until("requests go on", async || {
        answered.load(Relaxed) > before + 5
    })
    .await;
    stop.cancel();
    running.await.expect("it ends");
    asking.await.expect("no request failed");
}
