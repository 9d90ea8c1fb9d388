//! DNS messages, over UDP and TCP, to a server with one service of each sort.
//!
//! What is answered is an answer to the message, of the size that was asked for, that reads as a message; and it repeats the
//! question.

use hickory_proto::op::{Edns, Message, MessageType, Query};
use hickory_proto::rr::{Name, RecordType};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_client::{Informers, fake};
use knarr_dns::{Config, Dns};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::shape;

use super::Target;

/// Largest answers without and with EDNS, bytes.
const PLAIN_BYTES: usize = 512;
const EDNS_BYTES: usize = 1_232;
/// Pods behind the headless service: their addresses are more than fits.
const PODS: usize = 60;

pub struct Messages {
    dns: Dns,
    /// The informers' lists, which never come.
    _server: fake::Server,
    _runtime: Runtime,
}

fn read<T: DeserializeOwned>(value: Value) -> Vec<T> {
    vec![serde_json::from_value(value).expect("an object")]
}

/// Fills the informers that the server reads.
fn fill(informers: &Informers) {
    let service = |name: &str, spec: Value| json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
    let ports =
        json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    let specs = [
        service(
            "web",
            json!({"clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"], "ports": ports}),
        ),
        service("db", json!({"clusterIP": "None", "clusterIPs": ["None"]})),
        service(
            "empty",
            json!({"clusterIP": "None", "clusterIPs": ["None"]}),
        ),
        service(
            "out",
            json!({"type": "ExternalName", "externalName": "loop.default.svc.cluster.local"}),
        ),
        service(
            "loop",
            json!({"type": "ExternalName", "externalName": "out.default.svc.cluster.local"}),
        ),
    ];
    let services = specs.into_iter().flat_map(read::<Service>).collect();
    informers.informer::<Service>().replace(services);
    let endpoints: Vec<Value> = (0..PODS)
        .map(
            |pod| json!({"addresses": [format!("10.42.0.{pod}")], "hostname": format!("db-{pod}")}),
        )
        .collect();
    informers.informer::<EndpointSlice>().replace(read(json!({
        "addressType": "IPv4",
        "metadata": {"name": "db-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
        "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        "endpoints": endpoints,
    })));
    let namespace = json!({"metadata": {"name": "default"}});
    informers.informer::<Namespace>().replace(read(namespace));
}

impl Messages {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let (dns, server) = runtime.block_on(async {
            let (client, server) = fake::client();
            let informers = Informers::new(client, CancellationToken::new());
            fill(&informers);
            let config = Config {
                listen: [127, 0, 0, 1].into(),
                port: 0,
                cluster_domain: "cluster.local".to_owned(),
                kept: None,
            };
            let around = knarr_dns::surroundings("cluster.local", Vec::new(), Vec::new());
            let around = around.expect("a domain");
            let configuration = knarr_dns::Configuration::built_in(around);
            let dns = Dns::new(config, &informers, &configuration).await;
            (dns.expect("a server"), server)
        });
        Self {
            dns,
            _server: server,
            _runtime: runtime,
        }
    }

    fn check(&self, input: &[u8], tcp: bool) -> Result<u64, String> {
        let Some(answer) = self.dns.answer(input, tcp) else {
            return Ok(0);
        };
        let query = Message::from_vec(input).ok();
        let most = match query.as_ref().map(|query| &query.edns) {
            _ if tcp => usize::from(u16::MAX),
            Some(Some(_)) => EDNS_BYTES,
            _ => PLAIN_BYTES,
        };
        if answer.len() > most {
            return Err(format!("an answer has {} bytes", answer.len()));
        }
        let read = Message::from_vec(&answer).map_err(|error| format!("no message: {error}"))?;
        if answer[..2] != input[..2] || read.metadata.message_type != MessageType::Response {
            return Err("what is answered is no answer to the message".to_owned());
        }
        if query.is_some_and(|query| query.queries != read.queries) {
            return Err("the answer is to another question".to_owned());
        }
        Ok(shape::exact(format!(
            "{:?} {} {} {} {} {}",
            read.metadata.response_code,
            read.metadata.truncation,
            read.metadata.authoritative,
            read.answers.len().min(3),
            read.authorities.len(),
            read.additionals.len().min(3),
        )))
    }
}

impl Target for Messages {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let message = |name: &str, kind: RecordType, payload: Option<u16>| {
            let mut message = Message::query();
            message.metadata.id = 77;
            message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
            if let Some(payload) = payload {
                let mut edns = Edns::new();
                edns.set_max_payload(payload);
                message.set_edns(edns);
            }
            message.to_vec().expect("a message")
        };
        vec![
            message(
                "_sql._tcp.db.default.svc.cluster.local.",
                RecordType::SRV,
                Some(4_096),
            ),
            message("db.default.svc.cluster.local.", RecordType::A, None),
            message("web.default.svc.CLUSTER.local.", RecordType::AAAA, Some(0)),
            message("out.default.svc.cluster.local.", RecordType::A, None),
            message("db-1.db.default.svc.cluster.local.", RecordType::ANY, None),
            message("10-42-0-7.default.pod.cluster.local.", RecordType::A, None),
            message("7.0.42.10.in-addr.arpa.", RecordType::PTR, None),
            message("dns-version.cluster.local.", RecordType::TXT, None),
            message("cluster.local.", RecordType::SOA, None),
            message("example.org.", RecordType::MX, None),
        ]
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "\u{3}svc",
            "\u{7}default",
            "\u{7}cluster\u{5}local\0",
            "\u{4}_tcp",
            "\u{4}_sql",
            "\u{2}db",
            "\u{3}out",
            "\u{3}pod",
            "\u{7}in-addr\u{4}arpa\0",
            "\u{c}",
            "\0\0\u{29}",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        Ok(self.check(input, false)? ^ self.check(input, true)?.rotate_left(1))
    }
}
