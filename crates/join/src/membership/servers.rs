//! Which servers the cluster has now, so that a node goes to all of them and not only to those that it was told of once.
//!
//! The endpoints of `default/kubernetes` name them. They are kept for the next start, and a node that another server has taken in
//! goes back to the one that is its first when that answers again.

use super::*;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_auth::{
    node_accounts,
    pki::files::{self, Durability},
};
use knarr_client::{Clients, InformerScope, Informers};
use tokio::sync::Notify;
use tracing::{info, warn};

/// URLs in JSON, beside the node's certificates.
const FILE: &str = "servers.json";
/// Between looks at whether the first server answers again; up to twice as long, so that nodes do not come all at once.
const LOOK_BACK: Duration = Duration::from_secs(10);

/// Those that the user has named, and those that were learned until now.
pub(super) async fn known(options: &Options) -> Result<Arc<Servers>, Error> {
    let servers = Servers::new(options.servers.clone(), &options.node_name)?;
    if options.follows_servers {
        let path = options.pki_dir.join(FILE);
        let kept = tokio::task::spawn_blocking(move || files::read(&path));
        let kept = kept.await.unwrap_or(Ok(None))?;
        // Damaged, it is told anew.
        let urls = kept.and_then(|bytes| serde_json::from_slice::<Vec<String>>(&bytes).ok());
        let urls = urls.unwrap_or_default().into_iter();
        servers.learn(urls.filter_map(|url| url.parse().ok()).collect());
    }
    Ok(Arc::new(servers))
}

/// Follows the servers that there are.
pub(super) struct Following {
    pub(super) servers: Arc<Servers>,
    pub(super) clients: Arc<RemoteClients>,
    pub(super) pki_dir: PathBuf,
}

impl Following {
    pub(super) async fn run(self, token: CancellationToken) {
        let (namespace, account) = (node_accounts::NAMESPACE, node_accounts::SERVICE_PROXY);
        let client = self.clients.as_service_account(namespace, account);
        let informers = Informers::new(client, token);
        let slices = informers.informer_with::<EndpointSlice>(InformerScope {
            namespace: Some("default".to_owned()),
            label_selector: Some("kubernetes.io/service-name=kubernetes".to_owned()),
            ..InformerScope::default()
        });
        let changed = Arc::new(Notify::new());
        let heard = changed.clone();
        slices.on_event(move |_| heard.notify_one());
        slices.synced().await;
        let mut last = Vec::new();
        loop {
            let told = addresses(slices.list().iter().map(AsRef::as_ref));
            // Somebody has told this.
            if told != last && !told.is_empty() {
                info!(servers = ?told, "the cluster's servers are known");
                self.learn(&told).await;
                last = told;
            }
            changed.notified().await;
        }
    }

    async fn learn(&self, told: &[String]) {
        let parsed = told.iter().filter_map(|url| url.parse().ok());
        self.servers.learn(parsed.collect());
        let (path, text) = (self.pki_dir.join(FILE), serde_json::json!(told).to_string());
        let kept = tokio::task::spawn_blocking(move || {
            files::write(&path, text.as_bytes(), files::PUBLIC, Durability::Synced)
        });
        if let Ok(Err(error)) = kept.await {
            warn!(%error, "the cluster's servers are not kept for the next start");
        }
    }
}

/// URLs of the endpoints, sorted.
fn addresses<'a>(slices: impl Iterator<Item = &'a EndpointSlice>) -> Vec<String> {
    let mut urls: Vec<String> = slices
        .flat_map(|slice| {
            let ports = slice.ports.iter().flatten();
            let port = ports.filter(|port| port.name.as_deref() == Some("https"));
            let port = port.filter_map(|port| port.port).next().unwrap_or(443);
            let ready = slice.endpoints.iter().filter(|endpoint| {
                let conditions = endpoint.conditions.as_ref();
                conditions.and_then(|c| c.ready) != Some(false)
            });
            let addresses = ready.flat_map(|endpoint| &endpoint.addresses);
            addresses.filter_map(move |address| {
                Some(match address.parse::<IpAddr>().ok()? {
                    IpAddr::V4(ip) => format!("https://{ip}:{port}"),
                    IpAddr::V6(ip) => format!("https://[{ip}]:{port}"),
                })
            })
        })
        .collect();
    urls.sort();
    urls.dedup();
    urls
}

/// Goes back to the node's first server when that answers again.
pub(super) async fn look_back(
    servers: Arc<Servers>,
    anybody: Arc<ClientConfig>,
    transports: [Transport; 2],
) {
    loop {
        sleep(LOOK_BACK.mul_f64(1.0 + fastrand::f64())).await;
        if !servers.go_back(&anybody).await {
            continue;
        }
        info!(server = %servers.current(), "the node goes back to its server");
        for transport in &transports {
            let end = transport.renew();
            knarr_tasks::spawn("the end of a connection", async move {
                sleep(ROTATION_GRACE).await;
                end.cancel();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_are_servers() {
        let slice = |kind: &str, addresses: serde_json::Value| -> EndpointSlice {
            serde_json::from_value(json!({
                "metadata": {"name": kind}, "addressType": kind, "ports": [{"name": "https", "port": 6443}],
                "endpoints": [
                    {"addresses": addresses, "conditions": {"ready": true}},
                    {"addresses": ["10.0.0.9"], "conditions": {"ready": false}},
                ],
            }))
            .expect("a slice")
        };
        let slices = [
            slice("IPv6", json!(["fd00::1"])),
            slice("IPv4", json!(["10.0.0.2", "10.0.0.1"])),
            slice("IPv4", json!(["10.0.0.2"])),
        ];
        assert_eq!(
            addresses(slices.iter()),
            [
                "https://10.0.0.1:6443",
                "https://10.0.0.2:6443",
                "https://[fd00::1]:6443"
            ]
        );
        assert!(
            addresses(slices.iter())
                .iter()
                .all(|url| url.parse::<ServerAddress>().is_ok())
        );
    }
}
