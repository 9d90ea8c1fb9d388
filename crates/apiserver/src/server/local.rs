//! Clients in this process: the same chain without TLS, with an identity instead of a certificate.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use knarr_auth::{AUTHENTICATED, UserInfo};

use super::{handle::handle, incoming::Incoming, peer::Peer};
use crate::{
    body::{Body, BoxError},
    core::Core,
};

/// A tower service over the server's own handlers. RBAC applies to its user as to any other.
#[derive(Clone)]
pub struct LocalService {
    core: Arc<Core>,
    peer: Arc<Peer>,
    /// Which of upstream's programs the user's writes are by.
    agent: HeaderValue,
}

impl LocalService {
    pub(crate) fn new(core: Arc<Core>, mut user: UserInfo) -> LocalService {
        if !user.groups.iter().any(|g| g == AUTHENTICATED) {
            user.groups.push(AUTHENTICATED.to_owned());
        }
        LocalService {
            core,
            agent: HeaderValue::from_str(program(&user.name))
                .unwrap_or(HeaderValue::from_static("")),
            peer: Arc::new(Peer::Local(Arc::new(user))),
        }
    }

    /// The same server for another user.
    pub fn with_user(&self, user: UserInfo) -> LocalService {
        LocalService::new(self.core.clone(), user)
    }
}

/// The program of upstream's that acts as a user: what managed fields call it by.
fn program(user: &str) -> &str {
    let Some(own) = user.strip_prefix("system:") else {
        return "";
    };
    match own.split_once(':') {
        Some(("node", _)) => "kubelet",
        // Each controller has an account; they are one program.
        Some(_) => "kube-controller-manager",
        None if own == "apiserver" => "kube-apiserver",
        None => own,
    }
}

impl<B> tower::Service<Request<B>> for LocalService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request
            .headers_mut()
            .entry(header::USER_AGENT)
            .or_insert_with(|| self.agent.clone());
        let (core, peer) = (self.core.clone(), self.peer.clone());
        let request =
            request.map(|body| Incoming::Local(body.map_err(std::io::Error::other).boxed_unsync()));
        Box::pin(async move { Ok(handle(&core, request, &peer).await) })
    }
}

#[cfg(test)]
mod tests {
    use super::program;

    #[test]
    fn users_act_for_upstreams_programs() {
        for (user, wanted) in [
            ("system:node:a", "kubelet"),
            (
                "system:serviceaccount:kube-system:job-controller",
                "kube-controller-manager",
            ),
            ("system:kube-scheduler", "kube-scheduler"),
            ("system:apiserver", "kube-apiserver"),
            ("jane", ""),
        ] {
            assert_eq!(program(user), wanted, "{user}");
        }
    }
}
