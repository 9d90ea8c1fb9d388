//! Asks extenders: which nodes a pod may go to, how good they are, who ends for it, and who binds it (upstream's
//! `HTTPExtender`).
//!
//! Whoever runs one is trusted with what it is asked, and with nothing else: its answer has a size and a deadline, and names
//! no nodes and no pods but those that it was asked about.

mod answers;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use http_body_util::{BodyExt, Limited};
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use knarr_client::throttle;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    config::extenders::{self, Extender as Settings},
    framework::{MAX_SCORE, Reason},
    plugins::default_preemption::Candidate,
    pod_info::PodInfo,
};

/// Most bytes of an answer: some thousand nodes, whole.
const ANSWER_BYTES: usize = 64 << 20;
/// What extenders give at most (upstream's `MaxExtenderPriority`).
const MAX_PRIORITY: i64 = 10;

/// Why an extender gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Post \"{url}\": context deadline exceeded")]
    Timeout { url: String },
    #[error("Post \"{url}\": {why}")]
    Unreachable { url: String, why: String },
    #[error("failed {verb} with extender at URL {url}, code {code}")]
    Refused {
        verb: String,
        url: String,
        code: u16,
    },
    #[error("the answer of {url} cannot be read: {why}")]
    Malformed { url: String, why: String },
    #[error("{0}")]
    Said(String),
}

/// One extender.
struct Extender {
    settings: Settings,
    /// Why there is none, where what it is to prove cannot be used.
    client: Result<kube::Client, String>,
}

/// All of them, those last without which pods are scheduled too.
#[derive(Default)]
pub struct Extenders {
    all: Vec<Extender>,
}

/// What is left of some nodes.
#[derive(Default)]
pub struct Filtered {
    pub nodes: Vec<Arc<Node>>,
    /// Why others are not, by name, and whether the end of pods would help.
    pub refused: HashMap<String, (Reason, bool)>,
}

impl Extenders {
    /// Within a runtime, which the connections live in.
    pub fn new(settings: Vec<Settings>) -> Self {
        let mut all: Vec<_> = settings.into_iter().map(Extender::new).collect();
        all.sort_by_key(|extender| extender.settings.ignorable);
        Self { all }
    }

    fn of<'a>(&'a self, pod: &'a PodInfo) -> impl Iterator<Item = &'a Extender> {
        self.all.iter().filter(|extender| extender.concerns(pod))
    }

    /// Whether one has a say in where a pod goes.
    pub fn concern(&self, pod: &PodInfo) -> bool {
        self.of(pod).next().is_some()
    }

