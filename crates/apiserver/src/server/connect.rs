//! Requests that are passed on: exec, attach and port-forward to a node's kubelet, the proxies of nodes, pods and services.

use http::{Request, header, request::Parts};
use knarr_admission::request::Operation;
use knarr_api::kind::Verb;
use knarr_auth::{
    authn, authz,
    objects::Objects,
    request::{RequestInfo, Selectors},
};
use knarr_meta::{status::Status, types::api_version};
use knarr_registry::{
    cache::{Cache, filter::Filter, resource::Page},
    write::Phase,
};
use serde_json::{Map, Value, json};

use super::incoming::Incoming;
use crate::{
    backend::{self, Destination, Location, Lookup, Target},
    core::Core,
    kubelet::{self, Stream},
    negotiate::not_acceptable,
    respond::Answer,
    rest::{self, ask::Ask, modify::write_of},
    socket::{self, Content},
};

/// The client's request without its body, with what an upgrade needs.
pub fn client(core: &Core, parts: &Parts, extensions: http::Extensions) -> Request<()> {
    let mut client = Request::new(());
    *client.method_mut() = parts.method.clone();
    *client.headers_mut() = parts.headers.clone();
    *client.extensions_mut() = extensions;
    authn::impersonation::strip(client.headers_mut());
    if let Some(proxies) = &core.proxies {
        proxies.believed.strip(client.headers_mut());
    }
    client
}

/// exec, attach, port-forward.
pub async fn stream(ask: &Ask<'_>, stream: Stream, mut client: Request<()>) -> Answer {
    let info = &ask.request.info;
    let verb = match info.verb {
        "get" => Verb::Get,
        "create" => Verb::Create,
        _ => return Err(Status::method_not_allowed()),
    };
    rest::allowed(ask, verb)?;
    let place = ask.core.limits.stream(&ask.user.name)?;
    let place = place.with(ask.audit.ending());
    if verb == Verb::Get {
        // A WebSocket opens with GET but does what POST does: reading pods must not be enough.
        let create = RequestInfo {
            verb: "create",
            ..info.clone()
        };
        authz::check(&*ask.core.authorizer, ask.user, &create)?;
    }
    let cache = &ask.core.registry.cache;
    cache.fresh().await?;
    let key = format!("{}/{}", info.namespace, info.name);
    let pod = cache.of(ask.kind())?.get(&key);
    let pod = pod
        .ok_or_else(|| Status::not_found(ask.group_resource(), info.name))?
        .tree();
    admit(ask).await?;
    ask.core
        .kubelets
        .stream(cache, &pod, stream, ask.request.query, &mut client, place)
        .await
}

/// A pod's log, over a WebSocket.
pub async fn log(ask: &Ask<'_>, mut client: Request<()>) -> Answer {
    let log = rest::read(ask).await?;
    socket::serve(&mut client, log, Content::Log, ask.core.kubelets.stop())
}

/// A watch, over a WebSocket.
pub async fn watch(ask: &Ask<'_>, mut client: Request<()>) -> Answer {
    let events = rest::read(ask).await?;
    let kind = events.headers().get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json")) {
        return Err(not_acceptable());
    }
    let stop = ask.core.kubelets.stop();
    socket::serve(&mut client, events, Content::Events, stop)
}

/// `nodes/NAME/proxy/…`, `pods/…` and `services/…` likewise: any request to the node's kubelet, a pod, a service's pod.
pub async fn proxy(ask: &Ask<'_>, body: &mut Incoming, mut client: Request<()>) -> Answer {
    let info = &ask.request.info;
    if ask.kind().subresource("proxy").is_none() || info.name.is_empty() {
        return Err(Status::path_not_found());
    }
    let core = ask.core;
    // From the dialing on: a pod may think about its answer for long.
    let place = core.limits.stream(&ask.user.name)?;
    let place = place.with(ask.audit.ending());
    core.registry.cache.fresh().await?;
    let location = Location {
        path: ask.request.path,
        rest: ask.request.rest,
        query: ask.request.query.raw(),
    };
    admit(ask).await?;
    let destination = match ask.kind().namespaced() {
        true => Destination::Address(target(ask)?),
        false => {
            let find = |name: &str| kubelet::node_named(&core.registry.cache, name);
            backend::of_node(info.name, &core.kubelets, find).await?
        }
    };
    let body = core.backends.hold(body).await?;
    let bytes = body.bytes.clone();
    core.backends
        .pass(&destination, &location, &mut client, bytes, place)
        .await
}

