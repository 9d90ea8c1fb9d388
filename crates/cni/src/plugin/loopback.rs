//! The plugin `loopback`, which some runtimes (containerd) run beside the network's own: it brings a sandbox's `lo` up. As the
//! reference plugins' `plugins/main/loopback`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use nix::sys::statfs::{NSFS_MAGIC, statfs};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, decode, link, read_config, reply, runtime};
use crate::{
    CNI_VERSION,
    result::{CniResult, Interface, IpConfig, PluginError},
};

/// Name under which runtimes look for it.
pub const NAME: &str = "loopback";

/// All whose result has interfaces and addresses: containerd asks in 0.3.1.
const VERSIONS: &[&str] = &["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Addresses the kernel gives an interface of this kind, and their families' names.
const ADDRESSES: [(&str, &str); 2] = [("127.0.0.1/8", "4"), ("::1/128", "6")];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    cni_version: String,
    /// What the plugin before this one in a list made.
    #[serde(default)]
    prev_result: Option<Value>,
}

/// Runs the plugin as [`super::main`] runs the network's own.
pub fn main() -> ExitCode {
    reply(run())
}

fn run() -> Result<Value, PluginError> {
    let call = Call::of_process();
    let command = call.command()?;
    if command == "VERSION" {
        return Ok(json!({"cniVersion": CNI_VERSION, "supportedVersions": VERSIONS}));
    }
    let config: Config = decode(read_config()?)?;
    if !VERSIONS.contains(&config.cni_version.as_str()) {
        return Err(super::incompatible(&config.cni_version, VERSIONS));
    }
    let runtime = runtime()?;
    match command {
        "ADD" => {
            let netns = netns(&call)?;
            runtime.block_on(link::set_loopback(&netns, true))?;
            added(config, &netns)
        }
        "DEL" => runtime.block_on(del(&call)).map(|()| Value::Null),
        "CHECK" => runtime.block_on(check(&netns(&call)?)),
        "STATUS" | "GC" => Ok(Value::Null),
        other => Err(super::unknown(other)),
    }
}

fn netns(call: &Call) -> Result<PathBuf, PluginError> {
    let netns = call.request()?.netns;
    netns.ok_or_else(|| super::no_netns(&call.command))
}

/// What there is after `ADD`. In a list the result is that of the plugin before.
fn added(config: Config, netns: &Path) -> Result<Value, PluginError> {
    if let Some(result) = config.prev_result.filter(|result| !result.is_null()) {
        return Ok(result);
    }
    let result = CniResult {
        interfaces: vec![Interface {
            name: link::LOOPBACK.to_owned(),
            mac: link::format_mac([0; 6]),
            sandbox: netns.to_string_lossy().into_owned(),
        }],
        ips: ADDRESSES
            .iter()
            .map(|(address, _)| IpConfig {
                address: (*address).to_owned(),
                gateway: None,
                interface: Some(0),
            })
            .collect(),
        cni_version: config.cni_version,
        ..CniResult::default()
    };
    let is_old = result.cni_version.starts_with("0.");
    let mut result = serde_json::to_value(result)
        .map_err(|e| super::io_error("cannot write the result", e.into()))?;
    if is_old {
        for (ip, (_, family)) in ADDRESSES.iter().enumerate() {
            result["ips"][ip]["version"] = json!(family);
        }
    }
    Ok(result)
}

/// A namespace that is gone, maybe leaving the file it was mounted on, has no interface that is up.
async fn del(call: &Call) -> Result<(), PluginError> {
    match call.request()?.netns {
        Some(netns) if is_namespace(&netns) => link::set_loopback(&netns, false).await,
        _ => Ok(()),
    }
}

fn is_namespace(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}

async fn check(netns: &Path) -> Result<Value, PluginError> {
    if link::loopback_is_up(netns).await? {
        Ok(Value::Null)
    } else {
        let text = format!("{} is down", link::LOOPBACK);
        Err(PluginError::new(PluginError::KERNEL, text))
    }
}
