//! A request: which route it takes, whether it may, and what is answered if it goes nowhere.

use std::{net::Ipv6Addr, sync::Arc};

use arc_swap::ArcSwap;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, uri::Authority};
use hyper::body::{Body, Incoming};

use crate::{
    answer::Refusal,
    body::{self, Answer},
    conditions::Head,
    connection::{Client, Connection},
    filters::Seen,
    forward::{Asked, Forwarder},
    headers, path,
    routes::Found,
    tables::Tables,
};

/// The port of `https://` URLs that name none.
const HTTPS_PORT: u16 = 443;

/// What answers requests.
pub struct Core {
    pub tables: Arc<ArcSwap<Tables>>,
    pub forwarder: Forwarder,
    pub https_port: u16,
}

impl Core {
    /// Answers a request.
    pub async fn handle(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Response<Answer> {
        let grpc = is_grpc(request.headers());
        match self.try_handle(request, connection).await {
            Ok(response) => response,
            Err(refusal) => {
                tracing::debug!(client = %connection.client.address, ?refusal, "request not passed on");
                match grpc {
                    true => refusal.grpc_response(),
                    false => refusal.response(),
                }
            }
        }
    }

    async fn try_handle(
        &self,
        request: Request<Incoming>,
        connection: &Connection,
    ) -> Result<Response<Answer>, Refusal> {
        if *request.method() == Method::CONNECT {
            return Err(Refusal::Malformed("this is no proxy to elsewhere"));
        }
        let authority = authority(&request)?;
        let host = host(&authority);
        let path = path::normalize(request.uri().path())
            .ok_or(Refusal::Malformed("the path is not usable"))?;
        let found = self.find(&request, connection, &host, &path)?;
        self.may_pass(&request, connection.client, &found)?;
        self.redirect(&request, connection.client, &host, &path, &found)?;
        let limit = found.route.options.body_bytes;
        if limit.is_some_and(|limit| request.body().size_hint().lower() > limit) {
            return Err(Refusal::TooLong);
        }
        let shown = HeaderValue::from_str(authority.as_str())
            .map_err(|_| Refusal::Malformed("the host is not usable"))?;
        let uri = request.uri().clone();
        let asked = Asked {
            found: &found,
            connection,
            authority: shown,
            seen: Seen {
                tls: connection.client.tls,
                port: connection.client.port,
                host: authority.host(),
                path: if uri.path().is_empty() {
                    "/"
                } else {
                    uri.path()
                },
                query: uri.query(),
                prefix: found.prefix.as_deref(),
            },
        };
        if let Some(response) = answer_here(&request, &asked) {
            return Ok(response);
        }
        self.forwarder.forward(request, &asked).await
    }

    fn find(
        &self,
        request: &Request<Incoming>,
        connection: &Connection,
        host: &str,
        path: &str,
    ) -> Result<Found, Refusal> {
        let tables = self.tables.load();
        let served = tables.at(connection.local, connection.client.port);
        let (_, served) = served.ok_or(Refusal::NoRule)?;
        let made_for = connection.made_for.as_deref();
        if made_for.is_some_and(|made_for| served.is_misdirected(made_for, host)) {
            return Err(Refusal::Misdirected);
        }
        let head = Head {
            path,
            method: request.method(),
            headers: request.headers(),
            query: request.uri().query(),
        };
        served.table.find(host, &head).ok_or(Refusal::NoRule)
    }

    fn may_pass(
        &self,
        request: &Request<Incoming>,
        client: Client,
        found: &Found,
    ) -> Result<(), Refusal> {
        let route = &found.route;
        if route.refused {
            return Err(Refusal::Misconfigured);
        }
        let sources = &route.options.sources;
        if !sources.is_empty() && !sources.iter().any(|range| range.contains(client.address)) {
            return Err(Refusal::Forbidden);
        }
        if headers::goes_in_circles(request.headers()) {
            return Err(Refusal::Circle);
        }
        Ok(())
    }

    fn redirect(
        &self,
        request: &Request<Incoming>,
        client: Client,
        host: &str,
        path: &str,
        found: &Found,
    ) -> Result<(), Refusal> {
        let options = &found.route.options;
        if found.route.to_https && !client.tls {
            let shown = if host.parse::<Ipv6Addr>().is_ok() {
                format!("[{host}]")
            } else {
                host.to_owned()
            };
            let port = match self.https_port {
                HTTPS_PORT => String::new(),
                port => format!(":{port}"),
            };
            let rest = request
                .uri()
                .path_and_query()
                .map_or("/", |rest| rest.as_str());
            let location = format!("https://{shown}{port}{rest}");
            return Err(Refusal::Elsewhere(StatusCode::PERMANENT_REDIRECT, location));
        }
        if let Some((status, location)) = &options.redirect {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::FOUND);
            return Err(Refusal::Elsewhere(status, location.clone()));
        }
        match &options.app_root {
            Some(root) if path == "/" => Err(Refusal::Elsewhere(StatusCode::FOUND, root.clone())),
            _ => Ok(()),
        }
    }
}

