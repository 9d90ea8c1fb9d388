//! Requests that are passed on to a node's kubelet: exec, attach, port-forward and the node proxy.

use http::{Method, Request, request::Parts};
use knarr_api::kind::Verb;
use knarr_meta::status::Status;

use super::incoming::Incoming;
use crate::{
    authn, authz, escape,
    kubelet::Stream,
    request::{Operation, RequestInfo},
    respond::Answer,
    rest::{self, ask::Ask, modify::write_of},
    write::Phase,
};

/// The client's request without its body, with what an upgrade needs.
pub fn client(parts: &Parts, extensions: http::Extensions) -> Request<()> {
    let mut client = Request::new(());
    *client.method_mut() = match parts.method {
        Method::HEAD => Method::GET,
        ref method => method.clone(),
    };
    *client.headers_mut() = parts.headers.clone();
    *client.extensions_mut() = extensions;
    authn::impersonation::strip(client.headers_mut());
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
    if verb == Verb::Get {
        // A WebSocket opens with GET but does what POST does: reading pods must not be enough.
        let create = RequestInfo {
            verb: "create",
            ..info.clone()
        };
        authz::check(&*ask.core.authorizer, ask.user, &create)?;
    }
    let cache = &ask.core.cache;
    cache.fresh().await?;
    let key = format!("{}/{}", info.namespace, info.name);
    let pod = cache.of(ask.kind())?.get(&key);
    let pod = pod
        .ok_or_else(|| Status::not_found(ask.group_resource(), info.name))?
        .tree();
    let write = write_of(ask, false);
    for phase in [Phase::Mutate, Phase::Validate] {
        ask.core
            .admit(&write, Operation::Connect, info.name, phase, None, None)
            .await?;
    }
    ask.core
        .kubelets
        .stream(cache, &pod, stream, ask.request.query, &mut client)
        .await
}

/// A pod's log, over a WebSocket.
pub async fn log(ask: &Ask<'_>, mut client: Request<()>) -> Answer {
    let log = rest::read(ask).await?;
    ask.core.kubelets.over_websocket(&mut client, log)
}

/// `nodes/NAME/proxy/…`: any request to the node's kubelet.
pub async fn proxy(ask: &Ask<'_>, body: &mut Incoming, mut client: Request<()>) -> Answer {
    let info = &ask.request.info;
    let known = ask.kind().subresource("proxy").is_some() && !info.name.is_empty();
    if !known || ask.kind().namespaced() {
        return Err(Status::path_not_found());
    }
    ask.core.cache.fresh().await?;
    // `https:NAME:PORT` is upstream's way to choose scheme and port; kubelets have one of each.
    let mut uri = format!("/{}", escape::path(ask.request.rest));
    let query = ask.request.query.raw();
    if !query.is_empty() {
        uri.push('?');
        uri.push_str(query);
    }
    let body = body.read().await?;
    ask.core
        .kubelets
        .pass(&ask.core.cache, info.name, uri, &mut client, body)
        .await
}
