//! The chain every request passes: parse, authenticate, impersonate, authorize, limit, dispatch, answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, Method, Request, Response, header, request::Parts};
use jiff::Timestamp;
use knarr_api::{Served, kind::text};
use knarr_audit::Received;
use knarr_auth::{
    UserInfo, authn, bearer,
    route::{ApiRequest, Decoded},
};
use knarr_meta::{clock, field::Emptied, status::Status};
use knarr_registry::{catalog::Snapshot, managed::Siblings, write::Warnings};
use knarr_states::Share;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    answer,
    audit::{self, Audit},
    connect, deadline,
    flow::{self, Asked, Flow},
    incoming::Incoming,
    limits,
    metrics::{self, Labels},
    pages,
    peer::Peer,
    refusal, scope,
};
use crate::{
    aggregation::{self, Route, local::Local},
    body::Body,
    core::Core,
    kubelet::Stream,
    respond::{self, Answer},
    rest::{self, apply, ask::Ask},
};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache, private");

/// Answers a request. Never fails and never panics: every error is a Status.
pub async fn handle(core: &Arc<Core>, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
    let (mut parts, mut body) = request.into_parts();
    let extensions = std::mem::take(&mut parts.extensions);
    let warnings = Warnings::default();
    let audit_id = parts.headers.get(&AUDIT_ID).cloned();
    let audit_id = audit_id.unwrap_or_else(answer::new_audit_id);
    let mut response = match Decoded::new(&parts) {
        Ok(decoded) => {
            let wire = Wire {
                core,
                parts: &parts,
                decoded: &decoded,
                warnings: &warnings,
                audit_id: &audit_id,
            };
            wire.answer(peer, &mut body, extensions).await
        }
        Err(status) => respond::error(&status, respond::JSON),
    };
    finish(&mut response, audit_id, &warnings);
    if parts.method == Method::HEAD {
        response = answer::without_body(response);
    }
    // An answer may come before its request has ended.
    core.drains.drain(body);
    response
}

fn finish(response: &mut Response<Body>, audit_id: HeaderValue, warnings: &Warnings) {
    let headers = response.headers_mut();
    headers.insert(AUDIT_ID, audit_id);
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, NO_CACHE);
    }
    super::warnings::write(warnings.take(), headers);
}

/// A request whose text is decoded.
struct Wire<'r> {
    core: &'r Arc<Core>,
    parts: &'r Parts,
    decoded: &'r Decoded<'r>,
    warnings: &'r Warnings,
    /// As the answer has it, too.
    audit_id: &'r HeaderValue,
}

