//! `/statusz` and `/flagz`: what the program is and how it was started, for people, and as objects of config.k8s.io.
//!
//! As upstream's `server/statusz` and `server/flagz`: text unless JSON or YAML of a version of theirs is asked for; plain JSON is
//! refused, since it would have no version. Who may read them is said by RBAC (`system:monitoring`).

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderValue, Response, StatusCode, header};
use knarr_auth::route::ApiRequest;
use knarr_host::process::Process;
use knarr_meta::{status::Status, time};
use serde_json::{Value, json};

use crate::{
    body::Body,
    negotiate::{Accepted, Encoding, Shape, clauses},
    respond::{self, Answer},
};

const COMPONENT: &str = "apiserver";
const GROUP: &str = "config.k8s.io";
/// Upstream changes what stands between a name and its value, so that nobody comes to rely on it.
const DELIMITERS: [&str; 4] = [":", ": ", "=", " "];
/// Folders of paths that are no help in finding faults.
const NO_HELP: [&str; 5] = ["/apis", "/api", "/openid", "/openapi", "/.well-known"];
/// As [`knarr_auth::VERSION`] without what is before the number.
const VERSION: &str = "1.37";

/// What a program says that Go did not build.
const GO_VERSION: &str = "none";

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Object {
        encoding: Encoding,
        version: &'static str,
    },
}

/// Answers `/statusz`; `paths` are those that are served.
pub fn status(paths: &[String], request: &ApiRequest<'_>) -> Answer {
    let form = form(request.headers.accept, "Statusz")?;
    let own = Process::own().unwrap_or_default();
    let now = jiff::Timestamp::now().as_second();
    let started = own.start_seconds as i64;
    let up = now.saturating_sub(started).max(0);
    let since = jiff::Timestamp::from_second(started).unwrap_or_default();
    let paths = folders(paths);
    let binary = knarr_auth::VERSION.trim_start_matches('v');
    match form {
        Form::Text => {
            let since = since.strftime("%a %b %e %H:%M:%S UTC %Y").to_string();
            let up = format!(
                "{} hr {:02} min {:02} sec",
                up / 3600,
                up / 60 % 60,
                up % 60
            );
            let paths = paths.join(" ");
            let lines = [
                ("Started", since.as_str()),
                ("Up", &up),
                ("Go version", GO_VERSION),
                ("Binary version", binary),
                ("Emulation version", VERSION),
                ("Paths", &paths),
            ];
            Ok(text("statusz", "\n", &lines))
        }
        Form::Object { encoding, version } => {
            let object = json!({
                "kind": "Statusz",
                "apiVersion": format!("{GROUP}/{version}"),
                "metadata": {"name": COMPONENT},
                "startTime": time::format_seconds(since),
                "uptimeSeconds": up,
                "goVersion": GO_VERSION,
                "binaryVersion": binary,
                "emulationVersion": VERSION,
                "paths": paths,
            });
            Ok(object_answer(&object, encoding, version, "statusz"))
        }
    }
}

/// Answers `/flagz`.
pub fn flags(flags: &BTreeMap<String, String>, request: &ApiRequest<'_>) -> Answer {
    match form(request.headers.accept, "Flagz")? {
        Form::Text => {
            let lines = flags.iter().map(|(name, value)| (&**name, &**value));
            let lines: Vec<(&str, &str)> = lines.collect();
            Ok(text("flagz", "", &lines))
        }
        Form::Object { encoding, version } => {
            let object = json!({
                "kind": "Flagz",
                "apiVersion": format!("{GROUP}/{version}"),
                "metadata": {"name": COMPONENT},
                "flags": flags,
            });
            Ok(object_answer(&object, encoding, version, "flagz"))
        }
    }
}

