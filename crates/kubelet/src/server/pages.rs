//! `/statusz` and `/flagz`: what the program is and what it was told at its start, for people, and as objects of config.k8s.io
//! (upstream's `apiserver/pkg/server/statusz` and `flagz`).

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use knarr_host::process::Process;
use serde_json::{Map, Value, json};

use super::{Body, node, text, typed};
use crate::config::Config;

const COMPONENT: &str = "kubelet";
const GROUP: &str = "config.k8s.io";
/// The versions of the objects that are told, the newest first; all but that one are deprecated.
const VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];
/// Upstream changes what stands between a name and its value, so that nobody comes to rely on it.
const DELIMITERS: [&str; 4] = [":", ": ", "=", " "];
/// What a program says that Go did not build.
const GO_VERSION: &str = "none";
/// The first parts of paths that need no parameters.
const PATHS: [&str; 4] = ["/configz", "/flagz", "/healthz", "/metrics"];

/// One of the two pages.
struct Page {
    kind: &'static str,
    name: &'static str,
    lines: Vec<(String, String)>,
    /// The fields of the object.
    object: Map<String, Value>,
}

/// Answers `/statusz`.
pub(super) fn status(headers: &HeaderMap) -> Response<Body> {
    let own = Process::own().unwrap_or_default();
    let started = jiff::Timestamp::from_second(own.start_seconds as i64).unwrap_or_default();
    let up = jiff::Timestamp::now().duration_since(started);
    let up = up.as_secs().max(0);
    let binary = knarr_auth::VERSION.trim_start_matches('v');
    let emulated: Vec<&str> = binary.split('.').take(2).collect();
    let emulated = emulated.join(".");
    let (hours, minutes, seconds) = (up / 3_600, up / 60 % 60, up % 60);
    let lines = [
        (
            "Started",
            started.strftime("%a %b %e %H:%M:%S UTC %Y").to_string(),
        ),
        (
            "Up",
            format!("{hours} hr {minutes:02} min {seconds:02} sec"),
        ),
        ("Go version", GO_VERSION.to_owned()),
        ("Binary version", binary.to_owned()),
        ("Emulation version", emulated.clone()),
        ("Paths", PATHS.join(" ")),
    ];
    let object = json!({
        "startTime": started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "uptimeSeconds": up,
        "goVersion": GO_VERSION,
        "binaryVersion": binary,
        "emulationVersion": emulated,
        "paths": PATHS,
    });
    let lines = lines.map(|(name, value)| (name.to_owned(), value));
    answer(
        headers,
        Page::new("Statusz", "statusz", lines.into(), object),
    )
}

/// Answers `/flagz`: upstream's names of what this kubelet was told, by whatever way.
pub(super) fn flags(headers: &HeaderMap, config: &Config) -> Response<Body> {
    let flags = told(config);
    let lines = flags
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    let lines = lines.collect();
    answer(
        headers,
        Page::new("Flagz", "flagz", lines, json!({ "flags": flags })),
    )
}

fn told(config: &Config) -> BTreeMap<&'static str, String> {
    let list = |items: Vec<String>| format!("[{}]", items.join(","));
    let dns = config.cluster_dns.iter().map(ToString::to_string);
    let labels = config.node_labels.iter();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let manifests = config.manifest_path.as_ref();
    BTreeMap::from([
        ("address", config.listen.to_string()),
        (
            "allowed-unsafe-sysctls",
            list(config.allowed_unsafe_sysctls.clone()),
        ),
        ("cgroup-root", config.cgroup_root.clone()),
        ("cluster-dns", list(dns.collect())),
        ("cluster-domain", config.cluster_domain.clone()),
        ("container-runtime-endpoint", config.cri_endpoint.clone()),
        ("hostname-override", config.node_name.clone()),
        ("node-ip", config.host_ips().join(",")),
        ("node-labels", labels.join(",")),
        (
            "pod-manifest-path",
            manifests.map_or_else(String::new, |path| path.display().to_string()),
        ),
        ("port", config.port.to_string()),
        ("resolv-conf", config.resolv_conf.display().to_string()),
        ("root-dir", config.root().path().display().to_string()),
    ])
}

impl Page {
    fn new(
        kind: &'static str,
        name: &'static str,
        lines: Vec<(String, String)>,
        object: Value,
    ) -> Self {
        let object = match object {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        Self {
            kind,
            name,
            lines,
            object,
        }
    }

    fn text(&self) -> String {
        let between = fastrand::choice(DELIMITERS).unwrap_or_default();
        let mut page = format!(
            "\n{COMPONENT} {}\nWarning: This endpoint is not meant to be machine parseable, has no \
             formatting compatibility guarantees and is for debugging purposes only.\n\n",
            self.name
        );
        for (name, value) in &self.lines {
            page.push_str(&format!("{name}{between}{value}\n"));
        }
        page
    }
}

/// Answers with text, unless JSON of a version is asked for: plain JSON would have none.
fn answer(headers: &HeaderMap, page: Page) -> Response<Body> {
    let accept = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok());
    let version = match form(accept.unwrap_or_default(), page.kind) {
        Some(Some(version)) => version,
        Some(None) => return text(StatusCode::OK, page.text()),
        None => {
            let message =
                "only the following media types are accepted: application/json, text/plain\n";
            return text(StatusCode::NOT_ACCEPTABLE, message);
        }
    };
    let mut object = page.object;
    object.insert("kind".to_owned(), page.kind.into());
    object.insert("apiVersion".to_owned(), format!("{GROUP}/{version}").into());
    object.insert("metadata".to_owned(), json!({ "name": COMPONENT }));
    let object = Value::Object(object).to_string();
    let mut response = typed(StatusCode::OK, node::JSON, Bytes::from(object));
    if version != VERSIONS[0] {
        let warning = format!(
            "299 - \"This version of the {} endpoint is deprecated. Please use a newer version.\"",
            page.name
        );
        if let Ok(warning) = HeaderValue::from_str(&warning) {
            response.headers_mut().insert(header::WARNING, warning);
        }
    }
    response
}

/// The version of the object that is accepted first, none for text; nothing where neither is.
fn form(accept: &str, kind: &str) -> Option<Option<&'static str>> {
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
            ("application/json" | "application/*" | "*/*", Some(of), Some(GROUP), Some(v))
                if of == kind =>
            {
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
            assert_eq!(form(&accept, "Statusz"), wanted, "{accept}");
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
    #[tokio::test]
    async fn what_the_kubelet_was_told_is_told_by_upstreams_names() {
        use http_body_util::BodyExt;
        let config = Config {
            node_name: "n1".to_owned(),
            node_ips: vec![[10, 0, 0, 1].into()],
            ..Config::default()
        };
        let mut headers = HeaderMap::new();
        let accept = "application/json;as=Flagz;v=v1beta1;g=config.k8s.io";
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        let body = flags(&headers, &config).into_body();
        let body = body.collect().await.unwrap().to_bytes();
        let told: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&told["kind"], &told["metadata"]["name"]),
            (&json!("Flagz"), &json!("kubelet"))
        );
        let flags = &told["flags"];
        assert_eq!(
            (&flags["hostname-override"], &flags["node-ip"]),
            (&json!("n1"), &json!("10.0.0.1"))
        );
        assert_eq!(
            (&flags["port"], &flags["cluster-dns"]),
            (&json!("10250"), &json!("[]"))
        );
    }
}
