//! Links functions of the same code once: generic ones are compiled for each type and in each crate, and many come out the same.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    // Other linkers do not know it, and a debug build is looked at function by function.
    if flags.contains("-fuse-ld=lld")
        && env::var("PROFILE").is_ok_and(|profile| profile == "release")
    {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
}
