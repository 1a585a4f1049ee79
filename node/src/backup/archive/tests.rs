//! The directory refuses everything that is not as it was written.
