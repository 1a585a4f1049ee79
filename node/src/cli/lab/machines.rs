//! Machines for nodes, as far as the network is concerned: a namespace each, with two cables.
//!
//! One cable goes to a bridge where devices and operators are, too; the other one to a bridge that joins nodes
//! alone. Both bridges are in a namespace of their own. The thread that enters it takes along whatever it starts
//! afterwards: sockets, programs, threads. Each node is started on its machine ([`Machines::machine`]).
//!
//! **Invariants:** nothing leaves the namespaces; they are named after this process and end with the machines, also
//! in a panic, and those of a process that was killed end when the next machines are made. They need root,
//! iproute2 and nftables. **Not here:** what befalls the network (`super::Lab`).

use std::{collections::BTreeMap, fs::File, path::Path, process};

use super::order::done;
use crate::files;

/// What all that a laboratory makes begins with; behind it are the numbers of its process's namespace of processes and
/// of the process.
const PREFIX: &str = "fieldmesh-lab-";
/// What namespaces have behind that, where it is not the number of a node.
const PARTS: [&str; 2] = ["hub", "probe"];
/// The networks of the two cables; nobody else sees them.
const NET: &str = "10.77.0.";
const MESH: &str = "10.78.0.";
/// Last byte of the address of devices and operators.
const HUB: u64 = 254;
/// The table of what the bridges do not forward, and its chain.
const TABLE: &str = "bridge faults";
/// The ends of cables at the bridges, each with the number of its node behind it.
pub(super) const PLUG: &str = "node";
pub(super) const MESH_PLUG: &str = "mesh";

/// The machines; their namespaces end with them.
#[derive(Debug)]
pub struct Machines {
    hub: String,
    machines: BTreeMap<u64, String>,
    /// Where the thread was before.
    home: Option<File>,
}

/// Runs `ip`.
///
/// # Errors
/// What it has against it.
pub fn ip(args: &str) -> Result<String, String> {
    done("ip", &args.split_whitespace().collect::<Vec<_>>(), "")
}

/// Has `nft` read a script, for the namespace that this thread is in.
///
/// # Errors
/// What it has against it.
pub fn nft(script: &str) -> Result<(), String> {
    done("nft", &["-f", "-"], script).map(drop)
}

fn nft_in(namespace: &str, script: &str) -> Result<(), String> {
    done("ip", &["netns", "exec", namespace, "nft", "-f", "-"], script).map(drop)
}

/// Where processes have their numbers: a laboratory in another container may have the same one, and is not seen here.
fn process_namespace() -> String {
    let found = rustix::fs::stat("/proc/self/ns/pid");
    found.map_or_else(|_| "0".to_owned(), |found| found.st_ino.to_string())
}

/// What all that is this process's is called, and what it has more than one of begins with.
pub(super) fn own_name() -> String {
    format!("{PREFIX}{}-{}", process_namespace(), process::id())
}

pub(super) fn named(what: impl std::fmt::Display) -> String {
    format!("{}-{what}", own_name())
}

/// The script by which a rule stops datagrams between the ends of cables, beside those that are there.
pub fn also(rule: &str) -> String {
    format!("add rule {TABLE} forward {rule}\n")
}

/// The script by which these rules do so, and no others.
pub fn only(rules: &[String]) -> String {
    let rules: String = rules.iter().map(|rule| also(rule)).collect();
    format!("flush chain {TABLE} forward\n{rules}")
}

/// Datagrams that the bridges do not forward, and the counter that has how many those were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Which ones, as nft says it.
    pub which: String,
    /// Strikes that are different have different ones.
    pub counter: String,
}

impl Dropped {
    fn rule(&self) -> String {
        format!("{} counter name \"{}\" drop", self.which, self.counter)
    }
}

/// The script by which these are dropped, and no others. A counter that is there goes on from where it is: rules come
/// and go while a fault lasts.
pub fn only_dropped(dropped: &[Dropped]) -> String {
    let counters = dropped.iter().map(|one| format!("add counter {TABLE} {}\n", one.counter));
    let rules: Vec<String> = dropped.iter().map(Dropped::rule).collect();
    counters.collect::<String>() + &only(&rules)
}

