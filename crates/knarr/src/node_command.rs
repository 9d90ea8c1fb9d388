//! `knarr node`: what can be done to the other nodes of this machine, to try out what a cluster makes of it; and to any node of a
//! cluster, before its machine is taken away.

mod drain;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use knarr_cni::{InstanceId, local};

use crate::{
    cli::{AdminAccess, NodeAction, NodeCommand},
    instance::{self, Record},
    nodes::{self, Request},
    token,
};

pub fn run(command: &NodeCommand) -> Result<()> {
    let data_dir = &command.data_dir;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    match &command.action {
        NodeAction::Drain(flags) => runtime.block_on(async {
            let client = client(data_dir, flags.kubeconfig.as_ref()).await?;
            drain::drain(&client, flags).await
        }),
        NodeAction::Rm(flags) => runtime.block_on(async {
            let client = client(data_dir, flags.drain.kubeconfig.as_ref()).await?;
            drain::remove(&client, flags).await
        }),
        action => runtime.block_on(of_machine(action, data_dir)),
    }
}

/// A client of the cluster, as its administrator.
async fn client(data_dir: &Path, kubeconfig: Option<&PathBuf>) -> Result<kube::Client> {
    let access = AdminAccess {
        data_dir: data_dir.to_owned(),
        kubeconfig: kubeconfig.cloned(),
    };
    token::client(&access).await
}

/// What is done to the other nodes of this machine.
async fn of_machine(action: &NodeAction, data_dir: &Path) -> Result<()> {
    let Some(instance) = instance::identity(data_dir)? else {
        bail!("there is no cluster on {}", data_dir.display());
    };
    instance::here(data_dir, Record::read(data_dir)?.as_ref(), "node")?;
    match action {
        NodeAction::List => list(data_dir, &instance).await,
        NodeAction::Stop { name } => nodes::ask(data_dir, &Request::Stop(name.clone())).await,
        NodeAction::Start { name } => nodes::ask(data_dir, &Request::Start(name.clone())).await,
        NodeAction::Cut { name } => Ok(local::cut(&instance, name).await?),
        NodeAction::Heal { name } => Ok(local::heal(&instance, name).await?),
        // Of any node, by the API.
        NodeAction::Drain(_) | NodeAction::Rm(_) => Ok(()),
    }
}

/// A line a node: its name, its process, and whether it is cut off.
#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
async fn list(data_dir: &Path, instance: &InstanceId) -> Result<()> {
    let names = nodes::known(data_dir)?;
    let width = names.iter().map(String::len).max().unwrap_or_default();
    for name in names {
        let dir = instance::of_node(data_dir, &name);
        let process = match Record::read(&dir)? {
            Some(record) if record.lives(&dir) => format!("runs (pid {})", record.pid),
            _ => "stopped".to_owned(),
        };
        let link = match local::is_cut(instance, &name).await {
            Ok(true) => ", cut off",
            Ok(false) => "",
            Err(local::Error::NoNode(_)) => ", not of this start",
            Err(error) => return Err(error.into()),
        };
        println!("{name:<width$}  {process}{link}");
    }
    Ok(())
}
