//! The built-in plugin: `ADD` and `DEL` of one sandbox.
//!
//! As a process it is called through the environment (`CNI_COMMAND`, …) with its configuration on standard input and answers on standard
//! output. A runtime that is this same program calls it as a function ([`perform`]): to start a program of its size costs several
//! times what it does. Configuration beside the specification's keys:
//!
//! ```json
//! {"type": "knarr-cni", "instance": "k7c2xmpa", "subnets": ["10.42.0.0/24", "fd42::/64"], "mtu": 1500,
//!  "dataDir": "/var/lib/knarr/cni", "policySocket": "/var/lib/knarr/run/policy.sock",
//!  "capabilities": {"portMappings": true, "bandwidth": true}}
//! ```

mod call;
pub(crate) mod hostport;
pub mod ipam;
mod link;
pub mod loopback;
mod shaper;

use std::{
    collections::HashSet,
    ffi::OsStr,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use knarr_meta::prefix::Prefix;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, json};

pub use crate::types::NAME;
use crate::{
    Bandwidth, CNI_VERSION, InstanceId, PortMapping, SUPPORTED_VERSIONS, ValidAttachment, node,
    policy,
    result::{CniResult, Interface, IpConfig, PluginError, Route},
};
pub(crate) use call::Call;
use call::Request;
use ipam::{Ipam, Lease, Subnet};

/// A configuration is a few hundred bytes; more is not one.
const CONFIG_LIMIT_BYTES: u64 = 1 << 20;

/// The gateways that every pod sees; they exist only as neighbour entries.
const GATEWAY_IPV4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const GATEWAY_IPV6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// Subnets of one node: one a family.
const SUBNETS_MAX: usize = 2;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    cni_version: String,
    name: String,
    /// The cluster whose node network this is, and whose name links and rules bear.
    instance: InstanceId,
    /// The node's ranges of pods' addresses, at most one a family, the primary one first. Versions of one family had one.
    #[serde(alias = "subnet", deserialize_with = "one_or_several")]
    subnets: Vec<Subnet>,
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

fn one_or_several<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Subnet>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        One(Subnet),
        Several(Vec<Subnet>),
    }
    Ok(match Given::deserialize(from)? {
        Given::One(subnet) => vec![subnet],
        Given::Several(subnets) => subnets,
    })
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuntimeConfig {
    #[serde(default)]
    port_mappings: Vec<PortMapping>,
    bandwidth: Option<Bandwidth>,
}

/// The gateway of pods that have an address of this family.
fn gateway(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => GATEWAY_IPV4.into(),
        IpAddr::V6(_) => GATEWAY_IPV6.into(),
    }
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
    perform(&Call::of_process(), read_config)
}

