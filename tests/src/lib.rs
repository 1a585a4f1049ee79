//! fieldmesh-tests
