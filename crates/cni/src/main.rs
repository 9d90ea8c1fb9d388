//! The built-in plugin as a program of its own, for runtimes other than knarr's. The `knarr` binary is the same program when
//! it is called `knarr-cni`.

fn main() -> std::process::ExitCode {
    knarr_cni::plugin::main()
}
