use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

/// A cluster with one service of each sort.
pub fn zone() -> Zone {
    let (services, slices, namespaces) = (Informer::new(), Informer::new(), Informer::new());
    let read = |value: Value| serde_json::from_value(value).unwrap();
    namespaces.apply(serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap());
    let service = |name: &str, spec: Value| json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
    services.apply(read(service(
        "web",
        json!({"clusterIP": "10.43.0.9", "clusterIPs": ["10.43.0.9"],
        "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]}),
    )));
    services.apply(read(service("db", json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"name": "sql", "port": 5432}]}))));
    services.apply(read(service(
        "empty",
        json!({"clusterIP": "None", "clusterIPs": ["None"]}),
    )));
    portless_and_aliases(&services, &slices);
    services.apply(read(service(
        "outside",
        json!({"type": "ExternalName", "externalName": "example.org"}),
    )));
    services.apply(read(service(
        "address",
        json!({"type": "ExternalName", "externalName": "192.0.2.7"}),
    )));
    slices.apply(
        serde_json::from_value(json!({
            "addressType": "IPv4",
            "metadata": {"name": "db-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
            "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.42.0.2"], "hostname": "db-0", "conditions": {"ready": true}},
                {"addresses": ["10.42.0.3"], "conditions": {"ready": true}},
                {"addresses": ["10.42.0.4"], "hostname": "db-2", "conditions": {"ready": false}},
            ],
        }))
        .unwrap(),
    );
    slices.apply(
        serde_json::from_value(json!({
            "addressType": "IPv4",
            "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["10.42.0.5"]}],
        }))
        .unwrap(),
    );
    services.apply(read(service(
        "both",
        json!({"clusterIP": "10.43.0.8", "clusterIPs": ["10.43.0.8", "fd00:43::8"],
        "ports": [{"name": "http", "port": 80}]}),
    )));
    services.apply(read(service("six", json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"name": "sql", "port": 5432}]}))));
    for (name, kind, addresses) in [
        ("six-1", "IPv4", ["10.42.0.6", "10.42.0.7"]),
        ("six-2", "IPv6", ["fd00:42::6", "fd00:42:0:0::7"]),
    ] {
        slices.apply(
            serde_json::from_value(json!({
                "addressType": kind,
                "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": "six"}},
                "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
                "endpoints": [
                    {"addresses": [addresses[0]], "hostname": "six-0"},
                    {"addresses": [addresses[1]]},
                ],
            }))
            .unwrap(),
        );
    }
    Zone::with("cluster.local", services, slices, namespaces).unwrap()
}

