//! Options of the streaming subresources: from the API's query to the kubelet's.

use knarr_api::schema::strict;
use knarr_auth::query::Query;
use knarr_meta::{
    GroupKind,
    field::{Error, Path},
    object,
    status::Status,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// The streaming subresources of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Exec,
    Attach,
    PortForward,
}

impl Stream {
    pub fn find(subresource: &str) -> Option<Stream> {
        match subresource {
            "exec" => Some(Stream::Exec),
            "attach" => Some(Stream::Attach),
            "portforward" => Some(Stream::PortForward),
            _ => None,
        }
    }

    /// Path and query at the kubelet.
    pub fn uri(self, pod: &Value, query: &Query<'_>) -> Result<String, Status> {
        let (namespace, name) = (object::namespace(pod), object::name(pod));
        if self == Stream::PortForward {
            let ports = query.all("ports").map(|p| ("port", p.to_owned()));
            return Ok(with_query(
                &format!("/portForward/{namespace}/{name}"),
                ports.collect(),
            ));
        }
        let container = stream_container(pod, query.get("container"))?;
        let mut pairs = Vec::new();
        for (ours, kubelets) in [
            ("stdin", "input"),
            ("stdout", "output"),
            ("stderr", "error"),
            ("tty", "tty"),
        ] {
            if query.flag(ours) {
                pairs.push((kubelets, "1".to_owned()));
            }
        }
        let path = match self {
            Stream::Exec => "exec",
            _ => "attach",
        };
        if self == Stream::Exec {
            pairs.extend(query.all("command").map(|c| ("command", c.to_owned())));
            if query.get("command").is_empty() {
                return Err(Status::bad_request(
                    "you must specify at least 1 command for the container",
                ));
            }
        }
        Ok(with_query(
            &format!("/{path}/{namespace}/{name}/{container}"),
            pairs,
        ))
    }
}

/// Appends a query.
pub fn with_query(path: &str, pairs: Vec<(&str, String)>) -> String {
    let mut out = path.to_owned();
    for (n, (name, value)) in pairs.into_iter().enumerate() {
        out.push(if n == 0 { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        out.extend(utf8_percent_encode(&value, NON_ALPHANUMERIC));
    }
    out
}

/// PodLogOptions, of upstream's validation.
///
/// # Errors
/// 422 in the name of the pod, 400 for numbers and times that are none.
pub fn validate_log(query: &Query<'_>, pod: &str) -> Result<(), Status> {
    let mut errors = Vec::new();
    let path = |field: &'static str| Path::new(field);
    let (tail, limit) = (query.integer("tailLines")?, query.integer("limitBytes")?);
    let since = query.integer("sinceSeconds")?;
    let since_time = since_time(query)?;
    if let Some(tail) = tail.filter(|tail| *tail < 0) {
        let why = "must be greater than or equal to 0";
        errors.push(Error::invalid(&path("tailLines"), tail, why));
    }
    let mut above_zero = |field, value: Option<i64>| {
        if let Some(value) = value.filter(|value| *value < 1) {
            errors.push(Error::invalid(
                &path(field),
                value,
                "must be greater than 0",
            ));
        }
    };
    above_zero("limitBytes", limit);
    if since.is_some() && since_time.is_some() {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        // As a path of no field is shown.
        errors.push(Error::forbidden(&path("[]"), why));
    } else {
        above_zero("sinceSeconds", since);
    }
    // Where upstream's gate PodLogsQuerySplitStreams is off, as it is by default.
    if query.find("stream").is_some() {
        let why = "may not be specified";
        errors.push(Error::forbidden(&path("stream"), why));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => {
            let kind = GroupKind::new("", "PodLogOptions");
            Err(Status::invalid(kind, pod, errors))
        }
    }
}

fn since_time(query: &Query<'_>) -> Result<Option<String>, Status> {
    match query.get("sinceTime") {
        "" | "null" => Ok(None),
        text => strict::time(text).map(Some).map_err(Status::bad_request),
    }
}

/// PodLogOptions that were found valid, as the kubelet reads them.
pub fn log_query(query: &Query<'_>) -> Result<Vec<(&'static str, String)>, Status> {
    let mut pairs = Vec::new();
    for name in ["follow", "previous", "timestamps"] {
        if query.flag(name) {
            pairs.push((name, "true".to_owned()));
        }
    }
    for name in ["tailLines", "limitBytes", "sinceSeconds"] {
        if let Some(value) = query.integer(name)? {
            pairs.push((name, value.to_string()));
        }
    }
    pairs.extend(since_time(query)?.map(|time| ("sinceTime", time)));
    Ok(pairs)
}

fn names<'p>(pod: &'p Value, field: &str) -> Vec<&'p str> {
    let containers = object::list_at(pod, &["spec", field]);
    containers
        .iter()
        .filter_map(|c| c["name"].as_str())
        .collect()
}