/// Admits a request that is passed on. What it asks for is the object: PodExecOptions and kin, of its query.
///
/// # Errors
/// 500 where a webhook changes it: what is passed on is what was asked for.
async fn admit(ask: &Ask<'_>) -> Result<(), Status> {
    let write = write_of(ask, false);
    let name = ask.request.info.name;
    let asked = options(ask);
    let mut options = asked.clone();
    for phase in [Phase::Mutate, Phase::Validate] {
        let object = options.as_mut();
        ask.core
            .registry
            .admit(&write, Operation::Connect, name, phase, object, None)
            .await?;
        if options != asked {
            let why =
                "an admission webhook changed what a connection asks for, which is not supported";
            return Err(Status::internal(why));
        }
    }
    Ok(())
}

/// The options of a streaming or proxying subresource as an object.
fn options(ask: &Ask<'_>) -> Option<Value> {
    let subresource = ask.kind().subresource(ask.request.info.subresource)?;
    let (group, version, kind) = subresource.kind?;
    let query = ask.request.query;
    let mut options = Map::new();
    let mut put = |field: &str, value: Value| options.insert(field.to_owned(), value);
    put("kind", json!(kind));
    put("apiVersion", json!(api_version(group, version)));
    for flag in ["stdin", "stdout", "stderr", "tty"] {
        if query.flag(flag) {
            put(flag, json!(true));
        }
    }
    if !query.get("container").is_empty() {
        put("container", json!(query.get("container")));
    }
    let command: Vec<&str> = query.all("command").collect();
    if !command.is_empty() {
        put("command", json!(command));
    }
    let ports: Vec<i64> = query
        .all("ports")
        .filter_map(|port| port.parse().ok())
        .collect();
    if !ports.is_empty() {
        put("ports", json!(ports));
    }
    if subresource.name == "proxy" && !ask.request.rest.is_empty() {
        put("path", json!(format!("/{}", ask.request.rest)));
    }
    Some(options.into())
}

/// The pod that a proxied request to a pod or a service is for.
fn target(ask: &Ask<'_>) -> Result<Target, Status> {
    let (cache, namespace) = (&*ask.core.registry.cache, ask.namespace());
    let find = |resource: &'static str| {
        move |name: &str| {
            let found = Objects::get(cache, "", resource, namespace, name)?;
            serde_json::from_slice(&found.json).ok()
        }
    };
    if ask.kind().resource == "pods" {
        return backend::of_pod(ask.request.info.name, find("pods"));
    }
    let slices = |service: &str| slices(cache, namespace, service).unwrap_or_default();
    let lookup = Lookup {
        service: &find("services"),
        slices: &slices,
        pod: &find("pods"),
    };
    backend::of_service(
        ask.request.info.name,
        namespace,
        &lookup,
        fastrand::usize(..),
    )
}

fn slices(cache: &Cache, namespace: &str, service: &str) -> Option<Vec<Value>> {
    let slices = cache.resource("discovery.k8s.io", "endpointslices")?;
    let selectors = Selectors::parse(&format!("{SERVICE_NAME}={service}"), "").ok()?;
    let filter = Filter::new(&slices.kind, namespace, &selectors).ok()?;
    let all = Page {
        start: None,
        limit: 0,
    };
    let listed = slices.list(&filter, all);
    Some(listed.entries.iter().map(|entry| entry.tree()).collect())
}

/// Labels an EndpointSlice with its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
