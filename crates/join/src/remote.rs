//! Clients over HTTPS, one for each identity that a node has.

use std::{collections::BTreeMap, io, sync::Arc};

use http::{
    HeaderValue, Request, Response,
    header::{AUTHORIZATION, USER_AGENT},
};
use knarr_auth::{bootstrap_token::BootstrapToken, node_accounts};
use knarr_client::{Clients, requests::Requests, throttle::Throttle};
use kube::client::Body;
use tower::{
    BoxError, Layer, service_fn,
    util::{MapRequest, MapRequestLayer},
};

use crate::{
    accounts::{AsAccount, Issuer},
    transport::Transport,
};

/// Makes clients of the identities that a node has: its own, by its certificate, and those of [`node_accounts`], by tokens. Requests of
/// any other fail with an error that says so.
pub struct RemoteClients {
    /// `system:node:<name>`
    user: String,
    node: Transport,
    /// By `system:serviceaccount:<namespace>:<name>`.
    accounts: BTreeMap<String, AsAccount>,
}

impl RemoteClients {
    /// `node` shows the node's certificate, `nobody` none.
    pub(crate) fn new(node_name: &str, node: Transport, nobody: &Transport) -> Self {
        let issuer = Arc::new(Issuer::of_node(client(node.clone()), node_name.to_owned()));
        let accounts = node_accounts::ALL.into_iter().map(|name| {
            let namespace = node_accounts::NAMESPACE;
            let user = format!("system:serviceaccount:{namespace}:{name}");
            let account = AsAccount::new(nobody.clone(), issuer.clone(), name);
            (user, account)
        });
        Self {
            user: format!("system:node:{node_name}"),
            node,
            accounts: accounts.collect(),
        }
    }

    /// The node's own client.
    pub(crate) fn node(&self) -> kube::Client {
        client(self.node.clone())
    }
}

impl Clients for RemoteClients {
    /// The groups follow from the identity, whatever is asked for.
    fn as_user(&self, name: &str, _groups: &[&str]) -> kube::Client {
        if name == self.user {
            return self.node();
        }
        match self.accounts.get(name) {
            Some(account) => Throttle::new(account.clone()).client(NAMESPACE),
            None => refusing(name),
        }
    }

    fn counted(&self, name: &str, groups: &[&str]) -> (kube::Client, Option<Arc<Requests>>) {
        if name != self.user {
            return (self.as_user(name, groups), None);
        }
        let service = named(self.node.clone());
        let requests = service.requests();
        (service.client(NAMESPACE), Some(requests))
    }
}

/// Where requests go that name no namespace.
pub(crate) const NAMESPACE: &str = "default";

/// The program of upstream's that acts as a node: what managed fields call it by.
const NODES_PROGRAM: HeaderValue = HeaderValue::from_static("kubelet");

fn client(transport: Transport) -> kube::Client {
    named(transport).client(NAMESPACE)
}

fn named(
    transport: Transport,
) -> Throttle<MapRequest<Transport, impl Fn(Request<Body>) -> Request<Body> + Clone>> {
    Throttle::new(saying(NODES_PROGRAM).layer(transport))
}

/// Has requests say which program they come from.
fn saying(
    program: HeaderValue,
) -> MapRequestLayer<impl Fn(Request<Body>) -> Request<Body> + Clone> {
    MapRequestLayer::new(move |mut request: Request<Body>| {
        request.headers_mut().insert(USER_AGENT, program.clone());
        request
    })
}

/// A client of who has this token.
pub(crate) fn bootstrap_client(
    transport: Transport,
    token: &BootstrapToken,
) -> Result<kube::Client, http::header::InvalidHeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))?;
    header.set_sensitive(true);
    let named = MapRequestLayer::new(move |mut request: Request<Body>| {
        request.headers_mut().insert(AUTHORIZATION, header.clone());
        request
    });
    Ok(Throttle::new(named.layer(transport)).client(NAMESPACE))
}

fn refusing(name: &str) -> kube::Client {
    let name: Arc<str> = name.into();
    let refuse = service_fn(move |_: Request<Body>| {
        let text = format!("a node has no credentials of {name}");
        async move {
            let refused = io::Error::new(io::ErrorKind::PermissionDenied, text);
            Err::<Response<Body>, BoxError>(refused.into())
        }
    });
    Throttle::new(refuse).client(NAMESPACE)
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_node_says_that_it_is_a_kubelet() {
        let answer = tower::service_fn(|request: Request<Body>| async move {
            let said = request.headers().get(USER_AGENT).cloned();
            Ok::<_, BoxError>(said)
        });
        let request = Request::new(Body::empty());
        let said = saying(NODES_PROGRAM).layer(answer).oneshot(request).await;
        assert_eq!(said.expect("an answer"), Some(NODES_PROGRAM));
    }
}
