//! Takes types that are read from outside out of the node's files, whose other parts need the node.
//!
//! **Invariant:** what is compiled here is what the node has, but for its descriptions; a type that is no longer where
//! it was ends the build and is named.

use std::{env, fs, path::Path};

/// What is taken of a file, as a module.
struct Taken {
    module: &'static str,
    /// Below the node's sources.
    file: &'static str,
    /// What it names that is not its own.
    uses: &'static str,
    /// Each as its line begins, without `pub`.
    items: &'static [&'static str],
}

const JSON: &str = "use serde::{Deserialize, Serialize};";
const TAKEN: &[Taken] = &[
    Taken {
        module: "areas",
        file: "web/areas.rs",
        uses: JSON,
        items: &["struct BoxView", "struct NewAreas"],
    },
    Taken {
        module: "attachments",
        file: "web/attachments.rs",
        uses: JSON,
        items: &["struct EnclosureView", "impl std::fmt::Debug for EnclosureView"],
    },
    Taken {
        module: "authorities",
        file: "web/ca/authorities.rs",
        uses: JSON,
        items: &["struct NewAuthority", "struct TakeStep"],
    },
    Taken {
        module: "backup",
        file: "web/backup.rs",
        uses: JSON,
        items: &["struct Hold", "struct OfBackup"],
    },
    Taken {
        module: "ca",
        file: "web/ca/views.rs",
        uses: JSON,
        items: &["struct Decide", "struct NewRegistration", "struct NewToken", "struct Revoke"],
    },
    Taken {
        module: "chaos",
        file: "web/chaos.rs",
        uses: "use serde::{Deserialize, Serialize}; use super::fault::Fault;",
        items: &["struct NewLease"],
    },
    Taken {
        module: "allowance",
        file: "web/chaos/allowance.rs",
        uses: JSON,
        items: &["struct NewAllowance"],
    },
    Taken {
        module: "runs",
        file: "web/chaos/runs.rs",
        uses: JSON,
        items: &["struct NewRun", "struct RunOver"],
    },
    Taken {
        module: "cluster",
        file: "web/cluster.rs",
        uses: JSON,
        items: &["struct Assignment", "struct NewMember", "struct PolicyView"],
    },
    Taken {
        module: "documents",
        file: "web/documents.rs",
        uses: JSON,
        items: &["struct Draft", "struct NewVersion"],
    },
    Taken {
        module: "fault",
        file: "../chaos/src/fault.rs",
        uses: JSON,
        items: &["enum Direction", "struct Network", "enum Fault", "enum Pick"],
    },
    Taken {
        module: "integrations",
        file: "web/integrations.rs",
        uses: "use serde::{Deserialize, Serialize}; use super::rest::Point;",
        items: &["struct NewSeverity", "struct NewLabel", "struct NewIntegration"],
    },
    Taken {
        module: "notices",
        file: "web/notices.rs",
        uses: JSON,
        items: &["struct NewText", "struct NewDocument"],
    },
    Taken {
        module: "orders",
        file: "web/orders.rs",
        uses: "use serde::{Deserialize, Serialize}; use super::{attachments::EnclosureView, rest::Point};",
        items: &["enum NewOrder", "enum ReaderName"],
    },
    Taken {
        module: "people",
        file: "web/people.rs",
        uses: "use serde::{Deserialize, Serialize}; use std::collections::BTreeMap; use super::rest::{NewSkill, Point};",
        items: &["struct NewPreferences", "struct NewRevision", "struct NewZone"],
    },
    Taken {
        module: "plan",
        file: "web/plan.rs",
        uses: JSON,
        items: &["struct NewPlan", "impl Default for NewPlan"],
    },
    Taken {
        module: "policies",
        file: "web/policies.rs",
        uses: "use serde::{Deserialize, Serialize}; use crate::SilenceKind; use super::rest::Point;",
        items: &["struct NewDocument", "struct SilenceView", "fn silence_kind", "struct AreaView"],
    },
    Taken {
        module: "promotion",
        file: "web/promotion.rs",
        uses: "use serde::{Deserialize, Serialize}; use super::cluster::NewMember;",
        items: &["struct Successor"],
    },
    Taken {
        module: "rest",
        file: "web/rest.rs",
        uses: JSON,
        items: &[
            "struct Point",
            "struct NewCustomer",
            "fn default_tier",
            "struct NewSkill",
            "struct NewTechnician",
            "fn default_capacity",
        ],
    },
    Taken {
        module: "rosters",
        file: "rosters.rs",
        uses: JSON,
        items: &["struct RosterText", "struct ShiftText", "struct DateText"],
    },
    Taken {
        module: "shifts",
        file: "web/shifts.rs",
        uses: "use serde::{Deserialize, Serialize}; use super::rosters::RosterText;",
        items: &["struct NewDuty", "struct NewRoster", "struct NewSwap"],
    },
    Taken {
        module: "simulation",
        file: "web/policies/simulation.rs",
        uses: JSON,
        items: &[
            "struct NewSimulation",
            "fn middle",
            "fn second",
            "fn day",
            "struct ResponderView",
            "struct PersonView",
        ],
    },
    Taken { module: "slots", file: "web/slots.rs", uses: JSON, items: &["struct SlotMoves"] },
    Taken {
        module: "standing",
        file: "web/standing.rs",
        uses: "use serde::{Deserialize, Serialize}; use super::rest::Point;",
        items: &["struct NewCustomerRevision", "struct NewSuspension"],
    },
    Taken {
        module: "submit",
        file: "web/submit.rs",
        uses: "use serde::{Deserialize, Serialize}; use super::rest::Point;",
        items: &["struct NewTicket", "impl NewTicket", "fn middle"],
    },
    Taken {
        module: "whatif",
        file: "web/whatif.rs",
        uses: "use serde::{Deserialize, Serialize}; use super::rest::Point;",
        items: &["struct NewWhatIf"],
    },
    Taken {
        module: "archive",
        file: "backup/archive.rs",
        uses: "use minicbor::{Decode, Encode};",
        items: &["struct GroupPart", "struct Manifest"],
    },
    Taken {
        module: "cut",
        file: "backup/cut.rs",
        uses: "use minicbor::{Decode, Encode}; use std::collections::{BTreeMap, BTreeSet}; use crate::store::rows::Cursor;",
        items: &["struct Edges"],
    },
];

