//! knarr: Kubernetes in one binary. Flags, wiring and shutdown order; no logic of the cluster is here.
//!
//! Called as `knarr-cni` or `loopback` the same file is that CNI plugin, so that a container runtime can run it from a plugin
//! directory.

mod access;
mod agent;
mod alone;
mod archives;
mod cert;
mod cli;
mod clients;
mod cluster;
mod control;
mod control_plane;
mod datastore;
mod detach;
mod down;
mod failure;
mod given_file;
mod image;
mod install;
mod instance;
mod kubeconfig;
mod logging;
mod logs;
mod network;
mod node;
mod node_command;
mod nodes;
mod parts;
mod preflight;
mod process;
mod progress;
mod ranges;
mod reader;
mod resident;
mod schedule;
mod secrets;
mod server;
mod sim;
mod snapshot;
mod status;
mod text;
mod token;
mod traffic;
mod up;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// Memory stays with the process that needs it: one arena a core is plenty here, and freed pages go back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let called_as = std::env::args_os().next().unwrap_or_default();
    if let Some(plugin) = knarr_cni::plugin::called_as(&called_as) {
        return plugin();
    }
    // Huge pages would multiply the memory of a process that is mostly small objects; shims and what they start have their
    // own say. Failing costs memory only.
    let _ = nix::sys::prctl::set_thp_disable(true);
    reader::end_with_it();
    let result = match Cli::parse().command {
        Command::Up(flags) => up::run(flags),
        Command::Server(flags) => server::run(flags),
        Command::Agent(flags) => agent::run(flags),
        Command::Scheduler(flags) => alone::scheduler::run(&flags),
        Command::ControllerManager(flags) => alone::controller_manager::run(&flags),
        Command::Proxy(flags) => alone::proxy::run(&flags),
        Command::Kubelet(flags) => alone::kubelet::run(flags),
        Command::Node(command) => node_command::run(&command),
        Command::Down(flags) => down::run(&flags),
        Command::Status(flags) => status::run(&flags),
        Command::Logs(flags) => logs::run(&flags),
        Command::Token(flags) => token::run(&flags),
        Command::Install(flags) => install::install(&flags),
        Command::Uninstall(flags) => install::uninstall(&flags),
        Command::Snapshot(command) => snapshot::run(&command),
        Command::Cert(command) => cert::run(&command),
        Command::Secrets(command) => secrets::run(&command),
        Command::Kubeconfig(flags) => kubeconfig::run(&flags),
        Command::Image(command) => image::run(&command),
        Command::Schedule(flags) => schedule::run(&flags),
        Command::Sim(command) => sim::run(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}{}", failure::PREFIX, failure::line(&failure));
            ExitCode::FAILURE
        }
    }
}
