//! `cluster`: its nodes and groups, as operators see and change them.

use std::{collections::BTreeSet, time::Duration};

use clap::{Args, Subcommand};
use fieldmesh_domain::ids::SLOTS;
use serde_json::json;
use tokio::time::Instant;

use super::{CliError, Common, Output, api::Api, import::degrees_e6};
use crate::web::{
    areas::{BoxView, NewAreas},
    cluster::{Assignment, ClusterView, GroupView, PolicyView, RegionView},
    slots::SlotMoves,
};

/// How often it is looked whether a change is done.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterVerb {
    /// Shows nodes and groups: who leads, who votes, who is behind.
    Status(StatusArgs),
    /// Takes all leadership from a node and keeps it away, before maintenance; its data stay.
    Drain(NodeArgs),
    /// Ends a drain.
    Resume(NodeArgs),
    /// Takes a node out of every group and then out of the cluster, for good. It may be dead.
    Remove(NodeArgs),
    /// Puts the replicas of a group on these nodes.
    Move(MoveArgs),
    /// Waits until each group has the members and the leader that it is to have.
    Rebalance(WaitArgs),
    /// Says where a region's data are to be.
    Policy(PolicyArgs),
    /// Has slots served by another shard, one after the other, while requests go on.
    Slots(SlotsArgs),
    /// Says where a region's people live: an address that is in no region's area is refused.
    Area(AreaArgs),
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    common: Common,
    /// Seconds to wait for the change to be done; 0 returns at once.
    #[arg(long, default_value_t = 60)]
    wait_s: u64,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    wait: WaitArgs,
    /// The node's number.
    number: u64,
}

#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    #[command(flatten)]
    wait: WaitArgs,
    /// The group's number, as `cluster status` shows it.
    group: u32,
    /// Numbers of the nodes that are to vote in it: one, three or five.
    #[arg(required = true)]
    voters: Vec<u64>,
}

impl MoveArgs {
    /// Whether the asked node has heard of it.
    fn is_wanted(&self, view: &ClusterView) -> bool {
        let set = |voters: &[u64]| voters.iter().copied().collect::<BTreeSet<u64>>();
        let group = view.groups.iter().find(|one| one.group == self.group);
        group.is_some_and(|group| set(&group.wanted_voters) == set(&self.voters))
    }
}

#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    #[command(flatten)]
    wait: WaitArgs,
    /// The region.
    region: String,
    /// zone: at home alone. standby: a copy of each group in one other region. region: nodes of two other
    /// regions vote too.
    #[arg(value_parser = ["zone", "standby", "region"])]
    policy: String,
    /// The other regions.
    regions: Vec<String>,
}

impl PolicyArgs {
    fn wanted(&self) -> PolicyView {
        PolicyView { policy: self.policy.clone(), regions: self.regions.clone() }
    }
}

#[derive(Debug, Args)]
pub(crate) struct SlotsArgs {
    #[command(flatten)]
    wait: WaitArgs,
    /// The region whose slots they are.
    region: String,
    /// The shard's group, as `cluster status` shows it.
    to: u32,
    /// Slots and ranges of them: 0-99,512. There are 1024, and an identifier's is in it.
    #[arg(value_parser = slots)]
    slots: Slots,
}

#[derive(Debug, Args)]
pub(crate) struct AreaArgs {
    #[command(flatten)]
    wait: WaitArgs,
    /// The region.
    region: String,
    /// All its boxes, 16 at most, in degrees: south, west, north, east, as 47.2,5.8,55.1,15.1. Those that it had
    /// before end.
    #[arg(
        long = "box",
        value_name = "S,W,N,E",
        value_parser = area,
        allow_hyphen_values = true,
        required_unless_present = "none",
        conflicts_with = "none"
    )]
    boxes: Vec<BoxView>,
    /// Nobody says where it is any more.
    #[arg(long)]
    none: bool,
}

