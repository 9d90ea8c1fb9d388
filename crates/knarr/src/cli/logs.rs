//! The flags of `knarr logs`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{AdminAccess, duration};

#[derive(Args)]
pub struct Logs {
    /// Only lines that are younger
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub since: Option<Duration>,

    /// Only lines with this text in them; one of four characters or more is found by an index
    #[arg(short, long, value_name = "TEXT")]
    pub grep: Option<String>,

    /// Only lines that match a regular expression; every line is read for it
    #[arg(short = 'E', long, value_name = "PATTERN", conflicts_with = "grep")]
    pub regex: Option<String>,

    /// Upper and lower case are alike in --grep and --regex
    #[arg(short, long)]
    pub ignore_case: bool,

    /// Only pods of this namespace [default: all]
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Only pods with these labels, such as app=web,tier in (a,b)
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,

    /// Only this pod, live or gone
    #[arg(long, value_name = "NAME")]
    pub pod: Option<String>,

    /// Only containers of this name; knarr is the nodes' own log
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,

    /// Only this node
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,

    /// How many lines, the newest of those found; they are printed in the order of their times
    #[arg(long, value_name = "LINES", default_value_t = 100)]
    pub tail: usize,

    /// Then print what is to come, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,

    /// How to print a line
    #[arg(short, long, value_enum, default_value_t = LogOutput::Text)]
    pub output: LogOutput,

    #[command(flatten)]
    pub access: AdminAccess,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogOutput {
    /// Time, pod, container, text
    Text,
    /// The text alone
    Raw,
    /// An object a line
    Json,
}
