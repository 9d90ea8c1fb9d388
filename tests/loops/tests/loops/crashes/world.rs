//! Everything that there is in a cluster, to be compared.

use std::collections::{BTreeMap, BTreeSet};

use kube::Client;
use serde_json::Value;

/// All collections whose objects count in the end.
const COLLECTIONS: [&str; 37] = [
    "/api/v1/configmaps",
    "/api/v1/endpoints",
    "/api/v1/events",
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/api/v1/persistentvolumeclaims",
    "/api/v1/persistentvolumes",
    "/api/v1/pods",
    "/api/v1/replicationcontrollers",
    "/api/v1/resourcequotas",
    "/api/v1/secrets",
    "/api/v1/serviceaccounts",
    "/api/v1/services",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "/apis/apps/v1/controllerrevisions",
    "/apis/apps/v1/daemonsets",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/replicasets",
    "/apis/apps/v1/statefulsets",
    "/apis/autoscaling/v2/horizontalpodautoscalers",
    "/apis/batch/v1/cronjobs",
    "/apis/batch/v1/jobs",
    "/apis/certificates.k8s.io/v1/certificatesigningrequests",
    "/apis/certificates.k8s.io/v1/clustertrustbundles",
    "/apis/certificates.k8s.io/v1/podcertificaterequests",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/networking.k8s.io/v1/ipaddresses",
    "/apis/networking.k8s.io/v1/servicecidrs",
    "/apis/policy/v1/poddisruptionbudgets",
    // Those of the server itself are many.
    "/apis/rbac.authorization.k8s.io/v1/clusterroles?labelSelector=!kubernetes.io/bootstrapping",
    "/apis/resource.k8s.io/v1/resourceclaims",
    "/apis/resource.k8s.io/v1/resourceclaimtemplates",
    "/apis/resource.k8s.io/v1/resourceslices",
    "/apis/storage.k8s.io/v1/storageclasses",
    "/apis/storage.k8s.io/v1/volumeattachments",
    "/apis/storage.k8s.io/v1/volumeattributesclasses",
    "/apis/storagemigration.k8s.io/v1/storageversionmigrations",
];

/// Of these some more or less are no other end: what is told to people, and addresses of chance.
const UNCOMPARED: [&str; 2] = ["/api/v1/events", "/apis/networking.k8s.io/v1/ipaddresses"];

