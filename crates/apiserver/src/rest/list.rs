//! GET of a collection: which revision, which page, which shape.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Response, StatusCode};
use knarr_meta::{
    GroupKind,
    field::{Error, Path},
    status::Status,
};
use serde_json::{Value, json};

use super::{
    ask::Ask,
    continuation::{Continue, INCONSISTENT},
    read::resource_version,
    shape::{self, IncludeObject},
};
use crate::{
    body::{Body, ListBody},
    cache::{
        ListError,
        entry::put_decimal,
        filter::Filter,
        resource::{Page, Slice},
    },
    negotiate::{Accepted, Encoding, Shape, Shapes},
    query::Query,
    respond::{self, Answer},
};

/// How a list's resourceVersion is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    Unset,
    Exact,
    NotOlderThan,
}

/// Query parameters of list, watch and deletecollection.
#[derive(Clone, Debug)]
pub struct ListOptions {
    pub resource_version: Option<u64>,
    pub version_match: Match,
    /// 0: none.
    pub limit: usize,
    pub continuation: Option<Continue>,
    pub allow_bookmarks: bool,
    pub send_initial_events: Option<bool>,
    pub timeout: Option<Duration>,
}

impl ListOptions {
    pub fn parse(query: &Query<'_>, watch: bool) -> Result<ListOptions, Status> {
        let errors = validate(query, watch);
        if !errors.is_empty() {
            return Err(Status::invalid(
                GroupKind::new("meta.k8s.io", "ListOptions"),
                "",
                errors,
            ));
        }
        let token = query.get("continue");
        let continuation = match token {
            "" => None,
            token => Some(Continue::decode(token)?),
        };
        let resource_version = resource_version(query.get("resourceVersion"))?;
        if continuation.is_some() && resource_version.is_some_and(|v| v > 0) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        Ok(ListOptions {
            resource_version,
            version_match: match query.get("resourceVersionMatch") {
                "Exact" => Match::Exact,
                "NotOlderThan" => Match::NotOlderThan,
                _ => Match::Unset,
            },
            limit: query.integer("limit")?.unwrap_or(0).max(0) as usize,
            continuation,
            allow_bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: query.optional_flag("sendInitialEvents"),
            timeout: query
                .integer("timeoutSeconds")?
                .filter(|s| *s > 0)
                .map(|s| Duration::from_secs(s as u64)),
        })
    }
}

