//! Clients in this process: the same chain without TLS, with an identity instead of a certificate.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;

use super::{handle::handle, incoming::Incoming, peer::Peer};
use crate::{
    authn,
    body::{Body, BoxError},
    core::Core,
    request::UserInfo,
};

/// A tower service over the server's own handlers. RBAC applies to its user as to any other.
#[derive(Clone)]
pub struct LocalService {
    core: Arc<Core>,
    peer: Arc<Peer>,
}

impl LocalService {
    pub(crate) fn new(core: Arc<Core>, mut user: UserInfo) -> LocalService {
        if !user.groups.iter().any(|g| g == authn::AUTHENTICATED) {
            user.groups.push(authn::AUTHENTICATED.to_owned());
        }
        LocalService {
            core,
            peer: Arc::new(Peer::Local(Arc::new(user))),
        }
    }

    /// The same server for another user.
    pub fn with_user(&self, user: UserInfo) -> LocalService {
        LocalService::new(self.core.clone(), user)
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

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (core, peer) = (self.core.clone(), self.peer.clone());
        let request =
            request.map(|body| Incoming::Local(body.map_err(std::io::Error::other).boxed_unsync()));
        Box::pin(async move { Ok(handle(&core, request, &peer).await) })
    }
}
