//! How fast an API server answers: single objects and lists, while whatever is there goes on.
//!
//! Requests are sent at fixed times, whether those before were answered or not: a server that is slow is asked as often as one that is
//! not, and what waits counts (no coordinated omission). How long an answer took is from the time at which its request was due to its
//! last byte.

use std::{fmt::Debug, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use http::{Method, Request, header};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::{Api, Client, api::ListParams, client::Body, core::Status};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout};

/// Longest wait for an answer; a request that takes longer has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Requests under way at once: more are not sent, and counted as failed.
const UNDER_WAY_MAX: usize = 1_000;
/// Names that are asked for, at most of each kind.
const NAMES_MAX: usize = 10_000;
const PAGE: u32 = 500;
/// So many rounds after it was made a ConfigMap is changed, and so many it is deleted: not before it is there.
const PATCH_LAG_ROUNDS: usize = 5;
const DELETE_LAG_ROUNDS: usize = 10;
/// Upstream's goals are a second for single objects, and thirty for lists; ours are these (99th percentiles).
pub const SINGLE_GOAL: Duration = Duration::from_millis(100);
pub const LIST_GOAL: Duration = Duration::from_secs(1);

/// What is asked for, and how often.
#[derive(Clone, Debug)]
pub struct Plan {
    pub time: Duration,
    /// Requests for single objects a second.
    pub singles_per_second: f64,
    /// Between lists.
    pub list_interval: Duration,
    /// Where ConfigMaps are made and changed; they are deleted in the end.
    pub namespace: String,
}

/// Every kind of request of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    GetPod,
    GetNode,
    CreateConfigMap,
    PatchConfigMap,
    DeleteConfigMap,
    ListPodsOfNamespace,
    ListPodsOfNode,
    ListPodsPage,
    ListPodsAll,
    ListNodes,
}

/// In the order in which they are shown.
const KINDS: [Kind; 10] = [
    Kind::GetPod,
    Kind::GetNode,
    Kind::CreateConfigMap,
    Kind::PatchConfigMap,
    Kind::DeleteConfigMap,
    Kind::ListPodsOfNamespace,
    Kind::ListPodsOfNode,
    Kind::ListPodsPage,
    Kind::ListPodsAll,
    Kind::ListNodes,
];
/// Reads are most of what clients ask; a ConfigMap is made, changed and deleted in turn.
const SINGLES: [Kind; 8] = [
    Kind::GetPod,
    Kind::GetNode,
    Kind::CreateConfigMap,
    Kind::GetPod,
    Kind::PatchConfigMap,
    Kind::GetPod,
    Kind::GetNode,
    Kind::DeleteConfigMap,
];
const LISTS: [Kind; 5] = [
    Kind::ListPodsOfNamespace,
    Kind::ListPodsOfNode,
    Kind::ListPodsPage,
    Kind::ListNodes,
    Kind::ListPodsAll,
];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::GetPod => "get a pod",
            Self::GetNode => "get a node",
            Self::CreateConfigMap => "create a ConfigMap",
            Self::PatchConfigMap => "patch a ConfigMap",
            Self::DeleteConfigMap => "delete a ConfigMap",
            Self::ListPodsOfNamespace => "list pods of a namespace",
            Self::ListPodsOfNode => "list pods of a node",
            Self::ListPodsPage => "list pods, a page of 500",
            Self::ListPodsAll => "list all pods",
            Self::ListNodes => "list all nodes",
        }
    }

    pub fn is_list(self) -> bool {
        LISTS.contains(&self)
    }

    /// What its 99th percentile is to stay below.
    pub fn goal(self) -> Duration {
        match self.is_list() {
            true => LIST_GOAL,
            false => SINGLE_GOAL,
        }
    }
}

/// What came of one kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub kind: Kind,
    pub answered: usize,
    pub failed: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub longest: Duration,
    /// Of the largest answer.
    pub bytes: usize,
}

