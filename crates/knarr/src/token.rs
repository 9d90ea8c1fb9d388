//! `knarr token`: what machines join by.
//!
//! A token is a Secret as upstream's, so that kubeadm lists and makes the same ones; it is printed with the hash of the cluster's
//! authority, which is how a machine knows whom it joins.

mod table;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use knarr_auth::{
    bootstrap_token::{self, BootstrapToken, NAMESPACE, SECRET_TYPE, TokenSecret, Usage},
    cluster_info,
};
use knarr_client::errors;
use knarr_join::{ClusterInfo, JoinToken};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
};
use tokio::time::timeout;

use crate::{
    access,
    cli::{AdminAccess, CreateToken, DeleteTokens, TokenAction, TokenCommand},
    status::running,
};

/// A cluster that does not answer by then is not well.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

pub fn run(flags: &TokenCommand) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let work = async {
        match &flags.action {
            TokenAction::Create(flags) => create(flags).await,
            TokenAction::List(access) => list(access).await,
            TokenAction::Delete(flags) => delete(flags).await,
        }
    };
    let done = runtime.block_on(async { timeout(ANSWER_TIMEOUT, work).await });
    done.context("the API server takes too long")?
}

/// A client of the cluster, as its administrator.
pub async fn client(access: &AdminAccess) -> Result<Client> {
    access::by_kubeconfig(&kubeconfig(access)?).await
}

/// Where the administrator's kubeconfig is.
pub fn kubeconfig(access: &AdminAccess) -> Result<PathBuf> {
    if let Some(path) = &access.kubeconfig {
        return Ok(path.clone());
    }
    match running(&access.data_dir)? {
        Some(record) => record.kubeconfig.with_context(|| {
            let dir = access.data_dir.display();
            format!("{dir} is a node's; name its cluster with --kubeconfig")
        }),
        None => bail!(
            "no knarr runs on {}; start one with: knarr up, or name a cluster with --kubeconfig",
            access.data_dir.display()
        ),
    }
}

fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), NAMESPACE)
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
async fn create(flags: &CreateToken) -> Result<()> {
    let client = client(&flags.access).await?;
    let info = cluster_info(&client).await?;
    let token = JoinToken {
        token: BootstrapToken::generate().ok().context("no randomness")?,
        ca: Some(
            info.hash()
                .context("the cluster's authority is not published")?,
        ),
    };
    let secret = secret(
        &token.token,
        flags.ttl,
        &flags.description,
        Timestamp::now(),
    )?;
    secrets(&client)
        .create(&PostParams::default(), &secret)
        .await
        .context("cannot make the token")?;
    match flags.print_join_command {
        false => println!("{}", token.reveal()),
        true => {
            let server = info
                .server()
                .context("the cluster's address is not published")?;
            println!("knarr agent --server {server} --token {}", token.reveal());
        }
    }
    Ok(())
}

/// What the cluster publishes of itself.
async fn cluster_info(client: &Client) -> Result<ClusterInfo> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), cluster_info::NAMESPACE);
    let map = maps.get(cluster_info::NAME).await;
    let map = map.context("cannot read what the cluster publishes of itself")?;
    Ok(ClusterInfo::from_data(map.data.unwrap_or_default()))
}

/// The Secret of a token.
fn secret(
    token: &BootstrapToken,
    ttl: Duration,
    description: &str,
    now: Timestamp,
) -> Result<Secret> {
    let expires = match ttl.is_zero() {
        true => None,
        false => {
            let ttl = SignedDuration::try_from(ttl).context("--ttl is too long")?;
            Some(now.checked_add(ttl).context("--ttl is too long")?)
        }
    };
    let written = TokenSecret {
        token: token.clone(),
        expires,
        usages: vec![Usage::Authentication, Usage::Signing],
        extra_groups: Vec::new(),
        description: description.to_owned(),
    };
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(token.secret_name()),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(SECRET_TYPE.to_owned()),
        string_data: Some(written.data()),
        ..Secret::default()
    })
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
async fn list(access: &AdminAccess) -> Result<()> {
    let client = client(access).await?;
    let params = ListParams::default().fields(&format!("type={SECRET_TYPE}"));
    let found = secrets(&client).list(&params).await;
    let found = found.context("cannot list the tokens")?;
    let mut tokens: Vec<TokenSecret> = found.items.iter().filter_map(read).collect();
    tokens.sort_by(|a, b| a.token.id().cmp(b.token.id()));
    match tokens.is_empty() {
        true => println!("no tokens; make one with: knarr token create"),
        false => print!("{}", table::table(&tokens, Timestamp::now())),
    }
    Ok(())
}

fn read(secret: &Secret) -> Option<TokenSecret> {
    let data = secret.data.as_ref();
    TokenSecret::read(
        secret.type_.as_deref().unwrap_or_default(),
        secret.metadata.name.as_deref().unwrap_or_default(),
        |key| Some(data?.get(key)?.0.as_slice()),
    )
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
async fn delete(flags: &DeleteTokens) -> Result<()> {
    let ids: Vec<String> = flags
        .tokens
        .iter()
        .map(|text| id(text))
        .collect::<Result<_>>()?;
    let client = client(&flags.access).await?;
    for id in ids {
        let name = format!("{}{id}", bootstrap_token::SECRET_PREFIX);
        let secrets = secrets(&client);
        match secrets.delete(&name, &DeleteParams::default()).await {
            Ok(_) => println!("token {id} deleted"),
            Err(error) if errors::is_not_found(&error) => bail!("there is no token {id}"),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot delete token {id}"));
            }
        }
    }
    Ok(())
}

/// The id in a whole token, or alone.
fn id(text: &str) -> Result<String> {
    let id = text.split('.').next().unwrap_or_default();
    let name = format!("{}{id}", bootstrap_token::SECRET_PREFIX);
    bootstrap_token::id_of_secret(&name)
        .map(String::from)
        .with_context(|| format!("{id:?} is no token: its first six characters are meant"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_as_upstreams_tools_make_them() {
        let token = BootstrapToken::new("abc123", "0123456789abcdef").expect("a token");
        let now = "2030-01-01T00:00:00Z".parse().expect("a time");
        let of = |ttl| secret(&token, Duration::from_secs(ttl), "a rack", now);
        let made = of(3600).expect("a secret");
        assert_eq!(
            made.metadata.name.as_deref(),
            Some("bootstrap-token-abc123")
        );
        let data = made.string_data.expect("data");
        let pairs: Vec<(&str, &str)> = data.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(
            pairs,
            [
                ("description", "a rack"),
                ("expiration", "2030-01-01T01:00:00Z"),
                ("token-id", "abc123"),
                ("token-secret", "0123456789abcdef"),
                ("usage-bootstrap-authentication", "true"),
                ("usage-bootstrap-signing", "true"),
            ]
        );
        let data = of(0).expect("a secret").string_data.expect("data");
        assert_eq!(data.get("expiration"), None);
        assert!(of(u64::MAX).is_err());
    }

    #[test]
    fn tokens_are_deleted_by_their_ids() {
        for (text, expected) in [
            ("abc123", Some("abc123")),
            ("abc123.0123456789abcdef", Some("abc123")),
            ("abc123.0123456789abcdef@sha256:00", Some("abc123")),
            ("abc", None),
            ("ABC123", None),
            ("../../x", None),
            ("", None),
        ] {
            assert_eq!(id(text).ok().as_deref(), expected, "{text}");
        }
    }
}
