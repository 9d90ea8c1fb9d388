//! Takes away the ResourceSlices of drivers that are gone: what they say is not true any more.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::resource::v1::ResourceSlice;
use knarr_client::errors;
use kube::{Api, api::ListParams};
use tokio::time::{Instant, sleep_until, timeout};

use super::drivers::WIPING_DELAY;
use crate::context::Context;

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(300);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Those of each driver that has been gone for a while; drivers that published before this kubelet have as long to come back. Never
/// returns.
pub(super) async fn run(ctx: &Context) {
    tokio::join!(tidy(ctx), follow(ctx));
}

/// Upstream takes all slices away at once when it starts, and drivers publish them anew; until then no pod could be scheduled for
/// them, whenever a kubelet starts.
async fn tidy(ctx: &Context) {
    tokio::time::sleep(WIPING_DELAY).await;
    let mut wait = RETRY_FIRST;
    loop {
        match published(ctx).await {
            Ok(names) => {
                for name in names {
                    ctx.dra.drivers.miss(&name);
                }
                return;
            }
            Err(error) => tracing::debug!(error, "cannot list resource slices of the node"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_LONGEST);
    }
}

/// The drivers that have slices of the node.
async fn published(ctx: &Context) -> Result<BTreeSet<String>, String> {
    let api: Api<ResourceSlice> = Api::all(ctx.client.clone());
    let params = ListParams::default().fields(&of_node(ctx));
    match timeout(REQUEST_TIMEOUT, api.list(&params)).await {
        Ok(Ok(list)) => Ok(list
            .items
            .into_iter()
            .map(|slice| slice.spec.driver)
            .collect()),
        Ok(Err(error)) => Err(errors::message(&error)),
        Err(_) => Err("the API server did not answer".to_owned()),
    }
}

fn of_node(ctx: &Context) -> String {
    format!("spec.nodeName={}", ctx.config.node_name)
}

async fn follow(ctx: &Context) {
    let drivers = &ctx.dra.drivers;
    loop {
        let next = drivers.gone.lock().values().min().copied();
        let due = async {
            match next {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = drivers.changed.notified() => continue,
            () = due => {}
        }
        let now = Instant::now();
        let gone: Vec<String> = {
            let gone = drivers.gone.lock();
            let due = gone.iter().filter(|(_, at)| **at <= now);
            due.map(|(name, _)| name.clone()).collect()
        };
        for name in gone {
            let wiped = wipe(ctx, &name).await;
            // It may have come back meanwhile.
            let mut gone = drivers.gone.lock();
            match wiped {
                Ok(()) => {
                    gone.remove(&name);
                }
                Err(error) => {
                    tracing::debug!(
                        driver = name,
                        error,
                        "cannot delete resource slices of a driver"
                    );
                    if let Some(at) = gone.get_mut(&name) {
                        *at = now + RETRY_LONGEST.min(RETRY_FIRST * 30);
                    }
                }
            }
        }
    }
}

async fn wipe(ctx: &Context, driver: &str) -> Result<(), String> {
    let selector = format!("{},spec.driver={driver}", of_node(ctx));
    let api: Api<ResourceSlice> = Api::all(ctx.client.clone());
    let list = ListParams::default().fields(&selector);
    // By what they are, and not by name.
    let params = Default::default();
    match timeout(REQUEST_TIMEOUT, api.delete_collection(&params, &list)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if errors::is_not_found(&error) => Ok(()),
        Ok(Err(error)) => Err(errors::message(&error)),
        Err(_) => Err("the API server did not answer".to_owned()),
    }
}
