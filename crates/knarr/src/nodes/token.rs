//! The tokens by which nodes of this machine join.

use anyhow::{Context, Result, anyhow};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use knarr_auth::bootstrap_token::{BootstrapToken, NAMESPACE, SECRET_TYPE, TokenSecret, Usage};
use knarr_join::{CaHash, JoinToken};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};

/// For as long as the start of one process may take.
const LIFE: SignedDuration = SignedDuration::from_mins(10);

/// Makes tokens.
pub struct Tokens {
    client: kube::Client,
    ca: Option<CaHash>,
}

impl Tokens {
    /// `client` may make Secrets in `kube-system`. Of several authorities the one counts that is replaced: nodes that have joined know
    /// it, and new ones are shown what leads to it.
    pub fn new(client: kube::Client, ca_pem: &str) -> Self {
        Self {
            client,
            ca: CaHash::of_last(ca_pem),
        }
    }

    /// A token for one start of one node.
    pub(super) async fn make(&self, node: &str) -> Result<JoinToken> {
        let token =
            BootstrapToken::generate().map_err(|_| anyhow!("the system has no random numbers"))?;
        let content = TokenSecret {
            token: token.clone(),
            expires: Some(Timestamp::now() + LIFE),
            usages: vec![Usage::Authentication],
            extra_groups: Vec::new(),
            description: format!("made by knarr up for its node {node}"),
        };
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(token.secret_name()),
                ..ObjectMeta::default()
            },
            type_: Some(SECRET_TYPE.to_owned()),
            string_data: Some(content.data()),
            ..Secret::default()
        };
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        secrets
            .create(&PostParams::default(), &secret)
            .await
            .with_context(|| format!("cannot make a token for the node {node}"))?;
        Ok(JoinToken { token, ca: self.ca })
    }
}
