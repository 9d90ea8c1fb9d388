//! `/statusz`: what the program is, for people, and as an object of config.k8s.io (upstream's `apiserver/pkg/server/statusz`).

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use knarr_host::process::Process;
use serde_json::json;

use super::{Body, node, text, typed};

const COMPONENT: &str = "kubelet";
const GROUP: &str = "config.k8s.io";
const KIND: &str = "Statusz";
/// The versions of the object that are told, the newest first; all but that one are deprecated.
const VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];
/// Upstream changes what stands between a name and its value, so that nobody comes to rely on it.
const DELIMITERS: [&str; 4] = [":", ": ", "=", " "];
/// What a program says that Go did not build.
const GO_VERSION: &str = "none";
/// The first parts of paths that need no parameters.
const PATHS: [&str; 3] = ["/configz", "/healthz", "/metrics"];

/// Answers with text, unless JSON of a version is asked for: plain JSON would have none.
pub(super) fn status(headers: &HeaderMap) -> Response<Body> {
    let accept = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok());
    let Some(version) = form(accept.unwrap_or_default()) else {
        let message = "only the following media types are accepted: application/json, text/plain\n";
        return text(StatusCode::NOT_ACCEPTABLE, message);
    };
    let own = Process::own().unwrap_or_default();
    let started = jiff::Timestamp::from_second(own.start_seconds as i64).unwrap_or_default();
    let up = jiff::Timestamp::now().duration_since(started);
    let up = up.as_secs().max(0);
    let binary = knarr_auth::VERSION.trim_start_matches('v');
    let emulated: Vec<&str> = binary.split('.').take(2).collect();
    let emulated = emulated.join(".");
    let Some(version) = version else {
        let since = started.strftime("%a %b %e %H:%M:%S UTC %Y").to_string();
        let (hours, minutes, seconds) = (up / 3_600, up / 60 % 60, up % 60);
        let up = format!("{hours} hr {minutes:02} min {seconds:02} sec");
        let lines = [
            ("Started", since.as_str()),
            ("Up", &up),
            ("Go version", GO_VERSION),
            ("Binary version", binary),
            ("Emulation version", &emulated),
            ("Paths", &PATHS.join(" ")),
        ];
        let between = fastrand::choice(DELIMITERS).unwrap_or_default();
        let mut page = format!(
            "\n{COMPONENT} statusz\nWarning: This endpoint is not meant to be machine parseable, has no \
             formatting compatibility guarantees and is for debugging purposes only.\n\n"
        );
        for (name, value) in lines {
            page.push_str(&format!("{name}{between} {value}\n"));
        }
        return text(StatusCode::OK, page);
    };
    let object = json!({
        "kind": KIND,
        "apiVersion": format!("{GROUP}/{version}"),
        "metadata": { "name": COMPONENT },
        "startTime": started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "uptimeSeconds": up,
        "goVersion": GO_VERSION,
        "binaryVersion": binary,
        "emulationVersion": emulated,
        "paths": PATHS,
    });
    let mut response = typed(StatusCode::OK, node::JSON, Bytes::from(object.to_string()));
    if version != VERSIONS[0] {
        let warning = "299 - \"This version of the statusz endpoint is deprecated. Please use a newer version.\"";
        let warning = http::HeaderValue::from_static(warning);
        response.headers_mut().insert(header::WARNING, warning);
    }
    response
}

/// The version of the object that is accepted first, none for text; nothing where neither is.
fn form(accept: &str) -> Option<Option<&'static str>> {
    if accept.trim().is_empty() {
        return Some(None);
    }
    accept.split(',').find_map(|clause| {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
        let of = |name| {
            parameters
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| *value)
        };
        match (media, of("as"), of("g"), of("v")) {
            ("text/plain" | "text/*" | "*/*", None, None, None) => Some(None),
            ("application/json" | "application/*" | "*/*", Some(KIND), Some(GROUP), Some(v)) => {
                VERSIONS.into_iter().find(|known| *known == v).map(Some)
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_is_as_upstream() {
        let json =
            |version: &str| format!("application/json;as=Statusz;v={version};g=config.k8s.io");
        for (accept, wanted) in [
            (String::new(), Some(None)),
            ("*/*".to_owned(), Some(None)),
            ("text/html, text/plain;q=0.5".to_owned(), Some(None)),
            (json("v1beta1"), Some(Some("v1beta1"))),
            (json("v1alpha1"), Some(Some("v1alpha1"))),
            (json("v1"), None),
            ("application/json".to_owned(), None),
        ] {
            assert_eq!(form(&accept), wanted, "{accept}");
        }
    }

    #[test]
    fn it_says_who_it_is() {
        let mut headers = HeaderMap::new();
        assert_eq!(status(&headers).status(), 200);
        let accept = "application/json;as=Statusz;v=v1alpha1;g=config.k8s.io";
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        let old = status(&headers);
        assert!(
            old.headers()[header::WARNING]
                .to_str()
                .unwrap()
                .contains("deprecated")
        );
        headers.insert(header::ACCEPT, "application/json".parse().unwrap());
        assert_eq!(status(&headers).status(), 406);
    }
}
