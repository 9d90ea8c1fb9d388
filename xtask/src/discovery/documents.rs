//! What a server says of itself, as it says it.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::client::Client;

const JSON: &str = "application/json";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The names of documents, which are the roots of the tree that is compared.
pub const DISCOVERY: &str = "discovery";
pub const AGGREGATED_DISCOVERY: &str = "aggregated";
pub const V2: &str = "openapi/v2";
pub const V3: &str = "openapi/v3";

/// Documents of a server.
#[derive(Debug)]
pub struct Documents {
    /// Of the first form of discovery, by path.
    pub discovery: BTreeMap<String, Value>,
    /// By path.
    pub aggregated: BTreeMap<String, Value>,
    pub v2: Value,
    /// By path below `/openapi/v3/`.
    pub v3: BTreeMap<String, Value>,
}

impl Documents {
    /// Reads all; an error too where the server has not yet put together what it serves: upstream's collects it from three servers.
    pub fn read(client: &Client<'_>) -> Result<Documents> {
        let aggregated =
            ["/api", "/apis"].map(|path| Ok((path.to_owned(), client.get(path, AGGREGATED)?)));
        let mut documents = Documents {
            discovery: BTreeMap::new(),
            aggregated: aggregated.into_iter().collect::<Result<_>>()?,
            v2: client.get("/openapi/v2", JSON)?,
            v3: BTreeMap::new(),
        };
        let versions = documents.read_discovery(client)?;
        // Upstream's learns last where its own group of APIServices stands.
        let names = |list: &Value, pointer: &str| -> Vec<String> {
            let named = list.as_array().into_iter().flatten();
            let names = named.filter_map(|group| group.pointer(pointer)?.as_str());
            names.map(str::to_owned).collect()
        };
        let aggregated = names(&documents.aggregated["/apis"]["items"], "/metadata/name");
        if aggregated != names(&documents.discovery["/apis"]["groups"], "/name") {
            bail!("the groups are not in order yet");
        }
        let index = client.get("/openapi/v3", JSON)?;
        let paths = index["paths"].as_object().context("no index")?;
        for version in &versions {
            let path = version.trim_start_matches('/');
            if !paths.contains_key(path) {
                bail!("OpenAPI v3 has no {path} yet");
            }
            if documents.v2["paths"].get(format!("{version}/")).is_none() {
                bail!("OpenAPI v2 has no {version} yet");
            }
        }
        for path in paths.keys() {
            let document = client.get(&format!("/openapi/v3/{path}"), JSON)?;
            documents.v3.insert(path.clone(), document);
        }
        Ok(documents)
    }

    /// Reads the first form of discovery; the paths of group-versions.
    fn read_discovery(&mut self, client: &Client<'_>) -> Result<Vec<String>> {
        let mut versions = Vec::new();
        let core = self.discover(client, "/api")?;
        for version in strings(&core["versions"]) {
            versions.push(format!("/api/{version}"));
        }
        let groups = self.discover(client, "/apis")?;
        for group in groups["groups"].as_array().into_iter().flatten() {
            let name = group["name"].as_str().context("a group without a name")?;
            self.discover(client, &format!("/apis/{name}"))?;
            for version in group["versions"].as_array().into_iter().flatten() {
                let version = version["groupVersion"].as_str().context("no version")?;
                versions.push(format!("/apis/{version}"));
            }
        }
        for version in &versions {
            self.discover(client, version)?;
        }
        Ok(versions)
    }

    fn discover(&mut self, client: &Client<'_>, path: &str) -> Result<Value> {
        let document = client.get(path, JSON)?;
        self.discovery.insert(path.to_owned(), document.clone());
        Ok(document)
    }

    /// Writes them below a directory, for a look.
    pub fn keep(&self, dir: &Path) -> Result<()> {
        let of = |kind: &str, all: &BTreeMap<String, Value>| -> Vec<(String, Value)> {
            all.iter()
                .map(|(path, document)| (format!("{kind} {path}"), document.clone()))
                .collect()
        };
        let mut all = of(DISCOVERY, &self.discovery);
        all.extend(of(AGGREGATED_DISCOVERY, &self.aggregated));
        all.extend(of(V3, &self.v3));
        all.push((V2.to_owned(), self.v2.clone()));
        fs::create_dir_all(dir)?;
        for (name, document) in all {
            let path = dir.join(format!("{}.json", name.replace(['/', ' '], "_")));
            fs::write(&path, serde_json::to_vec_pretty(&document)?)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}