fn text(page: &str, gap: &str, lines: &[(&str, &str)]) -> Response<Body> {
    let between = fastrand::choice(DELIMITERS).unwrap_or_default();
    let mut out = format!(
        "\n{COMPONENT} {page}\nWarning: This endpoint is not meant to be machine parseable, has no formatting \
         compatibility guarantees and is for debugging purposes only.\n{gap}"
    );
    for (name, value) in lines {
        out.push_str(&format!("{name}{between}{value}\n"));
    }
    respond::text(StatusCode::OK, out)
}

fn object_answer(object: &Value, encoding: Encoding, version: &str, page: &str) -> Response<Body> {
    let accepted = Accepted {
        encoding,
        shape: Shape::Object,
        pretty: false,
    };
    let mut response = respond::tree(StatusCode::OK, object, accepted);
    if version == "v1alpha1" {
        let warning = format!(
            "299 - \"This version of the {page} endpoint is deprecated. Please use a newer version.\""
        );
        if let Ok(warning) = HeaderValue::from_str(&warning) {
            response.headers_mut().insert(header::WARNING, warning);
        }
    }
    response
}

/// The first of what a client accepts that there is.
fn form(accept: &str, kind: &str) -> Result<Form, Status> {
    if accept.trim().is_empty() {
        return Ok(Form::Text);
    }
    let found = clauses(accept).into_iter().find_map(|clause| {
        let object = ["as", "g", "v"].map(|name| clause.param(name));
        let version = match object {
            [None, None, None] => None,
            [Some(of), Some(GROUP), Some("v1beta1")] if of == kind => Some("v1beta1"),
            [Some(of), Some(GROUP), Some("v1alpha1")] if of == kind => Some("v1alpha1"),
            _ => return None,
        };
        match (clause.media, version) {
            (("text", "plain" | "*") | ("*", "*"), None) => Some(Form::Text),
            (("application", "json" | "*") | ("*", "*"), Some(version)) => Some(Form::Object {
                encoding: Encoding::Json,
                version,
            }),
            (("application", "yaml"), Some(version)) => Some(Form::Object {
                encoding: Encoding::Yaml,
                version,
            }),
            _ => None,
        }
    });
    found.ok_or_else(|| {
        Status::not_acceptable(
            "only the following media types are accepted: application/json, application/yaml, text/plain",
        )
    })
}

/// The first parts of paths, each once.
fn folders(paths: &[String]) -> Vec<String> {
    let folders = paths.iter().filter_map(|path| {
        let folder = path.split('/').nth(1).filter(|folder| !folder.is_empty())?;
        Some(format!("/{folder}"))
    });
    let folders: BTreeSet<String> = folders
        .filter(|folder| !NO_HELP.contains(&folder.as_str()))
        .collect();
    folders.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_is_as_upstream() {
        let object = |encoding, version| Some(Form::Object { encoding, version });
        let json = "application/json;v=v1beta1;g=config.k8s.io;as=Statusz";
        let yaml = "application/yaml;v=v1alpha1;g=config.k8s.io;as=Statusz";
        for (accept, wanted) in [
            ("", Some(Form::Text)),
            ("*/*", Some(Form::Text)),
            ("text/plain", Some(Form::Text)),
            ("text/html, text/plain;q=0.5", Some(Form::Text)),
            (json, object(Encoding::Json, "v1beta1")),
            (yaml, object(Encoding::Yaml, "v1alpha1")),
            ("application/json", None),
            ("application/vnd.kubernetes.protobuf", None),
            ("application/json;v=v1;g=config.k8s.io;as=Statusz", None),
            ("application/json;v=v1beta1;g=config.k8s.io;as=Flagz", None),
        ] {
            assert_eq!(form(accept, "Statusz").ok(), wanted, "{accept}");
        }
    }

    #[test]
    fn paths_are_told_by_their_folders() {
        let paths = [
            "/",
            "/healthz",
            "/livez/ping",
            "/livez",
            "/apis/apps",
            "/metrics/slis",
        ];
        let paths = paths.map(str::to_owned);
        assert_eq!(folders(&paths), ["/healthz", "/livez", "/metrics"]);
    }
}
