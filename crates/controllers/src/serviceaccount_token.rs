//! Tokens for Secrets of type `kubernetes.io/service-account-token`, as people make them for what cannot ask for tokens that end.
//!
//! Such a Secret gets the token, the cluster's authority and its namespace; it goes with its account, and an account's list of
//! Secrets does not keep one that is gone (upstream's `tokens_controller`).

use std::fmt;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use knarr_auth::tokens::{SecretToken, SecretTokens};
use knarr_client::{Event, IndexKey, Informer, InformerScope, WorkQueue, errors};
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use crate::deletion::delete;
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 5;
pub(crate) const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const TOKEN: &str = "token";
const ROOT_CA: &str = "ca.crt";
const NAMESPACE: &str = "namespace";

/// Secrets by the account that they name.
#[derive(Clone, PartialEq, Eq, Hash)]
struct OfAccount(Key);

impl IndexKey<Secret> for OfAccount {
    fn keys_of(secret: &Secret) -> Vec<Self> {
        vec![Self(account_of(secret))]
    }
}

/// A Secret and the account that it names, which is asked for when the Secret is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry {
    secret: Key,
    account: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.secret.fmt(f)
    }
}

fn entry_of(secret: &Secret) -> Entry {
    Entry {
        secret: Key::of(secret),
        account: account_of(secret).name,
    }
}

struct ServiceAccountTokens {
    client: kube::Client,
    signer: Arc<SecretTokens>,
    root_ca: ByteString,
    secrets: Informer<Secret>,
    accounts: Informer<ServiceAccount>,
    queue: WorkQueue<Entry>,
}

pub(crate) fn start(context: &Context) {
    let Some(signer) = context.config.token_signer.clone() else {
        return;
    };
    let scope = InformerScope {
        field_selector: Some(format!("type={TYPE}")),
        ..InformerScope::default()
    };
    let controller = Arc::new(ServiceAccountTokens {
        client: context.own_client(),
        signer,
        root_ca: ByteString(context.config.root_ca_pem.clone().into_bytes()),
        secrets: context.informers.informer_with(scope),
        accounts: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller
        .secrets
        .on_event(move |event| queue.add(entry_of(event.object())));
    let queue = controller.queue.clone();
    let secrets = controller.secrets.clone();
    controller.accounts.on_event(move |event| {
        if !matches!(event, Event::Updated { .. }) {
            let account = OfAccount(Key::of(&**event.object()));
            for secret in secrets.by_index(&account) {
                queue.add(entry_of(&secret));
            }
        }
    });
    let informers = vec![synced(&controller.secrets), synced(&controller.accounts)];
    context.start(controller, WORKERS, informers);
}

fn annotation<'a>(secret: &'a Secret, name: &str) -> &'a str {
    let annotations = secret.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(name))
        .map_or("", String::as_str)
}

pub(crate) fn account_of(secret: &Secret) -> Key {
    Key::new(
        secret.metadata.namespace.as_deref().unwrap_or_default(),
        annotation(secret, ACCOUNT),
    )
}

/// Whether the Secret is of this very account, not of an earlier one of its name.
pub(crate) fn is_of(secret: &Secret, account: &ServiceAccount) -> bool {
    let uid = annotation(secret, ACCOUNT_UID);
    uid.is_empty() || account.metadata.uid.as_deref() == Some(uid)
}