fn main() {
    let mut all = String::new();
    for Taken { module, file, uses, items } in TAKEN {
        let path = Path::new("../src").join(file);
        println!("cargo::rerun-if-changed={}", path.display());
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        let lines: Vec<&str> = text.lines().collect();
        let items: String = items.iter().map(|item| taken(file, &lines, item)).collect();
        all += &format!("pub mod {module} {{\n{uses}\n{items}}}\n");
    }
    let into = env::var_os("OUT_DIR").expect("cargo says where");
    fs::write(Path::new(&into).join("taken.rs"), all).expect("cargo's own directory");
}

/// An item with its attributes.
fn taken(file: &str, lines: &[&str], item: &str) -> String {
    let is_it = |line: &str| {
        let rest = line.strip_prefix("pub ").unwrap_or(line).strip_prefix(item);
        rest.is_some_and(|rest| rest.starts_with([' ', '(']))
    };
    let at = lines.iter().position(|line| is_it(line));
    let at = at.unwrap_or_else(|| panic!("{file} has no `{item}`: say in build.rs where it is"));
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[")).count();
    let end = lines[at..].iter().position(|line| *line == "}").expect("an item ends");
    let kept = lines[at - above..=at + end].iter().map(|line| line.replace(", ToSchema", ""));
    kept.filter(|line| !line.trim_start().starts_with("#[schema")).map(|line| line + "\n").collect()
}