/// Does what a call asks, in the network namespace of the calling thread, which enters others meanwhile and must have no other work: a
/// thread that ends with it. Blocks.
///
/// # Errors
/// As the specification has them. What a failed `ADD` has made is undone.
pub(crate) fn perform(
    call: &Call,
    config: impl FnOnce() -> Result<Value, PluginError>,
) -> Result<Value, PluginError> {
    let command = call.command()?;
    if command == "VERSION" {
        return Ok(json!({"cniVersion": CNI_VERSION, "supportedVersions": SUPPORTED_VERSIONS}));
    }
    let config: Config = decode(config()?)?;
    if !SUPPORTED_VERSIONS.contains(&config.cni_version.as_str()) {
        return Err(incompatible(&config.cni_version, SUPPORTED_VERSIONS));
    }
    let pod = call.argument("K8S_POD_UID");
    let runtime = runtime()?;
    match command {
        "ADD" => runtime.block_on(add(&config, &call.request()?, pod.as_deref())),
        "DEL" => runtime
            .block_on(del(&config, &call.request()?))
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

async fn add(config: &Config, request: &Request, pod: Option<&str>) -> Result<Value, PluginError> {
    let netns = request.netns.as_deref().ok_or_else(|| no_netns("ADD"))?;
    let ipam = open_ipam(config)?;
    let ports = &config.runtime_config.port_mappings;
    let allocated = ipam.allocate(&request.container_id, &request.ifname, ports, pod);
    let made = match &allocated {
        Ok(addresses) => attach(config, request, netns, addresses, pod).await,
        Err(error) => Err(error.clone()),
    };
    match made {
        Ok(pair) => {
            let result = result(config, &pair, netns);
            serde_json::to_value(result).map_err(|e| io_error("cannot write the result", e.into()))
        }
        Err(error) => {
            // The runtime calls DEL after a failed ADD, but need not: leave nothing behind.
            for link in links(config, &request.container_id, &request.ifname) {
                link::detach(&link).await.ok();
            }
            for address in allocated.into_iter().flatten() {
                unclaim(config, address, pod).await;
            }
            ipam.release(&request.container_id, &request.ifname).ok();
            Err(error)
        }
    }
}

/// Makes what leads to a pod, and what keeps others from it before.
async fn attach(
    config: &Config,
    request: &Request,
    netns: &Path,
    addresses: &[IpAddr],
    pod: Option<&str>,
) -> Result<link::Pair, PluginError> {
    let ends = addresses.iter().map(|address| link::End {
        address: *address,
        gateway: gateway(*address),
    });
    let pair = link::Pair {
        host_name: config.instance.link(&request.container_id, &request.ifname),
        pod_name: request.ifname.clone(),
        ends: ends.collect(),
        mtu: config.mtu,
    };
    for address in addresses {
        // Before anything can be sent.
        isolate(config, *address, pod).await?;
    }
    link::attach(&pair, netns).await?;
    if let Some(bandwidth) = &config.runtime_config.bandwidth {
        let [link, beside] = links(config, &request.container_id, &request.ifname);
        shaper::attach(bandwidth, &link, &beside, config.mtu).await?;
    }
    let ports = &config.runtime_config.port_mappings;
    for address in addresses {
        hostport::add(&node::table(&config.instance), *address, ports).await?;
    }
    Ok(pair)
}

fn result(config: &Config, pair: &link::Pair, netns: &Path) -> CniResult {
    let ip = |end: &link::End| IpConfig {
        address: Prefix::host(end.address).to_string(),
        gateway: Some(end.gateway),
        interface: Some(1),
    };
    let route = |end: &link::End| Route {
        dst: match end.address {
            IpAddr::V4(_) => "0.0.0.0/0".to_owned(),
            IpAddr::V6(_) => "::/0".to_owned(),
        },
        gw: Some(end.gateway),
    };
    CniResult {
        cni_version: config.cni_version.clone(),
        interfaces: vec![
            Interface {
                name: pair.host_name.clone(),
                mac: link::format_mac(link::HOST_MAC),
                sandbox: String::new(),
            },
            Interface {
                name: pair.pod_name.clone(),
                mac: link::format_mac(pair.pod_mac()),
                sandbox: netns.to_string_lossy().into_owned(),
            },
        ],
        ips: pair.ends.iter().map(ip).collect(),
        routes: pair.ends.iter().map(route).collect(),
        dns: json!({}),
    }
}

/// The node's links of a pod: the end of its own, and the one beside it by which goes what it sends where that is limited.
fn links(config: &Config, container_id: &str, ifname: &str) -> [String; 2] {
    let instance = config.instance;
    [
        instance.link(container_id, ifname),
        instance.beside(container_id, ifname),
    ]
}

fn open_ipam(config: &Config) -> Result<Ipam, PluginError> {
    let invalid = |text: &str| Err(PluginError::new(PluginError::INVALID_CONFIG, text));
    match config.subnets.as_slice() {
        [] => return invalid("no subnet"),
        [one, other] if one.is_alike(*other) => return invalid("two subnets of one family"),
        subnets if subnets.len() > SUBNETS_MAX => return invalid("more than two subnets"),
        _ => {}
    }
    Ipam::open(&config.data_dir, &config.name, &config.subnets)
}

async fn del(config: &Config, request: &Request) -> Result<(), PluginError> {
    let ipam = open_ipam(config)?;
    let leases = ipam.leases_of(&request.container_id, &request.ifname)?;
    let links = links(config, &request.container_id, &request.ifname);
    free(config, &leases, &links).await?;
    // Last: an address is free only when nothing leads to it any more.
    ipam.release(&request.container_id, &request.ifname)
}

/// Takes back what no attachment has that the runtime knows of.
async fn collect(config: &Config) -> Result<(), PluginError> {
    let ipam = open_ipam(config)?;
    let valid: HashSet<(&str, &str)> = config
        .valid_attachments
        .iter()
        .map(|valid| (valid.container_id.as_str(), valid.ifname.as_str()))
        .collect();
    for lease in ipam.leases()? {
        let (id, ifname) = (lease.container_id.as_str(), lease.ifname.as_str());
        if !valid.contains(&(id, ifname)) {
            let links = links(config, id, ifname);
            free(config, std::slice::from_ref(&lease), &links).await?;
            ipam.release_one(&lease)?;
        }
    }
    Ok(())
}

/// Takes away what leads to these addresses.
async fn free(config: &Config, leases: &[Lease], links: &[String]) -> Result<(), PluginError> {
    let table = node::table(&config.instance);
    for lease in leases {
        hostport::remove(&table, lease.address, &lease.port_mappings).await?;
    }
    for link in links {
        link::detach(link).await?;
    }
    for lease in leases {
        unclaim(config, lease.address, lease.pod.as_deref()).await;
    }
    Ok(())
}

/// The pod's policies are in force when this returns.
async fn isolate(config: &Config, address: IpAddr, pod: Option<&str>) -> Result<(), PluginError> {
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
async fn unclaim(config: &Config, address: IpAddr, pod: Option<&str>) {
    if let (Some(socket), Some(pod)) = (&config.policy_socket, pod) {
        let notice = policy::Notice {
            change: policy::Change::Remove,
            address,
            pod: pod.to_owned(),
        };
        let _ = policy::tell(socket, &notice).await;
    }
}

fn read_config() -> Result<Value, PluginError> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(CONFIG_LIMIT_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|e| io_error("cannot read the configuration", e))?;
    serde_json::from_slice(&bytes).map_err(undecodable)
}

fn decode<T: DeserializeOwned>(config: Value) -> Result<T, PluginError> {
    serde_json::from_value(config).map_err(undecodable)
}

fn undecodable(error: serde_json::Error) -> PluginError {
    PluginError::new(
        PluginError::DECODE,
        format!("cannot decode the configuration: {error}"),
    )
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
