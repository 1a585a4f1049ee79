//! The `fieldmesh` command: see `fieldmesh_node::cli`.

use std::process::ExitCode;

/// A loop allocates thousands of small pieces that another thread frees: measured by `fieldmesh
/// replay`, this allocator costs the least of three (the C library's, mimalloc, jemalloc).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    fieldmesh_node::cli::main()
}