fn portless_and_aliases(services: &Informer<Service>, slices: &Informer<EndpointSlice>) {
    let read = |value: Value| serde_json::from_value(value).unwrap();
    let service = |name: &str, spec: Value| json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
    services.apply(read(service(
        "portless",
        json!({"clusterIP": "None", "clusterIPs": ["None"]}),
    )));
    slices.apply(
        serde_json::from_value(json!({
            "addressType": "IPv4",
            "metadata": {"name": "portless-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "portless"}},
            "ports": [],
            "endpoints": [{"addresses": ["10.42.0.8"]}],
        }))
        .unwrap(),
    );
    for (name, target) in [
        ("alias", "both.default.svc.cluster.local"),
        ("alias-of-four", "web.default.svc.cluster.local."),
        ("circle", "circle.default.svc.cluster.local"),
    ] {
        services.apply(read(service(
            name,
            json!({"type": "ExternalName", "externalName": target}),
        )));
    }
    services.apply(read(json!({
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {"clusterIP": "10.43.0.10", "clusterIPs": ["10.43.0.10"]},
    })));
}

/// A cluster with one headless service of that many pods.
pub fn many(pods: usize) -> Zone {
    let (services, slices, namespaces) = (Informer::new(), Informer::new(), Informer::new());
    let spec = json!({"clusterIP": "None", "clusterIPs": ["None"]});
    let service = json!({"metadata": {"name": "db", "namespace": "default"}, "spec": spec});
    services.apply(serde_json::from_value(service).unwrap());
    let endpoints: Vec<_> = (0..pods)
        .map(|i| json!({"addresses": [format!("10.42.0.{i}")]}))
        .collect();
    slices.apply(
        serde_json::from_value(json!({
            "addressType": "IPv4",
            "metadata": {"name": "db-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
            "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
            "endpoints": endpoints,
        }))
        .unwrap(),
    );
    Zone::with("cluster.local", services, slices, namespaces).unwrap()
}

fn check(name: &str, kind: RecordType, expected: Expect) {
    expected.assert_eq(&answer(name, kind));
}

fn answer(name: &str, kind: RecordType) -> String {
    match zone().lookup(&Name::from_ascii(name).unwrap(), kind) {
        Answer::Foreign => "foreign".to_owned(),
        Answer::NoName => "no such name".to_owned(),
        Answer::Failure => "failure".to_owned(),
        Answer::Records(records) => {
            let mut lines: Vec<_> = records.iter().map(|r| r.data.to_string()).collect();
            lines.sort();
            lines.join(" | ")
        }
    }
}

#[test]
fn services() {
    check(
        "web.default.svc.cluster.local.",
        RecordType::A,
        expect!["10.43.0.9"],
    );
    check(
        "WEB.default.svc.cluster.local.",
        RecordType::A,
        expect!["10.43.0.9"],
    );
    check(
        "web.default.svc.cluster.local.",
        RecordType::AAAA,
        expect![""],
    );
    check(
        "web.other.svc.cluster.local.",
        RecordType::A,
        expect!["no such name"],
    );
    check(
        "outside.default.svc.cluster.local.",
        RecordType::A,
        expect!["example.org."],
    );
    check(
        "address.default.svc.cluster.local.",
        RecordType::A,
        expect!["no such name"],
    );
    check(
        "10-42-0-5.web.default.svc.cluster.local.",
        RecordType::A,
        expect!["10.42.0.5"],
    );
    check(
        "x.web.default.svc.cluster.local.",
        RecordType::A,
        expect!["no such name"],
    );
}

#[test]
fn headless_services() {
    check(
        "db.default.svc.cluster.local.",
        RecordType::A,
        expect!["10.42.0.2 | 10.42.0.3"],
    );
    check(
        "db-0.db.default.svc.cluster.local.",
        RecordType::A,
        expect!["10.42.0.2"],
    );
    check(
        "10-42-0-3.db.default.svc.cluster.local.",
        RecordType::A,
        expect!["10.42.0.3"],
    );
    check(
        "db-2.db.default.svc.cluster.local.",
        RecordType::A,
        expect!["no such name"],
    );
    for kind in [RecordType::A, RecordType::SRV] {
        check(
            "empty.default.svc.cluster.local.",
            kind,
            expect!["no such name"],
        );
    }
}

#[test]
fn an_alias_is_one_of_addresses() {
    for (kind, wanted) in [
        (RecordType::A, "example.org."),
        (RecordType::AAAA, "example.org."),
        (RecordType::CNAME, "example.org."),
        (RecordType::SRV, ""),
        (RecordType::TXT, ""),
        (RecordType::MX, ""),
        (RecordType::ANY, ""),
    ] {
        assert_eq!(answer("outside.default.svc.cluster.local.", kind), wanted);
    }
}

#[test]
fn endpoints_without_ports_are_no_reason_to_deny_the_name() {
    let name = "portless.default.svc.cluster.local.";
    check(name, RecordType::A, expect!["10.42.0.8"]);
    check(name, RecordType::SRV, expect![""]);
}

#[test]
fn the_servers_of_the_zone() {
    for (name, kind, wanted) in [
        (
            "cluster.local.",
            RecordType::NS,
            "kube-dns.kube-system.svc.cluster.local.",
        ),
        ("ns.dns.cluster.local.", RecordType::A, "10.43.0.10"),
        ("ns.dns.cluster.local.", RecordType::AAAA, ""),
        ("dns.cluster.local.", RecordType::A, "no such name"),
    ] {
        assert_eq!(answer(name, kind), wanted, "{kind} of {name}");
    }
}

#[test]
fn ports() {
    check(
        "_http._tcp.web.default.svc.cluster.local.",
        RecordType::SRV,
        expect!["0 100 80 web.default.svc.cluster.local."],
    );
    check(
        "_http._udp.web.default.svc.cluster.local.",
        RecordType::SRV,
        expect!["no such name"],
    );
    check(
        "_sql._tcp.db.default.svc.cluster.local.",
        RecordType::SRV,
        expect![
            "0 50 5432 10-42-0-3.db.default.svc.cluster.local. | 0 50 5432 db-0.db.default.svc.cluster.local."
        ],
    );
}

#[test]
fn pods_and_reverse() {
    check(
        "10-42-0-9.default.pod.cluster.local.",
        RecordType::A,
        expect!["10.42.0.9"],
    );
    check(
        "10-42-0-9.other.pod.cluster.local.",
        RecordType::A,
        expect!["no such name"],
    );
    check(
        "9.0.43.10.in-addr.arpa.",
        RecordType::PTR,
        expect!["web.default.svc.cluster.local."],
    );
    check(
        "2.0.42.10.in-addr.arpa.",
        RecordType::PTR,
        expect!["db-0.db.default.svc.cluster.local."],
    );
    // A service with an address of its own has names for its endpoints, too.
    check(
        "5.0.42.10.in-addr.arpa.",
        RecordType::PTR,
        expect!["10-42-0-5.web.default.svc.cluster.local."],
    );
    check("1.1.1.1.in-addr.arpa.", RecordType::PTR, expect!["foreign"]);
}

#[test]
fn both_families() {
    let cases = [
        ("both", RecordType::A, "10.43.0.8"),
        ("both", RecordType::AAAA, "fd00:43::8"),
        ("both", RecordType::ANY, ""),
        // Two addresses share one record.
        (
            "both",
            RecordType::SRV,
            "0 50 80 both.default.svc.cluster.local.",
        ),
        ("_http._tcp.both", RecordType::AAAA, "fd00:43::8"),
        ("_sql._tcp.six", RecordType::A, "10.42.0.6 | 10.42.0.7"),
        ("six", RecordType::A, "10.42.0.6 | 10.42.0.7"),
        ("six", RecordType::AAAA, "fd00:42::6 | fd00:42::7"),
        ("six-0.six", RecordType::AAAA, "fd00:42::6"),
        ("fd00-42--7.six", RecordType::AAAA, "fd00:42::7"),
        // There is such a name, of the other family.
        ("fd00-42--7.six", RecordType::A, ""),
        ("10-42-0-7.six", RecordType::AAAA, ""),
        ("db", RecordType::AAAA, ""),
        ("empty", RecordType::AAAA, "no such name"),
        (
            "_sql._tcp.six",
            RecordType::SRV,
            "0 25 5432 10-42-0-7.six.default.svc.cluster.local. | 0 25 5432 fd00-42--7.six.default.svc.cluster.local. | 0 25 5432 six-0.six.default.svc.cluster.local.",
        ),
    ];
    for (name, kind, wanted) in cases {
        let name = format!("{name}.default.svc.cluster.local.");
        assert_eq!(answer(&name, kind), wanted, "{kind} of {name}");
    }
    let pods = [
        ("fd00-42--9", RecordType::AAAA, "fd00:42::9"),
        ("2001-db8--1", RecordType::AAAA, "2001:db8::1"),
        ("1-2-3-4-5-6-7-8", RecordType::AAAA, "1:2:3:4:5:6:7:8"),
        ("fd00-42--9", RecordType::A, ""),
        ("10-42-0-9", RecordType::AAAA, ""),
        ("fd00-42--9--1", RecordType::AAAA, "no such name"),
    ];
    for (name, kind, wanted) in pods {
        let name = format!("{name}.default.pod.cluster.local.");
        assert_eq!(answer(&name, kind), wanted, "{kind} of {name}");
    }
    let reverse = [
        ("fd00:43::8", "both.default.svc.cluster.local."),
        ("fd00:42::6", "six-0.six.default.svc.cluster.local."),
        ("fd00:42::7", "fd00-42--7.six.default.svc.cluster.local."),
        ("10.42.0.7", "10-42-0-7.six.default.svc.cluster.local."),
        ("fd00:42::8", "foreign"),
    ];
    for (address, wanted) in reverse {
        let address: IpAddr = address.parse().unwrap();
        let name = Name::from(address).to_string();
        assert_eq!(answer(&name, RecordType::PTR), wanted, "{name}");
        if wanted != "foreign" {
            assert_eq!(answer(&name, RecordType::A), "", "{name}");
        }
    }
    // A part of an address is nobody's.
    assert_eq!(answer("0.0.d.f.ip6.arpa.", RecordType::PTR), "foreign");
}

#[test]
fn apex_and_between() {
    check(
        "dns-version.cluster.local.",
        RecordType::TXT,
        expect!["1.1.0"],
    );
    check(
        "cluster.local.",
        RecordType::NS,
        expect!["kube-dns.kube-system.svc.cluster.local."],
    );
    check("svc.cluster.local.", RecordType::A, expect![""]);
    check("default.svc.cluster.local.", RecordType::A, expect![""]);
    check("example.org.", RecordType::A, expect!["foreign"]);
}
