//! Counters at two moments, and what is used per second between them: metrics-server's `pkg/storage`.

use std::collections::{BTreeMap, HashMap};

/// A container that is younger tells little: what it does at its start is not what it does.
const YOUNGEST_NANOS: i64 = 10_000_000_000;
/// One that is older has been there for long, and what it did in all that time is not what it does.
const OLDEST_NANOS: i64 = 15_000_000_000;

/// Figures of a node or container at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Point {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// When it was started, nanoseconds since 1970; 0 for nodes.
    pub started: i64,
    /// Processor time since then, nanoseconds.
    pub cpu: u64,
    /// Working set, bytes.
    pub memory: u64,
}

/// A pod's containers by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pod {
    pub containers: BTreeMap<String, Point>,
}

/// What the nodes say at about one time.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub nodes: HashMap<String, Point>,
    /// By namespace and name.
    pub pods: BTreeMap<(String, String), Pod>,
}

/// The last batch, and of what is in it the points before.
#[derive(Debug, Default)]
pub(crate) struct Points {
    last: Batch,
    nodes: HashMap<String, Point>,
    pods: HashMap<(String, String), Pod>,
}

/// What is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Cores, in billionths.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
    /// The end of the time that this is of, nanoseconds since 1970, and its length.
    pub at: i64,
    pub window: i64,
}

impl Points {
    /// Takes a batch as the last.
    pub(crate) fn store(&mut self, batch: Batch) {
        let mut nodes = HashMap::new();
        for (name, new) in &batch.nodes {
            let before = self.nodes.get(name);
            if let Some(point) = before_of(*new, self.last.nodes.get(name), before) {
                nodes.insert(name.clone(), point);
            }
        }
        let mut pods: HashMap<(String, String), Pod> = HashMap::new();
        for (key, pod) in &batch.pods {
            let (last, before) = (self.last.pods.get(key), self.pods.get(key));
            for (name, new) in &pod.containers {
                let of = |pod: Option<&Pod>| pod.and_then(|pod| pod.containers.get(name).copied());
                let (last, before) = (of(last), of(before));
                // One that was started anew begins at 0.
                let same = |point: &Point| new.started < point.at;
                let last = last.filter(same);
                let before = before.filter(same);
                let point = match before_of(*new, last.as_ref(), before.as_ref()) {
                    Some(point) => Some(point),
                    None if last.is_none() => at_start(*new),
                    None => None,
                };
                if let Some(point) = point {
                    let pod = pods.entry(key.clone()).or_default();
                    pod.containers.insert(name.clone(), point);
                }
            }
        }
        *self = Self {
            last: batch,
            nodes,
            pods,
        };
    }

    pub(crate) fn node(&self, name: &str) -> Option<Usage> {
        usage(self.last.nodes.get(name)?, self.nodes.get(name)?)
    }

    /// The containers of a pod by name; `None` where one of them is not known yet.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<Vec<(&str, Usage)>> {
        let key = (namespace.to_owned(), name.to_owned());
        let (last, before) = (self.last.pods.get(&key)?, self.pods.get(&key)?);
        let containers = last.containers.iter();
        containers
            .map(|(name, last)| Some((name.as_str(), usage(last, before.containers.get(name)?)?)))
            .collect()
    }
}

/// The point before a new one: the last, or where that is the same one, what was before it.
fn before_of(new: Point, last: Option<&Point>, before: Option<&Point>) -> Option<Point> {
    let earlier = |point: &&Point| point.at < new.at;
    last.filter(earlier).or(before.filter(earlier)).copied()
}

/// Of a container that has come since the last batch.
fn at_start(new: Point) -> Option<Point> {
    let age = new.at.saturating_sub(new.started);
    let is_new = (YOUNGEST_NANOS..OLDEST_NANOS).contains(&age);
    (new.started > 0 && is_new).then_some(Point {
        at: new.started,
        cpu: 0,
        ..new
    })
}

