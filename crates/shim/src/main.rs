//! The shim: one process a pod sandbox, which holds the sandbox's namespaces, its containers' stdio and their exit
//! statuses, and outlives the runtime that started it.
//!
//! Usage: `knarr-shim DIRECTORY`, where DIRECTORY holds `shim.json`. It enters the sandbox's namespaces ([`setup`]),
//! listens on `shim.sock`, writes one byte (or a message of why not) to its standard output and serves the protocol of
//! the library ([`server`]). One thread, one poll loop; libcontainer, which changes its process in ways that do not
//! undo (directory, oom_score_adj, dumpable, environment), runs in a one-shot child for each container ([`launch`]). Where the
//! pod's users are not the host's ([`users`]), that child first puts what the container mounts where they can reach it ([`stage`]).
//! Further processes in a container are entered by our own code ([`exec`]): libcontainer's tenant processes would run
//! without the container's seccomp filter.

#![allow(unsafe_code)]

mod attach;
mod container;
mod devices;
mod diagnosis;
mod exec;
mod init;
mod launch;
mod log;
mod own;
mod program;
mod server;
mod setup;
mod stage;
mod sys;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: knarr-shim DIRECTORY");
        return ExitCode::from(2);
    };
    // The runtime's own choice is inherited; containers get the host's.
    let _ = nix::sys::prctl::set_thp_disable(false);
    match setup::run(&directory).and_then(|ready| {
        let server = server::Server::new(directory, ready)?;
        sys::report_ready(None)?;
        server.run()
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever started us reads this; after the readiness report the pipe is gone and nobody does.
            let _ = sys::report_ready(Some(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}