/// What `nft` is asked for a counter by.
pub(super) fn listing(counter: &str) -> String {
    format!("list counter {TABLE} {counter}")
}

/// How many datagrams a counter has, by what `nft` says of it.
///
/// # Errors
/// It says no number.
pub(super) fn packets(listed: &str) -> Result<u64, String> {
    let mut words = listed.split_whitespace().skip_while(|word| *word != "packets");
    let number = words.nth(1).and_then(|word| word.parse().ok());
    number.ok_or_else(|| format!("nft says no number of datagrams: {listed}"))
}

/// How many datagrams a counter has, for the namespace that this thread is in.
///
/// # Errors
/// What `nft` has against it.
pub fn count(counter: &str) -> Result<u64, String> {
    packets(&done("nft", &[&listing(counter)], "")?)
}

/// A table without any rule.
fn table() -> String {
    let hook = "type filter hook forward priority 0; policy accept;";
    format!("add table {TABLE}\nadd chain {TABLE} forward {{ {hook} }}\n")
}

/// Whether this machine can have namespaces, and which of these rules, each with a counter, its kernel takes.
///
/// # Errors
/// What is missing where it can have none.
pub fn tried(rules: &[&str]) -> Result<Vec<Result<(), String>>, String> {
    let probe = named("probe");
    ip(&format!("netns add {probe}"))?;
    let one = |rule: &&str| {
        let dropped = Dropped { which: (*rule).to_owned(), counter: "probe".to_owned() };
        nft_in(&probe, &format!("{}{}", table(), only_dropped(&[dropped])))
    };
    let tried = rules.iter().map(one).collect();
    ip(&format!("netns delete {probe}"))?;
    Ok(tried)
}

/// Whether something is named as what a laboratory makes, and its process is no more, or is this one, which has nothing
/// yet. What another namespace of processes has is left alone: from here nobody knows whether it is in use.
pub(super) fn is_left(name: &str) -> bool {
    let Some((at, whose)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    let (owner, part) = match whose.split_once('-') {
        Some((owner, part)) => (owner, Some(part)),
        None => (whose, None),
    };
    let is_ours = part.is_none_or(|part| PARTS.contains(&part) || number(part).is_some());
    let owner = number(owner).filter(|_| is_ours && at == process_namespace());
    owner.is_some_and(|owner| owner == u64::from(process::id()) || !is_alive(owner))
}

/// In digits alone.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

pub(super) fn is_alive(process: u64) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

/// Ends the namespaces of processes that are no more.
pub(super) fn sweep() -> Result<(), String> {
    for line in ip("netns list")?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if is_left(name) {
            // Another one may be at it too.
            drop(ip(&format!("netns delete {name}")));
        }
    }
    Ok(())
}

impl Machines {
    /// Machines for the nodes with these numbers.
    ///
    /// # Errors
    /// What this machine has against it.
    pub fn new(numbers: impl IntoIterator<Item = u64>) -> Result<Self, String> {
        sweep()?;
        // From here on its end removes what there is.
        let mut network = Self { hub: named("hub"), machines: BTreeMap::new(), home: None };
        let hub = &network.hub;
        ip(&format!("netns add {hub}"))?;
        ip(&format!("-n {hub} link set lo up"))?;
        for bridge in ["hub", "nodes"] {
            ip(&format!("-n {hub} link add {bridge} type bridge"))?;
            ip(&format!("-n {hub} link set {bridge} up"))?;
        }
        ip(&format!("-n {hub} address add {NET}{HUB}/24 dev hub"))?;
        nft_in(hub, &table())?;
        for number in numbers {
            network.add(number)?;
        }
        Ok(network)
    }

    /// Gives a node its machine.
    fn add(&mut self, number: u64) -> Result<(), String> {
        let (hub, name) = (&self.hub, named(number));
        ip(&format!("netns add {name}"))?;
        self.machines.insert(number, name.clone());
        ip(&format!("-n {name} link set lo up"))?;
        for (plug, bridge, net) in [(PLUG, "hub", NET), (MESH_PLUG, "nodes", MESH)] {
            ip(&format!(
                "-n {hub} link add {plug}{number} type veth peer name {plug} netns {name}"
            ))?;
            ip(&format!("-n {hub} link set {plug}{number} master {bridge} up"))?;
            ip(&format!("-n {name} address add {net}{number}/24 dev {plug}"))?;
            ip(&format!("-n {name} link set {plug} up"))?;
        }
        Ok(())
    }

