//! The built-in plugin: `ADD` and `DEL` of one sandbox, as a process.
//!
//! It is called through the environment (`CNI_COMMAND`, …) with its configuration on standard input and answers on standard
//! output. Configuration beside the specification's keys:
//!
//! ```json
//! {"type": "knarr-cni", "instance": "k7c2xmpa", "subnet": "10.42.0.0/24", "gateway": "169.254.1.1", "mtu": 1500,
//!  "dataDir": "/var/lib/knarr/cni", "policySocket": "/var/lib/knarr/run/policy.sock", "capabilities": {"portMappings": true}}
//! ```

pub(crate) mod hostport;
pub mod ipam;
mod link;
pub mod loopback;

use std::{
    collections::HashSet,
    ffi::OsStr,
    io::{self, Read, Write},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

pub use crate::types::NAME;
use crate::{
    CNI_VERSION, InstanceId, PortMapping, SUPPORTED_VERSIONS, ValidAttachment, node, policy,
    result::{CniResult, Interface, IpConfig, PluginError, Route},
};
use ipam::{Ipam, Lease, Subnet};

/// A configuration is a few hundred bytes; more is not one.
const CONFIG_LIMIT_BYTES: u64 = 1 << 20;

/// The gateway that every pod sees; it exists only as a neighbour entry.
pub const DEFAULT_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    cni_version: String,
    name: String,
    /// The cluster whose node network this is, and whose name links and rules bear.
    instance: InstanceId,
    subnet: Subnet,
    #[serde(default = "default_gateway")]
    gateway: Ipv4Addr,
    mtu: Option<u32>,
    data_dir: PathBuf,
    /// Who enforces network policies; nobody if absent. See [`crate::policy`].
    policy_socket: Option<PathBuf>,
    #[serde(default)]
    runtime_config: RuntimeConfig,
    /// For `GC`: what is in use.
    #[serde(default, rename = "cni.dev/valid-attachments")]
    valid_attachments: Vec<ValidAttachment>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeConfig {
    #[serde(default)]
    port_mappings: Vec<PortMapping>,
}

fn default_gateway() -> Ipv4Addr {
    DEFAULT_GATEWAY
}

/// What the environment asks for.
struct Request {
    container_id: String,
    netns: Option<PathBuf>,
    ifname: String,
}

/// The plugin that a program called by this path is: they all are the same file.
pub fn called_as(program: &OsStr) -> Option<fn() -> ExitCode> {
    match Path::new(program).file_name()?.to_str()? {
        NAME => Some(main),
        loopback::NAME => Some(loopback::main),
        _ => None,
    }
}

/// Runs the plugin and reports as the specification says: a result or an error on standard output, exit code 0 or 1.
pub fn main() -> ExitCode {
    reply(run())
}

fn reply(answer: Result<Value, PluginError>) -> ExitCode {
    let (answer, code) = match answer {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(error) => (
            serde_json::to_value(error).unwrap_or_default(),
            ExitCode::FAILURE,
        ),
    };
    if !answer.is_null() {
        let mut out = io::stdout().lock();
        // The runtime has gone away: there is nobody left to tell.
        writeln!(out, "{answer}").ok();
    }
    code
}

fn run() -> Result<Value, PluginError> {
    let command = variable("CNI_COMMAND")?;
    if command == "VERSION" {
        return Ok(json!({"cniVersion": CNI_VERSION, "supportedVersions": SUPPORTED_VERSIONS}));
    }
    let config: Config = read_config()?;
    if !SUPPORTED_VERSIONS.contains(&config.cni_version.as_str()) {
        return Err(incompatible(&config.cni_version, SUPPORTED_VERSIONS));
    }
    let runtime = runtime()?;
    match command.as_str() {
        "ADD" => runtime.block_on(add(&config, &request()?)),
        "DEL" => runtime
            .block_on(del(&config, &request()?))
            .map(|()| Value::Null),
        "GC" => runtime.block_on(collect(&config)).map(|()| Value::Null),
        "CHECK" | "STATUS" => Ok(Value::Null),
        other => Err(unknown(other)),
    }
}

/// Of this thread alone, which changes its network namespace.
fn runtime() -> Result<tokio::runtime::Runtime, PluginError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| io_error("cannot start", e))
}

async fn add(config: &Config, request: &Request) -> Result<Value, PluginError> {
    let netns = request.netns.as_deref().ok_or_else(|| no_netns("ADD"))?;
    let ipam = Ipam::open(&config.data_dir, &config.name, config.subnet)?;
    let ports = &config.runtime_config.port_mappings;
    let pod = argument("K8S_POD_UID");
    let address = ipam.allocate(
        &request.container_id,
        &request.ifname,
        ports,
        pod.as_deref(),
    )?;
    let pair = link::Pair {
        host_name: config.instance.link(&request.container_id, &request.ifname),
        pod_name: request.ifname.clone(),
        address,
        gateway: config.gateway,
        mtu: config.mtu,
    };
    let made = async {
        // Before anything can be sent.
        isolate(config, address, pod.as_deref()).await?;
        link::attach(&pair, netns).await?;
        hostport::add(&node::table(&config.instance), address, ports).await
    };
    if let Err(error) = made.await {
        // The runtime calls DEL after a failed ADD, but need not: leave nothing behind.
        link::detach(&pair.host_name).await.ok();
        unclaim(config, address, pod.as_deref()).await;
        ipam.release(&request.container_id, &request.ifname).ok();
        return Err(error);
    }
    let result = CniResult {
        cni_version: config.cni_version.clone(),
        interfaces: vec![
            Interface {
                name: pair.host_name.clone(),
                mac: link::format_mac(link::HOST_MAC),
                sandbox: String::new(),
            },
            Interface {
                name: pair.pod_name.clone(),
                mac: link::format_mac(link::pod_mac(address)),
                sandbox: netns.to_string_lossy().into_owned(),
            },
        ],
        ips: vec![IpConfig {
            address: format!("{address}/32"),
            gateway: Some(config.gateway.into()),
            interface: Some(1),
        }],
        routes: vec![Route {
            dst: "0.0.0.0/0".to_owned(),
            gw: Some(config.gateway.into()),
        }],
        dns: json!({}),
    };
    serde_json::to_value(result).map_err(|e| io_error("cannot write the result", e.into()))
}