fn usage(last: &Point, before: &Point) -> Option<Usage> {
    let used = last.cpu.checked_sub(before.cpu)?;
    let window = last
        .at
        .checked_sub(before.at)
        .filter(|window| *window > 0)?;
    let cpu = u128::from(used) * 1_000_000_000 / u128::from(window.unsigned_abs());
    Some(Usage {
        cpu: u64::try_from(cpu).ok()?,
        memory: last.memory,
        at: last.at,
        window,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// At a second, started at another, with processor time in seconds.
    fn point(at: i64, started: i64, cpu: u64) -> Point {
        Point {
            at: at * SECOND,
            started: started * SECOND,
            cpu: cpu * 1_000_000_000,
            memory: 5,
        }
    }

    /// A batch of the node `a` and the container `n/p/c`.
    fn batch(node: Point, container: Point) -> Batch {
        let pod = Pod {
            containers: BTreeMap::from([("c".to_owned(), container)]),
        };
        Batch {
            nodes: HashMap::from([("a".to_owned(), node)]),
            pods: BTreeMap::from([(("n".to_owned(), "p".to_owned()), pod)]),
        }
    }

    /// Millicores and their window in seconds.
    type Rate = Option<(u64, i64)>;

    /// What is shown of the node and of the container after each batch.
    fn check(batches: Vec<(Point, Point)>) -> Vec<(Rate, Rate)> {
        let mut points = Points::default();
        let shown = |usage: Usage| (usage.cpu / 1_000_000, usage.window / SECOND);
        batches
            .into_iter()
            .map(|(node, container)| {
                points.store(batch(node, container));
                let pod = points.pod("n", "p");
                let container = pod.and_then(|pod| pod.first().map(|(_, usage)| shown(*usage)));
                (points.node("a").map(shown), container)
            })
            .collect()
    }

    #[test]
    fn two_points_make_a_rate() {
        let node = |at, cpu| point(at, 0, cpu);
        let found = check(vec![
            (node(100, 10), point(100, 95, 1)),
            (node(110, 15), point(110, 95, 2)),
            // The same points again: the rate stays.
            (node(110, 15), point(110, 95, 2)),
            (node(120, 15), point(120, 95, 12)),
        ]);
        let wanted = [
            (None, None),
            (Some((500, 10)), Some((100, 10))),
            (Some((500, 10)), Some((100, 10))),
            (Some((0, 10)), Some((1_000, 10))),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_container_that_is_started_anew_is_another() {
        let node = |at| point(at, 0, 1);
        let found = check(vec![
            (node(100), point(100, 10, 50)),
            (node(110), point(110, 105, 1)),
            (node(130), point(130, 105, 11)),
        ]);
        let containers: Vec<_> = found.into_iter().map(|(_, container)| container).collect();
        // Too old to tell from its whole life; too young; as a container with two points.
        assert_eq!(containers, [None, None, Some((500, 20))]);
    }

    #[test]
    fn a_container_that_has_just_come_is_told_from_its_start() {
        for (age, wanted) in [
            (9_i64, None),
            (10, Some((500, 10))),
            (14, Some((500, 14))),
            (15, None),
            (700, None),
        ] {
            let cpu = Point {
                cpu: age.unsigned_abs() * 500_000_000,
                ..point(1_000, 1_000 - age, 0)
            };
            let found = check(vec![(point(1_000, 0, 1), cpu)]);
            assert_eq!(found[0].1, wanted, "{age} s");
        }
    }

    #[test]
    fn a_pod_is_known_when_all_of_it_is() {
        let mut points = Points::default();
        for at in [100, 110] {
            let mut batch = batch(point(at, 0, 1), point(at, 95, 1));
            if at == 110 {
                let pod = batch.pods.values_mut().next().expect("is there");
                pod.containers.insert("new".to_owned(), point(110, 108, 1));
            }
            points.store(batch);
        }
        assert_eq!(points.pod("n", "p"), None);
        assert_eq!(points.pod("n", "other"), None);
    }

    #[test]
    fn a_counter_that_falls_tells_nothing() {
        let found = check(vec![
            (point(100, 0, 10), point(100, 95, 5)),
            (point(110, 0, 9), point(110, 95, 4)),
        ]);
        assert_eq!(found.last(), Some(&(None, None)));
    }
}
