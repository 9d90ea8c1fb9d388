//! The ways to act as someone else, and what has to be allowed for each (upstream's `filters/impersonation/mode.go`).

use std::collections::BTreeMap;

use knarr_meta::{
    field::{Error, Path, aggregate, quote},
    names,
    status::Status,
};

use crate::{
    AUTHENTICATED, UserInfo,
    authn::{ANONYMOUS, UNAUTHENTICATED, service_account},
    authz::{self, MASTERS, node},
    request::{Authorizer, RequestInfo},
};

const AUTHENTICATION_GROUP: &str = "authentication.k8s.io";
/// What a token of a pod says about its node.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const ASSOCIATED_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";
/// From so many groups or values on it is asked first whether all of them are allowed.
const MANY: usize = 4;

/// In the order in which they are tried.
pub(super) const MODES: [Mode; 5] = [
    Mode::AssociatedNode,
    Mode::ArbitraryNode,
    Mode::ServiceAccount,
    Mode::UserInfo,
    Mode::Legacy,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A service account acts as the node on which the pod runs that has its token.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    /// Whoever is neither a node nor a service account, with groups, uid and extra values.
    UserInfo,
    /// Anybody, for any request.
    Legacy,
}

impl Mode {
    /// What is asked for of all that is assumed.
    fn verb(self) -> &'static str {
        match self {
            Mode::AssociatedNode => "impersonate:associated-node",
            Mode::ArbitraryNode => "impersonate:arbitrary-node",
            Mode::ServiceAccount => "impersonate:serviceaccount",
            Mode::UserInfo => "impersonate:user-info",
            Mode::Legacy => "impersonate",
        }
    }

    /// What audit events show of it.
    pub(super) fn constraint(self) -> &'static str {
        match self {
            Mode::Legacy => "",
            constrained => constrained.verb(),
        }
    }

    fn is_constrained(self) -> bool {
        self != Mode::Legacy
    }

    /// Whether somebody can be acted for in this mode at all.
    fn applies(self, user: &UserInfo, wanted: &UserInfo) -> bool {
        let name_alone =
            wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let node = node_name(&wanted.name);
        let account = split_service_account(&wanted.name);
        match self {
            Mode::AssociatedNode => {
                let own = user.extra.get(NODE_NAME).map(Vec::as_slice);
                let is_account = split_service_account(&user.name).is_some();
                let associated = matches!((own, node), (Some([own]), Some(node)) if own == node);
                name_alone && is_account && associated
            }
            Mode::ArbitraryNode => name_alone && node.is_some(),
            Mode::ServiceAccount => name_alone && account.is_some(),
            Mode::UserInfo => node.is_none() && account.is_none(),
            Mode::Legacy => true,
        }
    }
}

/// Who asks to act as whom, for what.
pub(super) struct Ask<'a> {
    pub authorizer: &'a dyn Authorizer,
    pub user: &'a UserInfo,
    pub wanted: &'a UserInfo,
    pub request: &'a RequestInfo<'a>,
}

impl Ask<'_> {
    /// Whom the request acts as in this mode; `None` where the mode is not for whom is asked for.
    ///
    /// # Errors
    /// 403 with what is not allowed.
    pub(super) fn of(&self, mode: Mode) -> Result<Option<UserInfo>, Status> {
        if !mode.applies(self.user, self.wanted) {
            return Ok(None);
        }
        let associated = (mode == Mode::AssociatedNode).then(|| without_values(self.user));
        let checks = Checks {
            mode,
            authorizer: self.authorizer,
            user: associated.as_ref().unwrap_or(self.user),
        };
        if mode.is_constrained() {
            let kind = mode.verb().trim_start_matches("impersonate:");
            let verb = format!("impersonate-on:{kind}:{}", self.request.verb);
            checks.ask(&RequestInfo {
                verb: &verb,
                ..self.request.clone()
            })?;
        }
        checks.assume(self.wanted).map(Some)
    }
}

/// A service account without what is its pod's own, so that an authorizer behind a webhook decides once for all of its nodes.
fn without_values(user: &UserInfo) -> UserInfo {
    let keys = user.extra.keys().cloned().collect();
    UserInfo {
        extra: BTreeMap::from([(ASSOCIATED_KEYS.to_owned(), keys)]),
        ..user.clone()
    }
}

/// The checks of everything that is assumed.
struct Checks<'a> {
    mode: Mode,
    authorizer: &'a dyn Authorizer,
    user: &'a UserInfo,
}