impl AreaArgs {
    fn areas(&self) -> &[BoxView] {
        if self.none { &[] } else { &self.boxes }
    }

    /// Whether the asked node has heard of it.
    fn is_set(&self, view: &ClusterView) -> bool {
        view.regions.iter().any(|one| one.region == self.region && one.areas == self.areas())
    }
}

/// A box as an operator names it; what is wrong with one that can be read the service says.
fn area(text: &str) -> Result<BoxView, String> {
    let parts: Vec<&str> = text.split(',').collect();
    let [south, west, north, east] = parts[..] else {
        return Err(format!(
            "{text:?} is no box: say south, west, north, east in degrees, as 47.2,5.8,55.1,15.1"
        ));
    };
    Ok(BoxView {
        south_e6: degrees_e6(south, 90)?,
        west_e6: degrees_e6(west, 180)?,
        north_e6: degrees_e6(north, 90)?,
        east_e6: degrees_e6(east, 180)?,
    })
}

/// Slots as an operator names them.
#[derive(Debug, Clone)]
pub(crate) struct Slots(Vec<u16>);

fn slots(text: &str) -> Result<Slots, String> {
    let wrong = |part: &str| {
        format!("{part:?} is no slot and no range of slots below {SLOTS}: use 0-99,512")
    };
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|slot| *slot < SLOTS);
    let mut slots = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Some(first), Some(last)) = (number(first), number(last)) else {
            return Err(wrong(part));
        };
        if first > last {
            return Err(wrong(part));
        }
        slots.extend(first..=last);
    }
    Ok(Slots(slots))
}

impl ClusterVerb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Status(args) => &args.common,
            Self::Drain(args) | Self::Resume(args) | Self::Remove(args) => &args.wait.common,
            Self::Move(args) => &args.wait.common,
            Self::Rebalance(args) => &args.common,
            Self::Policy(args) => &args.wait.common,
            Self::Slots(args) => &args.wait.common,
            Self::Area(args) => &args.wait.common,
        }
    }
}

pub(crate) async fn run(verb: &ClusterVerb, output: &Output) -> Result<(), CliError> {
    let api = Api::from_common(verb.common())?;
    let wait_s = match verb {
        ClusterVerb::Status(_) => {
            let view: ClusterView = api.get("/v1/cluster").await?;
            show(&view, output);
            return finish(&view, output);
        }
        ClusterVerb::Drain(args) => change(&api, args, "drain").await?,
        ClusterVerb::Resume(args) => change(&api, args, "resume").await?,
        ClusterVerb::Remove(args) => change(&api, args, "leave").await?,
        ClusterVerb::Move(args) => {
            let path = format!("/v1/cluster/groups/{}", args.group);
            let wanted = Assignment { voters: args.voters.clone() };
            let _: ClusterView = api.put(&path, &wanted).await?;
            args.wait.wait_s
        }
        ClusterVerb::Rebalance(args) => args.wait_s,
        ClusterVerb::Policy(args) => {
            let path = format!("/v1/cluster/regions/{}/policy", args.region);
            let _: ClusterView = api.put(&path, &args.wanted()).await?;
            args.wait.wait_s
        }
        ClusterVerb::Slots(args) => {
            let path = format!("/v1/cluster/regions/{}/slots", args.region);
            let wanted = SlotMoves { slots: args.slots.0.clone(), to: args.to };
            let _: ClusterView = api.put(&path, &wanted).await?;
            args.wait.wait_s
        }
        ClusterVerb::Area(args) => {
            let path = format!("/v1/cluster/regions/{}/areas", args.region);
            let _: ClusterView = api.put(&path, &NewAreas { areas: args.areas().to_vec() }).await?;
            args.wait.wait_s
        }
    };
    let view = settled(&api, verb, wait_s, output).await?;
    show(&view, output);
    finish(&view, output)
}

