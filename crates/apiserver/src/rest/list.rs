//! GET of a collection: which revision, which page.

use std::time::Duration;

use http::{Response, StatusCode};
use knarr_api::{Kind, kind::Alias};
use knarr_auth::{query::Query, request::Selectors};
use knarr_meta::{
    GroupKind,
    field::{Error, Path},
    fields::{FieldSelector, Requirement},
    status::Status,
};
use knarr_registry::cache::{
    ListError,
    filter::{Filter, unknown_field},
    resource::{Page, Slice},
};
use serde_json::json;

use super::{
    ask::Ask,
    continuation::{Continue, INCONSISTENT},
    convert,
    read::resource_version,
    render,
};
use crate::{
    body::Body,
    negotiate::Shapes,
    respond::{self, Answer},
};

/// Longest watch; clocks cannot add what clients can ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

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
        // A watch that may have one does not go on anywhere.
        let continuation = match query.get("continue") {
            "" => None,
            _ if watch => None,
            token => Some(Continue::decode(token)?),
        };
        let resource_version = resource_version(query.get("resourceVersion"));
        let resource_version = resource_version.map_err(|status| match watch {
            true => status,
            false => Status::bad_request(format!("invalid resource version: {}", status.message)),
        })?;
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
            // Whoever takes any state is given all of it.
            limit: match resource_version {
                Some(0) => 0,
                _ => usize::try_from(query.integer("limit")?.unwrap_or(0)).unwrap_or(0),
            },
            continuation,
            allow_bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: query.optional_flag("sendInitialEvents"),
            timeout: query
                .integer("timeoutSeconds")?
                .and_then(|s| u64::try_from(s).ok())
                .filter(|s| *s > 0)
                .map(|s| Duration::from_secs(s).min(MAX_TIMEOUT)),
        })
    }
}

impl ListOptions {
    /// Has a resourceVersion mean that very state, as it does for lists in pages: upstream deletes collections by pages.
    pub fn pin(&mut self) {
        let names_one = self.resource_version.is_some_and(|version| version > 0);
        if names_one && self.version_match == Match::Unset {
            self.version_match = Match::Exact;
        }
    }
}

