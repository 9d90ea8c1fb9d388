//! What a request to the node server is in terms of RBAC: a verb on subresources of the node.

use http::Method;

/// Upstream's verbs; other methods have none, which only a rule for all verbs allows.
pub(super) fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// The subresources any of which is right enough for a path, the narrowest first. `path` is in segments.
pub(super) fn subresources(path: &[&str]) -> &'static [&'static str] {
    match path.first().copied().unwrap_or_default() {
        "pods" | "allocatedPods" | "runningpods" => &["pods", "proxy"],
        "healthz" => &["healthz", "proxy"],
        "configz" => &["configz", "proxy"],
        "flagz" => &["configz"],
        "statusz" => &["statusz"],
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        // What the node retains of its pods' logs, and its own.
        "logs" | "knarr" => &["log"],
        "checkpoint" => &["checkpoint"],
        _ => &["proxy"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The comment of upstream's `GetRequestAttributes`, as a table.
    #[test]
    fn paths_are_subresources() {
        for (path, wanted) in [
            ("stats/summary", "stats"),
            ("metrics", "metrics"),
            ("metrics/cadvisor", "metrics"),
            ("logs/syslog", "log"),
            ("knarr/logs", "log"),
            ("checkpoint/ns/pod/c", "checkpoint"),
            ("statusz", "statusz"),
            ("flagz", "configz"),
            ("pods", "pods proxy"),
            ("runningpods", "pods proxy"),
            ("allocatedPods", "pods proxy"),
            ("healthz", "healthz proxy"),
            ("healthz/syncloop", "healthz proxy"),
            ("configz", "configz proxy"),
            ("exec/ns/pod/c", "proxy"),
            ("containerLogs/ns/pod/c", "proxy"),
            ("podsandmore", "proxy"),
            ("", "proxy"),
        ] {
            let path: Vec<&str> = path.split('/').collect();
            assert_eq!(subresources(&path).join(" "), wanted, "{path:?}");
        }
    }

    #[test]
    fn methods_are_verbs() {
        for (method, wanted) in [
            (Method::GET, "get"),
            (Method::POST, "create"),
            (Method::PUT, "update"),
            (Method::PATCH, "patch"),
            (Method::DELETE, "delete"),
            (Method::HEAD, ""),
            (Method::OPTIONS, ""),
        ] {
            assert_eq!(verb(&method), wanted);
        }
    }
}
