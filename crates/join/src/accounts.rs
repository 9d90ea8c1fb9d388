//! Tokens of the service accounts under which the parts of a node, or the controllers, act.
//!
//! A node's are asked for under its identity and bound to its Node object: once that is deleted they are worth nothing. Until the
//! kubelet has made it, requests wait. Those of the controllers are bound to nothing, and an account that is missing is made, as
//! upstream's controller manager does with `--use-service-account-credentials`. A token is renewed by the first request that finds it
//! old, and again when the server refuses it.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use hyper::body::Incoming;
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Node, ServiceAccount},
};
use knarr_auth::node_accounts::NAMESPACE;
use knarr_client::errors;
use kube::{
    Api,
    api::{ObjectMeta, PostParams, WatchEvent, WatchParams},
    client::Body,
};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tower::{BoxError, Service, ServiceExt};

use crate::transport::Transport;

/// Life of a token, upstream's default.
const LIFE: Duration = Duration::from_secs(3600);
/// Renewed after this, as kubelets do for pods: at 80 % of its life.
const RENEWED_AFTER: Duration = Duration::from_secs(2880);
/// Longest wait for a Node object, and for a token: informers ask again after it.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(60);
/// Of one watch, in seconds.
const WATCH_SECONDS: u32 = 60;

/// Makes tokens.
pub(crate) struct Issuer {
    /// Who asks for them.
    client: kube::Client,
    /// What they are bound to.
    node: Option<BoundNode>,
}

/// A node whose end is that of its tokens.
struct BoundNode {
    name: String,
    /// Of the Node object, once it was seen.
    uid: tokio::sync::Mutex<Option<String>>,
}

impl Issuer {
    /// Tokens of a node, which it asks for itself.
    pub(crate) fn of_node(client: kube::Client, node_name: String) -> Self {
        let node = BoundNode {
            name: node_name,
            uid: tokio::sync::Mutex::default(),
        };
        Self {
            client,
            node: Some(node),
        }
    }

    /// Tokens that are bound to nothing.
    pub(crate) fn unbound(client: kube::Client) -> Self {
        Self { client, node: None }
    }

    async fn issue(&self, account: &str) -> Result<Token, kube::Error> {
        match &self.node {
            Some(node) => self.issue_bound(account, node).await,
            None => match self.request(account, None).await {
                Err(error) if errors::is_not_found(&error) => {
                    self.make_account(account).await?;
                    self.request(account, None).await
                }
                issued => issued,
            },
        }
    }

    async fn issue_bound(&self, account: &str, node: &BoundNode) -> Result<Token, kube::Error> {
        let known = node.uid.lock().await.clone();
        if let Some(uid) = known {
            let issued = self.request(account, Some(bound_to(node, &uid))).await;
            if issued.is_ok() {
                return issued;
            }
            // The Node may have been deleted, and made again or not yet.
            let mut known = node.uid.lock().await;
            if known.as_ref() == Some(&uid) {
                *known = None;
            }
        }
        let uid = self.node_uid(node).await?;
        self.request(account, Some(bound_to(node, &uid))).await
    }