/// Upstream's `ValidateListOptions`.
fn validate(query: &Query<'_>, watch: bool) -> Vec<Error> {
    let mut errors = Vec::new();
    let (version, mut version_match) = (
        query.get("resourceVersion"),
        query.get("resourceVersionMatch"),
    );
    let continued = !query.get("continue").is_empty();
    let mut initial = query.find("sendInitialEvents").is_some();
    let path = Path::new("resourceVersionMatch");
    // Upstream's defaults, by which such a watch asks for its initial events.
    if watch && !initial && version_match.is_empty() && matches!(version, "" | "0") {
        (initial, version_match) = (true, "NotOlderThan");
    }
    let mut forbid = |path: &Path, why: &str| errors.push(Error::forbidden(path, why));
    if watch {
        if initial && version_match != "NotOlderThan" {
            forbid(
                &path,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
        if !initial && !version_match.is_empty() {
            forbid(
                &path,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
    } else if !version_match.is_empty() && version.is_empty() {
        forbid(
            &path,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        );
    }
    let allowed: &[&str] = match watch {
        true => &["NotOlderThan"],
        false => &["Exact", "NotOlderThan", ""],
    };
    let unknown = (!version_match.is_empty() && !allowed.contains(&version_match))
        .then(|| Error::not_supported(&path, version_match, allowed));
    let follows = (!version_match.is_empty() && continued).then(|| {
        Error::forbidden(
            &path,
            "resourceVersionMatch is forbidden when continue is provided",
        )
    });
    // Each side has its own order of the two.
    match watch {
        true => errors.extend(unknown.into_iter().chain(follows)),
        false => errors.extend(follows.into_iter().chain(unknown)),
    }
    if !watch && version_match == "Exact" && version == "0" {
        errors.push(Error::forbidden(
            &path,
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ));
    }
    if !watch && initial {
        errors.push(Error::forbidden(
            &Path::new("sendInitialEvents"),
            "sendInitialEvents is forbidden for list",
        ));
    }
    errors
}

/// Answers a list.
pub async fn list(ask: &Ask<'_>) -> Answer {
    let accepted = ask.accepted(Shapes::List)?;
    let options = ListOptions::parse(ask.request.query, false)?;
    let selection = filter(ask)?;
    match select(ask, &selection, &options).await? {
        Ok(slice) => render::render(ask, slice, accepted).await,
        Err(expired) => Ok(expired),
    }
}

/// What a list, watch or deletecollection selects.
pub struct Selection {
    pub filter: Filter,
    /// Of fields that stored objects may not have: looked at in the version of the request.
    pub converted: Option<Filter>,
}

/// The selection of a list, watch or deletecollection: what was authorized.
pub fn filter(ask: &Ask<'_>) -> Result<Selection, Status> {
    let selectors = ask.request.selectors()?;
    let all = |filter| Selection {
        filter,
        converted: None,
    };
    match ask.served.alias() {
        None if ask.kind().strategy.conversion().is_some() => {
            let filter = Filter::new(ask.kind(), ask.namespace(), selectors)?;
            let (filter, converted) = filter.split_fields();
            Ok(Selection { filter, converted })
        }
        None => {
            // Entries hold the fields of the version that is stored.
            let stored = ask.core.registry.cache.of(ask.kind())?.kind.clone();
            Filter::new(ask.kind(), ask.namespace(), selectors)?;
            Filter::new(&stored, ask.namespace(), selectors).map(all)
        }
        Some(alias) => {
            let selectors = Selectors {
                labels: selectors.labels.clone(),
                fields: stored_labels(ask.kind(), alias, &selectors.fields)?,
            };
            Filter::new(ask.kind(), ask.namespace(), &selectors).map(all)
        }
    }
}

/// A field selector of another version, in the stored version's labels.
fn stored_labels(
    kind: &Kind,
    alias: &Alias,
    fields: &FieldSelector,
) -> Result<FieldSelector, Status> {
    let requirements = fields.requirements().iter().cloned();
    let renamed = requirements.map(|requirement| match alias.stored_label(&requirement.field) {
        Some(field) => Ok(Requirement {
            field: field.to_owned(),
            ..requirement
        }),
        None => Err(Status::bad_request(unknown_field(kind, &requirement.field))),
    });
    renamed.collect()
}

/// Reads the page asked for. The inner error is a complete answer: an expired list with a token to go on.
pub async fn select(
    ask: &Ask<'_>,
    selection: &Selection,
    options: &ListOptions,
) -> Result<Result<Slice, Response<Body>>, Status> {
    let Some(fields) = &selection.converted else {
        return select_stored(ask, &selection.filter, options).await;
    };
    let whole = ListOptions {
        limit: 0,
        ..options.clone()
    };
    match select_stored(ask, &selection.filter, &whole).await? {
        Ok(slice) => {
            let slice = convert::narrow(ask, slice, fields, options.limit).await?;
            Ok(Ok(slice))
        }
        Err(expired) => Ok(Err(expired)),
    }
}

async fn select_stored(
    ask: &Ask<'_>,
    filter: &Filter,
    options: &ListOptions,
) -> Result<Result<Slice, Response<Body>>, Status> {
    let cache = &ask.core.registry.cache;
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
            Status::bad_request(
                "invalid continue token: continue key is not valid: negative resourceVersion",
            )
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
    match cache.list_at(&resource, filter, page, revision).await {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::IncludeObject;

    #[test]
    fn options_are_refused_in_upstreams_words() {
        const NEEDS: &str = "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        const WATCH: &str = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        const ONE: &str = "resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"";
        const VERSION: &str = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided";
        const CONTINUE: &str = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided";
        const ZERO: &str = "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        const LIST: &str = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list";
        let cases: &[(&str, bool, &[&str])] = &[
            ("sendInitialEvents=true", true, &[NEEDS]),
            (
                "sendInitialEvents=true&resourceVersionMatch=Exact",
                true,
                &[NEEDS, ONE],
            ),
            ("resourceVersionMatch=NotOlderThan", true, &[WATCH]),
            ("resourceVersionMatch=Exact", true, &[WATCH, ONE]),
            (
                "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x",
                true,
                &[CONTINUE],
            ),
            ("continue=x", true, &[CONTINUE]),
            ("resourceVersion=0", true, &[]),
            ("resourceVersionMatch=Exact", false, &[VERSION]),
            (
                "resourceVersionMatch=Exact&resourceVersion=0&sendInitialEvents=true",
                false,
                &[ZERO, LIST],
            ),
            (
                "resourceVersionMatch=NotOlderThan&resourceVersion=1&continue=x",
                false,
                &[CONTINUE],
            ),
        ];
        for (query, watch, wanted) in cases {
            let errors = validate(&Query::parse(query).unwrap(), *watch);
            let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(told, *wanted, "{query}");
        }
        let asked = |query: &str, watch| ListOptions::parse(&Query::parse(query).unwrap(), watch);
        assert_eq!(asked("resourceVersion=0&limit=2", false).unwrap().limit, 0);
        assert_eq!(asked("resourceVersion=1&limit=2", false).unwrap().limit, 2);
        let version = "resourceVersion: Invalid value: \"a\": strconv.ParseUint: parsing \"a\": invalid syntax";
        let refused = asked("resourceVersion=a", true).unwrap_err();
        assert_eq!((refused.code, &*refused.message), (500, version));
        let refused = asked("resourceVersion=a", false).unwrap_err();
        let wanted = format!("invalid resource version: {version}");
        assert_eq!((refused.code, refused.message), (400, wanted));
        let watched = asked("resourceVersion=5&continue=x", true).unwrap();
        assert_eq!(watched.continuation, None);
        let mut pinned = asked("resourceVersion=5", false).unwrap();
        pinned.pin();
        assert_eq!(pinned.version_match, Match::Exact);
        let unknown = IncludeObject::parse("Foo").unwrap_err();
        let wanted = "Unable to convert to Table as requested: includeObject: Invalid value: \"Foo\": must be 'Metadata', 'Object', 'None', or empty";
        assert_eq!(unknown.message, wanted);
    }
}
