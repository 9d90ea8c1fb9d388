//! A derived custom resource and its controller; the same controller for a built-in kind, which needs no definition.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, CustomResource, CustomResourceExt, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::{
        controller::{Action, Controller},
        events::{Event, EventType, Recorder, Reporter},
        finalizer::{self, finalizer},
        wait::{await_condition, conditions},
        watcher,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    NAMESPACE,
    objects::maps,
    steps::{Steps, eventually, want},
};

const RETRY: Duration = Duration::from_secs(1);
const FINALIZER: &str = "rust.knarr.dev/controller";

/// A ship, which has its crew listed in a ConfigMap that it owns.
#[derive(CustomResource, Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[kube(
    group = "rust.knarr.dev",
    version = "v1",
    kind = "Ship",
    namespaced,
    status = "ShipStatus"
)]
pub struct ShipSpec {
    #[schemars(range(min = 0))]
    crew: u32,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub struct ShipStatus {
    manned: bool,
}

pub fn add(steps: &mut Steps, client: &Client) {
    steps.add("controller-of-builtin", copies(client.clone()));
    steps.add("event-recorder", records(client.clone()));
    steps.add("definition", define(client.clone()));
    steps.add("controller", reconciles(client.clone()));
    steps.add("controller-finalizer", finalizes(client.clone()));
}

/// Keeps a Secret beside every ConfigMap that is called `copied`.
async fn copy(source: Arc<ConfigMap>, client: Arc<Client>) -> kube::Result<Action> {
    if source.name_any() != "copied" || source.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let api = Api::<Secret>::namespaced(client.as_ref().clone(), NAMESPACE);
    if api.get_opt("copied").await?.is_none() {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": "copied", "ownerReferences": [source.controller_owner_ref(&())]},
            "stringData": source.data,
        }))
        .map_err(kube::Error::SerdeError)?;
        api.create(&PostParams::default(), &secret).await?;
    }
    Ok(Action::await_change())
}

async fn copies(client: Client) -> Result<()> {
    let secrets = Api::<Secret>::namespaced(client.clone(), NAMESPACE);
    let run = Controller::new(maps(&client), watcher::Config::default())
        .owns(secrets.clone(), watcher::Config::default())
        .run(
            copy,
            |_, _, _| Action::requeue(RETRY),
            Arc::new(client.clone()),
        )
        .for_each(|_| std::future::ready(()));
    let running = tokio::spawn(run);
    let source: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "copied"}, "data": {"key": "value"}}))?;
    maps(&client)
        .create(&PostParams::default(), &source)
        .await?;
    let made = eventually(async || Ok(secrets.get("copied").await?)).await?;
    // What it owns comes back.
    secrets.delete("copied", &DeleteParams::default()).await?;
    let again = eventually(async || {
        let found = secrets.get("copied").await?;
        want("whether it is another", found.uid() != made.uid(), true)
    });
    let again = again.await;
    running.abort();
    again
}

async fn records(client: Client) -> Result<()> {
    let reporter = Reporter {
        controller: "kube-rs".to_owned(),
        instance: None,
    };
    let recorder = Recorder::new(client.clone(), reporter);
    let about = maps(&client).get("copied").await?;
    let event = Event {
        type_: EventType::Normal,
        reason: "Copied".to_owned(),
        note: None,
        action: "Copy".to_owned(),
        secondary: None,
    };
    for _ in 0..2 {
        recorder.publish(&event, &about.object_ref(&())).await?;
    }
    Ok(())
}

async fn define(client: Client) -> Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(client);
    let name = Ship::crd_name();
    definitions
        .create(&PostParams::default(), &Ship::crd())
        .await?;
    await_condition(definitions, name, conditions::is_crd_established()).await?;
    Ok(())
}

#[derive(Debug)]
struct Failed(String);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl From<kube::Error> for Failed {
    fn from(error: kube::Error) -> Self {
        Self(error.to_string())
    }
}

async fn man(ship: Arc<Ship>, client: Arc<Client>) -> Result<Action, Failed> {
    let ships = Api::<Ship>::namespaced(client.as_ref().clone(), NAMESPACE);
    let done = finalizer(&ships, FINALIZER, ship, async |event| match event {
        finalizer::Event::Apply(ship) => enlist(&ship, &client).await,
        finalizer::Event::Cleanup(_) => Ok(Action::await_change()),
    });
    done.await.map_err(|error| Failed(error.to_string()))
}

/// Everything by server-side apply.
async fn enlist(ship: &Ship, client: &Client) -> Result<Action, Failed> {
    let by = PatchParams::apply("kube-rs").force();
    let crew = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": ship.name_any(), "ownerReferences": [ship.controller_owner_ref(&())]},
        "data": {"crew": ship.spec.crew.to_string()},
    });
    maps(client)
        .patch(&ship.name_any(), &by, &Patch::Apply(crew))
        .await?;
    let status =
        json!({"apiVersion": "rust.knarr.dev/v1", "kind": "Ship", "status": {"manned": true}});
    let ships = Api::<Ship>::namespaced(client.clone(), NAMESPACE);
    ships
        .patch_status(&ship.name_any(), &by, &Patch::Apply(status))
        .await?;
    Ok(Action::await_change())
}

async fn reconciles(client: Client) -> Result<()> {
    let ships = Api::<Ship>::namespaced(client.clone(), NAMESPACE);
    ships
        .create(
            &PostParams::default(),
            &Ship::new("knarr", ShipSpec { crew: 20 }),
        )
        .await?;
    let run = Controller::new(ships.clone(), watcher::Config::default())
        .owns(maps(&client), watcher::Config::default())
        .run(
            man,
            |_, _, _| Action::requeue(RETRY),
            Arc::new(client.clone()),
        )
        .for_each(|_| std::future::ready(()));
    // It goes on for the next step.
    tokio::spawn(run);
    eventually(async || {
        let ship = ships.get("knarr").await?;
        want(
            "whether it is manned",
            ship.status.is_some_and(|status| status.manned),
            true,
        )?;
        let crew = maps(&client).get("knarr").await?;
        want(
            "the crew",
            crew.data.context("it has data")?["crew"].as_str(),
            "20",
        )
    })
    .await
}

async fn finalizes(client: Client) -> Result<()> {
    let ships = Api::<Ship>::namespaced(client.clone(), NAMESPACE);
    ships.delete("knarr", &DeleteParams::default()).await?;
    eventually(async || {
        want(
            "whether the ship is there",
            ships.get_opt("knarr").await?.is_some(),
            false,
        )?;
        want(
            "whether its crew is there",
            maps(&client).get_opt("knarr").await?.is_some(),
            false,
        )
    })
    .await
}