    /// Takes this thread, and whatever it starts from now on, to where devices and operators are.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn enter(&mut self) -> Result<(), String> {
        let home = open("/proc/thread-self/ns/net")?;
        enter(&open(&format!("/var/run/netns/{}", self.hub))?)?;
        self.home = Some(home);
        Ok(())
    }

    /// Where a node is for devices and operators, without a port.
    pub fn address(&self, number: u64) -> String {
        format!("{NET}{number}")
    }

    /// Where a node is for other nodes that use the cable for nodes alone.
    pub fn mesh_address(&self, number: u64) -> String {
        format!("{MESH}{number}")
    }

    /// The namespace of a node, in which `ip netns exec` starts programs.
    pub fn machine(&self, number: u64) -> Option<&str> {
        self.machines.get(&number).map(String::as_str)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        if let Some(home) = &self.home
            && let Err(error) = enter(home)
        {
            tracing::warn!(error, "this thread stays where the machines were");
        }
        for name in self.machines.values().chain([&self.hub]) {
            if let Err(error) = ip(&format!("netns delete {name}")) {
                tracing::warn!(error, "a namespace stays");
            }
        }
    }
}

fn open(namespace: &str) -> Result<File, String> {
    files::open(namespace.as_ref()).map_err(|error| format!("{namespace}: {error}"))
}

#[cfg(target_os = "linux")]
fn enter(namespace: &File) -> Result<(), String> {
    use std::os::fd::AsFd as _;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    let moved = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network));
    moved.map_err(|error| format!("a network namespace cannot be entered: {error}"))
}

#[cfg(not(target_os = "linux"))]
fn enter(_namespace: &File) -> Result<(), String> {
    Err("only Linux has network namespaces".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_counted_and_a_counter_is_read_by_its_number() {
        let cut = Dropped {
            which: "iifname \"mesh1\" ether type ip".to_owned(),
            counter: "strike3_node1".to_owned(),
        };
        assert_eq!(
            only_dropped(&[cut]),
            "add counter bridge faults strike3_node1\n\
             flush chain bridge faults forward\n\
             add rule bridge faults forward iifname \"mesh1\" ether type ip \
             counter name \"strike3_node1\" drop\n"
        );
        let listed =
            "table bridge faults {\n\tcounter strike3_node1 {\n\t\tpackets 1204 bytes 98\n\t}\n}";
        assert_eq!(packets(listed), Ok(1204));
        for told in ["", "packets", "packets many bytes 98", "table bridge faults {\n}"] {
            assert!(packets(told).is_err(), "{told}");
        }
    }

    #[test]
    fn what_no_laboratory_of_here_made_is_not_taken_for_left() {
        let (here, own) = (process_namespace(), process::id());
        for part in ["", "-hub", "-probe", "-3"] {
            assert!(is_left(&format!("{PREFIX}{here}-{own}{part}")), "{part}: nothing is made yet");
            assert!(
                is_left(&format!("{PREFIX}{here}-{}{part}", u32::MAX)),
                "{part}: it is no more"
            );
            assert!(!is_left(&format!("{PREFIX}{here}-1{part}")), "{part}: it is alive");
            assert!(
                !is_left(&format!("{PREFIX}1-{}{part}", u32::MAX)),
                "{part}: another container"
            );
            assert!(!is_left(&format!("fieldmesh-{}{part}", u32::MAX)), "{part}: not so named");
        }
        for name in ["-else", "-3-4", "-", "x", "-+3"] {
            assert!(!is_left(&format!("{PREFIX}{here}-{}{name}", u32::MAX)), "{name}");
        }
        assert!(!is_left(PREFIX) && !is_left(&format!("{PREFIX}{here}")) && !is_left("else"));
    }
}
