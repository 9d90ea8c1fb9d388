//! Follows the ConfigMaps `coredns` and `coredns-custom`, which say what a node's DNS servers go by.
//!
//! What is not understood changes nothing: the settings of before stay, and a Warning event of the ConfigMap says what it is.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use knarr_client::{
    Informer, InformerScope, Informers,
    events::{Recorder, WARNING},
};
use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    server::Live,
    settings::{Settings, Surroundings},
};

const NAMESPACE: &str = "kube-system";
const MAIN: &str = "coredns";
const CUSTOM: &str = "coredns-custom";
const REASON: &str = "InvalidCorefile";

/// What both ConfigMaps hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Maps {
    main: Option<BTreeMap<String, String>>,
    custom: BTreeMap<String, String>,
}

/// The settings of a node's DNS servers.
pub struct Configuration {
    around: Surroundings,
    live: Arc<Live>,
    maps: [Informer<ConfigMap>; 2],
    changed: Arc<Notify>,
    recorder: Option<Recorder>,
}

impl Configuration {
    /// `informers` and `recorder` should be those of `system:serviceaccount:kube-system:kube-dns`.
    pub fn new(around: Surroundings, informers: &Informers, recorder: Recorder) -> Self {
        let informer = |name: &str| {
            informers.informer_with(InformerScope {
                namespace: Some(NAMESPACE.to_owned()),
                field_selector: Some(format!("metadata.name={name}")),
                label_selector: None,
            })
        };
        Self::with(around, [MAIN, CUSTOM].map(informer), Some(recorder))
    }

    /// What is built in, which nobody changes.
    pub fn built_in(around: Surroundings) -> Self {
        Self::with(around, [Informer::new(), Informer::new()], None)
    }

    fn with(
        around: Surroundings,
        maps: [Informer<ConfigMap>; 2],
        recorder: Option<Recorder>,
    ) -> Self {
        let changed = Arc::new(Notify::new());
        for informer in &maps {
            let changed = changed.clone();
            informer.on_event(move |_| changed.notify_one());
        }
        Self {
            live: Arc::new(RwLock::new(Arc::new(Settings::built_in(&around)))),
            around,
            maps,
            changed,
            recorder,
        }
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.clone()
    }

    /// Follows what is said until `token` is cancelled.
    pub async fn run(self, token: CancellationToken) {
        token.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&self) {
        for informer in &self.maps {
            informer.synced().await;
        }
        let mut before = Maps::default();
        loop {
            let maps = self.maps();
            if maps != before {
                self.take(&maps);
                before = maps;
            }
            self.changed.notified().await;
        }
    }

    fn maps(&self) -> Maps {
        let data = |informer: &Informer<ConfigMap>, name: &str| {
            let map = informer.get(NAMESPACE, name)?;
            Some(map.data.clone().unwrap_or_default())
        };
        let [main, custom] = &self.maps;
        Maps {
            main: data(main, MAIN),
            custom: data(custom, CUSTOM).unwrap_or_default(),
        }
    }

    fn take(&self, maps: &Maps) {
        if *maps == Maps::default() {
            *self.live.write() = Arc::new(Settings::built_in(&self.around));
            info!("DNS goes by what is built in again");
            return;
        }
        match Settings::read(&self.around, maps.main.as_ref(), &maps.custom) {
            Ok(settings) => {
                let idle = settings.idle();
                info!(without_effect = ?idle, "DNS goes by the ConfigMaps {MAIN} and {CUSTOM}");
                *self.live.write() = Arc::new(settings);
            }
            Err(error) => {
                warn!(%error, "DNS goes by the settings of before: a Corefile is not understood");
                self.tell(&error.to_string());
            }
        }
    }

    fn tell(&self, error: &str) {
        let [main, custom] = &self.maps;
        let map = main.get(NAMESPACE, MAIN);
        let Some(map) = map.or_else(|| custom.get(NAMESPACE, CUSTOM)) else {
            return;
        };
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("ConfigMap".to_owned()),
            name: map.metadata.name.clone(),
            namespace: map.metadata.namespace.clone(),
            uid: map.metadata.uid.clone(),
            resource_version: map.metadata.resource_version.clone(),
            ..ObjectReference::default()
        };
        if let Some(recorder) = &self.recorder {
            let note = format!("{error}; DNS goes by the settings of before");
            recorder.event(&regarding, WARNING, REASON, note);
        }
    }
}

#[cfg(test)]
mod tests;
