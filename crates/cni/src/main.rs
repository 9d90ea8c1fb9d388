//! The built-in plugins as a program of its own, for runtimes other than knarr's: `loopback` when it is called so, else the
//! network's. The `knarr` binary is the same program when it is called `knarr-cni` or `loopback`.

use knarr_cni::plugin;

fn main() -> std::process::ExitCode {
    let called_as = std::env::args_os().next().unwrap_or_default();
    plugin::called_as(&called_as).unwrap_or(plugin::main)()
}
