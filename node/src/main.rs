//! The `fieldmesh` command: see `fieldmesh_node::cli`.

use std::process::ExitCode;

/// A loop allocates thousands of small pieces on several threads: this allocator takes half the
/// processor time that the C library's takes for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fieldmesh_node::cli::main()
}
