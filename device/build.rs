//! Lets the mutation gate build a deliberate bug: `FIELDMESH_MUTANT=<name>` sets
//! `cfg(fieldmesh_mutant = "<name>")`. Only this package is compiled anew.

#![expect(clippy::disallowed_methods, reason = "a build script reads its environment")]

fn main() {
    println!("cargo::rerun-if-env-changed=FIELDMESH_MUTANT");
    if let Ok(name) = std::env::var("FIELDMESH_MUTANT")
        && !name.is_empty()
    {
        println!("cargo::rustc-cfg=fieldmesh_mutant=\"{name}\"");
    }
}