impl Row {
    /// Whether it is as fast as it is to be; what was not answered is not.
    pub fn is_within_goal(&self) -> bool {
        self.failed == 0 && self.p99 < self.kind.goal()
    }
}

/// What is there, and how fast it was.
#[derive(Clone, Debug)]
pub struct Report {
    pub nodes: usize,
    pub pods: usize,
    pub rows: Vec<Row>,
}

/// The objects that are asked for.
struct Ground {
    plan: Plan,
    /// Of this report alone.
    prefix: String,
    nodes: Vec<String>,
    pods: Vec<(String, String)>,
}

#[derive(Default)]
struct Tally {
    times: Vec<Duration>,
    failed: usize,
    bytes: usize,
}

type Tallies = [Tally; KINDS.len()];

/// Asks for as long as planned.
///
/// # Errors
/// What the server answered when it was asked what there is.
pub async fn run(client: &Client, plan: Plan) -> Result<Report, kube::Error> {
    let nodes = names::<Node>(client).await?;
    let pods = names::<Pod>(client).await?;
    let counts = (nodes.1, pods.1);
    let ground = Ground {
        prefix: format!("knarr-sim-report-{:08x}-", fastrand::u32(..)),
        nodes: nodes.0.into_iter().map(|(_, name)| name).collect(),
        pods: pods.0,
        plan,
    };
    let tallies = Mutex::<Tallies>::default();
    let plan = &ground.plan;
    let interval = Duration::try_from_secs_f64(1.0 / plan.singles_per_second.max(0.001));
    let singles = pace(
        client,
        &ground,
        &SINGLES,
        interval.unwrap_or(plan.time),
        &tallies,
    );
    let lists = pace(client, &ground, &LISTS, plan.list_interval, &tallies);
    tokio::join!(singles, lists);
    clean(client, &ground).await?;
    let tallies = tallies.into_inner();
    let rows = KINDS.into_iter().zip(tallies);
    Ok(Report {
        nodes: counts.0,
        pods: counts.1,
        rows: rows
            .map(|(kind, tally)| row(kind, tally))
            .filter(|row| row.answered + row.failed > 0)
            .collect(),
    })
}

type Named = Vec<(String, String)>;

/// Namespaces and names of objects, and how many there are of them.
async fn names<K>(client: &Client) -> Result<(Named, usize), kube::Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::all(client.clone());
    let (mut found, mut count) = (Vec::new(), 0_usize);
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list_metadata(&params).await?;
        count = count.saturating_add(page.items.len());
        for object in page.items {
            let meta = object.metadata;
            if found.len() < NAMES_MAX {
                found.push((
                    meta.namespace.unwrap_or_default(),
                    meta.name.unwrap_or_default(),
                ));
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok((found, count)),
        }
    }
}

/// Sends requests of some kinds in turn, at fixed times.
async fn pace(
    client: &Client,
    ground: &Ground,
    kinds: &[Kind],
    interval: Duration,
    tallies: &Mutex<Tallies>,
) {
    let start = Instant::now();
    let end = start + ground.plan.time;
    let mut under_way = FuturesUnordered::new();
    let mut due = start;
    let mut turn = 0_usize;
    while due < end {
        tokio::select! {
            () = sleep_until(due) => {}
            Some(()) = under_way.next() => continue,
        }
        let kind = kinds[turn % kinds.len()];
        let round = turn / kinds.len();
        match request(ground, kind, round) {
            Some(_) if under_way.len() >= UNDER_WAY_MAX => note(tallies, kind, None),
            Some(request) => under_way.push(ask(client, kind, request, due, tallies)),
            // There is no such object.
            None => {}
        }
        turn = turn.wrapping_add(1);
        due += interval;
    }
    while under_way.next().await.is_some() {}
}

