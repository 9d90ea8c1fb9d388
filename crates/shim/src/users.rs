//! Namespaces of a sandbox whose users are not the host's.
//!
//! A namespace belongs to the users of whoever makes it. So a helper becomes one of the pod's users and makes them, and the shim,
//! which keeps the host's users and with them its rights, joins all but the users themselves.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use knarr_shim::protocol::{IdMapping, SandboxSpec, UserNamespace};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, Spec};

use crate::{own, sys};

/// What tells the helper that its users have ids.
const MAPPED: &[u8] = b".";
/// Longest answer of a helper, bytes.
const MAX_ANSWER_BYTES: u64 = 4 << 10;

/// Namespaces by their names in `/proc/PID/ns`.
const JOINED: [(CloneFlags, &str); 3] = [
    (CloneFlags::CLONE_NEWUTS, "uts"),
    (CloneFlags::CLONE_NEWIPC, "ipc"),
    (CloneFlags::CLONE_NEWNET, "net"),
];

/// Makes the sandbox's namespaces and enters them, but for the users'. PID 1 of a shared process namespace runs afterwards.
pub fn enter(spec: &SandboxSpec, users: &UserNamespace) -> io::Result<Option<Pid>> {
    let (ours, theirs) = UnixStream::pair()?;
    let helper = sys::fork_with(|| help(spec, &theirs))?;
    drop(theirs);
    let made = with_helper(spec, users, helper, &ours);
    // It ends with the connection.
    let _ = ours.shutdown(Shutdown::Both);
    let _ = waitpid(helper, None);
    made
}