/// Upstream's `ValidateListOptions`.
fn validate(query: &Query<'_>, watch: bool) -> Vec<Error> {
    let mut errors = Vec::new();
    let (version, version_match) = (
        query.get("resourceVersion"),
        query.get("resourceVersionMatch"),
    );
    let path = Path::new("resourceVersionMatch");
    let initial = query.find("sendInitialEvents").is_some();
    if watch && initial {
        if version_match.is_empty() {
            let path = Path::new("resourceVersionMatch");
            errors.push(Error::forbidden(
                &path,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        } else if version_match != "NotOlderThan" {
            errors.push(Error::not_supported(
                &path,
                version_match,
                &["NotOlderThan"],
            ));
        }
        return errors;
    }
    if initial {
        let path = Path::new("sendInitialEvents");
        errors.push(Error::forbidden(
            &path,
            "sendInitialEvents is forbidden for list",
        ));
    }
    if version_match.is_empty() {
        return errors;
    }
    if watch {
        errors.push(Error::forbidden(
            &path,
            "resourceVersionMatch is forbidden for watch",
        ));
    }
    if version.is_empty() {
        errors.push(Error::forbidden(
            &path,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ));
    }
    if !query.get("continue").is_empty() {
        errors.push(Error::forbidden(
            &path,
            "resourceVersionMatch is forbidden when continue is provided",
        ));
    }
    match version_match {
        "Exact" if version == "0" => errors.push(Error::forbidden(
            &path,
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        )),
        "Exact" | "NotOlderThan" => {}
        other => errors.push(Error::not_supported(
            &path,
            other,
            &["Exact", "NotOlderThan", ""],
        )),
    }
    errors
}

/// Answers a list.
pub async fn list(ask: &Ask<'_>) -> Answer {
    let accepted = ask.accepted(Shapes::List)?;
    let options = ListOptions::parse(ask.query, false)?;
    let filter = filter(ask)?;
    match select(ask, &filter, &options).await? {
        Ok(slice) => render(ask, slice, accepted),
        Err(expired) => Ok(expired),
    }
}

/// The filter of a list or watch.
pub fn filter(ask: &Ask<'_>) -> Result<Filter, Status> {
    let (labels, fields) = (
        ask.query.get("labelSelector"),
        ask.query.get("fieldSelector"),
    );
    let named = match (ask.info.name, fields) {
        // Paths of upstream's old watch form name the object.
        (name, "") if !name.is_empty() => format!("metadata.name={name}"),
        (_, fields) => fields.to_owned(),
    };
    Filter::new(ask.kind(), ask.namespace(), labels, &named)
}

/// Reads the page asked for. The inner error is a complete answer: an expired list with a token to go on.
pub async fn select(
    ask: &Ask<'_>,
    filter: &Filter,
    options: &ListOptions,
) -> Result<Result<Slice, Response<Body>>, Status> {
    let cache = &ask.core.cache;
    let resource = cache.of(ask.kind())?;
    let page = Page {
        start: options.continuation.as_ref().map(Continue::start_after),
        limit: options.limit,
    };
    let exact = match &options.continuation {
        Some(token) if token.revision == INCONSISTENT => {
            cache.fresh().await?;
            None
        }
        Some(token) => Some(u64::try_from(token.revision).map_err(|_| {
            Status::bad_request("continue key is not valid: negative resourceVersion")
        })?),
        None => match (options.resource_version, options.version_match) {
            (None, _) => {
                cache.fresh().await?;
                None
            }
            (Some(0), _) => None,
            (Some(revision), Match::Exact) => Some(revision),
            (Some(revision), Match::Unset) if options.limit > 0 => Some(revision),
            (Some(revision), _) => {
                cache.at_least(revision).await?;
                None
            }
        },
    };
    let Some(revision) = exact else {
        return Ok(Ok(resource.list(filter, page)));
    };
    cache.at_least(revision).await?;
    match cache.list_at(resource, filter, page, revision).await {
        Ok(slice) => Ok(Ok(slice)),
        Err(ListError::Status(status)) => Err(*status),
        Err(ListError::Expired) => Ok(Err(expired(options))),
    }
}

const CONTINUE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a \
    new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
    results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
    deleted between the time the first chunk was returned and now may show up in the list.";

/// 410, for a continued list with a token that goes on without consistency.
fn expired(options: &ListOptions) -> Response<Body> {
    let Some(token) = &options.continuation else {
        let status = Status::expired("The resourceVersion for the provided list is too old.");
        return respond::error(&status, respond::JSON);
    };
    let mut tree = Status::expired(CONTINUE_EXPIRED).to_value();
    tree["metadata"] = json!({"continue": token.inconsistent()});
    respond::tree(StatusCode::GONE, &tree, respond::JSON)
}

fn continue_token(slice: &Slice) -> Option<String> {
    let last = slice.entries.last().filter(|_| slice.more)?;
    Some(Continue::after(&last.key, slice.revision as i64))
}

/// A page in the shape asked for.
pub fn render(ask: &Ask<'_>, slice: Slice, accepted: Accepted) -> Answer {
    let token = continue_token(&slice);
    let plain = accepted.encoding == Encoding::Json && !accepted.pretty;
    match accepted.shape {
        Shape::Object if plain && ask.served.alias.is_none() => {
            let kind = ask.kind();
            let head = head(kind.kind, &kind.api_version(), &slice, token.as_deref());
            let list = ListBody::new(head.freeze(), slice.entries);
            return Ok(respond::json(StatusCode::OK, Body::List(Box::new(list))));
        }
        Shape::Partial(version) if plain => {
            let body = partials(&slice, version.api_version(), token.as_deref());
            return Ok(respond::json(StatusCode::OK, Body::from(body)));
        }
        _ => {}
    }
    let mut meta = json!({"resourceVersion": slice.revision.to_string()});
    if let Some(token) = token {
        meta["continue"] = json!(token);
    }
    if let Some(remaining) = slice.remaining {
        meta["remainingItemCount"] = json!(remaining);
    }
    let entries = slice.entries.iter();
    let list = match accepted.shape {
        Shape::Object => {
            let items: Vec<Value> = entries
                .map(|e| untyped(shape::served_tree(ask.served, e)))
                .collect();
            json!({
                "kind": format!("{}List", ask.kind().kind),
                "apiVersion": ask.served.api_version(),
                "metadata": meta,
                "items": items,
            })
        }
        Shape::Partial(version) => {
            let items: Vec<Value> = entries
                .map(|e| shape::partial(&e.tree(), version))
                .collect();
            json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": version.api_version(),
                "metadata": meta,
                "items": items,
            })
        }
        Shape::Table(version) => {
            let include = IncludeObject::parse(ask.query.get("includeObject"))?;
            let rows = entries
                .map(|e| shape::row(ask.served, e.tree(), version, include))
                .collect();
            shape::table(ask.kind().strategy, version, meta, rows, true)
        }
    };
    Ok(respond::tree(StatusCode::OK, &list, accepted))
}

/// A PartialObjectMetadataList from the stored bytes.
fn partials(slice: &Slice, api_version: &str, token: Option<&str>) -> Bytes {
    let mut out = head("PartialObjectMetadata", api_version, slice, token);
    out.reserve(
        slice
            .entries
            .iter()
            .map(|e| e.partial_size() + 1)
            .sum::<usize>()
            + 3,
    );
    for (n, entry) in slice.entries.iter().enumerate() {
        if n > 0 {
            out.put_u8(b',');
        }
        entry.write_partial(&mut out, entry.revision, api_version);
    }
    out.put_slice(b"]}\n");
    out.freeze()
}

/// Items of lists carry no type, as upstream's.
fn untyped(mut tree: Value) -> Value {
    if let Some(map) = tree.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
    tree
}

/// A list up to its first item.
fn head(kind: &str, api_version: &str, slice: &Slice, token: Option<&str>) -> BytesMut {
    let mut out = BytesMut::with_capacity(256);
    out.put_slice(b"{\"kind\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"List\",\"apiVersion\":\"");
    out.put_slice(api_version.as_bytes());
    out.put_slice(b"\",\"metadata\":{\"resourceVersion\":\"");
    put_decimal(&mut out, slice.revision);
    out.put_u8(b'"');
    if let Some(token) = token {
        out.put_slice(b",\"continue\":\"");
        out.put_slice(token.as_bytes());
        out.put_u8(b'"');
    }
    if let Some(remaining) = slice.remaining {
        out.put_slice(b",\"remainingItemCount\":");
        put_decimal(&mut out, remaining);
    }
    out.put_slice(b"},\"items\":[");
    out
}
