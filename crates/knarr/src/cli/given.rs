//! What the program was started with, for those who may ask a server for it.

use std::{collections::BTreeMap, ffi::OsString};

use clap::{ArgMatches, Command, CommandFactory};

use super::Cli;

/// Stands for a secret.
const CLASSIFIED: &str = "CLASSIFIED";

/// Flags of this process' command by name, given or not, with their values.
pub fn flags() -> BTreeMap<String, String> {
    of(std::env::args_os())
}

fn of(args: impl IntoIterator<Item = OsString>) -> BTreeMap<String, String> {
    let command = Cli::command();
    // Parsed before: what does not fit has ended the process.
    let Ok(matches) = command.clone().try_get_matches_from(args) else {
        return BTreeMap::new();
    };
    match matches.subcommand() {
        Some((name, matches)) => (command.find_subcommand(name))
            .map(|command| values(command, matches))
            .unwrap_or_default(),
        None => BTreeMap::new(),
    }
}

fn values(command: &Command, matches: &ArgMatches) -> BTreeMap<String, String> {
    let flags = command.get_arguments().filter_map(|argument| {
        let name = argument.get_long()?;
        let raw = matches.try_get_raw(argument.get_id().as_str()).ok()?;
        let value = raw.map_or_else(String::new, |values| {
            let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
            values.join(",")
        });
        // What its own help does not show nobody is told.
        let secret = argument.is_hide_env_values_set() && !value.is_empty();
        let value = if secret { CLASSIFIED.to_owned() } else { value };
        Some((name.to_owned(), value))
    });
    flags.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_told_and_secrets_are_not() {
        let line = "knarr server --token 0123456789abcdef --datastore etcd://h:1 --event-ttl 2h";
        let told = of(line.split(' ').map(OsString::from));
        assert_eq!(told["event-ttl"], "2h");
        assert_eq!(told["service-cidr"], "10.43.0.0/16");
        assert_eq!(told["token"], CLASSIFIED);
        assert_eq!(told["audit-policy-file"], "");
    }
}
