//! The `fieldmesh` command: see `fieldmesh_node::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    fieldmesh_node::cli::main()
}
