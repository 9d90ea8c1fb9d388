//! `knarr cert rotate`: the process that uses the certificates makes the new ones; the command has it do so.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use knarr_auth::pki::Pki;
use knarr_join::Order;
use knarr_tasks::Tasks;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::further_nodes;
use crate::{cli::CertRotate, control};

/// Below the data directory.
const SOCKET: &str = "run/cert.sock";
/// How long a server may take to sign what an agent asks for.
const ORDER_TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(70);

/// What is asked of the process that uses the certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Request {
    Leafs,
    ReplaceAuthorities,
    DropReplaced,
}

/// What it has done, in a line.
type Done = String;

/// Lets the certificates of a control plane be rotated. `is_shared`: other servers have the authorities, too.
///
/// # Errors
/// When nobody could ask.
pub fn serve_server(pki: Arc<Pki>, is_shared: bool, data_dir: &Path, tasks: &Tasks) -> Result<()> {
    serve(data_dir, tasks, move |request| {
        let pki = pki.clone();
        async move {
            let work = tokio::task::spawn_blocking(move || rotated(&pki, is_shared, request));
            work.await.context("the rotation has failed")?
        }
    })
}

/// Lets the certificates of an agent be rotated.
///
/// # Errors
/// As [`serve_server`].
pub fn serve_agent(order: Order, data_dir: &Path, tasks: &Tasks) -> Result<()> {
    serve(data_dir, tasks, move |request| {
        let order = order.clone();
        async move {
            if request != Request::Leafs {
                bail!("this is a node: the authorities are those of its servers");
            }
            let rotated = timeout(ORDER_TIMEOUT, order.rotate()).await;
            let count = rotated.map_err(|_| anyhow!("the server has not signed new certificates within {}s; it is tried again until it has", ORDER_TIMEOUT.as_secs()))?;
            Ok(format!("{count} certificates of the node are new"))
        }
    })
}

fn serve<F>(
    data_dir: &Path,
    tasks: &Tasks,
    obey: impl Fn(Request) -> F + Send + Sync + 'static,
) -> Result<()>
where
    F: Future<Output = Result<Done>> + Send,
{
    let listener = control::listen(&data_dir.join(SOCKET));
    let listener = listener.context("cannot listen for commands to rotate certificates")?;
    let token = tasks.token().clone();
    tasks.keep("rotation of certificates by command", async move {
        let served = token.run_until_cancelled(control::serve(listener, obey));
        if let Some(Err(error)) = served.await {
            tracing::error!(%error, "nobody can have certificates rotated any more");
            token.cancelled().await;
        }
    });
    Ok(())
}

fn rotated(pki: &Pki, is_shared: bool, request: Request) -> Result<Done> {
    match request {
        Request::Leafs => {
            let renewed = pki.renew_all()?;
            tracing::info!(?renewed, "renewed certificates by command");
            Ok(format!(
                "{} certificates of the server are new, and in use; kubeconfigs that knarr wrote have the new ones",
                renewed.len()
            ))
        }
        _ if is_shared => bail!(
            "several servers may share this datastore, and with it the authorities, which cannot be replaced while they run"
        ),
        Request::ReplaceAuthorities => {
            pki.replace_authorities()?;
            tracing::info!("replaced the authorities by command");
            Ok("new authorities are made. Now restart this knarr, which signs by them from then on; then restart each agent, which gets its certificates anew; then fetch kubeconfigs that were copied elsewhere; at last: knarr cert rotate --drop-old-ca".to_owned())
        }
        Request::DropReplaced => {
            pki.drop_replaced_authorities()?;
            tracing::info!("dropped the replaced authorities by command");
            Ok("the replaced authorities are dropped. Restart this knarr, which trusts them until then, and each agent".to_owned())
        }
    }
}

pub fn run(flags: &CertRotate) -> Result<()> {
    let data_dir = &flags.data_dir;
    let request = match (flags.ca, flags.drop_old_ca) {
        (true, _) => Request::ReplaceAuthorities,
        (_, true) => Request::DropReplaced,
        _ => Request::Leafs,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(command(data_dir, request))
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
async fn command(data_dir: &Path, request: Request) -> Result<()> {
    println!("{}", ask(data_dir, request).await?);
    if request != Request::Leafs {
        return Ok(());
    }
    // Agents that this knarr has started are nobody else's to rotate.
    for node in further_nodes(data_dir) {
        let name = node.file_name().unwrap_or_default().display().to_string();
        println!("{name}: {}", ask(&node, request).await?);
    }
    Ok(())
}

async fn ask(data_dir: &Path, request: Request) -> Result<Done> {
    let answer = control::ask(&data_dir.join(SOCKET), &request, ANSWER_TIMEOUT).await?;
    answer.with_context(|| {
        format!(
            "no knarr runs on {}: start it, which makes what is due anew, or name another with --data-dir",
            data_dir.display()
        )
    })
}
