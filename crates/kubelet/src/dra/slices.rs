//! Takes away the ResourceSlices of drivers that are gone: what they say is not true any more.

use std::time::Duration;

use k8s_openapi::api::resource::v1::ResourceSlice;
use knarr_client::errors;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use tokio::time::{Instant, sleep_until, timeout};

use crate::context::Context;

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(300);
const DELETE_TIMEOUT: Duration = Duration::from_secs(30);

/// At the start those of all drivers, which publish them anew when they have registered; later those of each that has been gone for
/// a while. Never returns.
pub(super) async fn run(ctx: &Context) {
    let mut wait = RETRY_FIRST;
    while let Err(error) = wipe(ctx, None).await {
        tracing::debug!(error, "cannot delete resource slices of the node");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_LONGEST);
    }
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
            let wiped = wipe(ctx, Some(&name)).await;
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

async fn wipe(ctx: &Context, driver: Option<&str>) -> Result<(), String> {
    let mut selector = format!("spec.nodeName={}", ctx.config.node_name);
    if let Some(driver) = driver {
        selector.push_str(&format!(",spec.driver={driver}"));
    }
    let api: Api<ResourceSlice> = Api::all(ctx.client.clone());
    let list = ListParams::default().fields(&selector);
    let params = DeleteParams::default();
    match timeout(DELETE_TIMEOUT, api.delete_collection(&params, &list)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if errors::is_not_found(&error) => Ok(()),
        Ok(Err(error)) => Err(errors::message(&error)),
        Err(_) => Err("the API server did not answer".to_owned()),
    }
}
