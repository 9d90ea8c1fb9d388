//! Node ports, also the one for health checks.

use std::collections::{HashMap, HashSet};

use knarr_meta::{
    GroupKind,
    field::{self, Path},
    object,
    status::{Reason, Status},
};
use serde_json::Value;

use super::{pool::Refused, service, taking::Taking};

/// The size of the band for ports that people choose, as upstream computes it: a thirty-second, within 16 and 128.
pub(super) fn band(size: u64) -> u64 {
    if size < 16 {
        0
    } else {
        (size / 32).clamp(16, 128).min(size)
    }
}

async fn any(taking: &mut Taking) -> Result<i64, Status> {
    let full = |_| Status::internal("failed to allocate a nodePort: range is full");
    let port = taking.any_port().await.map_err(|denied| denied.or(full))?;
    // Ports are of sixteen bits.
    Ok(i64::try_from(port).unwrap_or_default())
}

/// Takes what `new` needs beyond `old`, filling `nodePort` fields that are 0.
pub(super) async fn take(
    new: &mut Value,
    old: Option<&Value>,
    taking: &mut Taking,
) -> Result<(), Status> {
    if !service::wants_node_ports(new) {
        return Ok(());
    }
    // What the stored object has already may be named again.
    let own = old.map(service::node_ports).unwrap_or_default();
    let own: Vec<i64> = own
        .into_iter()
        .filter_map(|port| i64::try_from(port).ok())
        .collect();
    match old {
        None => take_ports(new, taking).await?,
        Some(_) => take_more_ports(new, &own, taking).await?,
    }
    take_health_check(new, old, taking).await
}

/// What a field names: 0 is nothing, and a number below it one that nobody can have.
fn number(port: &Value, field: &str) -> i64 {
    object::i64_at(port, &[field]).unwrap_or_default()
}

/// Whether ports that name no node port get one.
fn is_automatic(service: &Value) -> bool {
    object::at(service, &["spec", "allocateLoadBalancerNodePorts"])
        .and_then(Value::as_bool)
        .unwrap_or(true)
        || service::kind(service) == "NodePort"
}

/// Of a new Service: ports of one number and different protocols share a node port.
async fn take_ports(new: &mut Value, taking: &mut Taking) -> Result<(), Status> {
    let automatic = is_automatic(new);
    let ports = object::list_at(new, &["spec", "ports"]).to_vec();
    let mut chosen: HashMap<i64, i64> = HashMap::new();
    let mut numbers = Vec::with_capacity(ports.len());
    for (at, port) in ports.iter().enumerate() {
        let (service_port, wanted) = (number(port, "port"), number(port, "nodePort"));
        if wanted == 0 && !automatic {
            numbers.push(0);
            continue;
        }
        let given = match (wanted, chosen.get(&service_port)) {
            (0, Some(&shared)) => shared,
            // A later port of the same number may name the node port for both.
            (0, None) => ports[at..]
                .iter()
                .filter(|p| number(p, "port") == service_port)
                .map(|p| number(p, "nodePort"))
                .find(|n| *n != 0)
                .unwrap_or(0),
            (wanted, _) => wanted,
        };
        let number = match given {
            0 => any(taking).await?,
            given if chosen.get(&service_port) == Some(&given) => given,
            given => {
                take_port(new, at, given, taking).await?;
                given
            }
        };
        chosen.entry(service_port).or_insert(number);
        numbers.push(number);
    }
    set_node_ports(new, &numbers);
    Ok(())
}

/// Of a Service that has ports already, which may name them again: each port gets its own.
async fn take_more_ports(new: &mut Value, own: &[i64], taking: &mut Taking) -> Result<(), Status> {
    let automatic = is_automatic(new);
    let ports = object::list_at(new, &["spec", "ports"]).to_vec();
    let mut seen = HashSet::new();
    let mut numbers = Vec::with_capacity(ports.len());
    for (at, port) in ports.iter().enumerate() {
        let number = match number(port, "nodePort") {
            0 if !automatic => {
                numbers.push(0);
                continue;
            }
            0 => any(taking).await?,
            given if own.contains(&given) || taking.has_port(given) => given,
            given => {
                take_port(new, at, given, taking).await?;
                given
            }
        };
        let protocol = object::str_at(port, &["protocol"]);
        if !seen.insert((protocol, number)) {
            // Upstream's error has no status of its own.
            let why = format!("duplicate nodePort: {{{protocol} {number}}}");
            return Err(Status::new(500, Reason::Unknown, why));
        }
        numbers.push(number);
    }
    set_node_ports(new, &numbers);
    Ok(())
}

async fn take_port(
    service: &Value,
    at: usize,
    port: i64,
    taking: &mut Taking,
) -> Result<(), Status> {
    match taking.port(port).await {
        Ok(()) => Ok(()),
        Err(denied) => Err(denied.or(|why| refuse(service, at, port, why, taking))),
    }
}

/// Writes into the ports what they have now; 0: nothing.
fn set_node_ports(service: &mut Value, numbers: &[i64]) {
    let Some(list) = service::spec(service)
        .and_then(|spec| spec.get_mut("ports"))
        .and_then(Value::as_array_mut)
    else {
        return;
    };
    for (port, number) in list.iter_mut().zip(numbers) {
        if let Some(port) = port.as_object_mut()
            && *number != 0
        {
            port.insert("nodePort".into(), (*number).into());
        }
    }
}

fn explain(refused: Refused, taking: &Taking) -> String {
    match refused {
        Refused::OutOfRange => {
            let range = taking.port_range();
            format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                range.start,
                range.end.saturating_sub(1)
            )
        }
        Refused::Taken | Refused::Full => "provided port is already allocated".to_owned(),
    }
}

fn refuse(service: &Value, at: usize, port: i64, refused: Refused, taking: &Taking) -> Status {
    let path = Path::new("spec").child("ports").index(at).child("nodePort");
    let errors = vec![field::Error::invalid(&path, port, explain(refused, taking))];
    Status::invalid(GroupKind::new("", "Service"), object::name(service), errors)
}

async fn take_health_check(
    new: &mut Value,
    old: Option<&Value>,
    taking: &mut Taking,
) -> Result<(), Status> {
    if !service::needs_health_check(new) || old.is_some_and(service::needs_health_check) {
        return Ok(());
    }
    let wanted = object::at(new, &["spec"])
        .map(|spec| number(spec, "healthCheckNodePort"))
        .unwrap_or_default();
    if wanted != 0 {
        let taken = taking.port(wanted).await;
        let told = |refused| {
            let why = explain(refused, taking);
            Status::internal(format!(
                "failed to allocate requested HealthCheck NodePort {wanted}: {why}"
            ))
        };
        return taken.map_err(|denied| denied.or(told));
    }
    let port = any(taking).await?;
    if let Some(spec) = service::spec(new) {
        spec.insert("healthCheckNodePort".into(), port.into());
    }
    Ok(())
}
