use std::time::Duration;

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use knarr_client::Informer;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use knarr_nft::{Family, Kernel, Netlink, Transaction};

use crate::{
    Proxy,
    health::HealthServers,
    layout,
    testing::{TABLE, config, in_namespace, network, nft, nodes, ruleset},
};

/// Longest wait for the loop.
const SOON: Duration = Duration::from_secs(20);

fn service() -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"], "ports": [{"port": 80}]},
    })
}

fn slice(address: &str) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"port": 8080, "protocol": "TCP"}], "endpoints": [{"addresses": [address]}],
    }))
    .unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: {}", nft("list ruleset")));
}

/// The number that the kernel gave our table when it was made.
fn handle() -> String {
    let listing = nft("-a list ruleset");
    let line = listing
        .lines()
        .find(|line| line.contains(&format!("table ip {TABLE} ")));
    line.unwrap_or_default().to_owned()
}

#[test]
fn what_others_do_to_the_table_is_undone() {
    in_namespace(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (services, slices) = (Informer::new(), Informer::new());
            let proxy = Proxy::with(config(), services.clone(), slices.clone(), nodes());
            services.replace(vec![serde_json::from_value::<Service>(service()).unwrap()]);
            slices.replace(vec![slice("10.42.0.2")]);
            let work = tokio::spawn(async move {
                let mut health = HealthServers::new([Family::Ip], CancellationToken::new());
                let kernel = Netlink::new(layout::table(Family::Ip, &config().table));
                proxy.sync_loop(&mut health, kernel).await;
            });
            let serves = |endpoint: &str| {
                let element = format!("10.43.0.9 . tcp . 80 . 0x00000000 : {endpoint} . 8080");
                nft("list ruleset").contains(&element)
            };
            until("the service is served", || serves("10.42.0.2")).await;
            // The loop listens once it takes the next change.
            slices.apply(slice("10.42.0.3"));
            until("the endpoint is another", || serves("10.42.0.3")).await;
            slices.apply(slice("10.42.0.2"));
            until("the endpoint is as before", || serves("10.42.0.2")).await;
            let (whole, made) = (ruleset(), handle());
            // Another table is another's affair, and our own changes are ours.
            nft("add table ip other");
            nft("delete table ip other");
            slices.apply(slice("10.42.0.3"));
            until("the endpoint is another", || serves("10.42.0.3")).await;
            slices.apply(slice("10.42.0.2"));
            until("the endpoint is as before", || serves("10.42.0.2")).await;
            sleep(Duration::from_millis(300)).await;
            assert_eq!((ruleset(), handle()), (whole.clone(), made));
            for harm in [
                "flush ruleset",
                "flush chain ip knarr-proxy translate",
                "delete element ip knarr-proxy hairpin { 10.42.0.2 . 10.42.0.2 }",
                "add rule ip knarr-proxy translate drop",
            ] {
                nft(harm);
                until(harm, || ruleset() == whole).await;
            }
            work.abort();
        });
    });
}

#[test]
fn a_change_after_the_table_is_gone_is_an_error() {
    in_namespace(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let network = network(Family::Ip);
            let table = network.table.clone();
            let mut kernel = Netlink::new(table.clone());
            let all = || layout::base(&network);
            kernel.apply(all(), true).await.unwrap();
            nft("flush ruleset");
            let mut change = Transaction::new();
            change.flush_chain(&table, "translate");
            let error = kernel.apply(change, false).await.unwrap_err().to_string();
            assert!(
                error.contains("flush chain ip knarr-proxy translate"),
                "{error}"
            );
            timeout(SOON, kernel.changed()).await.unwrap();
            kernel.apply(all(), true).await.unwrap();
            assert!(nft("list ruleset").contains("chain translate"));
        });
    });
}