impl Wire<'_> {
    /// Answers, and counts the answer.
    async fn answer(
        &self,
        peer: &Peer,
        body: &mut Incoming,
        extensions: http::Extensions,
    ) -> Response<Body> {
        let started = Instant::now();
        let request = match ApiRequest::parse(&self.parts.method, self.decoded) {
            Ok(request) => request,
            Err(status) => return respond::error(&status, respond::JSON),
        };
        let info = &request.info;
        let snapshot = self.core.registry.catalog.current();
        let served = match info.is_resource {
            true => (snapshot.kinds).find(info.group, info.version, info.resource),
            false => None,
        };
        let audit = Audit::new(self.core.auditor.as_ref());
        let flow = Flow::default();
        let chain = Chain {
            core: self.core,
            parts: self.parts,
            request: &request,
            served,
            snapshot: &snapshot,
            warnings: self.warnings,
            audit_id: self.audit_id,
            audit: &audit,
            flow: &flow,
            began: match audit.auditor {
                Some(_) => clock::now(),
                None => Timestamp::UNIX_EPOCH,
            },
        };
        let answer = match knarr_tasks::caught(chain.run(peer, body, extensions)).await {
            Ok(answer) => answer,
            Err(failure) => {
                tracing::error!(method = %self.parts.method, path = info.path, %failure, "a handler panicked");
                audit.panicked(&failure).await;
                Err(Status::internal("the request handler failed"))
            }
        };
        let headers = &self.decoded.headers;
        let (mut response, failure) = match answer {
            Ok(response) => (response, None),
            Err(status) => {
                let response = refusal::answer(&status, self.core, &request, served);
                (response, Some(status))
            }
        };
        if audit.auditor.is_some() {
            // Before the answer is compressed: its object may be told.
            Box::pin(audit.answered(info, &mut response, failure.as_ref())).await;
        }
        flow.tell(response.headers_mut());
        let bytes = response.body().estimate();
        let response = respond::compress(response, headers.accept_encoding);
        let response = flow.answer(bytes, response);
        let took = started.elapsed();
        let code = response.status().as_u16();
        let labels = self.labels(&request, served);
        self.core.metrics.answered(labels, code, took);
        tracing::debug!(
            method = %self.parts.method,
            uri = %self.parts.uri,
            code,
            micros = took.as_micros() as u64,
            agent = &*headers.user_agent,
            "answered"
        );
        response
    }

    /// What the request is counted as. Only names that the server knows become values of labels.
    fn labels(&self, request: &ApiRequest<'_>, served: Option<&Served>) -> Labels {
        let info = &request.info;
        let subresource = served.and_then(|served| {
            let mut known = served.kind.subresources.iter().map(|known| known.name);
            known.find(|known| *known == info.subresource)
        });
        let subresource = subresource.unwrap_or_default();
        let connects = matches!(subresource, "attach" | "exec" | "portforward" | "proxy");
        let body = self.parts.headers.get(header::CONTENT_TYPE);
        let applies =
            body.is_some_and(|kind| kind.as_bytes().starts_with(apply::CONTENT_TYPE.as_bytes()));
        let (group, version, resource) = match served {
            Some(served) => (
                served.group_text(),
                served.version_text(),
                served.kind.resource.clone(),
            ),
            None => {
                let resource = if info.is_resource { "other" } else { "" };
                (text(""), text(""), text(resource))
            }
        };
        Labels {
            verb: metrics::verb(info.verb, connects, applies),
            group,
            version,
            resource,
            subresource,
            scope: match info {
                info if !info.is_resource => "",
                info if !info.name.is_empty() => "resource",
                info if !info.namespace.is_empty() => "namespace",
                _ => "cluster",
            },
            dry_run: request.query.get("dryRun") == "All",
        }
    }
}

/// In upstream's words.
fn late() -> Status {
    Status::timeout("request did not complete within the allotted timeout", 0)
}

/// A place among all requests that are there, waiting or not, until it is dropped: of a component, or of a client.
async fn place(
    core: &Core,
    peer: &Peer,
    user: &UserInfo,
    reads: bool,
) -> Result<(Option<OwnedSemaphorePermit>, Option<limits::Place>), Status> {
    Ok(match peer {
        Peer::Local(_) => (Some(core.limits.enter_component().await?), None),
        Peer::Connection { .. } => (None, Some(core.limits.enter(&user.name, !reads)?)),
    })
}

struct Chain<'r> {
    core: &'r Arc<Core>,
    /// For credentials, and for what is passed on to kubelets.
    parts: &'r Parts,
    request: &'r ApiRequest<'r>,
    /// What is served while this request lasts.
    snapshot: &'r Arc<Snapshot>,
    /// `None`: not a resource, or none that is served.
    served: Option<&'r Served>,
    warnings: &'r Warnings,
    audit_id: &'r HeaderValue,
    audit: &'r Audit<'r>,
    flow: &'r Flow,
    /// When the request came; only auditors ask.
    began: Timestamp,
}

