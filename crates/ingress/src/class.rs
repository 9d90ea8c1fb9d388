//! Which Ingresses are ours: those of classes that name us, and where ours is the default, those that name none.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use knarr_client::{Informer, errors};
use kube::{Api, api::PostParams};
use serde_json::json;

/// Our class, where nobody has made another one.
pub const NAME: &str = "knarr";
/// As classes name us.
pub const CONTROLLER: &str = "knarr.dev/ingress";
/// The older way to name a class.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const DEFAULT_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";
/// Between attempts to make the class.
const PAUSE: Duration = Duration::from_secs(1);

fn names_us(class: &IngressClass) -> bool {
    let spec = class.spec.as_ref();
    spec.and_then(|spec| spec.controller.as_deref()) == Some(CONTROLLER)
}

fn is_default(class: &IngressClass) -> bool {
    let annotations = class.metadata.annotations.as_ref();
    annotations
        .and_then(|a| a.get(DEFAULT_ANNOTATION))
        .is_some_and(|value| value == "true")
}

/// Whether we serve an Ingress.
pub fn is_ours(ingress: &Ingress, classes: &Informer<IngressClass>) -> bool {
    let named = ingress
        .spec
        .as_ref()
        .and_then(|spec| spec.ingress_class_name.as_deref());
    let annotations = ingress.metadata.annotations.as_ref();
    let named = named.or_else(|| annotations?.get(CLASS_ANNOTATION).map(String::as_str));
    match named {
        Some(name) => classes.get("", name).is_some_and(|class| names_us(&class)),
        None => classes
            .list()
            .iter()
            .any(|class| names_us(class) && is_default(class)),
    }
}

/// The Ingresses that we serve.
pub fn ours(ingresses: &Informer<Ingress>, classes: &Informer<IngressClass>) -> Vec<Arc<Ingress>> {
    let mut all = ingresses.list();
    all.retain(|ingress| is_ours(ingress, classes));
    all
}

/// Makes our class, unless there is one that names us; the default one, unless there is another.
pub async fn ensure(client: kube::Client, classes: Informer<IngressClass>) {
    classes.synced().await;
    let known = classes.list();
    if known.iter().any(|class| names_us(class)) {
        return;
    }
    let default = !known.iter().any(|class| is_default(class));
    let class = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": NAME, "annotations": {(DEFAULT_ANNOTATION): default.to_string()}},
        "spec": {"controller": CONTROLLER},
    });
    let Ok(class) = serde_json::from_value::<IngressClass>(class) else {
        return;
    };
    let api: Api<IngressClass> = Api::all(client);
    loop {
        match api.create(&PostParams::default(), &class).await {
            Ok(_) => return,
            Err(error) if errors::is_already_exists(&error) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot make the IngressClass {NAME}, trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn class(name: &str, controller: &str, default: bool) -> IngressClass {
        let annotations = json!({(DEFAULT_ANNOTATION): default.to_string()});
        let class = json!({"metadata": {"name": name, "annotations": annotations}, "spec": {"controller": controller}});
        serde_json::from_value(class).expect("a class")
    }

    fn ingress(annotations: Value, spec: Value) -> Ingress {
        let ingress = json!({"metadata": {"name": "i", "annotations": annotations}, "spec": spec});
        serde_json::from_value(ingress).expect("an Ingress")
    }

    #[test]
    fn whose_an_ingress_is() {
        let classes = Informer::new();
        classes.apply(class("ours", CONTROLLER, true));
        classes.apply(class("nginx", "k8s.io/ingress-nginx", false));
        let named = |name: &str| ingress(json!({}), json!({"ingressClassName": name}));
        let annotated = |name: &str| ingress(json!({(CLASS_ANNOTATION): name}), json!({}));
        assert!(is_ours(&named("ours"), &classes));
        assert!(is_ours(&annotated("ours"), &classes));
        assert!(is_ours(&ingress(json!({}), json!({})), &classes));
        assert!(!is_ours(&named("nginx"), &classes));
        assert!(!is_ours(&named("unknown"), &classes));
        assert!(!is_ours(&annotated("nginx"), &classes));
        classes.apply(class("ours", CONTROLLER, false));
        assert!(!is_ours(&ingress(json!({}), json!({})), &classes));
    }
}
