//! Whose logs a directory has: its name says which pod's, the API what labels that pod has.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use k8s_openapi::api::core::v1::Pod;
use knarr_client::Informer;

use crate::record::Source;

/// On the mirror of a static pod: the uid that its directories have.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The pods of this node.
pub struct Pods {
    informer: Informer<Pod>,
    /// Keys of annotations that somebody asks for.
    annotations: BTreeSet<String>,
}

impl Pods {
    pub fn new(informer: Informer<Pod>, annotations: BTreeSet<String>) -> Self {
        Self {
            informer,
            annotations,
        }
    }

    /// Waits until the API has told of them; the caller sets a limit to that.
    pub async fn synced(&self) {
        self.informer.synced().await;
    }

    /// Adds what the API says of a pod; whether it knows that one.
    pub fn complete(&self, source: &mut Arc<Source>) -> bool {
        let Some(pod) = self.informer.get(&source.namespace, &source.pod) else {
            return false;
        };
        let all = pod.metadata.annotations.as_ref();
        let uid = all
            .and_then(|all| all.get(MIRROR))
            .or(pod.metadata.uid.as_ref());
        if uid != Some(&source.uid) {
            return false;
        }
        let annotations = all.into_iter().flatten();
        let asked = annotations.filter(|(key, _)| self.annotations.contains(*key));
        *source = Arc::new(Source {
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            annotations: asked.map(|(k, v)| (k.clone(), v.clone())).collect(),
            ..(**source).clone()
        });
        true
    }
}

/// The pod of a directory: `<namespace>_<name>_<uid>`.
pub fn parse(directory: &Path) -> Option<Source> {
    let mut parts = directory.to_str()?.split('_');
    let source = Source {
        namespace: parts.next()?.to_owned(),
        pod: parts.next()?.to_owned(),
        uid: parts.next()?.to_owned(),
        ..Source::default()
    };
    let is_whole = parts.next().is_none()
        && [&source.namespace, &source.pod, &source.uid]
            .iter()
            .all(|part| !part.is_empty());
    is_whole.then_some(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_name_pods() {
        for (name, wanted) in [
            ("default_web-0_1234", Some(("default", "web-0", "1234"))),
            ("default_web-0", None),
            ("default_web-0_", None),
            ("a_b_c_d", None),
            ("lost+found", None),
        ] {
            let source = parse(Path::new(name));
            let found = source.as_ref().map(|s| (&*s.namespace, &*s.pod, &*s.uid));
            assert_eq!(found, wanted, "{name}");
        }
    }
}
