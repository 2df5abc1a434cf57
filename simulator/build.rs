//! Lets the C library's own users find the simulator's `getrandom` (see shim.rs): it must stand in the dynamic symbol table.

#![allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg=-Wl,--export-dynamic-symbol=getrandom");
}
