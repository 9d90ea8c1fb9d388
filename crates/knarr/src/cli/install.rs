//! The command lines of `knarr install` and `knarr uninstall`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Where systemd looks for units of the machine's administrator.
const UNITS: &str = "/etc/systemd/system";

/// What runs as a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    Up,
    Server,
    Agent,
}

impl Service {
    /// The subcommand.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Server => "server",
            Self::Agent => "agent",
        }
    }
}

#[derive(Args)]
pub struct Install {
    /// What the service runs
    #[arg(value_enum, default_value_t = Service::Up)]
    pub service: Service,

    /// Flags of that command, after --
    #[arg(last = true, value_name = "FLAGS")]
    pub flags: Vec<String>,

    /// Print the unit and change nothing
    #[arg(long)]
    pub print: bool,

    /// Where units are
    #[arg(long, value_name = "DIR", default_value = UNITS, hide = true)]
    pub unit_dir: PathBuf,
}

#[derive(Args)]
pub struct Uninstall {
    /// Where units are
    #[arg(long, value_name = "DIR", default_value = UNITS, hide = true)]
    pub unit_dir: PathBuf,
}
