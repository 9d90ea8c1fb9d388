//! Which representation a client asks for: `Accept` to encoding and transformation, as upstream negotiates them.

use knarr_auth::route::ApiRequest;
use knarr_meta::status::Status;

use crate::protobuf;

/// Bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

impl Encoding {
    pub fn content_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => protobuf::CONTENT_TYPE,
        }
    }

    /// The type of a stream of events.
    pub fn watch_content_type(self) -> &'static str {
        match self {
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            other => other.content_type(),
        }
    }
}

/// What an object becomes before it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Object,
    /// metav1.Table in this version of meta.k8s.io.
    Table(MetaVersion),
    /// PartialObjectMetadata or its list.
    Partial(MetaVersion),
}

/// Versions of meta.k8s.io.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaVersion {
    V1,
    V1beta1,
}

impl MetaVersion {
    pub fn api_version(self) -> &'static str {
        match self {
            MetaVersion::V1 => "meta.k8s.io/v1",
            MetaVersion::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// The negotiated answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub encoding: Encoding,
    pub shape: Shape,
    pub pretty: bool,
}

/// Which transformations an endpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shapes {
    /// Errors, discovery, subresources with a kind of their own.
    None,
    /// get and watch.
    Object,
    /// Parts of objects that upstream shows in no Table.
    Metadata,
    /// list.
    List,
}

/// Whose objects an endpoint answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objects {
    /// Those of the program's own kinds.
    BuiltIn,
    /// Those of a definition, which have no message in protobuf. Their metadata has.
    Custom,
}

/// One clause of an `Accept` header.
pub struct Clause<'a> {
    pub media: (&'a str, &'a str),
    params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Clause<'a> {
    /// A parameter beside the weight.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        let mut params = self.params.iter();
        params
            .find(|(own, _)| *own == name)
            .map(|(_, value)| *value)
    }
}

/// What an `Accept` header has, by weight.
pub fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept.split(',').filter_map(clause).collect();
    // A weight of zero is what the client does not want.
    clauses.retain(|clause| clause.quality > 0.0);
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
}

/// Why nothing is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is nothing that the client takes.
    NotAcceptable,
    /// It takes the metadata of one object, and the answer is a list.
    List,
    /// It takes the metadata of a list, and the answer is one object.
    NotList,
}

impl Refused {
    /// What the client is told, where the answer would be of this type of Go.
    pub fn of_type(self, name: &str) -> Status {
        Status::not_acceptable(match self {
            Refused::NotAcceptable => return not_acceptable(),
            Refused::List => format!(
                "you requested PartialObjectMetadata, but the requested object is a list ({name})"
            ),
            Refused::NotList => format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list ({name})"
            ),
        })
    }
}

impl From<Refused> for Status {
    fn from(_: Refused) -> Status {
        not_acceptable()
    }
}

/// Chooses from an `Accept` header; empty accepts JSON.
pub fn negotiate(accept: &str, shapes: Shapes, objects: Objects) -> Result<Accepted, Refused> {
    if let Some(encoding) = plain(accept, objects) {
        return Ok(Accepted {
            encoding,
            shape: Shape::Object,
            pretty: false,
        });
    }
    clauses(accept)
        .iter()
        .find_map(|c| accept_clause(c, shapes, objects).transpose())
        .unwrap_or(Err(Refused::NotAcceptable))
}

/// What nearly all clients say that want objects as they are, known as a whole.
fn plain(accept: &str, objects: Objects) -> Option<Encoding> {
    match accept {
        "" | "*/*" | "application/json" => Some(Encoding::Json),
        protobuf::CONTENT_TYPE | "application/vnd.kubernetes.protobuf,application/json"
            if objects == Objects::BuiltIn =>
        {
            Some(Encoding::Protobuf)
        }
        _ => None,
    }
}

/// Chooses by a request's headers and its `pretty` parameter.
pub fn of(request: &ApiRequest<'_>, shapes: Shapes, objects: Objects) -> Result<Accepted, Refused> {
    let mut accepted = negotiate(request.headers.accept, shapes, objects)?;
    accepted.pretty |= pretty(request.query.find("pretty"), &request.headers.user_agent);
    Ok(accepted)
}

/// Upstream's 406.
pub fn not_acceptable() -> Status {
    Status::not_acceptable(
        "only the following media types are accepted: application/json, application/yaml, \
         application/vnd.kubernetes.protobuf",
    )
}

