//! What statuses say: conditions, before anybody knows since when they hold, and of which objects.

use std::net::IpAddr;

use super::types::ParentRef;
use crate::build::Key;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
}

impl Truth {
    pub fn name(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
        }
    }
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub type_: &'static str,
    pub status: Truth,
    pub reason: &'static str,
    pub message: String,
}

impl Said {
    pub fn yes(type_: &'static str, reason: &'static str) -> Self {
        Self {
            type_,
            status: Truth::True,
            reason,
            message: String::new(),
        }
    }

    pub fn no(type_: &'static str, why: Why) -> Self {
        Self {
            type_,
            status: Truth::False,
            reason: why.reason,
            message: why.message,
        }
    }
}

/// Why something is not as it was asked for: one of upstream's reasons, and the same for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    pub reason: &'static str,
    pub message: String,
}

impl Why {
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// Something that is not supported.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new("UnsupportedValue", message)
    }
}

/// The condition of a type with its usual reason, or why not.
pub fn whether(type_: &'static str, reason: &'static str, why: Result<(), Why>) -> Said {
    match why {
        Ok(()) => Said::yes(type_, reason),
        Err(why) => Said::no(type_, why),
    }
}

/// An object that has a status.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    Class(String),
    Gateway(Key),
    HttpRoute(Key),
    GrpcRoute(Key),
}

/// What it is to say. Conditions of others stay as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Class {
        conditions: Vec<Said>,
    },
    Gateway {
        conditions: Vec<Said>,
        addresses: Vec<IpAddr>,
        listeners: Vec<ListenerSaid>,
    },
    Route {
        parents: Vec<(ParentRef, Vec<Said>)>,
    },
}

/// The part of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSaid {
    pub name: String,
    pub kinds: Vec<&'static str>,
    pub attached: i32,
    pub conditions: Vec<Said>,
}

/// A status, and the generation of the object that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub generation: i64,
    pub status: Status,
}
