//! The `fieldmesh-lab` command: see `fieldmesh_node::cli::lab`.

use std::process::ExitCode;

fn main() -> ExitCode {
    fieldmesh_node::cli::lab::main()
}