fn with_helper(
    spec: &SandboxSpec,
    users: &UserNamespace,
    helper: Pid,
    stream: &UnixStream,
) -> io::Result<Option<Pid>> {
    let mut answers = BufReader::new(stream.take(MAX_ANSWER_BYTES));
    answer(&mut answers)?;
    for (file, mapping) in [("uid_map", users.uids), ("gid_map", users.gids)] {
        let path = format!("/proc/{helper}/{file}");
        fs::write(&path, line(mapping)).map_err(|error| within(&path, &error))?;
    }
    (&*stream).write_all(MAPPED)?;
    let init = answer(&mut answers)?;
    let of_helper = |name: &str| format!("/proc/{helper}/ns/{name}");
    let wanted = own::namespaces(spec);
    for (flag, name) in JOINED {
        if wanted.contains(flag) {
            setns(File::open(of_helper(name))?, flag)?;
        }
    }
    mount(
        Some(of_helper("user").as_str()),
        &users.path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    Ok((init != 0).then(|| Pid::from_raw(init)))
}

/// The helper: makes the namespaces, and stays until they have been joined.
fn help(spec: &SandboxSpec, stream: &UnixStream) -> i32 {
    sys::set_name(c"knarr-users");
    // The shim's end of the connection, above all.
    let outcome = sys::close_all_but(&[stream.as_raw_fd()]).and_then(|()| make(spec, stream));
    let told = match &outcome {
        Ok(init) => writeln!(&*stream, "ok {}", init.map_or(0, Pid::as_raw)),
        Err(error) => writeln!(&*stream, "failed {error}"),
    };
    let mut rest = [0; 1];
    // Their end is this one's.
    while told.is_ok() && (&*stream).read(&mut rest).is_ok_and(|count| count > 0) {}
    i32::from(outcome.is_err())
}

fn make(spec: &SandboxSpec, stream: &UnixStream) -> io::Result<Option<Pid>> {
    unshare(CloneFlags::CLONE_NEWUSER | own::namespaces(spec))?;
    (&*stream).write_all(b"ok 0\n")?;
    let mut mapped = [0; MAPPED.len()];
    (&*stream).read_exact(&mut mapped)?;
    become_root()?;
    setgroups(&[])?;
    // As the pod's root: those of IPC obey nobody else.
    own::set_sysctls(spec).map_err(|error| within("set a sysctl", &error))?;
    // A child of the shim's.
    own::start_init(spec, libc::CLONE_PARENT).map_err(|error| within("start init", &error))
}

/// Becomes the root of the user namespace that this process is in, and keeps its capabilities.
pub fn become_root() -> nix::Result<()> {
    let (root, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(group, group, group)?;
    setresuid(root, root, root)
}

/// A helper's next answer: `ok` with a number, or why not.
fn answer(from: &mut impl BufRead) -> io::Result<i32> {
    let mut text = String::new();
    from.read_line(&mut text)?;
    match text.trim_end().split_once(' ') {
        Some(("ok", number)) => number.parse().map_err(io::Error::other),
        Some(("failed", why)) => Err(io::Error::other(why.to_owned())),
        _ => Err(io::Error::other("the helper died without a word")),
    }
}

/// As the kernel's maps of ids have it.
fn line(mapping: IdMapping) -> String {
    let IdMapping {
        container_id,
        host_id,
        length,
    } = mapping;
    format!("{container_id} {host_id} {length}\n")
}

fn within(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// The user namespace that a container joins; `None` where its users are the host's.
pub fn namespace(oci: &Spec) -> Option<&LinuxNamespace> {
    let namespaces = oci.linux().as_ref()?.namespaces().as_ref()?;
    let mut namespaces = namespaces.iter();
    namespaces.find(|namespace| namespace.typ() == LinuxNamespaceType::User)
}

/// What a user and a group of a container are on the host; those that are nothing there stay as they are.
pub fn on_host(oci: &Spec, uid: u32, gid: u32) -> (u32, u32) {
    let Some(linux) = oci.linux().as_ref().filter(|_| namespace(oci).is_some()) else {
        return (uid, gid);
    };
    let host = |mappings: &Option<Vec<LinuxIdMapping>>, id| {
        let mut found = mappings.iter().flatten().filter_map(|mapping| {
            let mapping = IdMapping {
                container_id: mapping.container_id(),
                host_id: mapping.host_id(),
                length: mapping.size(),
            };
            mapping.host(id)
        });
        found.next().unwrap_or(id)
    };
    (
        host(linux.uid_mappings(), uid),
        host(linux.gid_mappings(), gid),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_are_the_hosts_only_within_their_range() {
        let mapping = IdMapping {
            container_id: 0,
            host_id: 131_072,
            length: 65_536,
        };
        assert_eq!(line(mapping), "0 131072 65536\n");
        for (id, host) in [
            (0, Some(131_072)),
            (65_535, Some(196_607)),
            (65_536, None),
            (u32::MAX, None),
        ] {
            assert_eq!(mapping.host(id), host, "{id}");
        }
        let last = IdMapping {
            host_id: u32::MAX,
            ..mapping
        };
        assert_eq!(last.host(1), None);
    }

    #[test]
    fn a_container_without_users_of_its_own_has_the_hosts() {
        let spec = |namespaces: serde_json::Value| -> Spec {
            let map = json!([{ "containerID": 0, "hostID": 70_000, "size": 10 }]);
            let linux = json!({ "namespaces": namespaces, "uidMappings": map, "gidMappings": map });
            serde_json::from_value(json!({ "ociVersion": "1.0.2", "linux": linux })).unwrap()
        };
        let own = spec(json!([{ "type": "mount" }, { "type": "user", "path": "/u" }]));
        assert_eq!(on_host(&own, 3, 11), (70_003, 11));
        let hosts = spec(json!([{ "type": "mount" }]));
        assert_eq!(on_host(&hosts, 3, 4), (3, 4));
    }

    #[test]
    fn a_helper_says_what_failed() {
        let read = |text: &str| answer(&mut text.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(read("ok 12\n"), Ok(12));
        assert_eq!(read("failed EPERM: no\n"), Err("EPERM: no".to_owned()));
        assert!(read("").is_err());
    }
}
