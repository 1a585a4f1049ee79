//! fieldmesh-benches
