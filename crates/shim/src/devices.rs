//! Which devices a container may open where control groups are version 2.
//!
//! Version 1 has a controller for this, which libcontainer drives. Version 2 asks a BPF program attached to the group, and
//! libcontainer has one only with a C library for it: the few instructions are written here. Without them a container,
//! which may make device nodes by default, could open the host's disks.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, Spec};

use crate::sys;

const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MKNOD | READ | WRITE;

/// The kernel's numbers of kinds of devices (BPF_DEVCG_DEV_*).
const BLOCK: u32 = 1;
const CHAR: u32 = 2;

/// Of linux/bpf.h.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// Of linux/magic.h.
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

/// What a user namespace's map is where there is none of one's own.
const WHOLE_ID_MAP: [&str; 3] = ["0", "0", "4294967295"];

/// What every container may use: any node may be made, and these may be opened. As runc: null, zero, full, random, urandom,
/// tty, console, ptmx and the terminals.
const DEFAULTS: &[(u32, Option<u32>)] = &[
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// Absent parts match everything. A later rule overrides an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    kind: Option<u32>,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

impl Rule {
    fn is_everything(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == ALL
    }
}

/// Restricts what `cgroup`'s processes may open to what the specification says; does nothing on version 1.
pub fn restrict(cgroup: &Path, spec: &Spec) -> io::Result<()> {
    if !is_unified(cgroup)? {
        return Ok(());
    }
    let asked = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.resources().as_ref())
        .and_then(|resources| resources.devices().as_ref());
    let rules = rules(asked.map_or(&[], Vec::as_slice));
    if rules.iter().all(|rule| rule.allow) && rules.iter().any(Rule::is_everything) {
        return Ok(());
    }
    match attach(cgroup, &program(&rules)) {
        // No device node opens in a user namespace, and the kernel lets nobody restrict it further there.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && in_user_namespace() => Ok(()),
        other => other,
    }
}

fn is_unified(cgroup: &Path) -> io::Result<bool> {
    Ok(nix::sys::statfs::statfs(cgroup)?.filesystem_type().0 as i64 == CGROUP2_SUPER_MAGIC)
}

fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_whitespace().eq(WHOLE_ID_MAP)
}

fn rules(asked: &[LinuxDeviceCgroup]) -> Vec<Rule> {
    let asked = asked.iter().map(|rule| Rule {
        allow: rule.allow(),
        kind: match rule.typ() {
            Some(LinuxDeviceType::B) => Some(BLOCK),
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(CHAR),
            _ => None,
        },
        // Negative numbers mean any, as in runc.
        major: rule.major().and_then(|number| u32::try_from(number).ok()),
        minor: rule.minor().and_then(|number| u32::try_from(number).ok()),
        access: rule.access().as_deref().map_or(ALL, access),
    });
    let allowed = |kind, major, minor, access| Rule {
        allow: true,
        kind: Some(kind),
        major,
        minor,
        access,
    };
    let nodes = [CHAR, BLOCK].map(|kind| allowed(kind, None, None, MKNOD));
    let defaults = DEFAULTS
        .iter()
        .map(|(major, minor)| allowed(CHAR, Some(*major), *minor, ALL));
    asked.chain(nodes).chain(defaults).collect()
}

fn access(text: &str) -> u32 {
    text.chars().fold(0, |bits, letter| {
        bits | match letter {
            'm' => MKNOD,
            'r' => READ,
            'w' => WRITE,
            _ => 0,
        }
    })
}

/// One instruction, as the kernel lays it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high.
    registers: u8,
    offset: i16,
    constant: i32,
}

// Codes of linux/bpf_common.h and linux/bpf.h: what is done, put together from class, size, source and operation.
const LOAD_WORD: u8 = 0x61;
const AND_32: u8 = 0x54;
const SHIFT_RIGHT_32: u8 = 0x74;
const MOVE_32: u8 = 0xb4;
const MOVE_32_REGISTER: u8 = 0xbc;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d;
const EXIT: u8 = 0x95;