async fn ask(
    client: &Client,
    kind: Kind,
    request: Request<Vec<u8>>,
    due: Instant,
    tallies: &Mutex<Tallies>,
) {
    let answer = timeout(ANSWER_TIMEOUT, length(client, request)).await;
    let took = due.elapsed();
    match answer {
        Ok(Ok(bytes)) => note(tallies, kind, Some((took, bytes))),
        Ok(Err(error)) => {
            tracing::debug!(kind = kind.name(), %error, "no answer");
            note(tallies, kind, None);
        }
        Err(_) => note(tallies, kind, None),
    }
}

/// Reads an answer to its end, and how long it is. It is let go piece by piece: hundreds of megabytes that are put together and looked at
/// in one go would delay all requests that are timed beside them.
async fn length(client: &Client, request: Request<Vec<u8>>) -> Result<usize, kube::Error> {
    let answer = client.send(request.map(Body::from)).await?;
    let status = answer.status();
    let mut body = answer.into_body();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            length = length.saturating_add(data.len());
        }
    }
    match status.is_success() {
        true => Ok(length),
        false => Err(kube::Error::Api(
            Status::failure(status.as_str(), "")
                .with_code(status.as_u16())
                .boxed(),
        )),
    }
}

fn note(tallies: &Mutex<Tallies>, kind: Kind, answered: Option<(Duration, usize)>) {
    let mut tallies = tallies.lock();
    let place = KINDS.iter().position(|known| *known == kind);
    let Some(tally) = place.and_then(|place| tallies.get_mut(place)) else {
        return;
    };
    match answered {
        Some((took, bytes)) => {
            tally.times.push(took);
            tally.bytes = tally.bytes.max(bytes);
        }
        None => tally.failed = tally.failed.saturating_add(1),
    }
}

/// The request of a kind in this round; `None` where nothing is there to be asked for.
fn request(ground: &Ground, kind: Kind, round: usize) -> Option<Request<Vec<u8>>> {
    let maps = format!("/api/v1/namespaces/{}/configmaps", ground.plan.namespace);
    let map = |round: usize| format!("{}{round}", ground.prefix);
    let get = |path: String| Request::get(path).body(Vec::new()).ok();
    let send = |method: Method, path: String, content: &str, body: serde_json::Value| {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::CONTENT_TYPE, content);
        request.body(body.to_string().into_bytes()).ok()
    };
    match kind {
        Kind::GetPod => {
            let (namespace, name) = fastrand::choice(&ground.pods)?;
            get(format!("/api/v1/namespaces/{namespace}/pods/{name}"))
        }
        Kind::GetNode => get(format!(
            "/api/v1/nodes/{}",
            fastrand::choice(&ground.nodes)?
        )),
        Kind::CreateConfigMap => {
            let body = json!({"metadata": {"name": map(round)}, "data": {"key": "value"}});
            send(Method::POST, maps, "application/json", body)
        }
        Kind::PatchConfigMap => {
            let body = json!({"data": {"key": "another"}});
            let path = format!("{maps}/{}", map(round.checked_sub(PATCH_LAG_ROUNDS)?));
            send(Method::PATCH, path, "application/merge-patch+json", body)
        }
        Kind::DeleteConfigMap => {
            let path = format!("{maps}/{}", map(round.checked_sub(DELETE_LAG_ROUNDS)?));
            send(Method::DELETE, path, "application/json", json!({}))
        }
        Kind::ListPodsOfNamespace => {
            let (namespace, _) = fastrand::choice(&ground.pods)?;
            get(format!("/api/v1/namespaces/{namespace}/pods"))
        }
        Kind::ListPodsOfNode => {
            let node = fastrand::choice(&ground.nodes)?;
            get(format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}"))
        }
        Kind::ListPodsPage => get("/api/v1/pods?limit=500".to_owned()),
        Kind::ListPodsAll => get("/api/v1/pods".to_owned()),
        Kind::ListNodes => get("/api/v1/nodes".to_owned()),
    }
}

/// Deletes what was made and not deleted: the last round may have been cut short.
async fn clean(client: &Client, ground: &Ground) -> Result<(), kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &ground.plan.namespace);
    for map in maps.list_metadata(&ListParams::default()).await?.items {
        let name = map.metadata.name.unwrap_or_default();
        if name.starts_with(&ground.prefix) {
            knarr_client::errors::optional(maps.delete(&name, &Default::default()).await)?;
        }
    }
    Ok(())
}

