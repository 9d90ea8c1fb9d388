//! kube-rs as operators use it: the client, watchers with and without streamed lists, server-side apply, a derived custom
//! resource with a `Controller`, and streams to pods.

mod controller;
mod objects;
mod pods;
mod steps;

use anyhow::Result;
use kube::Client;
use steps::Steps;

/// Where everything is made.
pub const NAMESPACE: &str = "kube-rs";

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::try_default().await?;
    let mut steps = Steps::default();
    objects::add(&mut steps, &client);
    pods::add(&mut steps, &client);
    controller::add(&mut steps, &client);
    tokio::task::LocalSet::new().run_until(steps.run()).await;
    Ok(())
}
