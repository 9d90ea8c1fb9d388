//! Two clusters on one machine, each in a network namespace, with the same flags otherwise: whatever happens to one, the other
//! does not notice, and what is taken down leaves nothing.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, NODE_IP, Options, eventually};
use serde_json::Value;

use crate::support::{SOON, Shell, hello_yaml, newest, restarts, step, with_cluster};

const SELECTOR: &str = "app=hello";
const PODS: usize = 3;

/// What happens to a cluster, by its place.
#[derive(Clone, Copy, Debug)]
enum Act {
    Kill(usize),
    Up(usize),
    Down(usize),
}
use Act::{Down, Kill, Up};

/// Both are up and have pods before each; both are down after it.
const ORDERS: [&[Act]; 7] = [
    &[Down(0), Down(1)],
    &[Down(1), Down(0)],
    &[Kill(0), Down(0), Kill(1), Down(1)],
    &[Kill(0), Down(1), Down(0)],
    &[Kill(0), Kill(1), Down(0), Down(1)],
    &[Kill(0), Kill(1), Down(1), Down(0)],
    &[Kill(0), Up(0), Kill(1), Down(0), Down(1)],
];

#[test]
fn clusters_on_one_machine_do_not_notice_each_other() {
    with_cluster(Options::default(), |first| {
        let mut second = Cluster::prepare(Options::default())?;
        // As if both had been started with the default.
        let root = first.shared_cgroup_root();
        first.set_cgroup_root(root.clone());
        second.set_cgroup_root(root);
        for (number, order) in ORDERS.iter().enumerate() {
            let mut sides = [Side::new(first), Side::new(&mut second)];
            step("both start at once", || start(&mut sides))?;
            for side in &mut sides {
                side.load(number == 0)?;
            }
            for act in *order {
                step(&format!("{order:?}: {act:?}"), || follow(&mut sides, *act))?;
            }
        }
        Ok(())
    });
}

/// One of the clusters, and what its pods were when it was loaded.
struct Side<'a> {
    cluster: &'a mut Cluster,
    /// None before they are there and after they went.
    pods: Option<Pods>,
}

#[derive(Debug, PartialEq)]
struct Pods {
    /// Uid and restarts of each.
    identities: BTreeSet<(String, u64)>,
    processes: Vec<i32>,
}

fn start(sides: &mut [Side<'_>; 2]) -> Result<()> {
    for side in sides.iter_mut() {
        side.cluster.spawn()?;
    }
    for side in sides {
        side.cluster.wait_ready()?;
    }
    Ok(())
}

fn follow(sides: &mut [Side<'_>; 2], act: Act) -> Result<()> {
    match act {
        Kill(place) => sides[place].cluster.kill()?,
        Up(place) => sides[place].cluster.up().map(drop)?,
        Down(place) => {
            sides[place].cluster.down(&[])?;
            sides[place].pods = None;
            sides[place].cluster.assert_gone()?;
        }
    }
    for (place, side) in sides.iter().enumerate() {
        side.unchanged()
            .with_context(|| format!("cluster {place} noticed"))?;
    }
    Ok(())
}

impl<'a> Side<'a> {
    fn new(cluster: &'a mut Cluster) -> Self {
        Self {
            cluster,
            pods: None,
        }
    }

    fn load(&mut self, apply: bool) -> Result<()> {
        let shell = Shell::new(self.cluster, newest()?, "default");
        if apply {
            shell.apply(&hello_yaml(30080)?)?;
        }
        // After a restart statuses tell of the last time until the kubelet has looked.
        let pods = eventually(SOON, "the pods are of this start", || {
            let pods = shell.wait_ready(SELECTOR, PODS)?;
            let earlier = pods.iter().find(|pod| !self.has_container_of(pod));
            ensure!(earlier.is_none(), "{earlier:?}");
            Ok(pods)
        })?;
        let processes = self.processes();
        ensure!(processes.len() == PODS, "processes: {processes:?}");
        self.pods = Some(Pods {
            identities: identities(&pods),
            processes,
        });
        self.unchanged()
    }

    /// Whether the runtime knows the container that a pod's status names.
    fn has_container_of(&self, pod: &Value) -> bool {
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str();
        let id = id.and_then(|id| id.strip_prefix("knarr://"));
        let containers = self.cluster.data_dir().join("runtime/containers");
        id.is_some_and(|id| containers.join(id).exists())
    }

    fn processes(&self) -> Vec<i32> {
        let mut found = self.cluster.container_processes("/hello ");
        found.sort_unstable();
        found
    }

    /// The same pods with the same processes answer, whether knarr runs or not; if it does, it is well.
    fn unchanged(&self) -> Result<()> {
        let Some(before) = &self.pods else {
            return Ok(());
        };
        let processes = self.processes();
        ensure!(
            processes == before.processes,
            "{before:?} became {processes:?}"
        );
        let page = self
            .cluster
            .curl(&[&format!("http://{NODE_IP}:30080/")])
            .context("the node port")?;
        ensure!(page.contains("host: hello-"), "{page}");
        if self.cluster.pid().is_none() {
            return Ok(());
        }
        let shell = Shell::new(self.cluster, newest()?, "default");
        ensure!(shell.run("get --raw /readyz")? == "ok");
        let now = identities(&shell.wait_ready(SELECTOR, PODS)?);
        ensure!(now == before.identities, "{before:?} became {now:?}");
        Ok(())
    }
}

fn identities(pods: &[Value]) -> BTreeSet<(String, u64)> {
    let uid = |pod: &Value| {
        pod["metadata"]["uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    pods.iter().map(|pod| (uid(pod), restarts(pod))).collect()
}