/// Whether an `Accept` header names any encoding that objects have.
pub fn names_encoding(accept: &str) -> bool {
    let known = |clause: &Clause<'_>| {
        matches!(
            clause.media,
            (
                "application",
                "json" | "yaml" | "vnd.kubernetes.protobuf" | "*"
            ) | ("*", "*")
        )
    };
    accept.is_empty() || clauses(accept).iter().any(known)
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next()?;
    let media = media.split_once('/').unwrap_or((media, "*"));
    let mut quality = 1.0;
    let mut params = Vec::new();
    for (name, value) in parts.filter_map(|p| p.split_once('=')) {
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        match name {
            "q" => quality = value.parse().unwrap_or(1.0),
            _ => params.push((name, value)),
        }
    }
    Some(Clause {
        media,
        params,
        quality,
    })
}

/// What a clause asks for; `None`: something that the endpoint does not have.
///
/// # Errors
/// Where upstream chooses the clause, and finds out with the answer that it does not fit.
fn accept_clause(
    clause: &Clause<'_>,
    shapes: Shapes,
    objects: Objects,
) -> Result<Option<Accepted>, Refused> {
    let encoding = match clause.media {
        ("application", "json" | "*") | ("*", "*") => Encoding::Json,
        ("application", "yaml") => Encoding::Yaml,
        ("application", "vnd.kubernetes.protobuf") => Encoding::Protobuf,
        _ => return Ok(None),
    };
    let param = |name: &str| clause.param(name);
    if param("stream").is_some_and(|s| !matches!(s, "" | "watch"))
        || param("sv").is_some_and(|s| !matches!(s, "" | "v1"))
    {
        return Ok(None);
    }
    let Some(shape) = shape(clause, shapes)? else {
        return Ok(None);
    };
    let encodes = encoding != Encoding::Protobuf
        || match shape {
            Shape::Object => objects == Objects::BuiltIn,
            Shape::Table(_) => false,
            Shape::Partial(_) => true,
        };
    Ok(encodes.then(|| Accepted {
        encoding,
        shape,
        pretty: param("pretty") == Some("1"),
    }))
}

fn shape(clause: &Clause<'_>, shapes: Shapes) -> Result<Option<Shape>, Refused> {
    let param = |name: &str| clause.param(name);
    let (kind, version) = match (param("as"), param("g"), param("v")) {
        (None, None, None) => return Ok(Some(Shape::Object)),
        (Some(kind), Some("meta.k8s.io"), Some("v1")) => (kind, MetaVersion::V1),
        (Some(kind), Some("meta.k8s.io"), Some("v1beta1")) => (kind, MetaVersion::V1beta1),
        _ => return Ok(None),
    };
    match (kind, shapes) {
        ("Table", Shapes::Object | Shapes::List) => Ok(Some(Shape::Table(version))),
        ("PartialObjectMetadata", Shapes::Object | Shapes::Metadata)
        | ("PartialObjectMetadataList", Shapes::List) => Ok(Some(Shape::Partial(version))),
        ("PartialObjectMetadata", Shapes::List) => Err(Refused::List),
        ("PartialObjectMetadataList", Shapes::Object | Shapes::Metadata) => Err(Refused::NotList),
        _ => Ok(None),
    }
}

/// Whether the answer is indented: asked for by `?pretty`, or for people's tools unless declined.
pub fn pretty(query_pretty: Option<&str>, user_agent: &str) -> bool {
    match query_pretty {
        Some(value) if !value.is_empty() => {
            matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
        }
        _ => ["curl", "Wget", "Mozilla/5.0"]
            .iter()
            .any(|tool| user_agent.starts_with(tool)),
    }
}

/// How a request body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEncoding {
    Json,
    Yaml,
    Protobuf,
}

/// Encoding of a request body by its `Content-Type`; absent means JSON.
pub fn body_encoding(content_type: &str) -> Result<BodyEncoding, Status> {
    let media = content_type
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    match media.as_str() {
        "" | "application/json" => Ok(BodyEncoding::Json),
        "application/yaml" => Ok(BodyEncoding::Yaml),
        protobuf::CONTENT_TYPE => Ok(BodyEncoding::Protobuf),
        _ => Err(Status::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: \
             application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

#[cfg(test)]
mod tests;