impl Chain<'_> {
    async fn run(&self, peer: &Peer, body: &mut Incoming, extensions: http::Extensions) -> Answer {
        let (core, info) = (self.core, &self.request.info);
        let component = matches!(peer, Peer::Local(_));
        let waits = info.is_resource && rest::long_running(info.verb, info.subresource);
        let asked = match waits {
            true => None,
            false => deadline::asked(self.request.query)?,
        };
        let limit = asked.unwrap_or(deadline::REQUEST_TIMEOUT);
        let until = tokio::time::Instant::now() + limit;
        let user = self.user(peer).await?;
        let asked_for = self.asked(&user);
        let streams = waits && info.verb != "watch";
        if !component && !streams {
            self.flow.classify(&asked_for);
        }
        self.audit.authorize(&*core.authorizer, &user, info)?;
        // What is to be told of an answer must be there in bytes.
        let shares = component && extensions.get::<Share>().is_some() && !self.audit.wants_answer();
        if !authn::is_anonymous(&user) {
            peer.is_of(&user.name)?;
        }
        let seat = || self.flow.seat(&asked_for, self.served, limit);
        if !info.is_resource {
            let seat = seat().await?;
            if let Some(route) = core.aggregation.of_path(info.path) {
                drop(seat);
                return self.pass(&route, &user, body, extensions).await;
            }
            scope::check_page(&self.parts.method, info.path)?;
            if let Some(answer) = core.aggregation.locals.page(self.request) {
                return answer;
            }
            let answer = pages::serve(core, self.snapshot, self.request).await;
            self.flow.keep(seat, until);
            return answer;
        }
        if let Some(route) = core.aggregation.find(info.group, info.version) {
            // It is another server's work from here on.
            drop(seat().await?);
            return self.pass(&route, &user, body, extensions).await;
        }
        if let Some(local) = core.aggregation.locals.find(info.group, info.version) {
            let answer = async {
                let _seat = seat().await?;
                self.local(&local, peer, &user, limit).await
            };
            return Box::pin(answer).await;
        }
        let served = self.served.ok_or_else(Status::path_not_found)?;
        scope::check(&self.parts.method, info, served)?;
        let content_type = self.request.headers.content_type;
        let has_verb = !info.subresource.is_empty() || rest::is_routed(&served.kind, info.verb);
        let is_routed = has_verb
            && (info.verb != "patch" || rest::patch::has_route(&served.kind, content_type));
        if let Some(text) = served.kind.strategy.deprecation().filter(|_| is_routed) {
            self.warnings.add(text.to_owned());
            self.audit.deprecated(text);
            let removed = audit::removed_release(text);
            core.metrics.deprecated(served, info.subresource, removed);
        }
        let ask = Ask {
            core,
            request: self.request,
            user: &user,
            served,
            warnings: self.warnings,
            emptied: Emptied::default(),
            siblings: (!served.kind.is_built_in()).then(|| Siblings::new(self.snapshot.clone())),
            audit: self.audit,
            component,
            shares,
        };
        if let Some(stream) = Stream::find(info.subresource) {
            let client = connect::client(core, self.parts, extensions);
            return Box::pin(connect::stream(&ask, stream, client)).await;
        }
        if info.subresource == "proxy" {
            let client = connect::client(core, self.parts, extensions);
            return Box::pin(connect::proxy(&ask, body, client)).await;
        }
        if info.subresource == "log" && bearer::is_websocket(&self.parts.headers) {
            let client = connect::client(core, self.parts, extensions);
            return Box::pin(connect::log(&ask, client)).await;
        }
        if info.verb == "watch" && bearer::is_websocket(&self.parts.headers) {
            let client = connect::client(core, self.parts, extensions);
            let answer = async {
                let _seat = seat().await?;
                connect::watch(&ask, client).await
            };
            return Box::pin(answer).await;
        }
        if info.verb == "watch" {
            let answer = async {
                let seat = seat().await?;
                let events = rest::read(&ask).await?;
                Ok(flow::watching(&asked_for, seat, events))
            };
            return Box::pin(answer).await;
        }
        if streams {
            return Box::pin(rest::read(&ask)).await;
        }
        let reads = matches!(info.verb, "get" | "list");
        let (_component, place) = place(core, peer, &user, reads).await?;
        self.flow.keep_place(place);
        if info.verb == "get" && info.subresource.is_empty() && asked.is_none() {
            // The most frequent request waits for nothing but its turn and a revision, which have deadlines of their own.
            let seat = seat().await?;
            let answer = rest::get(&ask).await;
            self.flow.keep(seat, until);
            return answer;
        }
        let handled = async {
            match reads {
                true => {
                    let seat = seat().await?;
                    let answer = rest::read(&ask).await;
                    self.flow.keep(seat, until);
                    answer
                }
                false => {
                    // Who sends slowly takes nothing from others meanwhile.
                    let _held = match component {
                        true => None,
                        false => core.limits.body(&user.name, body.most())?,
                    };
                    let body = body.read().await?;
                    let seat = seat().await?;
                    let bytes = body.len().max(rest::stored_bytes(&ask));
                    let written = core.heavy.run(bytes, rest::write(&ask, body)).await;
                    self.flow.keep(seat, until);
                    written.unwrap_or_else(|_| Err(late()))
                }
            }
        };
        let handled = knarr_tasks::on_behalf_of(limits::flow(&user.name).into(), handled);
        // A future that is kept on the heap makes this one, which every request has, small.
        knarr_tasks::until(until, Box::pin(handled))
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// The request as flow control sees it.
    fn asked<'a>(&'a self, user: &'a Arc<UserInfo>) -> Asked<'a> {
        Asked {
            core: self.core,
            request: self.request,
            method: &self.parts.method,
            uri: &self.parts.uri,
            user,
        }
    }

    /// Passes the request on to who serves its group-version.
    async fn pass(
        &self,
        route: &Route,
        user: &UserInfo,
        body: &mut Incoming,
        extensions: http::Extensions,
    ) -> Answer {
        let mut client = connect::client(self.core, self.parts, extensions);
        // The other server audits, too.
        client.headers_mut().insert(AUDIT_ID, self.audit_id.clone());
        Box::pin(aggregation::pass(
            self.core,
            route,
            self.request,
            user,
            body,
            (client, self.audit),
        ))
        .await
    }

    /// Has the request answered by the part of this process that serves its group-version, as a request like any other.
    async fn local(&self, local: &Local, peer: &Peer, user: &UserInfo, limit: Duration) -> Answer {
        let reads = matches!(self.request.info.verb, "get" | "list");
        let _place = place(self.core, peer, user, reads).await?;
        tokio::time::timeout(limit, local.answer(self.request))
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// Authenticates and impersonates.
    async fn user(&self, peer: &Peer) -> Result<Arc<UserInfo>, Status> {
        let headers = &self.parts.headers;
        let found = self.authenticate(peer).await;
        if self.audit.auditor.is_some() {
            let user = found.as_ref().ok().map(|user| &**user);
            Box::pin(self.audit.begin(&self.received(peer, user))).await?;
        }
        let user = found?;
        let (core, info) = (self.core, &self.request.info);
        match (core.impersonation).act(&*core.authorizer, &user, headers, info)? {
            Some(acting) => {
                self.audit.impersonated(&acting);
                Ok(Arc::new(acting.user))
            }
            None => Ok(user),
        }
    }

    async fn authenticate(&self, peer: &Peer) -> Result<Arc<UserInfo>, Status> {
        let headers = &self.parts.headers;
        let remarks = self.audit.remarks(self.warnings);
        match peer
            .user(&*self.core.authenticator, headers, &remarks)
            .await?
        {
            Some(user) => Ok(user),
            None if self
                .core
                .authenticator
                .anonymous_allowed(self.request.info.path) =>
            {
                Ok(Arc::new(authn::anonymous()))
            }
            None => Err(bearer::unauthorized()),
        }
    }

    /// What auditors are told of the request.
    fn received<'a>(&'a self, peer: &Peer, user: Option<&'a UserInfo>) -> Received<'a> {
        let uri = self.parts.uri.path_and_query();
        Received {
            audit_id: self.audit_id.to_str().unwrap_or_default(),
            at: self.began,
            uri: uri.map_or("/", |uri| uri.as_str()),
            headers: &self.parts.headers,
            peer: Some(peer.address()),
            user_agent: &self.request.headers.user_agent,
            user,
            info: &self.request.info,
        }
    }
}