async fn del(config: &Config, request: &Request) -> Result<(), PluginError> {
    let ipam = Ipam::open(&config.data_dir, &config.name, config.subnet)?;
    match ipam.lease_of(&request.container_id, &request.ifname)? {
        Some(lease) => free(config, &ipam, &lease).await,
        None => link::detach(&config.instance.link(&request.container_id, &request.ifname)).await,
    }
}

/// Takes back what no attachment has that the runtime knows of.
async fn collect(config: &Config) -> Result<(), PluginError> {
    let ipam = Ipam::open(&config.data_dir, &config.name, config.subnet)?;
    let valid: HashSet<(&str, &str)> = config
        .valid_attachments
        .iter()
        .map(|valid| (valid.container_id.as_str(), valid.ifname.as_str()))
        .collect();
    for lease in ipam.leases()? {
        if !valid.contains(&(lease.container_id.as_str(), lease.ifname.as_str())) {
            free(config, &ipam, &lease).await?;
        }
    }
    Ok(())
}

async fn free(config: &Config, ipam: &Ipam, lease: &Lease) -> Result<(), PluginError> {
    let table = node::table(&config.instance);
    hostport::remove(&table, lease.address, &lease.port_mappings).await?;
    link::detach(&config.instance.link(&lease.container_id, &lease.ifname)).await?;
    unclaim(config, lease.address, lease.pod.as_deref()).await;
    // Last: an address is free only when nothing leads to it any more.
    ipam.release(&lease.container_id, &lease.ifname)
}

/// The pod's policies are in force when this returns.
async fn isolate(config: &Config, address: Ipv4Addr, pod: Option<&str>) -> Result<(), PluginError> {
    let (Some(socket), Some(pod)) = (&config.policy_socket, pod) else {
        return Ok(());
    };
    let notice = policy::Notice {
        change: policy::Change::Add,
        address,
        pod: pod.to_owned(),
    };
    policy::tell(socket, &notice)
        .await
        .map_err(|e| io_error("the pod's network policies are not in force", e))
}

/// Best effort: whoever does not listen now reads the leases when it starts.
async fn unclaim(config: &Config, address: Ipv4Addr, pod: Option<&str>) {
    if let (Some(socket), Some(pod)) = (&config.policy_socket, pod) {
        let notice = policy::Notice {
            change: policy::Change::Remove,
            address,
            pod: pod.to_owned(),
        };
        let _ = policy::tell(socket, &notice).await;
    }
}

/// One of the runtime's `CNI_ARGS`.
fn argument(name: &str) -> Option<String> {
    let all = std::env::var("CNI_ARGS").ok()?;
    let mut pairs = all.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    Some(value.to_owned()).filter(|v| !v.is_empty() && v.chars().all(plain))
}

fn request() -> Result<Request, PluginError> {
    let netns = std::env::var_os("CNI_NETNS").filter(|p| !p.is_empty());
    Ok(Request {
        container_id: variable("CNI_CONTAINERID")?,
        netns: netns.map(PathBuf::from),
        ifname: variable("CNI_IFNAME")?,
    })
}

fn variable(name: &str) -> Result<String, PluginError> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .ok_or_else(|| {
            let text = format!("required environment variable {name} is missing");
            PluginError::new(PluginError::INVALID_ENVIRONMENT, text)
        })
}

fn read_config<T: DeserializeOwned>() -> Result<T, PluginError> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(CONFIG_LIMIT_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|e| io_error("cannot read the configuration", e))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        PluginError::new(
            PluginError::DECODE,
            format!("cannot decode the configuration: {e}"),
        )
    })
}

fn io_error(what: &str, error: io::Error) -> PluginError {
    PluginError::new(PluginError::IO, format!("{what}: {error}"))
}

fn incompatible(wanted: &str, supported: &[&str]) -> PluginError {
    let text =
        format!("incompatible CNI versions: config is {wanted:?}, plugin supports {supported:?}");
    PluginError::new(PluginError::INCOMPATIBLE_VERSION, text)
}

fn unknown(command: &str) -> PluginError {
    let text = format!("unknown CNI_COMMAND {command:?}");
    PluginError::new(PluginError::INVALID_ENVIRONMENT, text)
}

fn no_netns(command: &str) -> PluginError {
    let text = format!("CNI_NETNS is required for {command}");
    PluginError::new(PluginError::INVALID_ENVIRONMENT, text)
}