impl Checks<'_> {
    fn ask(&self, request: &RequestInfo<'_>) -> Result<(), Status> {
        authz::check(self.authorizer, self.user, request)
    }

    fn refused(&self, request: &RequestInfo<'_>, why: &str) -> Status {
        authz::forbidden(self.user, request, why)
    }

    /// What is asked for a resource of the group that has uids and extra values.
    fn request<'r>(&self, resource: &'r str, name: &'r str) -> RequestInfo<'r> {
        RequestInfo {
            is_resource: true,
            verb: self.mode.verb(),
            group: AUTHENTICATION_GROUP,
            version: "v1",
            resource,
            name,
            ..RequestInfo::default()
        }
    }

    /// As [`Checks::request`], where the oldest mode asks in the core group.
    fn identity<'r>(&self, resource: &'r str, name: &'r str) -> RequestInfo<'r> {
        let group = match self.mode.is_constrained() {
            true => AUTHENTICATION_GROUP,
            false => "",
        };
        RequestInfo {
            group,
            ..self.request(resource, name)
        }
    }

    fn assume(&self, wanted: &UserInfo) -> Result<UserInfo, Status> {
        let mut acting = wanted.clone();
        let mut name = self.identity("users", &wanted.name);
        if let Some(node) = node_name(&wanted.name).filter(|_| self.mode.is_constrained()) {
            name = self.identity("nodes", node);
            acting.groups = vec![node::NODES_GROUP.to_owned()];
        }
        if let Some((namespace, account)) = split_service_account(&wanted.name) {
            name = RequestInfo {
                namespace,
                ..self.identity("serviceaccounts", account)
            };
            if wanted.groups.is_empty() {
                acting.groups = service_account(namespace, account).groups;
                acting.groups.retain(|group| group != AUTHENTICATED);
            }
        }
        if self.mode == Mode::AssociatedNode {
            name.name = "*";
        }
        self.ask(&name)?;
        if !wanted.uid.is_empty() {
            self.ask(&self.request("uids", &wanted.uid))?;
        }
        self.groups(&wanted.groups)?;
        self.extra(&wanted.extra)?;
        complete_groups(&mut acting);
        Ok(acting)
    }

    fn groups(&self, groups: &[String]) -> Result<(), Status> {
        let has = |wanted: &str| groups.iter().any(|group| group == wanted);
        if self.mode.is_constrained() {
            for (group, why) in [
                ("", "impersonating the empty string group is not allowed"),
                (
                    MASTERS,
                    "impersonating the system:masters group is not allowed",
                ),
            ] {
                if has(group) {
                    return Err(self.refused(&self.identity("groups", group), why));
                }
            }
            if groups.len() >= MANY && self.ask(&self.identity("groups", "*")).is_ok() {
                return Ok(());
            }
        }
        groups
            .iter()
            .try_for_each(|group| self.ask(&self.identity("groups", group)))
    }

    fn extra(&self, extra: &BTreeMap<String, Vec<String>>) -> Result<(), Status> {
        let of = |key, value| RequestInfo {
            subresource: key,
            ..self.request("userextras", value)
        };
        if self.mode.is_constrained() && !extra.is_empty() {
            validate_extra(extra).map_err(|why| self.refused(&of("", ""), &why))?;
            let values: usize = extra.values().map(Vec::len).sum();
            if values >= MANY && self.ask(&of("*", "*")).is_ok() {
                return Ok(());
            }
        }
        for (key, values) in extra {
            for value in values {
                self.ask(&of(key, value))?;
            }
        }
        Ok(())
    }
}

/// What constrained modes take, in upstream's words.
fn validate_extra(extra: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    for (key, values) in extra {
        if key.is_empty() {
            return Err("impersonating the empty string key in extra is not allowed".to_owned());
        }
        let errors = domain_prefixed_path(key);
        if !errors.is_empty() {
            let errors = aggregate(&errors);
            return Err(format!(
                "impersonating an invalid key in extra is not allowed: {errors}"
            ));
        }
        if *key != key.to_lowercase() {
            return Err(format!(
                "impersonating a non-lowercase key in extra is not allowed: {}",
                quote(key)
            ));
        }
        if values.iter().any(String::is_empty) {
            return Err("impersonating the empty string value in extra is not allowed".to_owned());
        }
    }
    Ok(())
}

/// As upstream's `IsDomainPrefixedPath`.
fn domain_prefixed_path(key: &str) -> Vec<Error> {
    let path = Path::new("extra").child("key");
    let Some((host, rest)) =
        (key.split_once('/')).filter(|(host, rest)| !host.is_empty() && !rest.is_empty())
    else {
        let why = r#"must be a domain-prefixed path (such as "acme.io/foo")"#;
        return vec![Error::invalid(&path, key, why)];
    };
    let hosts = names::dns1123_subdomain(host).into_iter();
    let rests = names::http_path(rest).into_iter();
    hosts
        .map(|why| Error::invalid(&path, host, why))
        .chain(rests.map(|why| Error::invalid(&path, rest, why)))
        .collect()
}

/// Everyone is either authenticated or not, whatever groups were asked for.
fn complete_groups(user: &mut UserInfo) {
    let has = |wanted: &str| user.groups.iter().any(|group| group == wanted);
    if user.name == ANONYMOUS {
        if !has(UNAUTHENTICATED) {
            user.groups.push(UNAUTHENTICATED.into());
        }
    } else if !has(AUTHENTICATED) && !has(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
}

/// The name of the node in `system:node:<name>`.
fn node_name(user: &str) -> Option<&str> {
    let name = user.strip_prefix(node::USER_PREFIX)?;
    names::dns1123_subdomain(name).is_empty().then_some(name)
}

/// Namespace and name of `system:serviceaccount:<namespace>:<name>`.
fn split_service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    let valid =
        names::dns1123_label(namespace).is_empty() && names::dns1123_subdomain(name).is_empty();
    valid.then_some((namespace, name))
}
