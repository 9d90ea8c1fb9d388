//! What statuses say of classes, Gateways and listeners.

use crate::{
    gateway::{
        listeners::{Listening, ServedGateway},
        said::{ListenerSaid, Said, Status, Why, whether},
        types::GatewayClass,
    },
    listen::State,
};

/// The major version of the definitions that are understood.
const RELEASES: &str = "v1.";

pub fn class(class: &GatewayClass, release: Option<&str>) -> Vec<Said> {
    let accepted = match &class.spec.parameters_ref {
        Some(_) => {
            let message = "parametersRef is not supported";
            Err(Why::new("InvalidParameters", message))
        }
        None => Ok(()),
    };
    let known = release.is_some_and(|release| release.starts_with(RELEASES));
    let supported = match known {
        true => Ok(()),
        false => {
            let release = release.unwrap_or("of an unknown release");
            let message = format!("the definitions are {release}, and not {RELEASES}x");
            Err(Why::new("UnsupportedVersion", message))
        }
    };
    vec![
        whether("Accepted", "Accepted", accepted),
        whether("SupportedVersion", "SupportedVersion", supported),
    ]
}

impl ServedGateway {
    /// Whether it is served at all.
    pub(super) fn is_accepted(&self) -> bool {
        self.refused().is_none()
    }

    fn refused(&self) -> Option<Why> {
        if let Some(why) = &self.given.unsupported {
            return Some(why.clone());
        }
        let infrastructure = self.gateway.spec.infrastructure.as_ref();
        let parameters = infrastructure.and_then(|one| one.parameters_ref.as_ref());
        parameters.map(|_| {
            let message = "infrastructure.parametersRef is not supported";
            Why::new("InvalidParameters", message)
        })
    }

    fn accepted(&self) -> Said {
        let usable = |one: &&Listening| one.is_usable() && one.taken().is_none();
        let count = self.listeners.iter().filter(usable).count();
        if let Some(why) = self.refused() {
            return Said::no("Accepted", why);
        }
        let reason = "ListenersNotValid";
        match count {
            0 => Said::no("Accepted", Why::new(reason, "no listener is valid")),
            count if count < self.listeners.len() => Said {
                message: "some listeners are not valid".to_owned(),
                ..Said::yes("Accepted", reason)
            },
            _ => Said::yes("Accepted", "Accepted"),
        }
    }

    fn programmed(&self) -> Result<(), Why> {
        if !self.is_accepted() {
            return Err(Why::new("Invalid", "the Gateway is not accepted"));
        }
        if let Some(why) = &self.given.unusable {
            return Err(why.clone());
        }
        if self.given.shown.is_empty() {
            let message = "this machine has no address for Gateways";
            return Err(Why::new("AddressNotAssigned", message));
        }
        let mut served = self.listeners.iter().filter(|one| one.is_served());
        let mut states = served.clone();
        match (
            served.next(),
            states.any(|one| one.state == State::Listening),
        ) {
            (_, true) => Ok(()),
            (None, false) => Err(Why::new("Invalid", "no listener can be served")),
            (Some(one), false) => Err(one.taken().map_or_else(
                || Why::new("Pending", "no port is open yet"),
                |why| Why::new("Invalid", why.message),
            )),
        }
    }
}

pub fn gateway(served_gateway: &ServedGateway) -> Status {
    let programmed = served_gateway.programmed();
    Status::Gateway {
        conditions: vec![
            served_gateway.accepted(),
            whether("Programmed", "Programmed", programmed),
        ],
        addresses: match served_gateway.is_accepted() {
            true => served_gateway.given.shown.clone(),
            false => Vec::new(),
        },
        listeners: (served_gateway.listeners.iter())
            .map(|one| listener(one, served_gateway.is_accepted()))
            .collect(),
    }
}

fn listener(one: &Listening, accepted: bool) -> ListenerSaid {
    let mut conditions = vec![
        whether(
            "Accepted",
            "Accepted",
            one.taken().map_or_else(|| one.accepted.clone(), Err),
        ),
        match &one.conflict {
            Some(why) => Said {
                message: why.message.clone(),
                ..Said::yes("Conflicted", why.reason)
            },
            None => Said::no("Conflicted", Why::new("NoConflicts", "")),
        },
        whether("ResolvedRefs", "ResolvedRefs", one.resolved.clone()),
        whether("Programmed", "Programmed", programmed(one, accepted)),
    ];
    if one.overlapping {
        conditions.push(Said {
            message: "another listener with TLS has some of the same hosts".to_owned(),
            ..Said::yes("OverlappingTLSConfig", "OverlappingHostnames")
        });
    }
    ListenerSaid {
        name: one.name.clone(),
        kinds: one.kinds.clone(),
        attached: one.attached,
        conditions,
    }
}

fn programmed(one: &Listening, accepted: bool) -> Result<(), Why> {
    let invalid = |message: &str| Err(Why::new("Invalid", message));
    if !accepted {
        return invalid("the Gateway is not accepted");
    }
    if !one.is_usable() {
        return invalid("the listener is not accepted");
    }
    if one.kinds.is_empty() {
        return invalid("the listener has no kind of routes");
    }
    if !one.is_served() {
        return invalid("the listener has no certificate");
    }
    match &one.state {
        State::Listening => Ok(()),
        State::Waiting => Err(Why::new("Pending", "the port is not open yet")),
        State::Taken(problem) => invalid(problem),
    }
}
