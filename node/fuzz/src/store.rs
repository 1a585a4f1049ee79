//! How a value is read of all bytes that are there.

#[path = "../../src/store/rows.rs"]
pub(crate) mod rows;

/// A key with its value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

pub(crate) mod keys {
    //! Whom a message is for.
    pub type GroupId = u32;
}

/// Nothing is stored here.
#[derive(Debug)]
pub enum StoreError {
    Corrupt { table: String, record: String, fact: String },
}

pub trait Table {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
}