/// Objects by their collection.
pub struct World(BTreeMap<&'static str, Vec<Value>>);

pub async fn get(client: &Client, path: &str) -> Result<Value, kube::Error> {
    let request = http::Request::get(path).body(Vec::new());
    client.request(request.expect("a path")).await
}

/// Sends an object; a patch is one to merge.
pub async fn send(
    client: &Client,
    request: http::request::Builder,
    body: &Value,
) -> Result<Value, kube::Error> {
    let merges = request.method_ref() == Some(&http::Method::PATCH);
    let kind = if merges { "merge-patch+json" } else { "json" };
    let request = request.header("content-type", format!("application/{kind}"));
    client
        .request(
            request
                .body(body.to_string().into_bytes())
                .expect("a request"),
        )
        .await
}

impl World {
    pub async fn read(admin: &Client) -> World {
        let mut all = BTreeMap::new();
        for path in COLLECTIONS {
            let mut list = get(admin, path)
                .await
                .unwrap_or_else(|e| panic!("{path}: {e}"));
            let items = match list["items"].take() {
                Value::Array(items) => items,
                _ => Vec::new(),
            };
            all.insert(path, items);
        }
        World(all)
    }

    /// The objects of a resource, by its plural.
    pub fn all(&self, plural: &str) -> &[Value] {
        let is_it = |(path, _): &(&&str, &Vec<Value>)| {
            path.split('?')
                .next()
                .is_some_and(|path| path.ends_with(&format!("/{plural}")))
        };
        let found = self.0.iter().find(is_it);
        found.unwrap_or_else(|| panic!("{plural} are not read")).1
    }

    /// One by its name, in whatever namespace.
    pub fn find(&self, plural: &str, name: &str) -> Option<&Value> {
        let mut all = self.all(plural).iter();
        all.find(|object| object["metadata"]["name"] == name)
    }

    pub fn one(&self, plural: &str, name: &str) -> Result<&Value, String> {
        self.find(plural, name)
            .ok_or_else(|| format!("no {plural} {name}"))
    }

    /// Those of a resource whose first controller is of this kind and name.
    pub fn owned(&self, plural: &str, kind: &str, name: &str) -> Vec<&Value> {
        let is_it = |object: &&Value| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            let mut owners = owners.into_iter().flatten();
            owners.any(|owner| owner["kind"] == kind && owner["name"] == name)
        };
        self.all(plural).iter().filter(is_it).collect()
    }

    /// What has to be the same whenever and wherever the same was done: who is there, who has whom, what holds or ends it.
    pub fn digest(&self) -> BTreeMap<String, usize> {
        let all = || {
            self.0
                .iter()
                .flat_map(|(path, items)| items.iter().map(move |i| (path, i)))
        };
        let uids: BTreeSet<&str> = all()
            .filter_map(|(_, i)| i["metadata"]["uid"].as_str())
            .collect();
        let mut lines = BTreeMap::new();
        for (path, item) in all().filter(|(path, _)| !UNCOMPARED.contains(*path)) {
            let meta = &item["metadata"];
            let owners = meta["ownerReferences"].as_array().into_iter().flatten();
            let owners: Vec<String> = owners
                .map(|owner| {
                    let there = uids.contains(owner["uid"].as_str().unwrap_or_default());
                    let name = plain(owner["name"].as_str().unwrap_or_default());
                    format!(
                        "{}/{name}{}",
                        owner["kind"],
                        if there { "" } else { " (gone)" }
                    )
                })
                .collect();
            // Slices have names of chance that nobody is told.
            let service = meta["labels"]["kubernetes.io/service-name"].as_str();
            let name = match service.or(meta["generateName"].as_str()) {
                Some(prefix) => format!("{}*", plain(prefix)),
                None => plain(meta["name"].as_str().unwrap_or_default()),
            };
            let line = format!(
                "{path} {}/{name} of {owners:?} held by {} {}",
                meta["namespace"].as_str().unwrap_or_default(),
                meta["finalizers"],
                if meta["deletionTimestamp"].is_null() {
                    ""
                } else {
                    "going"
                },
            );
            *lines.entry(line).or_default() += 1;
        }
        lines
    }
}

/// A name without the time or the hash that is in it.
fn plain(name: &str) -> String {
    let is_chance = |part: &str| {
        let time = part.len() > 6 && part.bytes().all(|byte| byte.is_ascii_digit());
        let hash = part.len() > 20 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        time || hash
    };
    let parts = name.split_inclusive(['-', ':']);
    let parts = parts.map(|part| {
        let bare = part.trim_end_matches(['-', ':']);
        if is_chance(bare) { "#" } else { bare }
    });
    parts.collect::<Vec<_>>().join("-")
}

/// What is in one and not in the other.
pub fn difference(
    wanted: &BTreeMap<String, usize>,
    found: &BTreeMap<String, usize>,
) -> Option<String> {
    let count = |of: &BTreeMap<String, usize>, line: &String| of.get(line).copied().unwrap_or(0);
    let lines: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    let other: Vec<String> = lines
        .into_iter()
        .filter(|line| count(wanted, line) != count(found, line))
        .map(|line| {
            format!(
                "{} and not {} of {line}",
                count(found, line),
                count(wanted, line)
            )
        })
        .collect();
    (!other.is_empty()).then(|| other.join("; "))
}

pub fn equal(what: &str, found: &Value, wanted: &Value) -> Result<(), String> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{what}: {found} and not {wanted}")),
    }
}
