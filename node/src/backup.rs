//! Backups: the state of a region's groups and of the placement group, with the region's secrets, in a
//! directory that a passphrase opens.
//!
//! Reading order: `holder` freezes the groups that this node leads, `archive` is the directory,
//! `trial` puts a backup's groups in place and runs them, `check` replays all that they hold and
//! `cut` says whether they fit together; `promotion` makes a lost region of what another one holds of it, and
//! `recovery` has the cluster's record go on where its majority was lost with one.
//!
//! **Invariants:** the frozen states are those of one moment (`consensus::freeze`), so nothing between
//! two groups is lost or done twice; what leaves memory is encrypted and authenticated. **Not here:**
//! command lines (`cli::backup`, `cli::restore`), the way to the nodes (`web::backup`).

pub mod archive;
pub mod check;
pub mod cut;
mod holder;
mod moving;
pub mod promotion;
pub mod recovery;
pub mod trial;

pub use holder::{Holder, HolderError};