fn row(kind: Kind, tally: Tally) -> Row {
    let mut times = tally.times;
    times.sort_unstable();
    Row {
        kind,
        answered: times.len(),
        failed: tally.failed,
        p50: percentile(&times, 50),
        p99: percentile(&times, 99),
        longest: times.last().copied().unwrap_or_default(),
        bytes: tally.bytes,
    }
}

/// The smallest of sorted values that so many percent of all are no greater than; zero of none.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = sorted.len().saturating_mul(percent).div_ceil(100);
    let place = rank.saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground() -> Ground {
        Ground {
            plan: Plan {
                time: Duration::from_secs(1),
                singles_per_second: 10.0,
                list_interval: Duration::from_secs(1),
                namespace: "x".to_owned(),
            },
            prefix: "r-".to_owned(),
            nodes: vec!["sim-1".to_owned()],
            pods: vec![("y".to_owned(), "p".to_owned())],
        }
    }

    #[test]
    fn percentiles_are_of_all_that_was_answered() {
        let times =
            |count: u64| -> Vec<Duration> { (1..=count).map(Duration::from_millis).collect() };
        for (count, percent, expected) in [
            (0, 99, 0),
            (1, 50, 1),
            (1, 99, 1),
            (2, 50, 1),
            (100, 99, 99),
            (101, 99, 100),
            (1000, 50, 500),
        ] {
            let found = percentile(&times(count), percent);
            assert_eq!(
                found,
                Duration::from_millis(expected),
                "{percent}% of {count}"
            );
        }
    }

    #[test]
    fn what_failed_is_not_fast() {
        let tally = |failed, millis| Tally {
            times: vec![Duration::from_millis(millis)],
            failed,
            bytes: 1,
        };
        for (kind, failed, millis, expected) in [
            (Kind::GetPod, 0, 99, true),
            (Kind::GetPod, 0, 100, false),
            (Kind::GetPod, 1, 1, false),
            (Kind::ListPodsAll, 0, 999, true),
            (Kind::ListPodsAll, 0, 1_000, false),
        ] {
            let row = row(kind, tally(failed, millis));
            assert_eq!(row.is_within_goal(), expected, "{kind:?} {failed} {millis}");
        }
    }

    #[test]
    fn every_kind_has_its_request() {
        let ground = ground();
        for (kind, expected) in [
            (Kind::GetPod, "GET /api/v1/namespaces/y/pods/p"),
            (Kind::GetNode, "GET /api/v1/nodes/sim-1"),
            (
                Kind::CreateConfigMap,
                "POST /api/v1/namespaces/x/configmaps",
            ),
            (
                Kind::PatchConfigMap,
                "PATCH /api/v1/namespaces/x/configmaps/r-12",
            ),
            (
                Kind::DeleteConfigMap,
                "DELETE /api/v1/namespaces/x/configmaps/r-7",
            ),
            (Kind::ListPodsOfNamespace, "GET /api/v1/namespaces/y/pods"),
            (
                Kind::ListPodsOfNode,
                "GET /api/v1/pods?fieldSelector=spec.nodeName%3Dsim-1",
            ),
            (Kind::ListPodsPage, "GET /api/v1/pods?limit=500"),
            (Kind::ListPodsAll, "GET /api/v1/pods"),
            (Kind::ListNodes, "GET /api/v1/nodes"),
        ] {
            let request = request(&ground, kind, 17).expect("a request");
            assert_eq!(format!("{} {}", request.method(), request.uri()), expected);
        }
        let empty = Ground {
            nodes: Vec::new(),
            pods: Vec::new(),
            ..ground
        };
        assert!(request(&empty, Kind::GetPod, 0).is_none());
        assert!(request(&empty, Kind::PatchConfigMap, 0).is_none());
    }
}
