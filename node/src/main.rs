//! Weft: a service mesh and API gateway in one program.
fn main() {}
