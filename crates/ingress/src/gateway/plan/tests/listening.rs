//! Gateways and listeners.

use std::net::IpAddr;

use super::*;

const SERVED: &str = "Accepted ResolvedRefs Programmed";

fn certificate() -> Arc<CertifiedKey> {
    crate::certificates::Shown::new()
        .expect("certificates")
        .other()
}

fn https(name: &str, host: Option<&str>, secret: Value) -> Value {
    json!({
        "name": name, "port": 443, "protocol": "HTTPS", "hostname": host,
        "tls": {"mode": "Terminate", "certificateRefs": [secret]},
    })
}

#[test]
fn listeners_by_what_they_ask_for() {
    let kinds = json!({"kinds": [{"kind": "TLSRoute"}, {"kind": "HTTPRoute"}]});
    let cases = [
        (http_listener(json!({})), "HTTPRoute+GRPCRoute", SERVED),
        (
            http_listener(json!({"protocol": "TCP"})),
            "",
            "!Accepted=UnsupportedProtocol ResolvedRefs !Programmed=Invalid",
        ),
        (
            http_listener(json!({"allowedRoutes": kinds})),
            "HTTPRoute",
            "Accepted !ResolvedRefs=InvalidRouteKinds Programmed",
        ),
        (
            http_listener(json!({"allowedRoutes": {"kinds": [{"kind": "TLSRoute"}]}})),
            "",
            "Accepted !ResolvedRefs=InvalidRouteKinds !Programmed=Invalid",
        ),
        (
            http_listener(json!({"port": 443})),
            "HTTPRoute+GRPCRoute",
            "!Accepted=PortUnavailable ResolvedRefs !Programmed=Invalid",
        ),
        (
            http_listener(json!({"port": 6443})),
            "HTTPRoute+GRPCRoute",
            "!Accepted=PortUnavailable ResolvedRefs !Programmed=Invalid",
        ),
        (
            https("http", None, json!({"name": "s"})),
            "HTTPRoute+GRPCRoute",
            SERVED,
        ),
        (
            https("http", None, json!({"name": "none"})),
            "HTTPRoute+GRPCRoute",
            "Accepted !ResolvedRefs=InvalidCertificateRef !Programmed=Invalid",
        ),
        (
            https("http", None, json!({"kind": "Bucket", "name": "s"})),
            "HTTPRoute+GRPCRoute",
            "Accepted !ResolvedRefs=InvalidCertificateRef !Programmed=Invalid",
        ),
        (
            https("http", None, json!({"name": "s", "namespace": "b"})),
            "HTTPRoute+GRPCRoute",
            "Accepted !ResolvedRefs=RefNotPermitted !Programmed=Invalid",
        ),
        (
            json!({"name": "http", "port": 443, "protocol": "HTTPS",
                "tls": {"certificateRefs": [{"name": "s"}], "options": {"example.com/x": "y"}}}),
            "HTTPRoute+GRPCRoute",
            "!Accepted=UnsupportedValue ResolvedRefs !Programmed=Invalid",
        ),
    ];
    for (listener, kinds, expected) in cases {
        let mut scene = Scene::new().gateway("g/g", json!([listener]));
        scene.beside.taken.insert(6443);
        let certificates = ["g/s", "b/s"].map(|key| (key.to_owned(), certificate()));
        scene.beside.certificates = certificates.into();
        let told = of_gateway(&scene.plan(), "g/g");
        assert_eq!(
            told[1],
            format!("http 0 [{kinds}] {expected}"),
            "{listener}"
        );
    }
}

#[test]
fn certificates_of_other_namespaces_by_grant() {
    let secret = json!({"name": "s", "namespace": "b"});
    let mut scene = Scene::new()
        .grant("b/grant", ("Gateway", "g"), "Secret")
        .gateway("g/g", json!([https("a", None, secret)]));
    let known = ("b/s".to_owned(), certificate());
    scene.beside.certificates = [known].into();
    let plan = scene.plan();
    assert_eq!(of_gateway(&plan, "g/g")[0], "Accepted Programmed");
    let served = &plan.places[&(None, 443)];
    assert!(served.tls && served.sites[""].certificates.len() == 1);
}

