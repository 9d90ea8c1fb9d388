//! Tables, chains and verdicts.

use std::{fmt, net::IpAddr, sync::Arc};

use nix::libc::{NFPROTO_IPV4, NFPROTO_IPV6};

use crate::{
    kernel::{self, verdict},
    wire::Writer,
};

/// Whose packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    Ip,
    Ip6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::Ip, Self::Ip6];

    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::Ip
        } else {
            Self::Ip6
        }
    }

    pub(crate) fn number(self) -> u8 {
        let number = match self {
            Self::Ip => NFPROTO_IPV4,
            Self::Ip6 => NFPROTO_IPV6,
        };
        u8::try_from(number).unwrap_or_default()
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        })
    }
}

/// Names a table. Names are not checked here: the kernel refuses those that are too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub family: Family,
    pub name: Arc<str>,
}

impl Table {
    pub fn new(family: Family, name: &str) -> Self {
        Self {
            family,
            name: name.into(),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    Filter,
    Nat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    /// Of packets for the machine itself.
    Input,
    Forward,
    Output,
    Postrouting,
}

impl Hook {
    const ALL: [Self; 5] = [
        Self::Prerouting,
        Self::Input,
        Self::Forward,
        Self::Output,
        Self::Postrouting,
    ];

    /// The kernel's, which follow the order in which packets pass them.
    fn number(self) -> u32 {
        self as u32
    }

    /// None of those that other families have.
    pub(crate) fn of_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.number() == number)
    }
}

/// A chain. Packets that reach the end of one with a hook go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub name: String,
    /// Where packets come in; none if from other chains only. The number is the priority: lower ones are earlier.
    pub hook: Option<(ChainKind, Hook, i32)>,
}

impl Chain {
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            hook: None,
        }
    }

    pub fn hooked(name: impl Into<String>, kind: ChainKind, hook: Hook, priority: i32) -> Self {
        Self {
            name: name.into(),
            hook: Some((kind, hook, priority)),
        }
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.text(kernel::chain::NAME, &self.name);
        let Some((kind, hook, priority)) = self.hook else {
            return;
        };
        writer.nested(kernel::chain::HOOK, |writer| {
            writer.u32(kernel::chain::HOOK_NUMBER, hook.number());
            writer.bytes(kernel::chain::HOOK_PRIORITY, &priority.to_be_bytes());
        });
        writer.bytes(kernel::chain::POLICY, &verdict::ACCEPT.to_be_bytes());
        writer.text(
            kernel::chain::TYPE,
            match kind {
                ChainKind::Filter => "filter",
                ChainKind::Nat => "nat",
            },
        );
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        let Some((kind, hook, priority)) = self.hook else {
            return Ok(());
        };
        let kind = format!("{kind:?}").to_lowercase();
        let hook = format!("{hook:?}").to_lowercase();
        write!(
            f,
            " {{ type {kind} hook {hook} priority {priority}; policy accept; }}"
        )
    }
}

/// What becomes of a packet, or where it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(Arc<str>),
    Goto(Arc<str>),
}

impl Verdict {
    pub fn goto(chain: impl Into<Arc<str>>) -> Self {
        Self::Goto(chain.into())
    }

    pub fn jump(chain: impl Into<Arc<str>>) -> Self {
        Self::Jump(chain.into())
    }

    /// As data.
    pub(crate) fn write(&self, writer: &mut Writer) {
        let (code, chain) = match self {
            Self::Accept => (verdict::ACCEPT, None),
            Self::Drop => (verdict::DROP, None),
            Self::Return => (verdict::RETURN, None),
            Self::Jump(chain) => (verdict::JUMP, Some(chain)),
            Self::Goto(chain) => (verdict::GOTO, Some(chain)),
        };
        writer.nested(kernel::data::VERDICT, |writer| {
            writer.bytes(kernel::data::VERDICT_CODE, &code.to_be_bytes());
            if let Some(chain) = chain {
                writer.text(kernel::data::VERDICT_CHAIN, chain);
            }
        });
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}
