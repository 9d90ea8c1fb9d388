//! A cluster that was saved to files: what `kubectl get -o json` or `-o yaml` prints, or manifests.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use knarr_meta::object;
use knarr_scheduler::{
    Config,
    simulation::{Object, Simulation},
};
use serde_json::{Value, json};

use super::has_ended;

/// All files together.
const BYTES_MAX: u64 = 1 << 30;

/// Objects of files.
pub struct Saved(Vec<Value>);

impl Saved {
    /// # Errors
    /// A file cannot be read, or has something that is no object.
    pub fn read(files: &[impl AsRef<Path>]) -> Result<Self> {
        let (mut objects, mut left) = (Vec::new(), BYTES_MAX);
        for file in files {
            let file = file.as_ref();
            let shown = file.display();
            let mut read = || -> Result<()> {
                let size = file.metadata()?.len();
                ensure!(
                    size <= left,
                    "all files together have more than {BYTES_MAX} bytes"
                );
                left -= size;
                for document in documents(&std::fs::read_to_string(file)?)? {
                    take(document, &mut objects)?;
                }
                Ok(())
            };
            read().with_context(|| format!("cannot take a cluster from {shown}"))?;
        }
        // Nodes come first: a pod counts on a node that is known.
        objects.sort_by_key(|object| kind(object) != "Node");
        Ok(Self(objects))
    }

    /// The pod of a manifest, as the API server would make it, as far as that can be told without one; or one of the cluster's.
    pub fn pod(&self, namespace: &str, asked: &str) -> Result<Pod> {
        let path = Path::new(asked);
        let tree = if path.is_file() {
            let mut pods = Self::read(&[path])?.0;
            ensure!(
                pods.len() == 1,
                "{asked} has {} objects, and one pod is asked about",
                pods.len()
            );
            let mut pod = pods.remove(0);
            ensure!(
                kind(&pod) == "Pod",
                "{asked} is a {}, not a Pod",
                kind(&pod)
            );
            self.admit(&mut pod, namespace)?;
            pod
        } else {
            let is_asked = |object: &&Value| {
                kind(object) == "Pod"
                    && object::name(object) == asked
                    && object::namespace(object) == namespace
            };
            let found = self.0.iter().find(is_asked);
            let found = found.with_context(|| {
                format!("there is no pod {asked} in namespace {namespace} of that cluster, and no such file")
            })?;
            found.clone()
        };
        serde_json::from_value(tree).with_context(|| format!("{asked} is no pod"))
    }

    /// Defaults, and the priority of a class.
    fn admit(&self, pod: &mut Value, namespace: &str) -> Result<()> {
        if object::namespace(pod).is_empty() {
            pod["metadata"]["namespace"] = json!(namespace);
        }
        if object::uid(pod).is_empty() {
            pod["metadata"]["uid"] = json!("asked about");
        }
        let kinds = knarr_api::built_in("", "v1", "pods").context("there are no pods")?;
        kinds.strategy.default(pod);
        let class = object::str_at(pod, &["spec", "priorityClassName"]).to_owned();
        if !pod["spec"]["priority"].is_null() {
            return Ok(());
        }
        let classes = || {
            self.0
                .iter()
                .filter(|object| kind(object) == "PriorityClass")
        };
        let found = match class.as_str() {
            "" => classes().find(|class| class["globalDefault"] == json!(true)),
            "system-node-critical" => Some(&Value::Null),
            name => classes().find(|class| object::name(class) == name),
        };
        match (class.as_str(), found) {
            ("", None) => {}
            ("system-cluster-critical", _) => pod["spec"]["priority"] = json!(2_000_000_000),
            ("system-node-critical", _) => pod["spec"]["priority"] = json!(2_000_001_000),
            (_, Some(class)) => {
                pod["spec"]["priority"] = class["value"].clone();
                if pod["spec"]["preemptionPolicy"].is_null() && !class["preemptionPolicy"].is_null()
                {
                    pod["spec"]["preemptionPolicy"] = class["preemptionPolicy"].clone();
                }
            }
            (name, None) => bail!(
                "the cluster has no PriorityClass {name}; save it too: kubectl get pc -o json"
            ),
        }
        Ok(())
    }

    /// The cluster, without the pod.
    pub fn simulation(&self, config: &Config, without: &Pod) -> Result<Simulation> {
        let mut simulation = Simulation::new(config);
        let nodes = self.0.iter().filter(|object| kind(object) == "Node");
        ensure!(
            nodes.count() > 0,
            "the saved cluster has no nodes: save them by kubectl get nodes -o json"
        );
        for object in &self.0 {
            let name = object::name(object);
            let read = Object::read(object.clone());
            let read = read.with_context(|| format!("{} {name} cannot be read", kind(object)))?;
            match read {
                Some(Object::Pod(pod))
                    if pod.metadata.uid == without.metadata.uid || has_ended(&pod) => {}
                Some(object) => simulation.add(object),
                None => {}
            }
        }
        Ok(simulation)
    }
}

fn kind(object: &Value) -> &str {
    object::str_at(object, &["kind"])
}

/// Puts an object, or those of a list, to the others.
fn take(document: Value, objects: &mut Vec<Value>) -> Result<()> {
    match document {
        Value::Null => Ok(()),
        mut list if kind(&list).ends_with("List") && list["items"].is_array() => {
            let of = kind(&list).trim_end_matches("List").to_owned();
            let Value::Array(items) = list["items"].take() else {
                return Ok(());
            };
            for mut item in items {
                // Items of a typed list do not say what they are.
                if item["kind"].is_null() && !of.is_empty() {
                    item["kind"] = json!(of);
                }
                take(item, objects)?;
            }
            Ok(())
        }
        object if object.is_object() && !kind(&object).is_empty() => {
            objects.push(object);
            Ok(())
        }
        _ => bail!("what is in it is no object of Kubernetes"),
    }
}

/// The documents of a file.
fn documents(text: &str) -> Result<Vec<Value>> {
    if text.trim_start().starts_with('{') {
        let values = serde_json::Deserializer::from_str(text).into_iter();
        return Ok(values.collect::<Result<_, _>>()?);
    }
    let mut parts = vec![String::new()];
    for line in text.lines() {
        match line.trim_end() == "---" || line.starts_with("--- ") {
            true => parts.push(String::new()),
            false => {
                if let Some(part) = parts.last_mut() {
                    part.push_str(line);
                    part.push('\n');
                }
            }
        }
    }
    parts.iter().map(|part| yaml(part)).collect()
}

fn yaml(text: &str) -> Result<Value> {
    let says_nothing = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(says_nothing) {
        return Ok(Value::Null);
    }
    knarr_apiserver::yaml::parse(text.as_bytes()).map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests;
