//! The two paths of a proxied request: the client's, and the pod's.

use knarr_auth::escape;

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Location<'a> {
    /// The client's path, unescaped, without query.
    pub path: &'a str,
    /// Its part behind `proxy/`.
    pub rest: &'a str,
    /// As it came, without question mark.
    pub query: &'a str,
}

impl Location<'_> {
    /// `.../proxy` without anything behind.
    pub fn names_the_root(&self) -> bool {
        self.rest.is_empty() && !self.path.ends_with('/')
    }

    /// The client's path with a slash at its end.
    pub fn with_slash(&self) -> String {
        self.with_query(format!("{}/", escape::path(self.path)))
    }

    /// Path and query at the pod.
    pub fn on_target(&self) -> String {
        self.with_query(format!("/{}", escape::path(self.rest)))
    }

    /// The client's path as the pod is told.
    pub fn forwarded(&self) -> String {
        escape::path(self.path)
    }

    /// What a pod's absolute paths need in front to be the client's: `.../proxy`.
    pub fn prefix(&self) -> &str {
        let end = self.path.len() - self.rest.len();
        self.path[..end].trim_end_matches('/')
    }

    fn with_query(&self, mut path: String) -> String {
        if !self.query.is_empty() {
            path.push('?');
            path.push_str(self.query);
        }
        path
    }
}
