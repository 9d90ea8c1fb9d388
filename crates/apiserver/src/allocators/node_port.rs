//! Node ports, also the one for health checks.

use std::collections::{HashMap, HashSet};

use knarr_meta::{
    GroupKind,
    field::{self, Path},
    object,
    status::Status,
};
use serde_json::Value;

use super::{
    pool::{Pool, Refused},
    service,
};

/// The size of the band for ports that people choose, as upstream computes it: a thirty-second, within 16 and 128.
pub(super) fn band(size: u64) -> u64 {
    if size < 16 {
        0
    } else {
        (size / 32).clamp(16, 128).min(size)
    }
}

/// One write's takings, given back when it fails half-way.
struct Takings<'p> {
    pool: &'p mut Pool,
    taken: Vec<u64>,
    /// What the stored object has already, and what this write has taken: may be named again.
    own: HashSet<u64>,
}

impl Takings<'_> {
    fn any(&mut self) -> Result<u64, Status> {
        let port = self
            .pool
            .take_any()
            .map_err(|_| Status::internal("failed to allocate a nodePort: range is full"))?;
        self.taken.push(port);
        self.own.insert(port);
        Ok(port)
    }

    fn exact(&mut self, port: u64) -> Result<(), Refused> {
        self.pool.take(port)?;
        self.taken.push(port);
        self.own.insert(port);
        Ok(())
    }
}

/// Takes what `new` needs beyond `old`, filling `nodePort` fields that are 0. On an error nothing stays taken.
pub(super) fn take(new: &mut Value, old: Option<&Value>, pool: &mut Pool) -> Result<(), Status> {
    if !service::wants_node_ports(new) {
        return Ok(());
    }
    let own = old
        .map(service::node_ports)
        .unwrap_or_default()
        .into_iter()
        .collect();
    let mut takings = Takings {
        pool,
        taken: Vec::new(),
        own,
    };
    let result =
        take_ports(new, &mut takings).and_then(|()| take_health_check(new, old, &mut takings));
    if result.is_err() {
        for port in std::mem::take(&mut takings.taken) {
            takings.pool.release(port);
        }
    }
    result
}

fn number(port: &Value, field: &str) -> u64 {
    object::i64_at(port, &[field])
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or_default()
}

/// Ports of one number and different protocols share a node port.
fn take_ports(new: &mut Value, takings: &mut Takings<'_>) -> Result<(), Status> {
    let automatic = object::at(new, &["spec", "allocateLoadBalancerNodePorts"])
        .and_then(Value::as_bool)
        .unwrap_or(true)
        || service::kind(new) == "NodePort";
    let ports = object::list_at(new, &["spec", "ports"]).to_vec();
    let mut chosen: HashMap<u64, u64> = HashMap::new();
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
            0 => takings.any()?,
            given if chosen.get(&service_port) == Some(&given) || takings.own.contains(&given) => {
                given
            }
            given => {
                takings
                    .exact(given)
                    .map_err(|refused| refuse(new, at, given, refused, takings.pool))?;
                given
            }
        };
        chosen.entry(service_port).or_insert(number);
        numbers.push(number);
    }
    let Some(list) = service::spec(new)
        .and_then(|spec| spec.get_mut("ports"))
        .and_then(Value::as_array_mut)
    else {
        return Ok(());
    };
    for (port, number) in list.iter_mut().zip(numbers) {
        if let Some(port) = port.as_object_mut()
            && number != 0
        {
            port.insert("nodePort".into(), number.into());
        }
    }
    Ok(())
}

fn explain(refused: Refused, pool: &Pool) -> String {
    match refused {
        Refused::OutOfRange => {
            let range = pool.range();
            format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                range.start,
                range.end - 1
            )
        }
        Refused::Taken | Refused::Full => "provided port is already allocated".to_owned(),
    }
}

fn refuse(service: &Value, at: usize, port: u64, refused: Refused, pool: &Pool) -> Status {
    let path = Path::new("spec").child("ports").index(at).child("nodePort");
    let errors = vec![field::Error::invalid(&path, port, explain(refused, pool))];
    Status::invalid(GroupKind::new("", "Service"), object::name(service), errors)
}

fn take_health_check(
    new: &mut Value,
    old: Option<&Value>,
    takings: &mut Takings<'_>,
) -> Result<(), Status> {
    if !service::needs_health_check(new) || old.is_some_and(service::needs_health_check) {
        return Ok(());
    }
    let wanted = object::at(new, &["spec"])
        .map(|spec| number(spec, "healthCheckNodePort"))
        .unwrap_or_default();
    if wanted != 0 {
        return takings.exact(wanted).map_err(|refused| {
            let why = explain(refused, takings.pool);
            Status::internal(format!(
                "failed to allocate requested HealthCheck NodePort {wanted}: {why}"
            ))
        });
    }
    let port = takings.any()?;
    if let Some(spec) = service::spec(new) {
        spec.insert("healthCheckNodePort".into(), port.into());
    }
    Ok(())
}
