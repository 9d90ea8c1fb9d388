//! Developer tasks that have logic in them: `cargo xtask <task>`.

mod schema;
mod tidy;

use anyhow::Result;
use clap::Parser;

#[derive(Parser)]
#[command(name = "xtask", about = "Developer tasks with logic in them")]
enum Task {
    /// Check the layout: which crate may use which, ARCHITECTURE.md against the folders, file sizes.
    Tidy,
    /// Make the table of the API's facts anew from the released definitions.
    GenerateSchema(schema::Args),
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Tidy => tidy::run(),
        Task::GenerateSchema(args) => schema::run(&args),
    }
}
