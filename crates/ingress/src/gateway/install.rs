//! Definitions and class, where nobody has made them.
//!
//! Definitions of others are left as they are: whoever has installed another release wants that one. Ours are made anew when they
//! are of another version of this program.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    ClusterResourceScope, Metadata, Resource,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use knarr_client::{Informer, InformerScope, Informers, errors};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    definitions,
    types::{GROUP, GatewayClass},
    world::CONTROLLER,
};

/// Our class, where nobody has made another one.
pub const CLASS: &str = "knarr";
const RELEASE_ANNOTATION: &str = "gateway.networking.k8s.io/bundle-version";
/// Between attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// A definition, as far as it is looked at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Definition {
    metadata: ObjectMeta,
    spec: DefinitionSpec,
    status: DefinitionStatus,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct DefinitionSpec {
    versions: Vec<DefinitionVersion>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct DefinitionVersion {
    name: String,
    served: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct DefinitionStatus {
    conditions: Vec<Condition>,
}

impl Resource for Definition {
    const API_VERSION: &'static str = "apiextensions.k8s.io/v1";
    const GROUP: &'static str = "apiextensions.k8s.io";
    const KIND: &'static str = "CustomResourceDefinition";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "customresourcedefinitions";
    type Scope = ClusterResourceScope;
}

impl Metadata for Definition {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Definition {
    fn annotation(&self, name: &str) -> Option<&str> {
        let annotations = self.metadata.annotations.as_ref()?;
        annotations.get(name).map(String::as_str)
    }

    fn serves(&self, version: &str) -> bool {
        let established = |one: &&Condition| one.type_ == "Established" && one.status == "True";
        let mut versions = self.spec.versions.iter();
        self.status.conditions.iter().any(|one| established(&one))
            && versions.any(|one| one.name == version && one.served)
    }
}

/// The definitions, once they can be used.
pub struct Installed {
    class: Informer<Definition>,
}

impl Installed {
    /// The release that they are of.
    pub fn release(&self) -> Option<String> {
        let (name, ..) = definitions::ALL[0];
        let definition = self.class.get("", name)?;
        definition.annotation(RELEASE_ANNOTATION).map(str::to_owned)
    }

    /// Calls `changed` when that may be another one.
    pub fn on_change(&self, changed: impl Fn() + Send + Sync + 'static) {
        self.class.on_event(move |_| changed());
    }
}

/// Installs what there is not, and waits until all can be used.
pub async fn install(client: &kube::Client, informers: &Informers) -> Installed {
    let changed = Arc::new(Notify::new());
    let all = definitions::ALL.map(|(name, version, text)| {
        let known: Informer<Definition> = informers.informer_with(InformerScope {
            field_selector: Some(format!("metadata.name={name}")),
            ..InformerScope::default()
        });
        let changed = changed.clone();
        known.on_event(move |_| changed.notify_one());
        (name, version, text, known)
    });
    for (name, _, text, known) in &all {
        known.synced().await;
        ensure(client, name, text, known).await;
    }
    let mut told = false;
    loop {
        let waiting = all.iter().find(|(name, version, _, known)| {
            let definition = known.get("", name);
            !definition.is_some_and(|definition| definition.serves(version))
        });
        let Some((name, version, ..)) = waiting else {
            break;
        };
        if !std::mem::replace(&mut told, true) {
            tracing::info!(name, version, "waiting until the definition is served");
        }
        changed.notified().await;
    }
    let [(_, _, _, class), ..] = all;
    Installed { class }
}

async fn ensure(client: &kube::Client, name: &str, text: &str, known: &Informer<Definition>) {
    let wanted = match definitions::read(text) {
        Ok(wanted) => wanted,
        Err(error) => return tracing::error!(%error, name, "a definition cannot be read"),
    };
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    loop {
        let found = known.get("", name);
        let revision = found
            .as_ref()
            .map(|found| found.annotation(definitions::REVISION_ANNOTATION));
        let made = match revision {
            // Another's, or ours as it is to be.
            Some(None | Some(definitions::REVISION)) => return,
            Some(Some(_)) => replace(&api, name, &wanted).await,
            None => create(&api, &wanted).await,
        };
        match made {
            Ok(()) => return,
            Err(error) if errors::is_already_exists(&error) => return,
            Err(error) => {
                let error = errors::message(&error);
                tracing::warn!(name, error, "cannot install a definition, trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

type Definitions = Api<CustomResourceDefinition>;

async fn create(api: &Definitions, wanted: &Value) -> Result<(), kube::Error> {
    let wanted = serde_json::from_value(wanted.clone()).map_err(kube::Error::SerdeError)?;
    api.create(&PostParams::default(), &wanted).await.map(drop)
}

async fn replace(api: &Definitions, name: &str, wanted: &Value) -> Result<(), kube::Error> {
    let change = json!({
        "metadata": {"annotations": wanted["metadata"]["annotations"]}, "spec": wanted["spec"],
    });
    api.patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await
        .map(drop)
}

/// Makes our class, unless there is one that names us.
pub async fn ensure_class(client: kube::Client, classes: Informer<GatewayClass>) {
    let known = classes.list();
    if known
        .iter()
        .any(|class| class.spec.controller_name == CONTROLLER)
    {
        return;
    }
    let class = json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": "GatewayClass",
        "metadata": {"name": CLASS},
        "spec": {"controllerName": CONTROLLER, "description": "Served by knarr itself"},
    });
    let path = format!("/apis/{GROUP}/v1/gatewayclasses");
    loop {
        let made = post(&client, &path, &class).await;
        match made {
            Ok(()) => return,
            Err(error) if errors::is_already_exists(&error) => return,
            Err(error) => {
                let error = errors::message(&error);
                tracing::warn!(error, "cannot make the GatewayClass {CLASS}, trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Sends an object as it is: the types that are read leave out what is not looked at.
async fn post(client: &kube::Client, path: &str, object: &Value) -> Result<(), kube::Error> {
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    client.request::<Value>(request).await.map(drop)
}
