//! Two clusters on one machine, each in a network namespace, with the same flags otherwise: whatever happens to one, the other
//! does not notice, and what is taken down leaves nothing.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, NODE_IP, Options, eventually};
use serde_json::Value;

use crate::support::{SOON, Shell, hello_yaml, newest, restarts, step, with_cluster};

const SELECTOR: &str = "app=hello";
const PODS: usize = 3;

/// What happens to a cluster, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Start(usize),
    Load(usize),
    Kill(usize),
    Down(usize),
}
use Act::{Down, Kill, Load, Start};

/// What happens to a cluster, whichever it is.
type OfOne = fn(usize) -> Act;

/// What a cluster can go through. One that was killed is taken down as it is, or after another start.
const LIVES: [&[OfOne]; 3] = [
    &[Start, Load, Down],
    &[Start, Load, Kill, Down],
    &[Start, Load, Kill, Start, Down],
];
/// Whose orders are tried: two lives, of which either may be the first cluster's.
const PAIRS: [(usize, usize); 5] = [(0, 0), (1, 1), (0, 1), (0, 2), (1, 2)];
/// Tried always: both are up and have pods before each.
const ALWAYS: [&[Act]; 7] = [
    &[Down(0), Down(1)],
    &[Down(1), Down(0)],
    &[Kill(0), Down(0), Kill(1), Down(1)],
    &[Kill(0), Down(1), Down(0)],
    &[Kill(0), Kill(1), Down(0), Down(1)],
    &[Kill(0), Kill(1), Down(1), Down(0)],
    &[Kill(0), Start(0), Kill(1), Down(0), Down(1)],
];
/// Others follow until then; all of them with `KNARR_ORDERS=all`, as `./x test --soak` has it.
const BUDGET: Duration = Duration::from_secs(90);
/// From one of the others to the next; it has no divisor in common with their number.
const STEP: usize = 97;

/// Every order in which two lives can go on beside each other. The clusters are the same but for their place: of two orders that
/// are each other's mirror image there is one.
fn orders() -> Vec<Vec<Act>> {
    let mut orders = Vec::new();
    for (one, other) in PAIRS {
        let acts = |life: usize, place| LIVES[life].iter().map(move |act| act(place));
        let mut found = Vec::new();
        let (first, second): (Vec<_>, Vec<_>) = (acts(one, 0).collect(), acts(other, 1).collect());
        interleave(&first, &second, &mut Vec::new(), &mut found);
        if one == other {
            found.retain(|order| order[0] == Start(0));
        }
        orders.extend(found);
    }
    orders
}

fn interleave(one: &[Act], other: &[Act], done: &mut Vec<Act>, found: &mut Vec<Vec<Act>>) {
    if one.is_empty() && other.is_empty() {
        found.push(done.clone());
    }
    if let [next, rest @ ..] = one {
        done.push(*next);
        interleave(rest, other, done, found);
        done.pop();
    }
    if let [next, rest @ ..] = other {
        done.push(*next);
        interleave(one, rest, done, found);
        done.pop();
    }
}

#[test]
fn orders_are_each_of_their_own() {
    let orders = orders();
    // 6 of 3 acts beside 3 and 8 of 4 beside 4, by half; 7 of 3 beside 4, 8 of 3 beside 5, 9 of 4 beside 5.
    assert_eq!(orders.len(), 10 + 35 + 35 + 56 + 126);
    let tried: BTreeSet<usize> = (0..orders.len()).map(|n| n * STEP % orders.len()).collect();
    assert_eq!(tried.len(), orders.len());
    let mirrored = |order: &[Act]| -> Vec<Act> {
        let other = |act: &Act| match *act {
            Start(place) => Start(1 - place),
            Load(place) => Load(1 - place),
            Kill(place) => Kill(1 - place),
            Down(place) => Down(1 - place),
        };
        order.iter().map(other).collect()
    };
    for (number, order) in orders.iter().enumerate() {
        let mut others = orders[number + 1..].iter();
        assert!(
            others.all(|other| other != order && *other != mirrored(order)),
            "{order:?}"
        );
    }
}

#[test]
fn clusters_on_one_machine_do_not_notice_each_other() {
    with_cluster(Options::default(), |first| {
        let mut second = Cluster::prepare(Options::default())?;
        // As if both had been started with the default.
        let root = first.shared_cgroup_root();
        first.set_cgroup_root(root.clone());
        second.set_cgroup_root(root);
        let mut has_hello = [false; 2];
        let mut follow = |order: &[Act]| -> Result<()> {
            let mut sides = [Side::new(first), Side::new(&mut second)];
            let mut rest = order;
            if let [Start(0), Start(1), after @ ..] = order {
                step("both start at once", || start(&mut sides))?;
                rest = after;
            }
            for act in rest {
                step(&format!("{order:?}: {act:?}"), || {
                    follow(&mut sides, *act, &mut has_hello)
                })?;
            }
            Ok(())
        };
        let begin = Instant::now();
        for order in ALWAYS {
            follow(&[&[Start(0), Start(1), Load(0), Load(1)], order].concat())?;
        }
        let all = std::env::var("KNARR_ORDERS").is_ok_and(|which| which == "all");
        // Each run begins elsewhere, and neighbours in the list are much alike.
        let others = orders();
        let first = usize::try_from(std::process::id())?;
        let mut tried = 0;
        for number in 0..others.len() {
            if !all && begin.elapsed() > BUDGET {
                break;
            }
            follow(&others[(first + number * STEP) % others.len()])?;
            tried += 1;
        }
        eprintln!(
            "{tried} of {} orders, in {:?}",
            others.len(),
            begin.elapsed()
        );
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

/// `has_hello`: who was given the pods by an earlier order already.
fn follow(sides: &mut [Side<'_>; 2], act: Act, has_hello: &mut [bool; 2]) -> Result<()> {
    match act {
        Start(place) => sides[place].cluster.up().map(drop)?,
        Load(place) => {
            let apply = !std::mem::replace(&mut has_hello[place], true);
            sides[place].load(apply)?;
        }
        Kill(place) => sides[place].cluster.kill()?,
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