async fn change(api: &Api, args: &NodeArgs, step: &str) -> Result<u64, CliError> {
    let path = format!("/v1/cluster/members/{}/{step}", args.number);
    let _: ClusterView = api.post(&path, &json!({})).await?;
    Ok(args.wait.wait_s)
}

/// How many slots of a region are on their way.
fn arriving(view: &ClusterView, region: &str) -> usize {
    let regions = view.regions.iter().filter(|one| one.region == region);
    regions.flat_map(|one| &one.slots).filter(|slot| slot.next.is_some()).count()
}

/// How many slots of a region are on their way, or leave something behind.
fn moving(view: &ClusterView, region: &str) -> usize {
    let regions = view.regions.iter().filter(|one| one.region == region);
    regions.flat_map(|one| &one.slots).filter(|slot| slot.is_moving()).count()
}

/// Whether what was asked for is so.
fn is_done(view: &ClusterView, verb: &ClusterVerb) -> bool {
    // No group is waited for: areas change none.
    if let ClusterVerb::Area(args) = verb {
        return args.is_set(view);
    }
    let leads = |number| view.groups.iter().any(|group| group.leader == Some(number));
    let presence = |number| {
        let of = view.members.iter().find(|member| member.number == number);
        of.map(|member| member.presence.as_str())
    };
    let is_led = view.groups.iter().all(|group| group.leader == group.preferred);
    // What was written is heard a moment later by a node that does not lead the placement group.
    view.settled
        && match verb {
            ClusterVerb::Drain(args) => {
                matches!(presence(args.number), Some("draining" | "leaving" | "gone"))
                    && !leads(args.number)
            }
            ClusterVerb::Remove(args) => presence(args.number) == Some("gone"),
            ClusterVerb::Status(_) | ClusterVerb::Area(_) => true,
            ClusterVerb::Policy(args) => {
                let is_said = |region: &&RegionView| region.region == args.region;
                view.regions
                    .iter()
                    .find(is_said)
                    .is_some_and(|region| region.policy == args.wanted())
            }
            ClusterVerb::Slots(args) => moving(view, &args.region) == 0,
            ClusterVerb::Resume(args) => presence(args.number) != Some("draining") && is_led,
            ClusterVerb::Move(args) => is_led && args.is_wanted(view),
            ClusterVerb::Rebalance(_) => is_led,
        }
}

/// What a region's slots still wait for.
fn to_go(view: &ClusterView, region: &str) -> String {
    match (arriving(view, region), moving(view, region)) {
        (0, left) => format!(
            "all have arrived; what {left} leave behind goes once every replica is there and up to date"
        ),
        (arriving, _) => format!("{arriving} slots to go"),
    }
}

/// What is waited for until a node has left: the groups that have it, also those of a region whose policy does not name
/// its own any more, and those of which nobody says whether they do.
fn to_leave(view: &ClusterView, number: u64, open: &[String]) -> String {
    let numbers = |groups: &[&GroupView]| {
        groups.iter().map(|one| one.group.to_string()).collect::<Vec<_>>().join(", ")
    };
    let has_it =
        |group: &&GroupView| group.voters.contains(&number) || group.learners.contains(&number);
    let is_silent = |group: &&GroupView| group.leader.is_none();
    let holding: Vec<&GroupView> = view.groups.iter().filter(has_it).collect();
    let silent: Vec<&GroupView> = view.groups.iter().filter(is_silent).collect();
    let mut told = Vec::new();
    if !holding.is_empty() {
        let awaited: BTreeSet<u64> =
            holding.iter().flat_map(|group| group.awaited.iter().copied()).collect();
        let first = match &awaited.into_iter().collect::<Vec<_>>()[..] {
            [] => String::new(),
            nodes => format!(", which wait for {} first", list(nodes)),
        };
        told.push(format!("node {number} is in groups {}{first}", numbers(&holding)));
    }
    if !silent.is_empty() {
        told.push(format!("nobody says who is in groups {}", numbers(&silent)));
    }
    match (told.is_empty(), open) {
        (false, _) => told.join("; "),
        (_, []) => format!("waiting for the cluster to say that node {number} has left"),
        (_, open) => format!("waiting for groups {}", open.join(", ")),
    }
}

