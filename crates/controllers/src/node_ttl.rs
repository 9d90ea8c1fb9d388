//! Tells each node for how long its kubelet may believe what it knows of Secrets and ConfigMaps: the longer, the more nodes there
//! are (upstream's `ttl` controller).

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use knarr_client::{Event, Informer, WorkQueue};
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;

use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 5;
/// Seconds, as a decimal number.
const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// Sizes of clusters, and what their nodes are told. They overlap, so that a node more or less does not change all others.
const STEPS: [Step; 5] = [
    Step::new(0, 100, 0),
    Step::new(90, 500, 15),
    Step::new(450, 1000, 30),
    Step::new(900, 2000, 60),
    Step::new(1800, usize::MAX, 300),
];

struct Step {
    nodes_min: usize,
    nodes_max: usize,
    seconds: u32,
}

impl Step {
    const fn new(nodes_min: usize, nodes_max: usize, seconds: u32) -> Self {
        Self {
            nodes_min,
            nodes_max,
            seconds,
        }
    }
}

/// Which of [`STEPS`] holds, for a cluster that had another size before.
#[derive(Default)]
struct Current(usize);

impl Current {
    /// Whether what nodes are told changes.
    fn resize(&mut self, nodes: usize) -> bool {
        let before = self.0;
        while STEPS.get(self.0).is_some_and(|step| nodes > step.nodes_max) {
            self.0 += 1;
        }
        while STEPS.get(self.0).is_some_and(|step| nodes < step.nodes_min) {
            self.0 -= 1;
        }
        self.0 != before
    }

    fn seconds(&self) -> String {
        let step = STEPS.get(self.0);
        step.map_or(0, |step| step.seconds).to_string()
    }
}

pub(crate) struct NodeTtl {
    client: kube::Client,
    nodes: Informer<Node>,
    current: Mutex<Current>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(NodeTtl {
        client: context.client("ttl-controller"),
        nodes: context.informers.informer(),
        current: Mutex::default(),
        queue: WorkQueue::new(),
    });
    let this = Arc::downgrade(&controller);
    controller.nodes.on_event(move |event| {
        if let Some(this) = this.upgrade() {
            this.node_changed(&event);
        }
    });
    let informers = vec![synced(&controller.nodes)];
    context.start(controller, WORKERS, informers);
}

fn told(node: &Node) -> Option<&str> {
    let annotations = node.metadata.annotations.as_ref()?;
    annotations.get(ANNOTATION).map(String::as_str)
}

impl NodeTtl {
    fn node_changed(&self, event: &Event<Node>) {
        let node = event.object();
        match event {
            Event::Updated { old, new } if told(old) == told(new) => return,
            Event::Updated { .. } => {}
            Event::Added(_) | Event::Deleted(_) => {
                if self.current.lock().resize(self.nodes.len()) {
                    for node in self.nodes.list() {
                        self.queue.add(Key::of(&*node));
                    }
                }
            }
        }
        self.queue.add(Key::of(&**node));
    }
}

impl Reconciler for NodeTtl {
    const NAME: &'static str = "node-ttl";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(node) = self.nodes.get("", &key.name) else {
            return Ok(());
        };
        let seconds = self.current.lock().seconds();
        if told(&node) == Some(seconds.as_str()) {
            return Ok(());
        }
        let patch =
            json!({"metadata": {"uid": node.metadata.uid, "annotations": {ANNOTATION: seconds}}});
        let api: Api<Node> = Api::all(self.client.clone());
        api.patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
