//! A network of the kernel's for one test: a machine for each node (`fieldmesh_node::cli::lab`), and what is broken
//! between them: a cable that is pulled, datagrams that the bridge does not forward.
//!
//! The thread that makes it moves to where devices and operators are, and so does what it starts afterwards. Nodes
//! are started on theirs ([`Network::machine`]). **Not here:** delay, which the kernels of test machines often cannot
//! make (`fieldmesh_node::mesh::faults` can).

use fieldmesh_node::cli::lab::machines::{
    Dropped, Machines, also, count, ip, nft, only, only_dropped, tried,
};

/// The network; its namespaces end with it.
pub struct Network(Machines);

impl Network {
    /// A network for so many nodes; what is missing where this machine cannot have one.
    pub fn new(nodes: u64) -> Result<Self, String> {
        for rule in tried(&["ether type ip"])? {
            rule?;
        }
        let machines = Machines::new(1..=nodes);
        let mut machines = machines.unwrap_or_else(|why| panic!("{why}"));
        machines.enter().unwrap_or_else(|why| panic!("{why}"));
        Ok(Self(machines))
    }

    /// Where a node is, without a port.
    pub fn address(&self, number: u64) -> String {
        self.0.address(number)
    }

    /// Program and arguments that start a program on a node's machine.
    pub fn machine(&self, number: u64) -> [&str; 4] {
        ["ip", "netns", "exec", self.0.machine(number).unwrap()]
    }

    /// Pulls a node's cable: nobody reaches it any more, neither nodes nor devices.
    pub fn unplug(&self, number: u64) {
        ip(&format!("link set node{number} down")).unwrap();
    }

    pub fn plug(&self, number: u64) {
        ip(&format!("link set node{number} up")).unwrap();
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
        nft(&also(&format!("{way} {chance} drop"))).unwrap();
    }

    /// From now on a node's machine has no way to another: what it sends there goes nowhere.
    pub fn blackhole(&self, from: u64, to: u64) {
        ip(&format!("-n {} route add blackhole {}/32", self.machine(from)[3], self.address(to)))
            .unwrap();
    }

    pub fn reroute(&self, from: u64, to: u64) {
        ip(&format!("-n {} route delete blackhole {}/32", self.machine(from)[3], self.address(to)))
            .unwrap();
    }

    /// From now on these datagrams, and no others, do not arrive, and are counted.
    pub fn drop_only(&self, dropped: &[Dropped]) {
        nft(&only_dropped(dropped)).unwrap();
    }

    /// How many of them there were, by their counter.
    pub fn dropped(&self, counter: &str) -> u64 {
        count(counter).unwrap()
    }

    /// Every datagram arrives again, as far as cables are plugged.
    pub fn heal(&self) {
        nft(&only(&[])).unwrap();
    }
}
