//! Numbers of the kernel's interface: `linux/netfilter/nfnetlink.h`, `nf_tables.h` and `nf_nat.h`, and of nft's own, which only
//! matter to whoever lists what we made.

/// Messages, below [`SUBSYSTEM`].
pub mod message {
    pub const SUBSYSTEM: u16 = 10 << 8;
    pub const BATCH_BEGIN: u16 = 16;
    pub const BATCH_END: u16 = 17;
    pub const NEW_TABLE: u16 = SUBSYSTEM;
    pub const GET_TABLE: u16 = SUBSYSTEM | 1;
    pub const DELETE_TABLE: u16 = SUBSYSTEM | 2;
    pub const NEW_CHAIN: u16 = SUBSYSTEM | 3;
    pub const GET_CHAIN: u16 = SUBSYSTEM | 4;
    pub const DELETE_CHAIN: u16 = SUBSYSTEM | 5;
    pub const NEW_RULE: u16 = SUBSYSTEM | 6;
    pub const GET_RULE: u16 = SUBSYSTEM | 7;
    pub const DELETE_RULE: u16 = SUBSYSTEM | 8;
    pub const NEW_SET: u16 = SUBSYSTEM | 9;
    pub const DELETE_SET: u16 = SUBSYSTEM | 11;
    pub const NEW_ELEMENTS: u16 = SUBSYSTEM | 12;
    pub const GET_ELEMENTS: u16 = SUBSYSTEM | 13;
    pub const DELETE_ELEMENTS: u16 = SUBSYSTEM | 14;
    pub const NEW_GENERATION: u16 = SUBSYSTEM | 15;
    pub const GET_GENERATION: u16 = SUBSYSTEM | 16;
}

/// The multicast group of changes.
pub const GROUP: u32 = 7;

pub const BATCH_GENERATION: u16 = 1;
pub const GENERATION_ID: u16 = 1;
pub const LIST_ELEMENT: u16 = 1;

pub mod table {
    /// Of the table itself and, under the same number, in every message about what is in it.
    pub const NAME: u16 = 1;
    pub const FLAGS: u16 = 2;
    pub const USER_DATA: u16 = 6;
    /// Within nft's user data.
    pub const COMMENT: u8 = 0;
}

pub mod chain {
    pub const NAME: u16 = 3;
    pub const HOOK: u16 = 4;
    pub const POLICY: u16 = 5;
    pub const TYPE: u16 = 7;
    pub const HOOK_NUMBER: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
}

pub mod rule {
    pub const CHAIN: u16 = 2;
    pub const HANDLE: u16 = 3;
    pub const EXPRESSIONS: u16 = 4;
    pub const USER_DATA: u16 = 7;
}

pub mod set {
    pub const NAME: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const KEY_TYPE: u16 = 4;
    pub const KEY_LENGTH: u16 = 5;
    pub const DATA_TYPE: u16 = 6;
    pub const DATA_LENGTH: u16 = 7;
    pub const DESCRIPTION: u16 = 9;
    pub const ID: u16 = 10;
    pub const TIMEOUT: u16 = 11;
    pub const USER_DATA: u16 = 13;
    pub const DESCRIPTION_SIZE: u16 = 1;
    pub const FLAG_ANONYMOUS: u32 = 0x1;
    pub const FLAG_CONSTANT: u32 = 0x2;
    pub const FLAG_INTERVAL: u32 = 0x4;
    pub const FLAG_MAP: u32 = 0x8;
    pub const FLAG_TIMEOUT: u32 = 0x10;
    pub const FLAG_DYNAMIC: u32 = 0x20;
    pub const DATA_IS_VERDICT: u32 = 0xffff_ff00;
    /// Within nft's user data: byte orders of key and data.
    pub const KEY_ORDER: u8 = 0;
    pub const DATA_ORDER: u8 = 1;
    pub const HOST_ORDER: u32 = 1;
    pub const NETWORK_ORDER: u32 = 2;
    /// Bits of a field's type in that of several fields.
    pub const TYPE_BITS: u32 = 6;
}

pub mod elements {
    pub const SET: u16 = 2;
    pub const LIST: u16 = 3;
    pub const SET_ID: u16 = 4;
    pub const KEY: u16 = 1;
    pub const DATA: u16 = 2;
    pub const FLAGS: u16 = 3;
    /// Milliseconds until it is removed.
    pub const EXPIRATION: u16 = 5;
    pub const FLAG_END: u32 = 1;
}

pub mod data {
    pub const VALUE: u16 = 1;
    pub const VERDICT: u16 = 2;
    pub const VERDICT_CODE: u16 = 1;
    pub const VERDICT_CHAIN: u16 = 2;
}

