//! A network of the kernel's for one test: a namespace for each node, all joined by a bridge, which is in
//! a namespace of its own with the devices and operators.
//!
//! The thread that makes it moves into the bridge's namespace, and so does what it starts afterwards:
//! sockets, programs, threads. Nodes are started in theirs ([`Network::machine`]). What is broken is broken
//! by the kernel: a cable that is pulled, datagrams that the bridge does not forward.
//!
//! **Invariants:** nothing leaves the namespaces; they are named after this process and end with the
//! network, also when a test panics, and those of a process that was killed end with the next network. It
//! needs root, iproute2 and nftables. **Not here:** delay, which the kernels of test machines often cannot
//! make (`fieldmesh_node::mesh::faults` can).

use std::{
    fs::File,
    io::Write as _,
    os::fd::AsFd,
    process::{self, Command, Output, Stdio},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What all namespaces of all tests begin with.
const PREFIX: &str = "fieldmesh-";
/// The nodes' network; nobody else sees it.
const NET: &str = "10.77.0.";
/// Last byte of the address of devices and operators.
const HUB: u64 = 254;
/// The table of what the bridge does not forward.
const TABLE: &str = "bridge faults";

/// The network; its namespaces end with it.
pub struct Network {
    hub: String,
    machines: Vec<String>,
    /// Where the thread was before.
    home: File,
}

fn namespace(name: &str) -> File {
    File::open(format!("/var/run/netns/{name}")).unwrap()
}

fn own_namespace() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

fn enter(namespace: &File) {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn output(program: &str, args: &str) -> std::io::Result<Output> {
    Command::new(program).args(args.split_whitespace()).stdin(Stdio::null()).output()
}

/// Runs `ip`, which must succeed.
#[track_caller]
fn ip(args: &str) -> String {
    let done = output("ip", args).unwrap_or_else(|error| panic!("ip: {error}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {args}: {said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Has `nft` read a script, which must be right.
#[track_caller]
fn nft(script: &str) {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("nft: {error}"));
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "nft: {said}\n{script}");
}

/// Ends the namespaces of processes that are no more.
fn sweep() {
    for line in ip("netns list").lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.and_then(|owner| owner.parse::<u32>().ok()) else { continue };
        if !std::path::Path::new(&format!("/proc/{owner}")).exists() {
            // Another test may be at it too.
            drop(output("ip", &format!("netns delete {name}")));
        }
    }
}

impl Network {
    /// A network for so many nodes; what is missing where this machine cannot have one.
    pub fn new(nodes: u64) -> Result<Self, String> {
        let probe = format!("{PREFIX}{}-probe", process::id());
        for (program, args) in
            [("ip", format!("netns add {probe}")), ("nft", "--version".to_owned())]
        {
            let done = output(program, &args).map_err(|error| format!("{program}: {error}"))?;
            if !done.status.success() {
                return Err(String::from_utf8_lossy(&done.stderr).trim().to_owned());
            }
        }
        ip(&format!("netns delete {probe}"));
        sweep();
        let hub = format!("{PREFIX}{}-hub", process::id());
        let home = own_namespace();
        // From here on its end removes what there is.
        let mut network = Self { hub: hub.clone(), machines: Vec::new(), home };
        ip(&format!("netns add {hub}"));
        ip(&format!("-n {hub} link set lo up"));
        ip(&format!("-n {hub} link add hub type bridge"));
        ip(&format!("-n {hub} address add {NET}{HUB}/24 dev hub"));
        ip(&format!("-n {hub} link set hub up"));
        for number in 1..=nodes {
            network.add(number);
        }
        enter(&namespace(&hub));
        nft(&format!("add table {TABLE}"));
        let hook = "type filter hook forward priority 0; policy accept;";
        nft(&format!("add chain {TABLE} forward {{ {hook} }}"));
        Ok(network)
    }

    /// Gives a node its machine.
    fn add(&mut self, number: u64) {
        let (hub, name) = (&self.hub, format!("{PREFIX}{}-{number}", process::id()));
        ip(&format!("netns add {name}"));
        self.machines.push(name.clone());
        ip(&format!("-n {hub} link add node{number} type veth peer name uplink netns {name}"));
        ip(&format!("-n {hub} link set node{number} master hub up"));
        ip(&format!("-n {name} link set lo up"));
        ip(&format!("-n {name} address add {}/24 dev uplink", self.address(number)));
        ip(&format!("-n {name} link set uplink up"));
    }

    /// Where a node is, without a port.
    pub fn address(&self, number: u64) -> String {
        format!("{NET}{number}")
    }

    /// Program and arguments that start a program on a node's machine.
    pub fn machine(&self, number: u64) -> [&str; 4] {
        ["ip", "netns", "exec", &self.machines[usize::try_from(number).unwrap() - 1]]
    }

    /// Pulls a node's cable: nobody reaches it any more, neither nodes nor devices.
    pub fn unplug(&self, number: u64) {
        ip(&format!("link set node{number} down"));
    }

    pub fn plug(&self, number: u64) {
        ip(&format!("link set node{number} up"));
    }

    /// From now on nothing from the one node arrives at the other; devices reach both.
    pub fn cut(&self, from: u64, to: u64) {
        self.lose(from, to, 100);
    }

    /// From now on so many of a hundred datagrams from the one node do not arrive at the other.
    pub fn lose(&self, from: u64, to: u64, percent: u32) {
        let way = format!("iifname \"node{from}\" oifname \"node{to}\"");
        let chance = match percent {
            100 => String::new(),
            percent => format!("numgen random mod 100 < {percent}"),
        };
        nft(&format!("add rule {TABLE} forward {way} {chance} drop"));
    }

    /// From now on a node's machine has no way to another: what it sends there goes nowhere.
    pub fn blackhole(&self, from: u64, to: u64) {
        ip(&format!("-n {} route add blackhole {}/32", self.machine(from)[3], self.address(to)));
    }

    pub fn reroute(&self, from: u64, to: u64) {
        ip(&format!("-n {} route delete blackhole {}/32", self.machine(from)[3], self.address(to)));
    }

    /// Every datagram arrives again, as far as cables are plugged.
    pub fn heal(&self) {
        nft(&format!("flush chain {TABLE} forward"));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        enter(&self.home);
        for name in self.machines.iter().chain([&self.hub]) {
            // A test that panics already is to say why, and not that this fails too.
            drop(output("ip", &format!("netns delete {name}")));
        }
    }
}
