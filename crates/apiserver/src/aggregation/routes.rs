//! Which server serves which group-version.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_api::apiregistration::{GROUP, api_service, priorities::Priority};
use knarr_meta::object::{self, bool_at, i64_at, str_at};
use knarr_webhook::{Backend, Error, Target, Trust};
use serde_json::Value;

/// The port of a reference that names none.
const DEFAULT_PORT: u16 = 443;

/// Group-versions of other servers.
#[derive(Default)]
pub struct Routes(HashMap<String, Vec<Arc<Route>>>);

/// The way to who serves a group-version.
pub struct Route {
    /// Of the APIService.
    pub name: String,
    pub group: String,
    pub version: String,
    pub priority: Priority,
    pub way: Way,
    /// What the APIService says: requests are passed on only then.
    pub available: bool,
    /// Why there can be no connection, where that is known.
    pub backend: Result<Arc<Backend>, String>,
}

/// Where a server is, and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Way {
    pub target: Target,
    pub trust: Trust,
}

impl Route {
    /// The path of its discovery.
    pub fn root(&self) -> String {
        match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }

    /// Whether what was learned by the one holds for the other.
    pub fn same_server(&self, other: &Route) -> bool {
        self.way == other.way && self.priority == other.priority
    }
}

impl Way {
    /// That of an APIService; `None`: it is served here.
    pub fn of(object: &Value) -> Option<Way> {
        let service = api_service::service(object)?;
        let port = i64_at(service, &["port"]).and_then(|port| u16::try_from(port).ok());
        let target = Target::Service {
            namespace: str_at(service, &["namespace"]).to_owned(),
            name: str_at(service, &["name"]).to_owned(),
            port: port.unwrap_or(DEFAULT_PORT),
            path: String::new(),
        };
        let bundle = STANDARD.decode(str_at(object, &["spec", "caBundle"]));
        let trust = match bool_at(object, &["spec", "insecureSkipTLSVerify"]) {
            true => Trust::Unverified,
            false => Trust::Bundle(bundle.unwrap_or_default()),
        };
        Some(Way { target, trust })
    }
}

impl Routes {
    /// The routes of APIServices. Connections of those before are kept where they lead to the same servers.
    pub fn new<'o>(
        objects: impl Iterator<Item = &'o Value>,
        before: &Routes,
        make: impl Fn(&Way) -> Result<Backend, Error>,
    ) -> Routes {
        let mut backends: HashMap<Way, Result<Arc<Backend>, String>> = before
            .iter()
            .map(|route| (route.way.clone(), route.backend.clone()))
            .collect();
        let mut routes: HashMap<String, Vec<Arc<Route>>> = HashMap::new();
        for object in objects {
            let group = str_at(object, &["spec", "group"]);
            let Some(way) = Way::of(object).filter(|_| group != GROUP) else {
                continue;
            };
            let made = || make(&way).map(Arc::new).map_err(|error| error.to_string());
            let backend = backends.entry(way.clone()).or_insert_with(made).clone();
            let number = |field: &str| {
                let number = i64_at(object, &["spec", field]).unwrap_or_default();
                i32::try_from(number).unwrap_or_default()
            };
            let route = Route {
                name: object::name(object).to_owned(),
                group: group.to_owned(),
                version: str_at(object, &["spec", "version"]).to_owned(),
                priority: Priority {
                    group: number("groupPriorityMinimum"),
                    version: number("versionPriority"),
                },
                available: api_service::is_available(object),
                backend,
                way,
            };
            let versions = routes.entry(group.to_owned()).or_default();
            versions.push(Arc::new(route));
        }
        Routes(routes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn find(&self, group: &str, version: &str) -> Option<&Arc<Route>> {
        // Most clusters have none.
        if self.0.is_empty() {
            return None;
        }
        let mut versions = self.0.get(group)?.iter();
        versions.find(|route| route.version == version)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.0.values().flatten()
    }
}