const RESULT: u8 = 0;
/// The request's address at first, then scratch.
const REQUEST: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

fn instruction(code: u8, destination: u8, source: u8, offset: i16, constant: u32) -> Instruction {
    Instruction {
        code,
        registers: destination | source << 4,
        offset,
        constant: constant.cast_signed(),
    }
}

/// Looks for the last rule that matches, from the end; without one the answer is no.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut code = vec![
        // The request is {access << 16 | kind, major, minor}.
        instruction(LOAD_WORD, KIND, REQUEST, 0, 0),
        instruction(MOVE_32_REGISTER, ACCESS, KIND, 0, 0),
        instruction(AND_32, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT_32, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, REQUEST, 4, 0),
        instruction(LOAD_WORD, MINOR, REQUEST, 8, 0),
    ];
    for rule in rules.iter().rev() {
        code.extend(block(rule));
        // The kernel refuses what can never be reached.
        if rule.is_everything() {
            return code;
        }
    }
    code.extend(answer(false));
    code
}

fn answer(allow: bool) -> [Instruction; 2] {
    [
        instruction(MOVE_32, RESULT, 0, 0, u32::from(allow)),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

/// One rule: answers where it matches, goes past its end where it does not.
fn block(rule: &Rule) -> Vec<Instruction> {
    let mut code = Vec::new();
    if let Some(kind) = rule.kind {
        code.push(instruction(JUMP_NOT_EQUAL, KIND, 0, 0, kind));
    }
    if rule.access != ALL {
        code.push(instruction(MOVE_32_REGISTER, REQUEST, ACCESS, 0, 0));
        code.push(instruction(AND_32, REQUEST, 0, 0, rule.access));
        code.push(if rule.allow {
            // All that is asked for must be allowed...
            instruction(JUMP_NOT_EQUAL_REGISTER, REQUEST, ACCESS, 0, 0)
        } else {
            // ...and nothing of it denied.
            instruction(JUMP_EQUAL, REQUEST, 0, 0, 0)
        });
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(number) = number {
            code.push(instruction(JUMP_NOT_EQUAL, register, 0, 0, number));
        }
    }
    code.extend(answer(rule.allow));
    let end = code.len();
    for (at, jump) in code.iter_mut().enumerate() {
        if matches!(
            jump.code,
            JUMP_EQUAL | JUMP_NOT_EQUAL | JUMP_NOT_EQUAL_REGISTER
        ) {
            jump.offset = (end - at - 1) as i16;
        }
    }
    code
}

/// The start of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
struct LoadRequest {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The start of `union bpf_attr` for BPF_PROG_ATTACH.
#[repr(C)]
struct AttachRequest {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// The group holds the program from then on, and frees it when it is removed.
fn attach(cgroup: &Path, program: &[Instruction]) -> io::Result<()> {
    let directory = File::open(cgroup)?;
    let loaded = load(program)?;
    let request = AttachRequest {
        target: directory.as_raw_fd().cast_unsigned(),
        program: loaded.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: both descriptors are open, the request is laid out as the kernel's and outlives the call.
    unsafe { bpf(BPF_PROG_ATTACH, &request) }?;
    Ok(())
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let request = LoadRequest {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the request is laid out as the kernel's; it, the instructions and the licence outlive the call, whose result is
    // a descriptor of ours, closed at exec.
    unsafe { Ok(sys::own(bpf(BPF_PROG_LOAD, &request)?)) }
}

/// # Safety
/// `T` is the start of the `union bpf_attr` that the command reads, and what it points to is valid.
unsafe fn bpf<T>(command: libc::c_long, request: &T) -> io::Result<i32> {
    // SAFETY: the caller's promise; the kernel takes what the size leaves out as zero.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(request),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
}

#[cfg(test)]
mod tests;
