//! `kube-public/cluster-info` carries a signature by each bootstrap token that may sign: a machine that knows the token can tell that
//! the cluster does, too.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use knarr_auth::bootstrap_token::{self, TokenSecret, Usage};
use knarr_auth::cluster_info::{KUBECONFIG, NAME, NAMESPACE, SIGNATURE_PREFIX};
use knarr_client::{Informer, InformerScope, WorkQueue};
use kube::Api;
use kube::api::PostParams;

use crate::bootstrap_tokens;
use crate::runner::{Context, Error, Reconciler, synced};

const WORKERS: usize = 1;
const ACCOUNT: &str = "bootstrap-signer";

/// There is one thing to do.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Signatures;

impl fmt::Display for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAMESPACE}/{NAME}")
    }
}

pub(crate) struct BootstrapSigner {
    client: kube::Client,
    config_maps: Informer<ConfigMap>,
    secrets: Informer<Secret>,
    queue: WorkQueue<Signatures>,
}

pub(crate) fn start(context: &Context) {
    let scope = InformerScope {
        namespace: Some(NAMESPACE.to_owned()),
        field_selector: Some(format!("metadata.name={NAME}")),
        ..InformerScope::default()
    };
    let controller = Arc::new(BootstrapSigner {
        client: context.client(ACCOUNT),
        config_maps: context.informers.informer_with(scope),
        secrets: bootstrap_tokens::secrets(context),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller
        .config_maps
        .on_event(move |_| queue.add(Signatures));
    let queue = controller.queue.clone();
    controller.secrets.on_event(move |_| queue.add(Signatures));
    let informers = vec![synced(&controller.config_maps), synced(&controller.secrets)];
    context.start(controller, WORKERS, informers);
}

/// What to write; `None` when it is as it should be, or there is nothing to sign.
fn plan(map: &ConfigMap, tokens: &[TokenSecret], now: Timestamp) -> Option<ConfigMap> {
    let data = map.data.as_ref()?;
    let content = data.get(KUBECONFIG)?;
    let signers = tokens
        .iter()
        .filter(|token| token.is_for(Usage::Signing, now));
    let signatures = signers.map(|signer| {
        let key = format!("{SIGNATURE_PREFIX}{}", signer.token.id());
        (key, bootstrap_token::sign(content, &signer.token))
    });
    let others = data
        .iter()
        .filter(|(key, _)| !key.starts_with(SIGNATURE_PREFIX));
    let mut wanted: BTreeMap<String, String> = others
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    wanted.extend(signatures);
    (wanted != *data).then(|| ConfigMap {
        data: Some(wanted),
        ..map.clone()
    })
}

impl Reconciler for BootstrapSigner {
    const NAME: &'static str = "bootstrapsigner";
    type Key = Signatures;

    fn queue(&self) -> &WorkQueue<Signatures> {
        &self.queue
    }

    async fn reconcile(&self, _: &Signatures) -> Result<(), Error> {
        let Some(map) = self.config_maps.get(NAMESPACE, NAME) else {
            return Ok(());
        };
        let secrets = self.secrets.list();
        let tokens: Vec<TokenSecret> = secrets
            .iter()
            .filter_map(|secret| bootstrap_tokens::read(secret))
            .collect();
        let Some(map) = plan(&map, &tokens, knarr_meta::clock::now()) else {
            return Ok(());
        };
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        api.replace(NAME, &PostParams::default(), &map).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use knarr_auth::bootstrap_token::BootstrapToken;
    use knarr_client::fake;
    use serde_json::{Value, json};

    use super::*;
    use crate::exchange::{Asked, accepted, failed, reconcile};
    use crate::fixtures::{now, object};

    fn secret(name: &str, id: &str, usage: &str, expiration: &str) -> Secret {
        let data = [
            ("token-id", id),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-signing", usage),
            ("expiration", expiration),
        ];
        let data = data.map(|(key, value)| (key.to_owned(), k8s_openapi::ByteString(value.into())));
        Secret {
            data: Some(data.into()),
            ..object(json!({
                "metadata": {"namespace": "kube-system", "name": name},
                "type": "bootstrap.kubernetes.io/token",
            }))
        }
    }

    /// What comes of the map with this data.
    async fn signed(
        data: Option<Value>,
        secrets: Vec<Secret>,
        answer: impl FnMut(&Asked) -> (u16, Value),
    ) -> (Result<(), Error>, Vec<Asked>) {
        let (client, mut server) = fake::client();
        let controller = BootstrapSigner {
            client,
            config_maps: Informer::new(),
            secrets: Informer::new(),
            queue: WorkQueue::new(),
        };
        if let Some(data) = data {
            let meta = json!({"name": NAME, "namespace": NAMESPACE});
            let map = json!({"metadata": meta, "data": data});
            controller.config_maps.apply(object(map));
        }
        secrets
            .into_iter()
            .for_each(|s| controller.secrets.apply(s));
        reconcile(&controller, &Signatures, &mut server, answer).await
    }

    #[tokio::test]
    async fn signatures_come_and_go_with_their_tokens() {
        let future = "2999-01-01T00:00:00Z";
        let good = || secret("bootstrap-token-abc123", "abc123", "true", future);
        let unsigned = || json!({KUBECONFIG: "content"});
        let stale = || json!({KUBECONFIG: "content", "jws-kubeconfig-abc123": "stale"});
        let with = Some(&["jws-kubeconfig-abc123", KUBECONFIG][..]);
        let without = Some(&[KUBECONFIG][..]);
        for (what, data, secrets, expected) in [
            ("a token", unsigned(), vec![good()], with),
            ("another content was signed", stale(), vec![good()], with),
            ("no token any more", stale(), vec![], without),
            ("none, and none before", unsigned(), vec![], None),
            (
                "not for signing",
                stale(),
                vec![secret("bootstrap-token-abc123", "abc123", "yes", future)],
                without,
            ),
            (
                "over",
                stale(),
                vec![secret(
                    "bootstrap-token-abc123",
                    "abc123",
                    "true",
                    "2020-01-01T00:00:00Z",
                )],
                without,
            ),
            (
                "of another name",
                unsigned(),
                vec![secret("bootstrap-token-other0", "abc123", "true", future)],
                None,
            ),
            ("nothing to sign", json!({"other": "x"}), vec![good()], None),
        ] {
            let (result, asked) = signed(Some(data), secrets, accepted).await;
            assert!(result.is_ok(), "{what}: {result:?}");
            let keys = asked.first().map(|asked| {
                let path = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
                assert_eq!(asked.shown(), format!("PUT {path}"), "{what}");
                let data = asked.body["data"].as_object().expect("data");
                data.keys().map(String::as_str).collect::<Vec<_>>()
            });
            assert_eq!(keys.as_deref(), expected, "{what}");
        }
    }

    #[tokio::test]
    async fn there_may_be_no_map_and_another_may_write_it() {
        let good = || secret("bootstrap-token-abc123", "abc123", "true", "");
        let (result, asked) = signed(None, vec![good()], accepted).await;
        assert!(result.is_ok() && asked.is_empty());
        let data = Some(json!({KUBECONFIG: "content"}));
        let (result, _) = signed(data, vec![good()], |_| failed(409, "Conflict")).await;
        assert!(result.is_err_and(|error| error.is_race()));
    }

    fn token(id: &str, usages: &[Usage], expires: Option<&str>) -> TokenSecret {
        TokenSecret {
            token: BootstrapToken::new(id, "0123456789abcdef").expect("a token"),
            expires: expires.map(|time| time.parse().expect("a time")),
            usages: usages.to_vec(),
            extra_groups: Vec::new(),
            description: String::new(),
        }
    }

    #[test]
    fn tokens_that_may_sign_do() {
        let map: ConfigMap = object(json!({
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "data": {KUBECONFIG: "content", "other": "x", "jws-kubeconfig-gone00": "old"},
        }));
        let tokens = [
            token("signer", &[Usage::Signing], None),
            token("both00", &[Usage::Authentication, Usage::Signing], None),
            token("other0", &[Usage::Authentication], None),
            token("ended0", &[Usage::Signing], Some("2030-01-01T12:00:00Z")),
        ];
        let signed = plan(&map, &tokens, now()).expect("a change");
        let data = signed.data.clone().expect("data");
        let keys: Vec<&str> = data.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "jws-kubeconfig-both00",
                "jws-kubeconfig-signer",
                KUBECONFIG,
                "other"
            ]
        );
        let signature = &data["jws-kubeconfig-signer"];
        assert!(bootstrap_token::verify(
            signature,
            "content",
            &tokens[0].token
        ));
        assert_eq!(plan(&signed, &tokens, now()), None);
        let empty: ConfigMap = object(json!({"metadata": {"name": NAME}}));
        assert_eq!(plan(&empty, &tokens, now()), None);
    }
}
