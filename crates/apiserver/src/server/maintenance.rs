//! What has to be done once in a while: certificates are renewed, allocations are checked, events expire. The
//! store compacts its history itself.

use std::{sync::Arc, time::Duration};

use knarr_admission::writer::Writer;
use knarr_api::Served;
use knarr_auth::pki::Pki;
use knarr_meta::object;
use knarr_registry::allocators::{Allocators, Duplicate, REPAIR_PERIOD};
use tokio::time::{MissedTickBehavior, interval};

use super::expiry;
use crate::core::Core;

const RENEW_PERIOD: Duration = Duration::from_secs(60 * 60);

/// Runs until it is dropped.
pub async fn run(core: Arc<Core>, pki: Arc<Pki>, allocators: Arc<Allocators>, event_ttl: Duration) {
    tokio::join!(
        renew(&pki),
        repair(&core, &allocators),
        expiry::run(&core, event_ttl)
    );
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn renew(pki: &Arc<Pki>) {
    let mut ticks = every(RENEW_PERIOD);
    // The start has just looked.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let pki = pki.clone();
        match tokio::task::spawn_blocking(move || pki.renew_due()).await {
            Ok(Ok(renewed)) if renewed.is_empty() => {}
            Ok(Ok(renewed)) => tracing::info!(?renewed, "renewed certificates"),
            Ok(Err(error)) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot renew certificates"
            ),
            Err(error) => tracing::error!(%error, "renewing certificates failed"),
        }
    }
}

/// A Service whose IPAddress somebody has deleted gets another one no sooner than this after the last.
const ADDRESSES_PAUSE: Duration = Duration::from_secs(10);

async fn repair(core: &Core, allocators: &Arc<Allocators>) {
    let mut ticks = every(REPAIR_PERIOD);
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = lacking(core, allocators) => {}
        }
        if let Err(error) = allocators.repair_claims().await {
            tracing::warn!(%error, "cannot compare the claims of addresses and ports with the Services");
        }
        for duplicate in allocators.repair() {
            report(core, &duplicate).await;
        }
    }
}

/// Waits until a Service has an address without an IPAddress.
async fn lacking(core: &Core, allocators: &Allocators) {
    let Some(addresses) = core
        .registry
        .cache
        .resource("networking.k8s.io", "ipaddresses")
    else {
        return std::future::pending().await;
    };
    loop {
        let seen = addresses.last_change();
        tokio::time::sleep(ADDRESSES_PAUSE).await;
        // A write of a Service that is under way may be seen half.
        if allocators.lacks_addresses() {
            return;
        }
        addresses.changed(seen).await;
    }
}

/// Tells a Service's users by an event; the same finding is one event for as long as that lives.
async fn report(core: &Core, duplicate: &Duplicate) {
    let Some(Served { kind, .. }) = core
        .registry
        .catalog
        .current()
        .kinds
        .find("", "v1", "events")
        .cloned()
    else {
        return;
    };
    let event = duplicate.event(&knarr_meta::time::now_seconds());
    let namespace = object::namespace(&duplicate.service);
    match Writer::create(&*core.registry, &kind, namespace, event).await {
        Err(status) if !status.is_already_exists() => {
            tracing::warn!(%status, message = duplicate.message, "cannot write an event");
        }
        _ => {}
    }
}