async fn settled(
    api: &Api,
    verb: &ClusterVerb,
    wait_s: u64,
    output: &Output,
) -> Result<ClusterView, CliError> {
    let (until, mut told) = (Instant::now() + Duration::from_secs(wait_s), String::new());
    loop {
        let view: ClusterView = api.get("/v1/cluster").await?;
        if is_done(&view, verb) || wait_s == 0 {
            return Ok(view);
        }
        let open = view.groups.iter().filter(|group| !group.settled);
        let open: Vec<String> = open.map(|group| group.group.to_string()).collect();
        let now = match (verb, open.as_slice()) {
            (ClusterVerb::Area(_), _) => "waiting for the node to hear of it".to_owned(),
            (ClusterVerb::Slots(args), []) => to_go(&view, &args.region),
            (ClusterVerb::Remove(args), open) => to_leave(&view, args.number, open),
            (_, []) => "waiting for leaders to move".to_owned(),
            (_, open) => format!("waiting for groups {}", open.join(", ")),
        };
        if now != told {
            output.say(&now);
            told = now;
        }
        if Instant::now() >= until {
            show(&view, output);
            return Err(CliError::failed(format!(
                "not done after {wait_s} s: {told}; what was asked for goes on, repeat the command to wait on"
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn finish(view: &ClusterView, output: &Output) -> Result<(), CliError> {
    let value = serde_json::to_value(view).map_err(CliError::failed)?;
    output.result(value);
    Ok(())
}

fn list(nodes: &[u64]) -> String {
    nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

fn show(view: &ClusterView, output: &Output) {
    output.say(format_args!("node  region  presence  mesh                   devices"));
    for member in &view.members {
        output.say(format_args!(
            "{:>4}  {:<6}  {:<8}  {:<21}  {}",
            member.number, member.region, member.presence, member.mesh, member.devices
        ));
    }
    output.say(format_args!("\nregion  shards  slots moved  moving  policy"));
    for region in &view.regions {
        let RegionView { region, shards, policy, slots, .. } = region;
        let (moved, moving) = (slots.len(), moving(view, region));
        output.say(format_args!("{region:<6}  {shards:>6}  {moved:>11}  {moving:>6}  {policy}"));
    }
    for RegionView { region, areas, .. } in view.regions.iter().filter(|one| !one.areas.is_empty())
    {
        let boxes: Vec<String> = areas.iter().map(|area| area.text()).collect();
        output.say(format_args!("people of {region} live in {}", boxes.join(" ")));
    }
    output.say(format_args!("\ngroup  kind       leader  voters   learners  behind  state"));
    for group in &view.groups {
        show_group(group, output);
    }
}

fn show_group(group: &GroupView, output: &Output) {
    let leader = group.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
    let behind = group.behind.iter().map(|(_, entries)| *entries).max().unwrap_or(0);
    let state = match (group.leader, group.settled) {
        (None, _) => "nobody leads".to_owned(),
        (_, true) => "as wanted".to_owned(),
        _ => format!("→ {} | {}", list(&group.wanted_voters), list(&group.wanted_learners)),
    };
    let pinned = if group.pinned { ", pinned" } else { "" };
    let awaited = match &group.awaited[..] {
        [] => String::new(),
        nodes => format!(", waits for {}", list(nodes)),
    };
    output.say(format_args!(
        "{:>5}  {:<9}  {leader:>6}  {:<7}  {:<8}  {behind:>6}  {state}{awaited}{pinned}",
        group.group,
        group.kind,
        list(&group.voters),
        list(&group.learners),
    ));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use clap::FromArgMatches;

    use super::*;
    use crate::web::cluster::MemberView;

    /// A group as its leader shows it, or as one that nobody leads.
    fn group(group: u32, leader: Option<u64>, voters: &[u64], awaited: &[u64]) -> GroupView {
        GroupView {
            group,
            kind: "shard".to_owned(),
            region: None,
            leader,
            preferred: leader,
            voters: voters.to_vec(),
            learners: vec![],
            settled: awaited.is_empty(),
            wanted_voters: vec![],
            wanted_learners: vec![],
            pinned: false,
            applied: 0,
            behind: vec![],
            awaited: awaited.to_vec(),
        }
    }

    fn view(groups: Vec<GroupView>) -> ClusterView {
        let (members, regions) = (vec![], vec![]);
        ClusterView { node: 1, epoch: 1, members, regions, groups, settled: false }
    }

    #[test]
    fn who_removes_a_node_is_told_which_groups_have_it() {
        let own = group(1, Some(1), &[1, 2, 4], &[]);
        let abroad = group(2049, Some(21), &[3, 21, 22], &[23]);
        let follows = GroupView { learners: vec![3], ..group(2050, Some(21), &[21], &[]) };
        let told = to_leave(&view(vec![own.clone(), abroad, follows]), 3, &["2049".to_owned()]);
        assert_eq!(told, "node 3 is in groups 2049, 2050, which wait for 23 first");
        let silent = group(4097, None, &[], &[]);
        let told = to_leave(&view(vec![own.clone(), silent]), 3, &["4097".to_owned()]);
        assert_eq!(told, "nobody says who is in groups 4097");
        let told = to_leave(&view(vec![own.clone()]), 3, &["1".to_owned()]);
        assert_eq!(told, "waiting for groups 1", "its places are others'");
        let told = to_leave(&view(vec![own]), 3, &[]);
        assert_eq!(told, "waiting for the cluster to say that node 3 has left");
    }

    fn verb(line: &str) -> ClusterVerb {
        let command = ClusterVerb::augment_subcommands(clap::Command::new("cluster"));
        let matches = command.get_matches_from(["cluster"].into_iter().chain(line.split(' ')));
        ClusterVerb::from_arg_matches(&matches).unwrap()
    }

    /// Whoever is asked may hear of a change a moment after it was written elsewhere, and be settled until then.
    #[test]
    fn nothing_is_done_that_the_asked_node_has_not_heard_of() {
        let policy = PolicyView { policy: "standby".into(), regions: vec!["eu1".into()] };
        let (slots, areas) = (vec![], vec![]);
        let region = RegionView { region: "us1".into(), shards: 1, policy, slots, areas };
        let member = MemberView {
            number: 3,
            region: "us1".into(),
            presence: "draining".into(),
            level: 0,
            mesh: String::new(),
            devices: String::new(),
            https: String::new(),
            since: 0,
            registration: String::new(),
        };
        let moved =
            GroupView { wanted_voters: vec![1, 2, 4], ..group(7, Some(1), &[1, 2, 4], &[]) };
        let view = ClusterView {
            members: vec![member.clone()],
            regions: vec![region],
            settled: true,
            ..view(vec![moved])
        };
        for (line, is_heard) in [
            ("policy us1 standby eu1", true),
            ("policy us1 standby ap1", false),
            ("policy us1 zone", false),
            ("policy eu1 standby eu1", false),
            ("move 7 4 2 1", true),
            ("move 7 1 2 3", false),
            ("move 8 1 2 4", false),
            ("resume 3", false),
            ("drain 3", true),
            ("drain 4", false),
        ] {
            assert_eq!(is_done(&view, &verb(line)), is_heard, "{line}");
        }
        let active = MemberView { presence: "active".into(), ..member };
        let resumed = ClusterView { members: vec![active], ..view };
        assert!(is_done(&resumed, &verb("resume 3")));
        assert!(!is_done(&resumed, &verb("drain 3")), "it leads nothing");
    }
}
