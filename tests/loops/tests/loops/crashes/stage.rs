//! A run: a cluster, its users, and a controller that is started anew whenever it is killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use knarr_apiserver::LocalService;
use knarr_auth::UserInfo;
use knarr_client::{Clients, Informers};
use knarr_controllers::{Config, Controllers, Selection};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::hands;
use super::process::{Counts, Fault, Process, Script};
use super::scenario::{Scenario, create, create_in};
use super::world::{World, difference};
use crate::cluster::Cluster;

/// How long a killed process is away.
const AWAY: Duration = Duration::from_secs(3);
/// How long the end may take: the longest back-off is 1 000 s.
const DEADLINE: Duration = Duration::from_secs(1800);
const ASK: Duration = Duration::from_secs(20);
/// What is right has to stay so.
const STEADY: Duration = Duration::from_secs(60);

pub type Digest = BTreeMap<String, usize>;

/// What came of a run.
pub struct Outcome {
    pub counts: Counts,
    pub digest: Digest,
}

/// A run in which nothing or one thing goes wrong. The end has to be right, and as in the run in which nothing did.
pub fn run(scenario: &Scenario, fault: Fault, wanted: Option<&Digest>) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let cluster = Cluster::start(0).await;
        let script = Script::new(fault, scenario.tells_only);
        let result = play(&cluster, scenario, &script, wanted).await;
        cluster.token.cancel();
        let counts = *script.counts.lock();
        result.map(|digest| Outcome { counts, digest })
    })
}

async fn play(
    cluster: &Cluster,
    scenario: &Scenario,
    script: &Arc<Script>,
    wanted: Option<&Digest>,
) -> Result<Digest, String> {
    let admin = &cluster.admin;
    create_in("", "v1", "Namespace", "x", json!({}))
        .take(admin)
        .await?;
    create("v1", "ServiceAccount", "default", json!({}))
        .take(admin)
        .await?;
    for step in (scenario.before)() {
        step.take(admin).await?;
    }
    tokio::spawn(hands::work(scenario.hands, admin.clone()));
    let token = &cluster.token;
    if !scenario.company.is_empty() {
        let company = Selection::of(scenario.company.iter().copied()).expect("controllers");
        control(
            cluster.config(company),
            cluster.clients.clone(),
            token.clone(),
        );
    }
    let selection = Selection::of([scenario.controller]).expect("a controller");
    let service = cluster.as_user(UserInfo::default());
    let processes = supervised(
        cluster.config(selection),
        service,
        script.clone(),
        token.clone(),
    );
    tokio::spawn(processes);
    for step in (scenario.after)() {
        sleep(Duration::from_secs(3)).await;
        step.take(admin).await?;
    }
    settled(cluster, scenario, wanted).await
}

/// Starts controllers that end with `token`.
fn control(config: Config, clients: Arc<dyn Clients>, token: CancellationToken) {
    let reader = clients.as_user("system:kube-controller-manager", &["system:authenticated"]);
    let informers = Informers::new(reader, token.clone());
    tokio::spawn(Controllers::new(config, clients, informers).run(token));
}

/// Runs one process of controllers after the other.
async fn supervised(
    config: Config,
    service: LocalService,
    script: Arc<Script>,
    token: CancellationToken,
) {
    while !token.is_cancelled() {
        let process = Process::new(service.clone(), script.clone(), token.child_token());
        let ended = process.token.clone();
        control(config.clone(), Arc::new(process), ended.clone());
        ended.cancelled().await;
        sleep(AWAY).await;
    }
}

/// Waits until everything is right, and as it was without faults.
async fn settled(
    cluster: &Cluster,
    scenario: &Scenario,
    wanted: Option<&Digest>,
) -> Result<Digest, String> {
    let deadline = Instant::now() + DEADLINE;
    let look = async || {
        let world = World::read(&cluster.admin).await;
        (scenario.check)(&world)?;
        let digest = world.digest();
        match wanted.and_then(|wanted| difference(wanted, &digest)) {
            Some(difference) => Err(format!("another end: {difference}")),
            None => Ok(digest),
        }
    };
    while let Err(wrong) = look().await {
        if Instant::now() > deadline {
            return Err(format!("still wrong: {wrong}"));
        }
        sleep(ASK).await;
    }
    sleep(STEADY).await;
    if wanted.is_none() {
        // What the others are compared with is to be the end in fact.
        sleep(STEADY * 4).await;
    }
    look()
        .await
        .map_err(|wrong| format!("was right and is not any more: {wrong}"))
}