#[test]
fn listeners_beside_each_other() {
    let secret = || json!({"name": "s"});
    let mut scene = Scene::new()
        .gateway("g/first", json!([http_listener(json!({"port": 8080, "hostname": "h.example"}))]))
        .gateway("b/same", json!([http_listener(json!({"port": 8080, "hostname": "H.example"}))]))
        .gateway("g/shares", json!([http_listener(json!({"port": 8080, "hostname": "h.example"}))]))
        .gateway(
            "g/tls",
            json!([{"name": "x", "port": 8080, "protocol": "HTTPS", "tls": {"certificateRefs": [secret()]}}]),
        )
        .gateway(
            "g/overlapping",
            json!([
                https("a", Some("*.example"), secret()), https("b", Some("b.example"), secret()),
                https("c", Some("c.org"), secret()),
            ]),
        )
        .gateway("g/theirs", json!([http_listener(json!({"hostname": "ingress.example"}))]))
        .gateway("b/theirs", json!([http_listener(json!({"hostname": "ingress.example"}))]));
    scene.beside.certificates = [("g/s".to_owned(), certificate())].into();
    scene.owners = [("ingress.example".to_owned(), "b".to_owned())].into();
    let plan = scene.plan();
    let conditions = |name: &str, at: usize| {
        let told = of_gateway(&plan, name);
        told[at].split_once("] ").expect("conditions").1.to_owned()
    };
    assert_eq!(conditions("g/first", 1), SERVED);
    assert_eq!(conditions("g/shares", 1), SERVED);
    let conflict =
        |reason: &str| format!("Accepted Conflicted={reason} ResolvedRefs !Programmed=Invalid");
    assert_eq!(conditions("b/same", 1), conflict("HostnameConflict"));
    assert_eq!(conditions("g/tls", 1), conflict("ProtocolConflict"));
    assert_eq!(conditions("g/theirs", 1), conflict("HostnameConflict"));
    assert_eq!(conditions("b/theirs", 1), SERVED);
    let overlapping = format!("{SERVED} OverlappingTLSConfig=OverlappingHostnames");
    assert_eq!(conditions("g/overlapping", 1), overlapping);
    assert_eq!(conditions("g/overlapping", 2), overlapping);
    assert_eq!(conditions("g/overlapping", 3), SERVED);
    assert_eq!(
        of_gateway(&plan, "g/tls")[0],
        "!Accepted=ListenersNotValid !Programmed=Invalid"
    );
}

#[test]
fn a_gateway_is_accepted_with_its_listeners() {
    let bad = json!({"name": "bad", "port": 81, "protocol": "TCP"});
    let cases = [
        (json!([http_listener(json!({}))]), "Accepted Programmed"),
        (
            json!([http_listener(json!({})), bad]),
            "Accepted=ListenersNotValid Programmed",
        ),
        (
            json!([bad]),
            "!Accepted=ListenersNotValid !Programmed=Invalid",
        ),
    ];
    for (listeners, expected) in cases {
        let mut scene = Scene::new().gateway("g/g", listeners);
        assert_eq!(of_gateway(&scene.plan(), "g/g")[0], expected);
    }
    let mut scene = Scene::new().gateway("g/g", json!([http_listener(json!({}))]));
    let mut gateway = (*scene.world.gateways[0]).clone();
    gateway.spec.addresses = vec![crate::gateway::types::Address {
        type_: Some("Hostname".to_owned()),
        value: "h".to_owned(),
    }];
    scene.world.gateways = vec![Arc::new(gateway)];
    let plan = scene.plan();
    assert_eq!(
        of_gateway(&plan, "g/g")[0],
        "!Accepted=UnsupportedAddress !Programmed=Invalid"
    );
    assert!(plan.places.is_empty() && plan.ports.is_empty());
}

#[test]
fn classes() {
    let mut scene = Scene::new().gateway("g/g", json!([http_listener(json!({}))]));
    let mut class = (*scene.world.classes[0]).clone();
    class.spec.parameters_ref = Some(json!({"kind": "X"}));
    scene.world.classes = vec![Arc::new(class)];
    scene.world.release = Some("v2.0.0".to_owned());
    let told_of = |plan: &Plan| match &plan.statuses[&Subject::Class("knarr".to_owned())].status {
        Status::Class { conditions } => told(conditions),
        status => panic!("{status:?}"),
    };
    assert_eq!(
        told_of(&scene.plan()),
        "!Accepted=InvalidParameters !SupportedVersion=UnsupportedVersion"
    );
    // Nobody's as long as the class is not accepted.
    assert!(scene.plan().places.is_empty());
    assert_eq!(told_of(&Scene::new().plan()), "Accepted SupportedVersion");
    // Gateways of other classes are others'.
    let mut scene = Scene::new().gateway("g/g", json!([http_listener(json!({}))]));
    scene.world.classes.clear();
    assert!(scene.plan().statuses.is_empty());
}

#[test]
fn addresses_of_their_own() {
    let own: IpAddr = [198, 51, 100, 1].into();
    let mut scene = Scene::new()
        .gateway("g/own", json!([http_listener(json!({}))]))
        .gateway("g/shares", json!([http_listener(json!({}))]));
    scene.places.own = vec![own];
    let plan = scene.plan();
    let places: Vec<Place> = plan.places.keys().copied().collect();
    assert_eq!(places, [(None, 80), (Some(own), 80)]);
    assert_eq!(of_gateway(&plan, "g/own")[0], "Accepted Programmed");
}
