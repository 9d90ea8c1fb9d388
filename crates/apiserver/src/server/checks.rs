//! Answers `/healthz`, `/livez` and `/readyz`: named checks, in upstream's text form.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::{HeaderValue, Response, StatusCode};
use knarr_auth::query::Query;
use knarr_meta::{field::quote, status::Status};
use tokio::time::timeout;

use crate::{
    body::Body,
    core::Core,
    respond::{self, Answer},
};

/// How long the store may take to answer, as upstream's `--etcd-healthcheck-timeout`.
const STORE_WAIT: Duration = Duration::from_secs(2);

const PING: &str = "ping";
const LOG: &str = "log";
/// The store, under the name that upstream's tools look for.
const STORE: &str = "etcd";
const CACHE: &str = "informer-sync";
const BOOTSTRAP: &str = "poststarthook/rbac/bootstrap-roles";
const SHUTDOWN: &str = "shutdown";

/// Fails when it is asked for by its name and an object cannot be read. Elsewhere it only tells: neither a restart nor another
/// server mends that.
const OBJECTS: &str = "stored-objects";

/// Whether who has the keys of what is stored is fit for use, where somebody has.
const KMS: &str = "kms-providers";

/// The checks of an endpoint, in the order in which they are told.
fn checks(endpoint: &str) -> &'static [&'static str] {
    match endpoint {
        "readyz" => &[PING, LOG, STORE, CACHE, BOOTSTRAP, SHUTDOWN, KMS, OBJECTS],
        _ => &[PING, LOG, STORE, BOOTSTRAP, KMS, OBJECTS],
    }
}

/// How a check goes, with why it fails; `None` where there is none of this name now.
async fn look(core: &Core, name: &str) -> Option<Result<(), String>> {
    let flag = |flag: &AtomicBool, wanted: bool, why: &str| match flag.load(Ordering::Acquire) {
        is if is == wanted => Ok(()),
        _ => Err(why.to_owned()),
    };
    let health = &core.health;
    Some(match name {
        PING | LOG => Ok(()),
        STORE => match flag(&health.feeding, true, "the watch cache is not fed") {
            Ok(()) => store(core).await,
            failed => failed,
        },
        CACHE => flag(&health.feeding, true, "the watch cache is not fed"),
        BOOTSTRAP => flag(&health.bootstrapped, true, "not finished"),
        SHUTDOWN => flag(&health.stopping, false, "process is shutting down"),
        KMS => core.registry.transformer.encryption().health().await?,
        OBJECTS => objects(core),
        _ => return None,
    })
}

async fn store(core: &Core) -> Result<(), String> {
    match timeout(STORE_WAIT, core.registry.store.revision()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the store did not answer in time".to_owned()),
    }
}

fn objects(core: &Core) -> Result<(), String> {
    let damaged: usize = (core.registry.cache.resources().iter())
        .map(|resource| resource.damaged.len())
        .sum();
    match damaged {
        0 => Ok(()),
        n => Err(format!("{n} cannot be read")),
    }
}

/// Answers `/ENDPOINT` or `/ENDPOINT/CHECK`.
pub async fn serve(core: &Core, endpoint: &'static str, check: &str, query: &Query<'_>) -> Answer {
    let mut response = match check {
        "" => all(core, endpoint, query).await,
        name => one(core, endpoint, name).await?,
    };
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(http::header::X_CONTENT_TYPE_OPTIONS, nosniff);
    Ok(response)
}

/// Who may ask for a check by its name may know why it fails.
async fn one(core: &Core, endpoint: &'static str, name: &str) -> Answer {
    let known = (checks(endpoint).iter()).find(|known| **known == name);
    let looked = match known {
        Some(name) => look(core, name).await,
        None => None,
    };
    Ok(match looked.ok_or_else(Status::path_not_found)? {
        Ok(()) => respond::text(StatusCode::OK, "ok"),
        Err(why) => respond::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("internal server error: {why}\n"),
        ),
    })
}

/// Anybody may ask, however often: why a check fails is neither told nor logged.
async fn all(core: &Core, endpoint: &'static str, query: &Query<'_>) -> Response<Body> {
    let mut unknown: BTreeSet<&str> = query.all("exclude").collect();
    let mut report = String::new();
    let mut healthy = true;
    for name in checks(endpoint) {
        if unknown.remove(name) {
            report.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        let Some(looked) = look(core, name).await else {
            continue;
        };
        let line = match (looked, *name) {
            (Ok(()), _) => format!("[+]{name} ok\n"),
            (Err(why), OBJECTS) => format!("[-]{name} failed: {why}\n"),
            (Err(_), _) => format!("[-]{name} failed: reason withheld\n"),
        };
        report.push_str(&line);
        if *name != OBJECTS {
            let good = line.starts_with("[+]");
            core.health.note(name, endpoint, good);
            healthy &= good;
        }
    }
    if !unknown.is_empty() {
        let unknown: Vec<String> = unknown.into_iter().map(quote).collect();
        report.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {}\n",
            unknown.join(",")
        ));
    }
    match (healthy, query.find("verbose").is_some()) {
        (true, false) => respond::text(StatusCode::OK, "ok"),
        (true, true) => respond::text(StatusCode::OK, format!("{report}{endpoint} check passed\n")),
        (false, _) => respond::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{report}{endpoint} check failed\n"),
        ),
    }
}