/// The container of a log request: named, or the only one.
pub fn log_container(pod: &Value, wanted: &str) -> Result<String, Status> {
    let (main, init, ephemeral) = all_names(pod);
    if wanted.is_empty() {
        return match main.as_slice() {
            [only] => Ok((*only).to_owned()),
            _ => Err(choose(pod, &main, &init, &ephemeral)),
        };
    }
    exists(pod, wanted, &main, &init, &ephemeral)
}

/// The container of exec and attach: named, chosen by annotation, or the only one.
fn stream_container(pod: &Value, wanted: &str) -> Result<String, Status> {
    let (main, init, ephemeral) = all_names(pod);
    if !wanted.is_empty() {
        return exists(pod, wanted, &main, &init, &ephemeral);
    }
    match main.as_slice() {
        [only] => Ok((*only).to_owned()),
        _ => Err(choose(pod, &main, &init, &ephemeral)),
    }
}

type Names<'p> = Vec<&'p str>;

fn all_names(pod: &Value) -> (Names<'_>, Names<'_>, Names<'_>) {
    (
        names(pod, "containers"),
        names(pod, "initContainers"),
        names(pod, "ephemeralContainers"),
    )
}

fn exists(
    pod: &Value,
    wanted: &str,
    main: &[&str],
    init: &[&str],
    ephemeral: &[&str],
) -> Result<String, Status> {
    match main
        .iter()
        .chain(init)
        .chain(ephemeral)
        .any(|name| *name == wanted)
    {
        true => Ok(wanted.to_owned()),
        false => Err(Status::bad_request(format!(
            "container {wanted} is not valid for pod {}",
            object::name(pod)
        ))),
    }
}

fn choose(pod: &Value, main: &[&str], init: &[&str], ephemeral: &[&str]) -> Status {
    let mut message = format!(
        "a container name must be specified for pod {}, choose one of: [{}]",
        object::name(pod),
        main.join(" ")
    );
    if !init.is_empty() {
        message.push_str(&format!(
            " or one of the init containers: [{}]",
            init.join(" ")
        ));
    }
    if !ephemeral.is_empty() {
        message.push_str(&format!(
            " or one of the ephemeral containers: [{}]",
            ephemeral.join(" ")
        ));
    }
    Status::bad_request(message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({
            "metadata": {"namespace": "default", "name": "web"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "setup"}]},
        })
    }

    #[test]
    fn translates_exec() {
        let query = Query::parse(
            "container=a&stdin=true&stdout=1&stderr=false&tty=true&command=sh&command=-c&command=a%20%26",
        )
        .unwrap();
        let uri = Stream::Exec.uri(&pod(), &query).unwrap();
        assert_eq!(
            uri,
            "/exec/default/web/a?input=1&output=1&tty=1&command=sh&command=%2Dc&command=a%20%26"
        );
        let query = Query::parse("ports=80").unwrap();
        assert_eq!(
            Stream::PortForward.uri(&pod(), &query).unwrap(),
            "/portForward/default/web?port=80"
        );
    }

    #[test]
    fn chooses_containers() {
        assert_eq!(
            log_container(&pod(), "").unwrap_err().message,
            "a container name must be specified for pod web, choose one of: [a b] or one of the init containers: [setup]"
        );
        assert_eq!(log_container(&pod(), "setup").unwrap(), "setup");
        assert_eq!(
            log_container(&pod(), "c").unwrap_err().message,
            "container c is not valid for pod web"
        );
    }

    #[test]
    fn options_of_logs_are_refused_in_upstreams_words() {
        let refused = |text: &str| {
            let query = Query::parse(text).unwrap();
            validate_log(&query, "web").map_err(|status| (status.code, status.message))
        };
        let invalid = |why: &str| Err((422, format!("PodLogOptions \"web\" is invalid: {why}")));
        assert_eq!(
            refused("tailLines=0&limitBytes=1&sinceSeconds=1&follow=true"),
            Ok(())
        );
        assert_eq!(
            refused("tailLines=-1"),
            invalid("tailLines: Invalid value: -1: must be greater than or equal to 0")
        );
        assert_eq!(
            refused("limitBytes=0&sinceSeconds=0"),
            invalid(
                "[limitBytes: Invalid value: 0: must be greater than 0, sinceSeconds: Invalid value: 0: must be greater than 0]"
            )
        );
        assert_eq!(refused("sinceTime=2026-01-01T00:00:00Z"), Ok(()));
        let unfit =
            "parsing time \"zz\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"zz\" as \"2006\"";
        assert_eq!(refused("sinceTime=zz"), Err((400, unfit.to_owned())));
        assert_eq!(
            refused("stream=Stdout"),
            invalid("stream: Forbidden: may not be specified")
        );
    }
}
