//! Developer tasks that have logic in them: `cargo xtask <task>`.

#[cfg(feature = "cluster")]
mod clients;
mod command;
#[cfg(feature = "cluster")]
mod conformance;
#[cfg(feature = "cluster")]
mod discovery;
mod go;
mod image;
mod progress;
mod protobuf;
#[cfg(feature = "cluster")]
mod record;
#[cfg(feature = "cluster")]
mod reference;
mod schema;
mod tidy;
#[cfg(feature = "validation")]
mod validation;
mod vm;

use anyhow::Result;
use clap::Parser;

#[derive(Parser)]
#[command(name = "xtask", about = "Developer tasks with logic in them")]
enum Task {
    /// Check the layout: which crate and which file may use which, ARCHITECTURE.md against the folders, lengths of files and functions.
    Tidy,
    /// Write the archives of the project's own images (hello.tar, busybox.tar), of a CSI driver or of the conformance suite's,
    /// made when something has changed.
    Image(image::Args),
    /// Run Kubernetes' own conformance suite against knarr.
    #[cfg(feature = "cluster")]
    Conformance(Box<conformance::Args>),
    /// Run the programs that people point at a cluster, and compare what works with docs/clients.tsv.
    #[cfg(feature = "cluster")]
    Clients(clients::Args),
    /// Compare discovery and OpenAPI with those of upstream's API server, and the differences with docs/differences/discovery.tsv.
    #[cfg(feature = "cluster")]
    Discovery(discovery::Args),
    /// Make the table of the API's facts anew from the released definitions.
    GenerateSchema(schema::Args),
    /// Run upstream's own cluster on this machine, to compare knarr with.
    #[cfg(feature = "cluster")]
    Upstream(reference::Args),
    /// Compare what knarr's API server and upstream's answer to the same requests with docs/differences/validation.tsv.
    #[cfg(feature = "validation")]
    Validation(validation::Args),
    /// Check knarr on control groups of version 2, in a virtual machine.
    Vm(vm::Args),
    /// Make the table of protobuf field numbers anew from the released bindings.
    GenerateProtobuf(protobuf::Args),
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Tidy => tidy::run(),
        #[cfg(feature = "cluster")]
        Task::Conformance(args) => conformance::run(&args),
        #[cfg(feature = "cluster")]
        Task::Clients(args) => clients::run(&args),
        #[cfg(feature = "cluster")]
        Task::Discovery(args) => discovery::run(&args),
        Task::Image(args) => image::run(&args),
        Task::GenerateSchema(args) => schema::run(&args),
        #[cfg(feature = "cluster")]
        Task::Upstream(args) => reference::run_task(args),
        #[cfg(feature = "validation")]
        Task::Validation(args) => validation::run(&args),
        Task::Vm(args) => vm::run(&args),
        Task::GenerateProtobuf(args) => protobuf::run(&args),
    }
}
