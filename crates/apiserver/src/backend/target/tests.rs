use serde_json::json;

use super::*;

fn pod(ip: &str) -> Value {
    json!({
        "spec": {"containers": [{"name": "a"}, {"name": "b", "ports": [{"containerPort": 8080}]}]},
        "status": {"podIP": ip, "podIPs": [{"ip": ip}]},
    })
}

fn target(id: &str, ip: &str) -> Result<String, String> {
    let found = of_pod(id, |name| (name == "web").then(|| pod(ip)));
    found
        .map(|target| format!("{} {target}", if target.tls { "https" } else { "http" }))
        .map_err(|status| format!("{} {}", status.code, status.message))
}

#[test]
fn a_pod_is_named_with_scheme_and_port() {
    let cases = [
        ("web", "http 10.42.0.5:8080"),
        ("web:90", "http 10.42.0.5:90"),
        ("http:web:90", "http 10.42.0.5:90"),
        ("https:web:", "https 10.42.0.5:8080"),
        ("https:web:443", "https 10.42.0.5:443"),
    ];
    for (id, wanted) in cases {
        assert_eq!(target(id, "10.42.0.5").as_deref(), Ok(wanted), "{id}");
    }
    for id in [
        "",
        ":80",
        "ftp:web:80",
        "http:web:80:x",
        "web:http",
        "web:70000",
    ] {
        let error = target(id, "10.42.0.5").unwrap_err();
        assert_eq!(error, format!("400 invalid pod request {id:?}"));
    }
    let missing = target("db", "10.42.0.5").unwrap_err();
    assert_eq!(missing, "404 pods \"db\" not found");
}

#[test]
fn this_machine_and_its_link_are_no_pods() {
    for ip in [
        "",
        "127.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1",
    ] {
        let error = target("web", ip).unwrap_err();
        assert_eq!(error, "400 address not allowed", "{ip}");
    }
}

fn slice(endpoints: &Value) -> Value {
    json!({"ports": [{"name": "", "port": 8080}, {"name": "admin", "port": 9090}], "endpoints": endpoints})
}

fn service(id: &str, endpoints: &Value, seed: usize) -> Result<String, String> {
    let slices = [slice(endpoints)];
    let find_pod = |name: &str| (name != "gone").then(|| pod(name));
    let lookup = Lookup {
        service: &|name| {
            let ports = json!([{"port": 80}, {"port": 81, "name": "admin"}]);
            (name == "web").then(|| json!({"spec": {"ports": ports}}))
        },
        slices: &|name| {
            if name == "web" {
                slices.to_vec()
            } else {
                Vec::new()
            }
        },
        // A pod is named by its address here.
        pod: &find_pod,
    };
    of_service(id, "shop", &lookup, seed)
        .map(|target| target.to_string())
        .map_err(|status| format!("{} {}", status.code, status.message))
}

fn endpoint(ip: &str, pod: &str, ready: bool) -> Value {
    json!({
        "addresses": [ip],
        "conditions": {"ready": ready},
        "targetRef": {"kind": "Pod", "name": pod, "namespace": "shop"},
    })
}

#[test]
fn a_service_is_one_of_its_ready_pods() {
    let endpoints = json!([
        endpoint("10.42.0.5", "10.42.0.5", true),
        endpoint("10.42.0.6", "10.42.0.6", false),
        endpoint("10.42.0.7", "10.42.0.7", true),
    ]);
    assert_eq!(
        service("web", &endpoints, 0).as_deref(),
        Ok("10.42.0.5:8080")
    );
    assert_eq!(
        service("web:80", &endpoints, 3).as_deref(),
        Ok("10.42.0.7:8080")
    );
    assert_eq!(
        service("web:admin", &endpoints, 0).as_deref(),
        Ok("10.42.0.5:9090")
    );
    assert_eq!(
        service("web:81", &endpoints, 0).as_deref(),
        Ok("10.42.0.5:9090")
    );
    let refused = [
        ("web:82", "503 no service port 82 found for service \"web\""),
        (
            "web:metrics",
            "503 no endpoints available for service \"web\"",
        ),
        ("db", "503 no endpoints available for service \"db\""),
        ("db:80", "404 services \"db\" not found"),
        ("a:b:c:d", "400 invalid service request \"a:b:c:d\""),
    ];
    for (id, wanted) in refused {
        assert_eq!(service(id, &endpoints, 0).unwrap_err(), wanted);
    }
}

#[test]
fn an_endpoint_that_is_no_pod_is_not_proxied_to() {
    let mut elsewhere = endpoint("10.42.0.5", "10.42.0.5", true);
    elsewhere["targetRef"]["namespace"] = json!("other");
    let mut nameless = endpoint("10.42.0.5", "", true);
    nameless["targetRef"] = Value::Null;
    let claims = [
        endpoint("192.0.2.9", "10.42.0.5", true),
        endpoint("169.254.169.254", "169.254.169.254", true),
        endpoint("10.42.0.5", "gone", true),
        elsewhere,
        nameless,
    ];
    for claim in claims {
        let error = service("web", &json!([claim]), 0).unwrap_err();
        assert_eq!(
            error, "503 no endpoints available for service \"web\"",
            "{claim}"
        );
    }
}
