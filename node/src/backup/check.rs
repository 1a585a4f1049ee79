//! Everything that a backup's groups hold, read and replayed. **Not here:** running them (`trial`).
