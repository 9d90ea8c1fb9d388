use serde_json::json;
use tokio::{sync::mpsc, time::timeout};

use super::*;

/// Longest wait for the loop.
const SOON: Duration = Duration::from_secs(20);

const TABLE: &str = "knarr-proxy";

fn config() -> Config {
    Config {
        table: TABLE.to_owned(),
        node_name: "a".to_owned(),
        cluster_cidr: (Ipv4Addr::new(10, 42, 0, 0), 16),
        service_cidr: (Ipv4Addr::new(10, 43, 0, 0), 16),
        node_local_dns: None,
    }
}

fn service(name: &str, cluster_ip: &str, external_ips: &[&str]) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "externalIPs": external_ips, "ports": [{"port": 80}]},
    }))
    .unwrap()
}

fn slice(service: &str, address: &str) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"name": service, "namespace": "default", "labels": {SERVICE_NAME_LABEL: service}},
        "addressType": "IPv4", "ports": [{"port": 8080, "protocol": "TCP"}], "endpoints": [{"addresses": [address]}],
    }))
    .unwrap()
}

/// A running loop whose transactions are answered by the test.
struct Running {
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    scripts: mpsc::UnboundedReceiver<String>,
    answers: mpsc::UnboundedSender<Result<(), nft::Error>>,
    work: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Running {
    fn start(services: Vec<Service>, slices: Vec<EndpointSlice>) -> Self {
        let (informed, sliced) = (Informer::new(), Informer::new());
        let proxy = Proxy::with(config(), informed.clone(), sliced.clone());
        informed.replace(services);
        sliced.replace(slices);
        let (script_sender, scripts) = mpsc::unbounded_channel();
        let (answers, answer_receiver) = mpsc::unbounded_channel();
        let answer_receiver = Arc::new(tokio::sync::Mutex::new(answer_receiver));
        let work = tokio::spawn(async move {
            let mut health = HealthServers::new(CancellationToken::new());
            let apply = |script: String| {
                script_sender.send(script).unwrap();
                let answers = answer_receiver.clone();
                async move { answers.lock().await.recv().await.unwrap() }
            };
            proxy.sync_loop(&mut health, apply).await;
        });
        Self {
            services: informed,
            slices: sliced,
            scripts,
            answers,
            work,
        }
    }

    /// The next transaction, which is accepted or refused.
    async fn transaction(&mut self, answer: Result<(), nft::Error>) -> String {
        let script = timeout(SOON, self.scripts.recv()).await.unwrap().unwrap();
        self.answers.send(answer).unwrap();
        script
    }
}

#[tokio::test]
async fn after_a_refusal_the_table_is_made_anew_with_every_service() {
    let services = vec![
        service("a", "10.43.0.1", &[]),
        service("b", "10.43.0.2", &[]),
    ];
    let slices = vec![slice("a", "10.42.0.2"), slice("b", "10.42.0.3")];
    let mut running = Running::start(services, slices);
    let first = running.transaction(Ok(())).await;
    assert!(first.contains("10.43.0.1 . tcp . 80") && first.contains("10.43.0.2 . tcp . 80"));

    running.slices.apply(slice("a", "10.42.0.4"));
    let change = running
        .transaction(Err(nft::Error::Refused("for a test".to_owned())))
        .await;
    assert!(
        change.contains("10.42.0.4") && !change.contains("10.42.0.3"),
        "{change}"
    );

    let anew = running.transaction(Ok(())).await;
    assert!(
        anew.starts_with(&format!("add table ip {TABLE}\ndelete table")),
        "{anew}"
    );
    assert!(
        anew.contains("10.42.0.4") && anew.contains("10.42.0.3"),
        "{anew}"
    );

    running.slices.apply(slice("b", "10.42.0.5"));
    let change = running.transaction(Ok(())).await;
    assert!(
        change.contains("10.42.0.5") && !change.contains("10.42.0.4"),
        "{change}"
    );
}

#[tokio::test]
async fn a_frontend_of_two_services_is_the_firsts_until_it_goes() {
    let external = "198.51.100.7";
    let element = format!("{external} . tcp . 80");
    let services = vec![service("b", "10.43.0.2", &[external])];
    let slices = vec![slice("a", "10.42.0.2"), slice("b", "10.42.0.3")];
    let mut running = Running::start(services, slices);
    assert!(running.transaction(Ok(())).await.contains(&element));

    let second = service("a", "10.43.0.1", &[external, "10.43.0.2"]);
    running.services.apply(second);
    let change = running.transaction(Ok(())).await;
    assert!(change.contains("10.43.0.1 . tcp . 80"), "{change}");
    assert!(
        !change.contains(&element) && !change.contains("10.43.0.2"),
        "{change}"
    );

    running
        .services
        .remove(service("b", "10.43.0.2", &[external]));
    let change = running.transaction(Ok(())).await;
    assert!(
        change.contains(&format!(
            "delete element ip {TABLE} services {{ {element} }}"
        )),
        "{change}"
    );
    let change = running.transaction(Ok(())).await;
    assert!(
        change.contains(&format!(
            "add element ip {TABLE} services {{ {element} : goto ext-default/a/tcp/80 }}"
        )),
        "{change}"
    );
}
