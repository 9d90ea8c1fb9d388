//! Answers `/healthz`, `/livez` and `/readyz`: named checks, in upstream's text form.

use std::{sync::atomic::Ordering, time::Duration};

use http::{HeaderValue, StatusCode};
use knarr_auth::query::Query;
use knarr_meta::status::Status;
use tokio::time::timeout;

use super::health::Health;
use crate::{
    core::Core,
    respond::{self, Answer},
};

/// How long the store may take to answer, as upstream's `--etcd-healthcheck-timeout`.
const STORE_WAIT: Duration = Duration::from_secs(2);

type Check = (&'static str, fn(&Health) -> bool);

const PING: Check = ("ping", |_| true);
const LOG: Check = ("log", |_| true);
const STORE: Check = ("etcd", |health| health.feeding.load(Ordering::Acquire));
const CACHE: Check = ("informer-sync", |health| {
    health.feeding.load(Ordering::Acquire)
});
const BOOTSTRAP: Check = ("poststarthook/rbac/bootstrap-roles", |health| {
    health.bootstrapped.load(Ordering::Acquire)
});
const SHUTDOWN: Check = ("shutdown", |health| {
    !health.stopping.load(Ordering::Acquire)
});

/// Fails when it is asked for by its name and an object cannot be read. Elsewhere it only tells: neither a restart nor another
/// server mends that.
const OBJECTS: &str = "stored-objects";

/// Whether who has the keys of what is stored is fit for use, where somebody has.
const KMS: &str = "kms-providers";

async fn store_answers(core: &Core) -> bool {
    let asked = timeout(STORE_WAIT, core.registry.store.revision()).await;
    asked.is_ok_and(|revision| revision.is_ok())
}

/// How that check goes; `None` where nobody asks, or nobody has keys.
async fn kms(core: &Core, asked: &str, included: bool) -> Option<bool> {
    if !included || !matches!(asked, "" | KMS) {
        return None;
    }
    let health = core.registry.transformer.encryption().health().await?;
    if let Err(error) = &health {
        // Anybody may ask, however often; the plugin's own task tells the log.
        tracing::debug!(%error, check = KMS, "a check of health failed");
    }
    Some(health.is_ok())
}

fn checks(endpoint: &str) -> &'static [Check] {
    match endpoint {
        "readyz" => &[PING, LOG, STORE, CACHE, BOOTSTRAP, SHUTDOWN],
        _ => &[PING, LOG, STORE, BOOTSTRAP],
    }
}

/// Answers `/ENDPOINT` or `/ENDPOINT/CHECK`.
pub async fn serve(core: &Core, endpoint: &'static str, check: &str, query: &Query<'_>) -> Answer {
    let all = checks(endpoint);
    let damaged: usize = (core.registry.cache.resources().iter())
        .map(|resource| resource.damaged.len())
        .sum();
    let included = |name: &str| !query.all("exclude").any(|e| e == name);
    let kms = kms(core, check, included(KMS)).await;
    let chosen: Vec<&Check> = match check {
        OBJECTS => Vec::new(),
        KMS if kms.is_some() => Vec::new(),
        "" => all.iter().filter(|(name, _)| included(name)).collect(),
        wanted => {
            let found = all.iter().find(|(name, _)| *name == wanted);
            vec![found.ok_or_else(Status::path_not_found)?]
        }
    };
    let mut report = String::new();
    let mut healthy = true;
    let mut tell = |name, good| {
        core.health.note(name, endpoint, good);
        healthy &= good;
        report.push_str(&match good {
            true => format!("[+]{name} ok\n"),
            false => format!("[-]{name} failed: reason withheld\n"),
        });
    };
    for &(name, check) in chosen {
        let good = check(&core.health) && (name != STORE.0 || store_answers(core).await);
        tell(name, good);
    }
    if let Some(good) = kms {
        tell(KMS, good);
    }
    let objects = match damaged {
        0 => format!("[+]{OBJECTS} ok\n"),
        n => format!("[-]{OBJECTS} failed: {n} cannot be read\n"),
    };
    report.push_str(&objects);
    healthy &= check != OBJECTS || damaged == 0;
    let verbose = query.find("verbose").is_some() && check.is_empty();
    let mut response = match (healthy, verbose) {
        (true, false) => respond::text(StatusCode::OK, "ok"),
        (true, true) => respond::text(StatusCode::OK, format!("{report}{endpoint} check passed\n")),
        (false, _) => respond::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{report}{endpoint} check failed\n"),
        ),
    };
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(http::header::X_CONTENT_TYPE_OPTIONS, nosniff);
    Ok(response)
}
