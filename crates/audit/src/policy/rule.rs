//! Whether a rule is about a request, as upstream's `ruleMatches`.

use knarr_auth::{UserInfo, request::RequestInfo};

use super::Decision;

/// A rule; an empty list matches everything.
#[derive(Debug)]
pub struct Rule {
    pub decision: Decision,
    pub users: Vec<String>,
    pub groups: Vec<String>,
    pub verbs: Vec<String>,
    pub resources: Vec<GroupResources>,
    /// The empty string is what is in no namespace.
    pub namespaces: Vec<String>,
    pub non_resource_urls: Vec<String>,
}

/// Resources of an API group.
#[derive(Debug)]
pub struct GroupResources {
    pub group: String,
    pub resources: Vec<String>,
    pub names: Vec<String>,
}

impl Rule {
    pub fn matches(&self, user: Option<&UserInfo>, info: &RequestInfo<'_>) -> bool {
        let named = user.is_some_and(|user| has(&self.users, &user.name));
        let member = user.is_some_and(|user| user.groups.iter().any(|g| has(&self.groups, g)));
        if (!self.users.is_empty() && !named)
            || (!self.groups.is_empty() && !member)
            || (!self.verbs.is_empty() && !has(&self.verbs, info.verb))
        {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.is_resource && self.matches_resource(info);
        }
        if !self.non_resource_urls.is_empty() {
            let mut urls = self.non_resource_urls.iter();
            return !info.is_resource && urls.any(|url| is_path(url, info.path));
        }
        true
    }

    fn matches_resource(&self, info: &RequestInfo<'_>) -> bool {
        if !self.namespaces.is_empty() && !has(&self.namespaces, info.namespace) {
            return false;
        }
        self.resources.is_empty() || self.resources.iter().any(|some| some.contain(info))
    }
}

impl GroupResources {
    fn contain(&self, info: &RequestInfo<'_>) -> bool {
        if self.group != "*" && self.group != info.group {
            return false;
        }
        let named = self.names.is_empty() || has(&self.names, info.name);
        let mut resources = self.resources.iter();
        self.resources.is_empty() || (named && resources.any(|one| is_resource(one, info)))
    }
}

/// `pods`, `pods/log`, `pods/*`, `*/status` or `*`.
fn is_resource(pattern: &str, info: &RequestInfo<'_>) -> bool {
    if pattern == "*" {
        return true;
    }
    match pattern.split_once('/') {
        None => info.subresource.is_empty() && pattern == info.resource,
        Some((resource, "*")) if resource == info.resource => true,
        Some(("*", subresource)) => !info.subresource.is_empty() && subresource == info.subresource,
        Some((resource, subresource)) => {
            !info.subresource.is_empty()
                && (resource, subresource) == (info.resource, info.subresource)
        }
    }
}

/// A path, or with `*` at its end whatever begins so.
fn is_path(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => pattern == path,
    }
}

fn has(all: &[String], one: &str) -> bool {
    all.iter().any(|item| item == one)
}
