//! Whether a server can be reached, as far as this cluster's objects say: upstream's `remote_available_controller.go` before it
//! dials.

use knarr_api::apiregistration::api_service::Availability;
use knarr_auth::objects::Objects;
use knarr_meta::object::{label, list_at, str_at};
use serde_json::Value;

/// Labels an EndpointSlice with its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A Service and a port of it.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub port: u16,
}

/// What the way to a server follows from: where it differs, the server is asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    /// Why the server cannot be reached.
    Missing(Availability),
    /// The type of the Service, and its endpoints: addresses, ports, and whether they are ready.
    Present(String, Vec<String>),
}

/// Looks at the Service and its endpoints.
pub fn facts(objects: &dyn Objects, to: Reference<'_>) -> Facts {
    let service = objects.get("", "services", to.namespace, to.name);
    let service = service.and_then(|found| serde_json::from_slice::<Value>(&found.json).ok());
    let slices = objects.list("discovery.k8s.io", "endpointslices", to.namespace);
    let slices: Vec<Value> = slices
        .iter()
        .filter_map(|slice| serde_json::from_slice(&slice.json).ok())
        .filter(|slice: &Value| label(slice, SERVICE_NAME) == Some(to.name))
        .collect();
    judge(to, service.as_ref(), &slices)
}

fn judge(to: Reference<'_>, service: Option<&Value>, slices: &[Value]) -> Facts {
    let Reference {
        namespace,
        name,
        port,
    } = to;
    let missing = |reason, message| {
        Facts::Missing(Availability {
            status: "False",
            reason,
            message,
        })
    };
    let Some(service) = service else {
        let message = format!("service/{name} in {namespace:?} is not present");
        return missing("ServiceNotFound", message);
    };
    let kind = str_at(service, &["spec", "type"]);
    if kind == "ClusterIP" {
        let mut ports = list_at(service, &["spec", "ports"]).iter();
        let Some(found) = ports.find(|one| one["port"].as_u64() == Some(u64::from(port))) else {
            let message =
                format!("service/{name} in {namespace:?} is not listening on port {port}");
            return missing("ServicePortError", message);
        };
        if slices.is_empty() {
            let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
            return missing("EndpointsNotFound", message);
        }
        let port_name = str_at(found, &["name"]);
        if !slices.iter().any(|slice| has_endpoint(slice, port_name)) {
            let message = format!(
                "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
            );
            return missing("MissingEndpoints", message);
        }
    }
    let mut endpoints: Vec<String> = slices.iter().flat_map(endpoints).collect();
    endpoints.sort();
    Facts::Present(kind.to_owned(), endpoints)
}

fn is_ready(endpoint: &Value) -> bool {
    endpoint["conditions"]["ready"] != Value::Bool(false)
}

fn has_endpoint(slice: &Value, port: &str) -> bool {
    let mut ports = list_at(slice, &["ports"]).iter();
    list_at(slice, &["endpoints"]).iter().any(is_ready)
        && ports.any(|one| str_at(one, &["name"]) == port && one["port"].is_number())
}

fn endpoints(slice: &Value) -> impl Iterator<Item = String> {
    let ports = slice["ports"].to_string();
    let endpoints = list_at(slice, &["endpoints"]).iter();
    endpoints.map(move |one| format!("{} {} {ports}", one["addresses"], is_ready(one)))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn check(service: &Value, slices: &[Value]) -> String {
        let to = Reference {
            namespace: "n",
            name: "s",
            port: 443,
        };
        match judge(
            to,
            Some(service).filter(|service| !service.is_null()),
            slices,
        ) {
            Facts::Missing(why) => format!("{} {}: {}", why.status, why.reason, why.message),
            Facts::Present(kind, endpoints) => format!("{kind}: {}", endpoints.join(", ")),
        }
    }

    #[test]
    fn tells_what_is_missing_in_upstreams_words() {
        let service = |kind: &str, port: u16| json!({"spec": {"type": kind, "ports": [{"name": "https", "port": port}]}});
        let slice = |port: &str, ready: Value| {
            json!({"ports": [{"name": port, "port": 8443}],
                "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]})
        };
        expect![[r#"False ServiceNotFound: service/s in "n" is not present"#]]
            .assert_eq(&check(&Value::Null, &[]));
        expect![[r#"False ServicePortError: service/s in "n" is not listening on port 443"#]]
            .assert_eq(&check(&service("ClusterIP", 80), &[]));
        expect![[r#"False EndpointsNotFound: cannot find endpointslices for service/s in "n""#]]
            .assert_eq(&check(&service("ClusterIP", 443), &[]));
        let missing = expect![[
            r#"False MissingEndpoints: endpointslices for service/s in "n" have no addresses with port name "https""#
        ]];
        missing.assert_eq(&check(
            &service("ClusterIP", 443),
            &[slice("https", json!(false))],
        ));
        missing.assert_eq(&check(
            &service("ClusterIP", 443),
            &[slice("http", json!(true))],
        ));
        expect![[r#"ClusterIP: ["10.0.0.1"] true [{"name":"https","port":8443}]"#]].assert_eq(
            &check(&service("ClusterIP", 443), &[slice("https", Value::Null)]),
        );
        // Others are not looked into, as upstream.
        expect!["ExternalName: "].assert_eq(&check(&service("ExternalName", 80), &[]));
    }
}