    /// Which nodes a pod may go to, as far as extenders say.
    ///
    /// # Errors
    /// One does not answer that cannot be done without.
    pub async fn filter(&self, pod: &PodInfo, nodes: Vec<Arc<Node>>) -> Result<Filtered, Error> {
        let mut filtered = Filtered {
            nodes,
            ..Filtered::default()
        };
        for extender in self.of(pod).filter(|e| !e.settings.filter.is_empty()) {
            if filtered.nodes.is_empty() {
                break;
            }
            match extender.filter(pod, &filtered.nodes).await {
                Ok(answer) => {
                    filtered.nodes = answer.nodes;
                    filtered.refused.extend(answer.refused);
                }
                Err(error) if extender.settings.ignorable => {
                    let url = &extender.settings.url;
                    tracing::warn!(url, %error, "an extender is not heeded");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(filtered)
    }

    /// What extenders add to the scores of nodes. Who does not answer adds nothing.
    pub async fn prioritize(&self, pod: &PodInfo, nodes: &[Arc<Node>]) -> HashMap<String, i64> {
        let mut sums: HashMap<String, i64> = HashMap::new();
        for extender in self.of(pod).filter(|e| !e.settings.prioritize.is_empty()) {
            match extender.prioritize(pod, nodes).await {
                Ok(scores) => {
                    for (node, score) in scores {
                        let sum = sums.entry(node).or_default();
                        *sum = sum.saturating_add(score);
                    }
                }
                Err(error) => {
                    let url = &extender.settings.url;
                    tracing::warn!(url, %error, "an extender gives no scores");
                }
            }
        }
        sums
    }

    /// Whether one has a say in who ends for a pod.
    pub fn concern_preemption(&self, pod: &PodInfo) -> bool {
        self.of(pod).any(|e| !e.settings.preempt.is_empty())
    }

    /// Leaves of the nodes where the end of pods helps those that extenders agree to. `whole`: finds a pod.
    ///
    /// # Errors
    /// One does not answer that cannot be done without, or names what it was not asked about.
    pub async fn preempt(
        &self,
        pod: &PodInfo,
        mut candidates: Vec<Candidate>,
        whole: impl Fn(&PodInfo) -> Option<Arc<Pod>>,
    ) -> Result<Vec<Candidate>, Error> {
        for extender in self.of(pod).filter(|e| !e.settings.preempt.is_empty()) {
            if candidates.is_empty() {
                break;
            }
            match extender.preempt(pod, &candidates, &whole).await {
                Ok(left) => candidates = left,
                Err(error) if extender.settings.ignorable => {
                    let url = &extender.settings.url;
                    tracing::warn!(url, %error, "an extender is not heeded");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(candidates)
    }

    /// Has an extender bind a pod; `None` where that is ours.
    pub async fn bind(&self, pod: &PodInfo, node: &str) -> Option<Result<(), Error>> {
        let extender = self.of(pod).find(|e| !e.settings.bind.is_empty())?;
        Some(extender.bind(pod, node).await)
    }
}

impl Extender {
    fn new(settings: Settings) -> Self {
        let client = client(&settings);
        Self { settings, client }
    }

    /// Whether it is asked about a pod: any container asks for what it manages.
    fn concerns(&self, pod: &PodInfo) -> bool {
        let managed = &self.settings.managed;
        let asks = |container: &Container| {
            let resources = container.resources.as_ref();
            let lists = resources.into_iter().flat_map(|r| [&r.requests, &r.limits]);
            let mut names = lists.flatten().flat_map(|list| list.keys());
            names.any(|name| managed.contains(name))
        };
        let spec = pod.spec().into_iter();
        let mut containers = spec.flat_map(|spec| {
            spec.containers
                .iter()
                .chain(spec.init_containers.iter().flatten())
        });
        managed.is_empty() || containers.any(asks)
    }

    fn nodes(&self, nodes: &[Arc<Node>]) -> (Value, Value) {
        if self.settings.node_cache_capable {
            let names = nodes
                .iter()
                .filter_map(|node| node.metadata.name.as_deref());
            return (Value::Null, json!(names.collect::<Vec<_>>()));
        }
        let items: Vec<&Node> = nodes.iter().map(AsRef::as_ref).collect();
        (json!({"metadata": {}, "items": items}), Value::Null)
    }

    async fn filter(&self, pod: &PodInfo, nodes: &[Arc<Node>]) -> Result<Filtered, Error> {
        let (list, names) = self.nodes(nodes);
        let question = json!({"Pod": pod.whole(), "Nodes": list, "NodeNames": names});
        let answer = self.post(&self.settings.filter, &question).await?;
        let answer = self.read(answers::filter(&answer))?;
        let mut left = Vec::with_capacity(answer.nodes.len());
        let by_name: HashMap<&str, &Arc<Node>> = nodes
            .iter()
            .filter_map(|node| Some((node.metadata.name.as_deref()?, node)))
            .collect();
        let mut seen = HashSet::new();
        for name in answer.nodes {
            let Some(node) = by_name.get(name.as_str()) else {
                let url = &self.settings.url;
                return Err(Error::Said(format!(
                    "extender \"{url}\" claims a filtered node \"{name}\" which is not found in the input node list"
                )));
            };
            if seen.insert(name) {
                left.push(Arc::clone(node));
            }
        }
        let mut refused = answer.refused;
        refused.retain(|name, _| by_name.contains_key(name.as_str()));
        Ok(Filtered {
            nodes: left,
            refused,
        })
    }

    async fn prioritize(
        &self,
        pod: &PodInfo,
        nodes: &[Arc<Node>],
    ) -> Result<Vec<(String, i64)>, Error> {
        let (list, names) = self.nodes(nodes);
        let question = json!({"Pod": pod.whole(), "Nodes": list, "NodeNames": names});
        let answer = self.post(&self.settings.prioritize, &question).await?;
        let scores = self.read(answers::priorities(&answer))?;
        let weight = self
            .settings
            .weight
            .saturating_mul(MAX_SCORE / MAX_PRIORITY);
        let weighed = scores.into_iter();
        let weighed = weighed.map(|(node, score)| (node, score.saturating_mul(weight)));
        Ok(weighed.collect())
    }

    async fn preempt(
        &self,
        pod: &PodInfo,
        candidates: &[Candidate],
        whole: impl Fn(&PodInfo) -> Option<Arc<Pod>>,
    ) -> Result<Vec<Candidate>, Error> {
        let mut nodes = serde_json::Map::new();
        for candidate in candidates {
            let pods = candidate.victims.pods.iter();
            let pods: Vec<Value> = match self.settings.node_cache_capable {
                true => pods.map(|victim| json!({"UID": victim.uid})).collect(),
                false => pods.filter_map(|v| whole(v)).map(|v| json!(*v)).collect(),
            };
            let violations = candidate.victims.violations;
            let victims = json!({"Pods": pods, "NumPDBViolations": violations});
            nodes.insert(candidate.node.clone(), victims);
        }
        let (victims, meta) = match self.settings.node_cache_capable {
            true => (Value::Null, Value::Object(nodes)),
            false => (Value::Object(nodes), Value::Null),
        };
        let question = json!({"Pod": pod.whole(), "NodeNameToVictims": victims, "NodeNameToMetaVictims": meta});
        let answer = self.post(&self.settings.preempt, &question).await?;
        let answer = self.read(answers::victims(&answer))?;
        let mut left = Vec::new();
        for (node, victims) in answer {
            let asked = candidates.iter().find(|candidate| candidate.node == node);
            let Some(asked) = asked else {
                return Err(Error::Said(format!("node \"{node}\" was not asked about")));
            };
            match self.agreed(asked, &victims)? {
                Some(candidate) => left.push(candidate),
                None if self.settings.ignorable => {}
                None => {
                    let why = format!("expected at least one victim pod on node \"{node}\"");
                    return Err(Error::Said(why));
                }
            }
        }
        Ok(left)
    }

    /// A candidate with the victims that were agreed to; `None` without any.
    fn agreed(
        &self,
        asked: &Candidate,
        victims: &answers::Victims,
    ) -> Result<Option<Candidate>, Error> {
        let mut pods = Vec::with_capacity(victims.uids.len());
        for uid in &victims.uids {
            let mut known = asked.victims.pods.iter();
            let Some(pod) = known.find(|pod| pod.uid == *uid) else {
                let (url, node) = (&self.settings.url, &asked.node);
                return Err(Error::Said(format!(
                    "extender: {url} claims to preempt pod (UID: {uid}) on node: {node}, but the pod is not found on that node"
                )));
            };
            pods.push(pod.clone());
        }
        let candidate = || asked.with(pods.clone(), victims.violations);
        Ok((!pods.is_empty()).then(candidate))
    }

    async fn bind(&self, pod: &PodInfo, node: &str) -> Result<(), Error> {
        let question = json!({
            "PodName": pod.name, "PodNamespace": pod.namespace, "PodUID": pod.uid, "Node": node,
        });
        let answer = self.post(&self.settings.bind, &question).await?;
        self.read(answers::error(&answer))
    }

    fn read<T>(&self, answer: Result<T, answers::Wrong>) -> Result<T, Error> {
        answer.map_err(|wrong| match wrong {
            answers::Wrong::Said(why) => Error::Said(why),
            answers::Wrong::Form(why) => Error::Malformed {
                url: self.settings.url.clone(),
                why,
            },
        })
    }

    /// Sends a question, and reads the answer.
    async fn post(&self, verb: &str, question: &Value) -> Result<Value, Error> {
        let url = format!("{}/{verb}", self.settings.url);
        let unreachable = |why: String| Error::Unreachable {
            url: url.clone(),
            why,
        };
        let client = self
            .client
            .as_ref()
            .map_err(|why| unreachable(why.clone()))?;
        let request = http::Request::post(format!("/{verb}"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Body::from(question.to_string().into_bytes()))
            .map_err(|error| unreachable(error.to_string()))?;
        let exchange = async {
            let answer = client.send(request).await;
            let answer = answer.map_err(|error| unreachable(error.to_string()))?;
            if answer.status() != http::StatusCode::OK {
                return Err(Error::Refused {
                    verb: verb.to_owned(),
                    url: url.clone(),
                    code: answer.status().as_u16(),
                });
            }
            let body = Limited::new(answer.into_body(), ANSWER_BYTES)
                .collect()
                .await;
            let body = body.map_err(|error| unreachable(error.to_string()))?;
            serde_json::from_slice(&body.to_bytes()).map_err(|error| Error::Malformed {
                url: url.clone(),
                why: error.to_string(),
            })
        };
        let answer = timeout(self.settings.timeout, exchange).await;
        answer.unwrap_or_else(|_| Err(Error::Timeout { url: url.clone() }))
    }
}

fn client(settings: &Settings) -> Result<kube::Client, String> {
    let url = settings.url.parse().map_err(|error| format!("{error}"))?;
    let mut config = kube::Config::new(url);
    let tls = &settings.tls;
    config.accept_invalid_certs = tls.insecure;
    config.tls_server_name = (!tls.server_name.is_empty()).then(|| tls.server_name.clone());
    if !tls.authorities.is_empty() {
        config.root_cert = Some(extenders::certificates(&tls.authorities)?);
    }
    config.auth_info = extenders::identity(tls)?;
    throttle::client(config).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
