//! `/openapi/v2` and `/openapi/v3`: documents that are kept compressed, with ETags.

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, header};
use knarr_api::openapi::{self, Document};
use knarr_auth::{headers::Headers, query::Query, route::ApiRequest};
use knarr_meta::status::Status;
use knarr_registry::{catalog::Snapshot, discovery::etag};
use serde_json::json;

use crate::{
    body::Body,
    core::Core,
    discovery::validator,
    negotiate::not_acceptable,
    respond::{self, Answer},
};

/// What `Accept` chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Protobuf,
}

/// Answers the OpenAPI paths; `None` for others.
pub async fn serve(
    core: &Core,
    snapshot: &Arc<Snapshot>,
    path: &str,
    request: &ApiRequest<'_>,
) -> Option<Answer> {
    let rest = path.strip_prefix("/openapi/")?;
    let (query, headers) = (request.query, request.headers);
    let accept = headers.accept;
    if rest == "v2" {
        let form = match form(accept) {
            Ok(form) => form,
            Err(status) => return Some(Err(status)),
        };
        return Some(v2(core, snapshot, form, headers).await);
    }
    let rest = rest.strip_prefix("v3")?;
    if form(accept) == Ok(Form::Protobuf) && !accepts_json(accept) {
        return Some(Err(not_acceptable()));
    }
    match rest.strip_prefix('/') {
        None if rest.is_empty() => Some(index(core, snapshot, headers).await),
        None => None,
        Some(document) => Some(v3(snapshot, document, query, headers).await),
    }
}

/// The first clause that is served; quality does not matter to the clients there are.
fn form(accept: &str) -> Result<Form, Status> {
    for clause in accept.split(',') {
        match clause.split(';').next().unwrap_or("").trim() {
            openapi::V2_PROTOBUF_ACCEPT | openapi::V2_PROTOBUF_CONTENT_TYPE => {
                return Ok(Form::Protobuf);
            }
            "" | "*/*" | "application/*" | "application/json" => return Ok(Form::Json),
            _ => {}
        }
    }
    Err(not_acceptable())
}

fn accepts_json(accept: &str) -> bool {
    accept.split(',').any(|c| {
        matches!(
            c.split(';').next().unwrap_or("").trim(),
            "*/*" | "application/*" | "application/json"
        )
    })
}

/// Documents are made at first use, which takes longer than a request may hold up a thread.
async fn made<T: Send + 'static>(
    snapshot: &Arc<Snapshot>,
    make: impl FnOnce(&Snapshot) -> T + Send + 'static,
) -> Result<T, Status> {
    let snapshot = snapshot.clone();
    tokio::task::spawn_blocking(move || make(&snapshot))
        .await
        .map_err(Status::internal)
}

/// With what other servers say, as far as it is known.
async fn v2(core: &Core, snapshot: &Arc<Snapshot>, form: Form, headers: &Headers<'_>) -> Answer {
    let merged = core.aggregation.merged_v2(snapshot).await;
    let content_type = match form {
        Form::Json => "application/json",
        Form::Protobuf => openapi::V2_PROTOBUF_CONTENT_TYPE,
    };
    let document = made(snapshot, move |all| match (&merged, form) {
        (None, Form::Json) => all.openapi.v2_json().clone(),
        (None, Form::Protobuf) => all.openapi.v2_proto().clone(),
        (Some(merged), Form::Json) => merged.json(all).clone(),
        (Some(merged), Form::Protobuf) => merged.protobuf(all).clone(),
    });
    document_response(&document.await?, content_type, headers)
}

/// With the documents of other servers, which they are asked for.
async fn index(core: &Core, snapshot: &Arc<Snapshot>, headers: &Headers<'_>) -> Answer {
    let remote = core.aggregation.schemas();
    let bytes = made(snapshot, move |all| {
        let mut index = all.openapi.v3_index();
        for (path, hash) in remote {
            let url = match hash.as_str() {
                "" => format!("/openapi/v3/{path}"),
                hash => format!("/openapi/v3/{path}?hash={hash}"),
            };
            index["paths"][path] = json!({"serverRelativeURL": url});
        }
        index.to_string().into_bytes()
    })
    .await?;
    let tag = validator(&etag(&bytes));
    Ok(tagged(headers, tag, || {
        respond::json(StatusCode::OK, bytes)
    }))
}

async fn v3(
    snapshot: &Arc<Snapshot>,
    path: &str,
    query: &Query<'_>,
    headers: &Headers<'_>,
) -> Answer {
    let wanted = path.to_owned();
    let document = made(snapshot, move |all| {
        all.openapi.v3_document(&wanted).cloned()
    })
    .await?
    .ok_or_else(Status::path_not_found)?;
    let hash = query.get("hash");
    if !hash.is_empty() && hash != document.hash {
        // The client's index is old.
        let mut response =
            respond::with_type(StatusCode::MOVED_PERMANENTLY, "text/plain", Body::empty());
        let to = format!("/openapi/v3/{path}?hash={}", document.hash);
        response.headers_mut().insert(
            header::LOCATION,
            HeaderValue::from_str(&to).map_err(Status::internal)?,
        );
        return Ok(response);
    }
    let mut response = document_response(&document, "application/json", headers)?;
    if !hash.is_empty() {
        let forever = HeaderValue::from_static("public, immutable");
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, forever);
    }
    Ok(response)
}

fn document_response(
    document: &Document,
    content_type: &'static str,
    headers: &Headers<'_>,
) -> Answer {
    let tag = HeaderValue::from_str(&format!("\"{}\"", document.hash)).map_err(Status::internal)?;
    let gzip = headers.accept_encoding.contains("gzip");
    let body = match gzip {
        true => Body::from(document.gz.clone()),
        false => Body::from(document.inflate().map_err(Status::internal)?),
    };
    let mut response = tagged(headers, tag, || {
        respond::with_type(StatusCode::OK, content_type, body)
    });
    let own = response.headers_mut();
    own.insert(
        header::VARY,
        HeaderValue::from_static("Accept-Encoding, Accept"),
    );
    if gzip && response.status() == StatusCode::OK {
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// 304 for a client that has it.
fn tagged(
    headers: &Headers<'_>,
    tag: HeaderValue,
    full: impl FnOnce() -> Response<Body>,
) -> Response<Body> {
    let known = headers.if_none_match;
    let unchanged = tag
        .to_str()
        .is_ok_and(|tag| known.split(',').any(|k| k.trim() == tag));
    let mut response = match unchanged {
        true => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        }
        false => full(),
    };
    response.headers_mut().insert(header::ETAG, tag);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_by_accept() {
        let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
        assert_eq!(form(protobuf), Ok(Form::Protobuf));
        assert_eq!(
            form(&format!("{protobuf},application/json")),
            Ok(Form::Protobuf)
        );
        assert_eq!(form("application/json;q=1, */*"), Ok(Form::Json));
        assert_eq!(form(""), Ok(Form::Json));
        assert_eq!(form("text/html").unwrap_err().code, 406);
    }
}