    /// Makes an account; that somebody else has made it meanwhile is as well.
    async fn make_account(&self, name: &str) -> Result<(), kube::Error> {
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            ..ServiceAccount::default()
        };
        let accounts = self.accounts();
        match accounts.create(&PostParams::default(), &account).await {
            Err(error) if !errors::is_already_exists(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn accounts(&self) -> Api<ServiceAccount> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The uid of the Node object; waits until there is one.
    async fn node_uid(&self, node: &BoundNode) -> Result<String, kube::Error> {
        let mut known = node.uid.lock().await;
        if let Some(uid) = &*known {
            return Ok(uid.clone());
        }
        let api: Api<Node> = Api::all(self.client.clone());
        let params = WatchParams::default()
            .fields(&format!("metadata.name={}", node.name))
            .timeout(WATCH_SECONDS);
        loop {
            let mut events = Box::pin(api.watch(&params, "0").await?);
            while let Some(event) = events.next().await {
                match event? {
                    WatchEvent::Added(seen) | WatchEvent::Modified(seen) => {
                        let uid = seen.metadata.uid.unwrap_or_default();
                        return Ok(known.insert(uid).clone());
                    }
                    WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
                    WatchEvent::Deleted(_) | WatchEvent::Bookmark(_) => {}
                }
            }
        }
    }

    async fn request(
        &self,
        account: &str,
        bound: Option<BoundObjectReference>,
    ) -> Result<Token, kube::Error> {
        let asked = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: i64::try_from(LIFE.as_secs()).ok(),
                bound_object_ref: bound,
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let before = Instant::now();
        let params = PostParams::default();
        let answer: TokenRequest = self
            .accounts()
            .create_subresource("token", account, &params, &asked)
            .await?;
        let token = answer.status.map(|status| status.token).unwrap_or_default();
        let header = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut header = header.map_err(|error| kube::Error::HttpError(error.into()))?;
        header.set_sensitive(true);
        Ok(Token {
            header,
            renewed: before + RENEWED_AFTER,
            ends: before + LIFE,
        })
    }
}

fn bound_to(node: &BoundNode, uid: &str) -> BoundObjectReference {
    BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(node.name.clone()),
        uid: Some(uid.to_owned()),
    }
}

/// A token as requests carry it.
#[derive(Clone)]
struct Token {
    header: HeaderValue,
    renewed: Instant,
    ends: Instant,
}

/// One account's token.
struct Account {
    name: String,
    issuer: Arc<Issuer>,
    token: Mutex<Option<Token>>,
    /// One asks, the others wait.
    asking: tokio::sync::Mutex<()>,
}

impl Account {
    async fn header(&self) -> Result<HeaderValue, BoxError> {
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        let _one = self.asking.lock().await;
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        let issued = timeout(TOKEN_TIMEOUT, self.issuer.issue(&self.name)).await;
        let why: BoxError = match issued {
            Ok(Ok(token)) => {
                let header = token.header.clone();
                *self.token.lock() = Some(token);
                return Ok(header);
            }
            Ok(Err(error)) => error.into(),
            Err(_) => NoToken {
                account: self.name.clone(),
                of_node: self.issuer.node.is_some(),
            }
            .into(),
        };
        // One that is old is better than none.
        let old = self.token.lock().clone();
        old.filter(|token| Instant::now() < token.ends)
            .map(|token| token.header)
            .ok_or(why)
    }

    fn fresh(&self) -> Option<HeaderValue> {
        let token = self.token.lock();
        let fresh = token
            .as_ref()
            .filter(|token| Instant::now() < token.renewed);
        fresh.map(|token| token.header.clone())
    }

    /// The server refuses this one.
    fn forget(&self, header: &HeaderValue) {
        let mut token = self.token.lock();
        if token.as_ref().is_some_and(|token| token.header == header) {
            *token = None;
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no token of service account {NAMESPACE}/{account} in time{}", if *.of_node { ": this node has not registered" } else { "" })]
struct NoToken {
    account: String,
    of_node: bool,
}

/// Requests under a service account.
#[derive(Clone)]
pub(crate) struct AsAccount {
    transport: Transport,
    account: Arc<Account>,
}

impl AsAccount {
    pub(crate) fn new(transport: Transport, issuer: Arc<Issuer>, name: &str) -> Self {
        let account = Account {
            name: name.to_owned(),
            issuer,
            token: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        };
        Self {
            transport,
            account: Arc::new(account),
        }
    }

    async fn send(self, mut request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let header = self.account.header().await?;
        // The body of a request that is sent again; one that streams is sent once.
        let again = request.body().try_clone().map(|body| {
            let mut again = Request::new(body);
            *again.method_mut() = request.method().clone();
            *again.uri_mut() = request.uri().clone();
            *again.headers_mut() = request.headers().clone();
            again
        });
        request.headers_mut().insert(AUTHORIZATION, header.clone());
        let answer = self.transport.clone().oneshot(request).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.account.forget(&header);
        let Some(mut again) = again else {
            return Ok(answer);
        };
        let header = self.account.header().await?;
        again.headers_mut().insert(AUTHORIZATION, header);
        self.transport.oneshot(again).await
    }
}

impl fmt::Debug for AsAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsAccount")
            .field(&self.account.name)
            .finish()
    }
}

impl Service<Request<Body>> for AsAccount {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().send(request).boxed()
    }
}
