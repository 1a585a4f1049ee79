//! Whom a fault befalls, and which links of it where it is one of the network.
//!
//! **Invariant:** a node or shard that a lab does not have is found here, with its line. **Not here:** what happens to a
//! link (`faults`), whether a cluster that is there has them (`guard`).

use fieldmesh_rules::reading::{Fields, Findings};

use super::head::{Head, Target};
use crate::fault::{Fault, Network, Pick};

/// Links of the node that a fault befalls.
#[derive(Debug, Clone, Copy)]
pub(super) enum Links {
    /// To all other nodes.
    Nodes,
    /// To nodes of other regions.
    Regions,
    /// To one other node.
    With(Pick),
    /// To its devices.
    Devices,
}

impl Links {
    /// This of them.
    pub(super) fn of(self, network: Network) -> Fault {
        match self {
            Self::Nodes => Fault::Network(network),
            Self::Regions => Fault::Abroad(network),
            Self::With(with) => Fault::Link { with, network },
            Self::Devices => Fault::Devices(network),
        }
    }
}

/// Which links it is of: of a fault that has none of these fields, all to other nodes.
pub(super) fn links(
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    head: &Head,
) -> Option<Links> {
    let has = |name: &str| fields.value(name).is_some();
    let is_of_devices = has("link") && is_of_devices(fields, findings)?;
    let mut narrowed = ["between", "with"].into_iter().filter(|name| has(name));
    match (is_of_devices, narrowed.next(), narrowed.next()) {
        (true, Some(name), _) => {
            let text = format!("`{name}` is of links between nodes; leave it out, or `link`");
            fields.error(findings, fields.place(), text);
            None
        }
        (_, Some(_), Some(_)) => {
            let text = "`between` and `with` do not go together; leave out one of them";
            fields.error(findings, fields.place(), text.to_owned());
            None
        }
        (true, None, _) => Some(Links::Devices),
        (false, Some("with"), None) => named("with", fields, findings, head).map(Links::With),
        (false, Some(_), None) => between(fields, findings, head),
        (false, None, _) => Some(Links::Nodes),
    }
}

fn is_of_devices(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<bool> {
    let (at, text) = fields.string(findings, "link")?;
    match text {
        "mesh" => Some(false),
        "devices" => Some(true),
        _ => {
            fields.error(findings, at.start, "`link` is mesh or devices; choose one".to_owned());
            None
        }
    }
}

fn between(fields: &Fields<'_, '_>, findings: &mut Findings<'_>, head: &Head) -> Option<Links> {
    let (at, text) = fields.string(findings, "between")?;
    let refused = match text {
        "nodes" => return Some(Links::Nodes),
        "regions" if head.target == Target::Lab && head.regions == 1 => {
            "the cluster has one region; add `regions = 2` at the top"
        }
        "regions" => return Some(Links::Regions),
        _ => "`between` is nodes or regions; choose one",
    };
    fields.error(findings, at.start, refused.to_owned());
    None
}

/// Whom a fault befalls.
pub(super) fn pick(
    fault: &Fault,
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    head: &Head,
) -> Option<Pick> {
    if fault.has_no_pick() {
        if fields.value("pick").is_some() {
            let text =
                format!("`{}` befalls no node that is there; leave out `pick`", fault.name());
            fields.error(findings, fields.place(), text);
        }
        return Some(Pick::Nobody);
    }
    let pick = named("pick", fields, findings, head)?;
    // Of several leaders, and of all nodes, chance takes two.
    let is_one = matches!(pick, Pick::Node(_) | Pick::Leader(Some(_)));
    if is_one && fault.with() == Some(pick) {
        let (at, _) = fields.string(findings, "with")?;
        let text = "`with` is the node of `pick` itself; name the other end of the link";
        fields.error(findings, at.start, text.to_owned());
        return None;
    }
    Some(pick)
}

/// The nodes that a field names.
fn named(
    field: &str,
    fields: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
    head: &Head,
) -> Option<Pick> {
    let (at, text) = fields.string(findings, field)?;
    let pick = match text {
        "random" => Some(Pick::Random),
        "leader" => Some(Pick::Leader(None)),
        "all" if field == "pick" => Some(Pick::All),
        _ => numbered(text),
    };
    let is_lab = head.target == Target::Lab;
    let refused = match pick {
        Some(Pick::Node(node)) if is_lab && !(1..=head.nodes).contains(&node) => {
            format!("there is no node {node}; the cluster has 1 to {}", head.nodes)
        }
        Some(Pick::Leader(Some(shard))) if is_lab && !(1..=head.shards).contains(&shard) => {
            format!("there is no shard {shard}; the cluster has 1 to {}", head.shards)
        }
        Some(pick) => return Some(pick),
        None if field == "pick" => {
            "`pick` is random, all, leader, leader:SHARD or node:NUMBER; choose one".to_owned()
        }
        None => {
            "`with` is random, leader, leader:SHARD or node:NUMBER; choose one, or leave it out \
             for the links to all other nodes"
                .to_owned()
        }
    };
    fields.error(findings, at.start, refused);
    None
}

fn numbered(text: &str) -> Option<Pick> {
    if let Some(node) = text.strip_prefix("node:") {
        return Some(Pick::Node(node.parse().ok()?));
    }
    Some(Pick::Leader(Some(text.strip_prefix("leader:")?.parse().ok()?)))
}