pub mod verdict {
    pub const DROP: i32 = 0;
    pub const ACCEPT: i32 = 1;
    pub const JUMP: i32 = -3;
    pub const GOTO: i32 = -4;
    pub const RETURN: i32 = -5;
}

/// Registers: the one of verdicts, and the first of sixteen of four bytes each.
pub mod register {
    pub const VERDICT: u32 = 0;
    pub const FIRST: u32 = 8;
    pub const BYTES: u32 = 4;
}

pub mod expression {
    pub const NAME: u16 = 1;
    pub const DATA: u16 = 2;
}

pub mod payload {
    pub const REGISTER: u16 = 1;
    pub const BASE: u16 = 2;
    pub const OFFSET: u16 = 3;
    pub const LENGTH: u16 = 4;
    pub const NETWORK: u32 = 1;
    pub const TRANSPORT: u32 = 2;
}

pub mod meta {
    pub const REGISTER: u16 = 1;
    pub const KEY: u16 = 2;
    pub const SOURCE: u16 = 3;
    pub const MARK: u32 = 3;
    pub const INPUT_NAME: u32 = 6;
    pub const OUTPUT_NAME: u32 = 7;
    pub const PROTOCOL: u32 = 16;
}

/// Of conntrack.
pub mod ct {
    pub const REGISTER: u16 = 1;
    pub const KEY: u16 = 2;
    pub const STATE: u32 = 0;
    pub const DIRECTION: u32 = 1;
    /// Of a connection that another one has announced, or an error about one.
    pub const ESTABLISHED: u32 = 1 << 1;
    pub const RELATED: u32 = 1 << 2;
    pub const REPLY: u8 = 1;
}

pub mod fib {
    pub const REGISTER: u16 = 1;
    pub const RESULT: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const OUTPUT: u32 = 1;
    pub const ADDRESS_KIND: u32 = 3;
    pub const SOURCE: u32 = 1;
    pub const DESTINATION: u32 = 2;
    pub const BY_INPUT: u32 = 8;
    pub const PRESENT: u32 = 32;
}

pub mod numgen {
    pub const REGISTER: u16 = 1;
    pub const MODULUS: u16 = 2;
    pub const TYPE: u16 = 3;
    pub const OFFSET: u16 = 4;
    pub const RANDOM: u32 = 1;
}

pub mod compare {
    pub const REGISTER: u16 = 1;
    pub const OPERATION: u16 = 2;
    pub const DATA: u16 = 3;
    pub const EQUAL: u32 = 0;
    pub const DIFFERENT: u32 = 1;
    pub const AT_MOST: u32 = 3;
    pub const AT_LEAST: u32 = 5;
}

/// Of the protocol itself (RFC 4861).
pub mod icmpv6 {
    pub const PROTOCOL: u8 = 58;
    /// Where a message has its type, and how long that is.
    pub const TYPE: (u32, u32) = (0, 1);
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
}

pub mod bitwise {
    pub const SOURCE: u16 = 1;
    pub const REGISTER: u16 = 2;
    pub const LENGTH: u16 = 3;
    pub const MASK: u16 = 4;
    pub const XOR: u16 = 5;
}

pub mod lookup {
    pub const SET: u16 = 1;
    pub const SOURCE: u16 = 2;
    pub const REGISTER: u16 = 3;
    pub const SET_ID: u16 = 4;
    pub const FLAGS: u16 = 5;
    pub const FLAG_INVERT: u32 = 1;
}

pub mod dynset {
    pub const SET: u16 = 1;
    pub const OPERATION: u16 = 3;
    pub const KEY: u16 = 4;
    pub const UPDATE: u32 = 1;
}

pub mod immediate {
    pub const REGISTER: u16 = 1;
    pub const DATA: u16 = 2;
}

pub mod nat {
    pub const TYPE: u16 = 1;
    pub const FAMILY: u16 = 2;
    pub const ADDRESS: u16 = 3;
    pub const PORT: u16 = 5;
    pub const DESTINATION: u32 = 1;
    pub const MASQUERADE_FLAGS: u16 = 1;
    /// Ports at random, without a look at whether the packet's own is free.
    pub const FULLY_RANDOM: u32 = 1 << 4;
}

pub mod reject {
    pub const TYPE: u16 = 1;
    pub const CODE: u16 = 2;
    pub const UNREACHABLE: u32 = 0;
    pub const RESET: u32 = 1;
    /// "Port unreachable" of ICMP and of ICMPv6.
    pub const PORT_V4: u8 = 3;
    pub const PORT_V6: u8 = 4;
}
