//! Plans of small worlds, told in lines.

use http::{HeaderMap, Method};
use k8s_openapi::api::core::v1::Service;
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};

use super::*;
use crate::{
    conditions::Head,
    gateway::{
        said::{ListenerSaid, Said},
        types::{GROUP, GatewayClass},
    },
    listen::State,
    regexes::Regexes,
    routes::Table,
};

mod http_routes;
mod listening;

/// What there is, beside the objects of the API.
#[derive(Default)]
struct Beside {
    /// As `namespace/name`.
    services: BTreeSet<String>,
    certificates: BTreeMap<String, Arc<CertifiedKey>>,
    labels: BTreeMap<String, BTreeMap<String, String>>,
    taken: BTreeSet<u16>,
}

impl Lookups for Beside {
    fn service(&self, key: &Key) -> Option<Arc<Service>> {
        let there = self.services.contains(&key.to_string());
        let ports = json!([
            {"port": 80}, {"port": 443, "appProtocol": "https"}, {"port": 53, "protocol": "UDP"},
        ]);
        let service = json!({"spec": {"ports": ports}});
        there.then(|| Arc::new(serde_json::from_value(service).expect("a Service")))
    }

    fn certificate(&mut self, secret: &Key) -> Result<Arc<CertifiedKey>, String> {
        let found = self.certificates.get(&secret.to_string()).cloned();
        found.ok_or_else(|| "there is none".to_owned())
    }

    fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.labels.get(namespace).cloned()
    }

    fn port(&self, number: u16) -> State {
        match self.taken.contains(&number) {
            true => State::Taken("it is another program's".to_owned()),
            false => State::Listening,
        }
    }
}

/// A world that is added to.
struct Scene {
    world: World,
    beside: Beside,
    places: Places,
    owners: Owners,
    day: u8,
}

impl Scene {
    fn new() -> Self {
        let class =
            json!({"metadata": {"name": "knarr"}, "spec": {"controllerName": "knarr.dev/gateway"}});
        let class: GatewayClass = serde_json::from_value(class).expect("a class");
        let services = ["a/web", "a/other", "b/web"];
        let labels = |name: &str| {
            let own = ("name".to_owned(), name.to_owned());
            (name.to_owned(), BTreeMap::from([own]))
        };
        Self {
            world: World {
                classes: vec![Arc::new(class)],
                release: Some("v1.7.0".to_owned()),
                ..World::default()
            },
            beside: Beside {
                services: services.map(str::to_owned).into(),
                labels: ["a", "b", "g"].map(labels).into(),
                ..Beside::default()
            },
            places: Places {
                shared: vec![[192, 0, 2, 1].into()],
                own: Vec::new(),
                ingresses: Some((80, 443)),
            },
            owners: Owners::default(),
            day: 1,
        }
    }

    fn object<T: serde::de::DeserializeOwned>(&mut self, key: &str, spec: Value) -> Arc<T> {
        let (namespace, name) = key.split_once('/').expect("namespace/name");
        let object = json!({
            "metadata": {
                "namespace": namespace, "name": name, "generation": 1,
                "creationTimestamp": format!("2030-01-{:02}T00:00:00Z", self.day),
            },
            "spec": spec,
        });
        self.day += 1;
        Arc::new(serde_json::from_value(object).expect("an object"))
    }

    fn gateway(mut self, key: &str, listeners: Value) -> Self {
        let spec = json!({"gatewayClassName": "knarr", "listeners": listeners});
        let gateway = self.object(key, spec);
        self.world.gateways.push(gateway);
        self
    }

    fn http_route(mut self, key: &str, spec: Value) -> Self {
        let route = self.object(key, spec);
        self.world.http_routes.push(route);
        self
    }

    fn grpc_route(mut self, key: &str, spec: Value) -> Self {
        let route = self.object(key, spec);
        self.world.grpc_routes.push(route);
        self
    }

    fn grant(mut self, key: &str, from: (&str, &str), to: &str) -> Self {
        let (kind, namespace) = from;
        let spec = json!({
            "from": [{"group": GROUP, "kind": kind, "namespace": namespace}],
            "to": [{"group": "", "kind": to}],
        });
        let grant = self.object(key, spec);
        self.world.grants.push(grant);
        self
    }

    fn plan(&mut self) -> Plan {
        let mut regexes = Regexes::default();
        let mut taking = Taking::new(&mut regexes);
        let (world, places, owners) = (&self.world, &self.places, &self.owners);
        plan(world, places, owners, &mut self.beside, &mut taking)
    }
}

fn key(text: &str) -> Key {
    let (namespace, name) = text.split_once('/').expect("namespace/name");
    Key {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn told(conditions: &[Said]) -> String {
    let line = |said: &Said| match said.status.name() {
        "True" if said.type_ == said.reason => said.type_.to_owned(),
        "True" => format!("{}={}", said.type_, said.reason),
        _ => format!("!{}={}", said.type_, said.reason),
    };
    let hidden = |said: &&Said| said.reason != "NoConflicts";
    let lines: Vec<String> = conditions.iter().filter(hidden).map(line).collect();
    lines.join(" ")
}

/// What a Gateway is told, then its listeners.
fn of_gateway(plan: &Plan, name: &str) -> Vec<String> {
    let status = &plan.statuses[&Subject::Gateway(key(name))].status;
    let Status::Gateway {
        conditions,
        listeners,
        ..
    } = status
    else {
        panic!("{status:?}")
    };
    let listener = |one: &ListenerSaid| {
        let kinds = one.kinds.join("+");
        format!(
            "{} {} [{kinds}] {}",
            one.name,
            one.attached,
            told(&one.conditions)
        )
    };
    let own = told(conditions);
    std::iter::once(own)
        .chain(listeners.iter().map(listener))
        .collect()
}

/// What a route is told for each parent.
fn of_route(plan: &Plan, subject: &Subject) -> Vec<String> {
    let Status::Route { parents } = &plan.statuses[subject].status else {
        panic!("{subject:?}")
    };
    let parents = parents.iter();
    parents
        .map(|(parent, conditions)| format!("{} {}", parent.name, told(conditions)))
        .collect()
}

fn of_http(plan: &Plan, name: &str) -> Vec<String> {
    of_route(plan, &Subject::HttpRoute(key(name)))
}

/// The table of a port of the shared addresses.
fn table(plan: Plan, port: u16) -> Table {
    let mut table = Table::default();
    for (place, served) in plan.places {
        if place == (None, port) {
            for (pattern, site) in served.sites {
                table.add(&pattern, Arc::new(site));
            }
        }
    }
    table
}

/// The Services that a request may go to.
fn asked(table: &Table, host: &str, path: &str, header: Option<(&str, &str)>) -> String {
    let headers: HeaderMap = header
        .into_iter()
        .map(|(name, value)| {
            (
                name.parse::<::http::HeaderName>().expect("a name"),
                value.parse().expect("a value"),
            )
        })
        .collect();
    let head = Head {
        path,
        method: &Method::GET,
        headers: &headers,
        query: None,
    };
    let found = table.find(host, &head);
    found.map_or("none".to_owned(), |found| {
        let route = found.route;
        format!("{}/{}", route.namespace, route.targets.services().join(","))
    })
}

fn http_listener(more: Value) -> Value {
    let mut listener = json!({"name": "http", "port": 80, "protocol": "HTTP"});
    for (name, value) in more.as_object().expect("fields") {
        listener[name] = value.clone();
    }
    listener
}

fn backend(name: &str) -> Value {
    json!([{"name": name, "port": 80}])
}