/// The Secret with what it lacks; `None` when it lacks nothing. `sign` makes the token.
fn complete<E>(
    secret: &Secret,
    account: &ServiceAccount,
    root_ca: &ByteString,
    sign: impl FnOnce() -> Result<String, E>,
) -> Result<Option<Secret>, E> {
    let lacks = |key: &str| {
        let held = secret.data.as_ref().and_then(|data| data.get(key));
        held.is_none_or(|held| held.0.is_empty())
    };
    let held_ca = secret.data.as_ref().and_then(|data| data.get(ROOT_CA));
    let needs_ca = !root_ca.0.is_empty() && held_ca != Some(root_ca);
    if !needs_ca && !lacks(TOKEN) && !lacks(NAMESPACE) {
        return Ok(None);
    }
    let mut completed = secret.clone();
    let data = completed.data.get_or_insert_default();
    if needs_ca {
        data.insert(ROOT_CA.to_owned(), root_ca.clone());
    }
    if lacks(NAMESPACE) {
        let namespace = secret.metadata.namespace.clone().unwrap_or_default();
        data.insert(NAMESPACE.to_owned(), ByteString(namespace.into_bytes()));
    }
    if lacks(TOKEN) {
        data.insert(TOKEN.to_owned(), ByteString(sign()?.into_bytes()));
    }
    let annotations = completed.metadata.annotations.get_or_insert_default();
    let meta = &account.metadata;
    annotations.insert(ACCOUNT.to_owned(), meta.name.clone().unwrap_or_default());
    annotations.insert(ACCOUNT_UID.to_owned(), meta.uid.clone().unwrap_or_default());
    Ok(Some(completed))
}

impl ServiceAccountTokens {
    /// The account that a Secret is of; the informer may be late, so that the server is asked before a Secret is deleted.
    async fn account(&self, secret: &Secret) -> Result<Option<Arc<ServiceAccount>>, Error> {
        let Key { namespace, name } = account_of(secret);
        if let Some(known) = self.accounts.get(&namespace, &name)
            && is_of(secret, &known)
        {
            return Ok(Some(known));
        }
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &namespace);
        let live = errors::optional(api.get(&name).await)?;
        Ok(live.filter(|live| is_of(secret, live)).map(Arc::new))
    }

    async fn fill(&self, secret: &Secret, account: &ServiceAccount) -> Result<(), Error> {
        let Key { namespace, name } = Key::of(secret);
        let sign = || {
            self.signer.sign(&SecretToken {
                namespace: &namespace,
                account: account.metadata.name.as_deref().unwrap_or_default(),
                account_uid: account.metadata.uid.as_deref().unwrap_or_default(),
                secret: &name,
            })
        };
        let completed = complete(secret, account, &self.root_ca, sign)
            .map_err(|error| Error::Other(error.to_string()))?;
        if let Some(completed) = completed {
            let api: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
            // With the resourceVersion that was read: a late informer leads to no second token.
            api.replace(&name, &PostParams::default(), &completed)
                .await?;
        }
        Ok(())
    }

    /// Takes a Secret that is gone from its account's list.
    async fn forget(&self, entry: &Entry) -> Result<(), Error> {
        let Key { namespace, name } = &entry.secret;
        let Some(account) = self.accounts.get(namespace, &entry.account) else {
            return Ok(());
        };
        let is_gone = |reference: &k8s_openapi::api::core::v1::ObjectReference| {
            reference.name.as_ref() == Some(name)
        };
        if !account.secrets.iter().flatten().any(is_gone) {
            return Ok(());
        }
        let mut without = (*account).clone();
        if let Some(secrets) = &mut without.secrets {
            secrets.retain(|reference| !is_gone(reference));
        }
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        api.replace(&entry.account, &PostParams::default(), &without)
            .await?;
        Ok(())
    }
}

impl Reconciler for ServiceAccountTokens {
    const NAME: &'static str = "serviceaccount-token";
    type Key = Entry;

    fn queue(&self) -> &WorkQueue<Entry> {
        &self.queue
    }

    async fn reconcile(&self, entry: &Entry) -> Result<(), Error> {
        let Key { namespace, name } = &entry.secret;
        let Some(secret) = self.secrets.get(namespace, name) else {
            return self.forget(entry).await;
        };
        if secret.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        if let Some(account) = self.account(&secret).await? {
            self.fill(&secret, &account).await?;
            let known = self.accounts.get(namespace, &account_of(&secret).name);
            // One that the informer never had brings no event when it goes.
            return match known.is_some_and(|known| is_of(&secret, &known)) {
                true => Ok(()),
                false => Err(Error::Again("the account is not seen yet")),
            };
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        delete(&api, &secret.metadata, DeleteParams::default()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