/// What a rule answers itself: a browser that asks beforehand, and whoever is sent elsewhere.
fn answer_here(request: &Request<Incoming>, asked: &Asked<'_>) -> Option<Response<Answer>> {
    let filters = &asked.found.route.filters;
    let cors = filters.cors.as_ref();
    if let Some(told) = cors.and_then(|cors| cors.preflight(request.method(), request.headers())) {
        let mut response = Response::new(body::full(""));
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.headers_mut() = told;
        return Some(response);
    }
    let redirect = filters.redirect.as_ref()?;
    let location = redirect.location(&asked.seen);
    let mut response = Refusal::Elsewhere(redirect.status, location).response();
    if let Some(cors) = cors {
        cors.mark(
            request.headers().get(header::ORIGIN),
            response.headers_mut(),
        );
    }
    filters.response.apply(response.headers_mut());
    Some(response)
}

fn is_grpc(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Whom a request is for: there must be one answer to that, or others may read another one.
fn authority(request: &Request<Incoming>) -> Result<Authority, Refusal> {
    of_parts(request.uri().authority(), request.headers())
}

fn of_parts(target: Option<&Authority>, headers: &http::HeaderMap) -> Result<Authority, Refusal> {
    let mut named = headers.get_all(header::HOST).iter();
    let (first, more) = (named.next(), named.next());
    if more.is_some() {
        return Err(Refusal::Malformed("the request names several hosts"));
    }
    let authority = match (target, first) {
        (Some(target), _) => target.clone(),
        (None, Some(host)) => (host.to_str().ok())
            .and_then(|host| host.parse().ok())
            .ok_or(Refusal::Malformed("the host is not usable"))?,
        (None, None) => return Err(Refusal::Malformed("the request names no host")),
    };
    match authority.as_str().contains('@') {
        true => Err(Refusal::Malformed("the host is not usable")),
        false => Ok(authority),
    }
}

/// As rules name it: in lower case, without a port, brackets or a dot at its end.
fn host(authority: &Authority) -> String {
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_request_is_for() {
        let read = |target: Option<&str>, hosts: &[&'static str]| {
            let target = target.map(|target| target.parse().expect("an authority"));
            let mut headers = http::HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_static(host));
            }
            of_parts(target.as_ref(), &headers).map(|authority| host(&authority))
        };
        assert_eq!(
            read(None, &["A.example.com:8080"]).as_deref(),
            Ok("a.example.com")
        );
        assert_eq!(
            read(None, &["a.example.com."]).as_deref(),
            Ok("a.example.com")
        );
        assert_eq!(
            read(None, &["[2001:db8::1]:80"]).as_deref(),
            Ok("2001:db8::1")
        );
        assert_eq!(read(Some("b"), &["a"]).as_deref(), Ok("b"));
        for hosts in [&[][..], &["a", "b"], &["a b"], &["u@a"], &[""]] {
            assert!(read(None, hosts).is_err(), "{hosts:?}");
        }
    }
}
