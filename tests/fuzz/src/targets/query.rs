//! Methods, paths and queries, as the server reads them before it asks who may: `GET /path?query`.
//!
//! A query that is taken has the values that a plain decoder finds in it. Names have no slashes, and only methods that
//! read make a request one that reads.

use http::{Method, Request};
use knarr_auth::query::Query;
use knarr_auth::route::{ApiRequest, Decoded};
use percent_encoding::percent_decode_str;

use crate::shape;

use super::{Target, texts};

pub struct Queries;

impl Target for Queries {
    fn seeds(&self) -> Vec<Vec<u8>> {
        texts(&[
            "GET /api/v1/pods?limit=1&labelSelector=a%20in%20(b,c)&fieldSelector=spec.nodeName!%3Dn",
            "GET /api/v1/namespaces/default/pods/p/log?container=c&follow&tailLines=5",
            "DELETE /apis/apps/v1/namespaces/n/deployments?propagationPolicy=Foreground&labelSelector=a",
            "GET /api/v1/watch/namespaces/n/pods/p?resourceVersion=5",
            "POST /api/v1/namespaces/default/pods/p/exec?command=a+b&command=%00&stdin=true",
            "GET /api/v1/namespaces/n/services/https:s:80/proxy/a%2Fb/..%2f?x=1;y=2",
            "PATCH /api/v1/namespaces/n/status",
        ])
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "/api/v1/",
            "/apis/apps/v1/",
            "namespaces/",
            "watch/",
            "proxy/",
            "/status",
            "%2e%2e",
            "%2F",
            "..",
            "fieldSelector=metadata.name%3D",
            "labelSelector=",
            "watch=",
            "+",
            "%",
            ";",
            "&",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let Some((method, uri)) = std::str::from_utf8(input)
            .ok()
            .and_then(|text| text.split_once(' '))
        else {
            return Ok(0);
        };
        let Ok(request) = Request::builder().method(method).uri(uri).body(()) else {
            return Ok(0);
        };
        let (parts, ()) = request.into_parts();
        let decoded = match Decoded::new(&parts) {
            Ok(decoded) => decoded,
            Err(status) => return Ok(shape::of(&status.message)),
        };
        same_query(parts.uri.query().unwrap_or(""), &decoded.query)?;
        match ApiRequest::parse(&parts.method, &decoded) {
            Ok(request) => judge(&request, &parts.method),
            Err(status) => Ok(shape::of(&status.message)),
        }
    }
}

/// Names have the values that a plain decoder finds, in their order.
fn same_query(raw: &str, query: &Query<'_>) -> Result<(), String> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8();
        decoded
            .map(|text| text.into_owned())
            .map_err(|_| format!("{raw:?} has something else than text and is read"))
    };
    let pairs = raw.split('&').filter(|pair| !pair.is_empty());
    let pairs: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| Ok((decode(name)?, decode(value)?)))
        .collect::<Result<_, String>>()?;
    for (name, _) in &pairs {
        let same = pairs.iter().filter(|(other, _)| other == name);
        if !query.all(name).eq(same.map(|(_, value)| value.as_str())) {
            return Err(format!("{raw:?} has other values for {name:?}"));
        }
    }
    Ok(())
}

fn judge(request: &ApiRequest<'_>, method: &Method) -> Result<u64, String> {
    let info = &request.info;
    for part in [info.name, info.namespace] {
        if part.contains('/') {
            return Err(format!("a part of the path is {part:?}"));
        }
    }
    let reads = matches!(info.verb, "get" | "list" | "watch");
    if info.is_resource && reads != matches!(*method, Method::GET | Method::HEAD) {
        return Err(format!("{method} is {:?}", info.verb));
    }
    Ok(shape::exact((
        info.verb,
        info.is_resource,
        info.namespace.is_empty(),
        info.name.is_empty(),
        shape::of(info.subresource),
        request.rest.is_empty(),
    )))
}
