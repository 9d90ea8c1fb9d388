//! `knarr install` and `knarr uninstall`: knarr as a service of systemd, which starts it with the machine and again when it ends.

use std::{fs, io::ErrorKind, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::cli::{Cli, Install, Uninstall};

const UNIT: &str = "knarr.service";
/// Is there while systemd runs the machine (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
pub fn install(flags: &Install) -> Result<()> {
    let program = std::env::current_exe().context("cannot find knarr's own program file")?;
    check(flags)?;
    let unit = unit(&program, flags)?;
    if flags.print {
        print!("{unit}");
        return Ok(());
    }
    is_possible("install")?;
    let path = flags.unit_dir.join(UNIT);
    knarr_host::write_durably(&path, unit.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", "--now", UNIT])?;
    println!(
        "{} is written: systemd starts knarr {} now, with the machine, and again when it ends",
        path.display(),
        flags.service.name()
    );
    println!("  systemctl status knarr     # whether it runs");
    println!("  journalctl -u knarr -f     # what it logs");
    println!("  knarr uninstall            # takes the service away and leaves the data");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
pub fn uninstall(flags: &Uninstall) -> Result<()> {
    is_possible("uninstall")?;
    let path = flags.unit_dir.join(UNIT);
    if !path.exists() {
        bail!(
            "there is no {}; nothing was installed by knarr install",
            path.display()
        );
    }
    systemctl(&["disable", "--now", UNIT])?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
        _ => {}
    }
    systemctl(&["daemon-reload"])?;
    println!(
        "{} is removed, and knarr stopped; containers run on and all data is there: knarr down --purge removes both",
        path.display()
    );
    Ok(())
}

/// What the service would be told is tried on the command line first: a unit that cannot start is no service.
fn check(flags: &Install) -> Result<()> {
    let line = ["knarr", flags.service.name()].into_iter();
    let line = line.chain(flags.flags.iter().map(String::as_str));
    if let Err(error) = Cli::try_parse_from(line) {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        bail!(
            "{} (knarr {} --help lists its flags)",
            first.trim_start_matches("error: "),
            flags.service.name()
        );
    }
    if flags.flags.iter().any(|flag| flag == "--detach") {
        bail!("--detach is for a terminal: systemd keeps knarr in the background itself");
    }
    Ok(())
}

fn is_possible(command: &str) -> Result<()> {
    if !Path::new(BOOTED).is_dir() {
        bail!(
            "systemd does not run this machine, and there is nobody who would start knarr; run it with: knarr up --detach"
        );
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("services are root's to change; try: sudo knarr {command}");
    }
    Ok(())
}

fn unit(program: &Path, flags: &Install) -> Result<String> {
    let mut words = vec![
        program.display().to_string(),
        flags.service.name().to_owned(),
    ];
    words.extend(flags.flags.iter().cloned());
    let words: Vec<String> = words
        .iter()
        .map(|word| quoted(word))
        .collect::<Result<_>>()?;
    Ok(format!(
        "# Written by knarr install; knarr uninstall removes it.\n\
         [Unit]\n\
         Description=knarr {service}\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         ExecStart={line}\n\
         # Containers are processes of the service's control group, and outlive it.\n\
         KillMode=process\n\
         Delegate=yes\n\
         Restart=always\n\
         RestartSec=1\n\
         TimeoutStopSec=60\n\
         LimitNOFILE=1048576\n\
         TasksMax=infinity\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        service = flags.service.name(),
        line = words.join(" "),
    ))
}

/// A word of a command line, as systemd reads it (systemd.service(5)).
fn quoted(word: &str) -> Result<String> {
    if word.chars().any(char::is_control) {
        bail!("{word:?} cannot stand in a unit");
    }
    let escaped = word
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%")
        .replace('$', "$$");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:@+".contains(c);
    Ok(match !word.is_empty() && word.chars().all(is_plain) {
        true => escaped,
        false => format!("\"{escaped}\""),
    })
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    let shown = arguments.join(" ");
    let status = Command::new("systemctl").args(arguments).status();
    let status = status.context("cannot run systemctl")?;
    match status.success() {
        true => Ok(()),
        false => bail!(
            "systemctl {shown} failed ({status}); see: systemctl status knarr, journalctl -u knarr"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command as Subcommand;

    fn flags(service: &str, words: &[&str]) -> Install {
        let line = ["knarr", "install", service, "--print", "--"].into_iter();
        let cli = Cli::try_parse_from(line.chain(words.iter().copied())).expect("a line");
        let Subcommand::Install(flags) = cli.command else {
            panic!("another command");
        };
        flags
    }

    #[test]
    fn the_unit_runs_what_was_asked_for() {
        let flags = flags("up", &["--data-dir", "/var/lib/my knarr", "--node-name=a"]);
        let unit = unit(Path::new("/usr/bin/knarr"), &flags).expect("a unit");
        let line = "ExecStart=/usr/bin/knarr up --data-dir \"/var/lib/my knarr\" --node-name=a\n";
        assert!(unit.contains(line), "{unit}");
        assert!(unit.contains("KillMode=process\n"), "{unit}");
    }

    #[test]
    fn words_are_what_systemd_reads() {
        for (word, expected) in [
            ("up", Some("up")),
            ("", Some("\"\"")),
            ("a b", Some("\"a b\"")),
            ("50%$x\"\\", Some("\"50%%$$x\\\"\\\\\"")),
            ("a\nExecStartPre=x", None),
        ] {
            assert_eq!(quoted(word).ok().as_deref(), expected, "{word:?}");
        }
    }

    #[test]
    fn flags_that_cannot_start_are_refused() {
        for (service, words, wanted) in [
            ("up", &["--nodes", "3"][..], None),
            ("up", &["--nodez"], Some("--nodez")),
            ("agent", &[], Some("--server")),
            ("up", &["--detach"], Some("--detach")),
        ] {
            let checked = check(&flags(service, words));
            match wanted {
                None => checked.expect("flags"),
                Some(wanted) => {
                    let error = checked.expect_err(wanted).to_string();
                    assert!(!error.is_empty(), "{words:?}");
                }
            }
        }
    }
}
