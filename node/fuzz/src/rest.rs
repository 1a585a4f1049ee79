//! The bodies of requests that operators send: JSON that a type of the node's is read from.

use serde::{Serialize, de::DeserializeOwned};

use crate::taken;

/// Its place is its number in committed inputs: more come at the end.
const READERS: &[fn(&[u8])] = &[
    body::<taken::rest::NewCustomer>,
    body::<taken::rest::NewTechnician>,
    body::<taken::orders::NewOrder>,
    body::<taken::simulation::NewSimulation>,
    body::<taken::whatif::NewWhatIf>,
    body::<taken::submit::NewTicket>,
    body::<taken::standing::NewCustomerRevision>,
    body::<taken::standing::NewSuspension>,
    body::<taken::areas::NewAreas>,
    body::<taken::plan::NewPlan>,
    body::<taken::people::NewRevision>,
    body::<taken::people::NewPreferences>,
    body::<taken::people::NewZone>,
    body::<taken::shifts::NewDuty>,
    body::<taken::shifts::NewRoster>,
    body::<taken::shifts::NewSwap>,
    body::<taken::documents::Draft>,
    body::<taken::documents::NewVersion>,
    body::<taken::policies::NewDocument>,
    body::<taken::policies::SilenceView>,
    body::<taken::notices::NewText>,
    body::<taken::notices::NewDocument>,
    body::<taken::integrations::NewIntegration>,
    body::<taken::ca::Decide>,
    body::<taken::ca::NewRegistration>,
    body::<taken::ca::NewToken>,
    body::<taken::ca::Revoke>,
    body::<taken::authorities::NewAuthority>,
    body::<taken::authorities::TakeStep>,
    body::<taken::cluster::Assignment>,
    body::<taken::cluster::NewMember>,
    body::<taken::cluster::PolicyView>,
    body::<taken::promotion::Successor>,
    body::<taken::slots::SlotMoves>,
    body::<taken::backup::Hold>,
    body::<taken::backup::OfBackup>,
    body::<taken::chaos::NewLease>,
    body::<taken::allowance::NewAllowance>,
    body::<taken::runs::NewRun>,
    body::<taken::runs::RunOver>,
];

/// Reads a body, of which the first byte says what it is.
pub fn read(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    READERS[usize::from(*choice) % READERS.len()](bytes);
}

/// What is written with all that was left out is read again as the same.
fn body<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(body) = serde_json::from_slice::<T>(bytes) else { return };
    let text = serde_json::to_string(&body).expect("it has no keys but texts");
    let read: T = serde_json::from_str(&text).expect("what was just written");
    assert_eq!(serde_json::to_string(&read).expect("as before"), text);
}
