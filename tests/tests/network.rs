//! Three real nodes on three machines, as far as the network is concerned, and what is done to it: cables
//! pulled, ways cut in one direction, a region cut off, a node that stops for a while, a slow and lossy way.
//!
//! Customers ask all the time. Afterwards nothing that was asked is lost, nobody was told anything twice,
//! every ticket is where it should be, and the cluster has settled. A machine without root, iproute2 or
//! nftables does the same on loopback, by the nodes' own faults (`[chaos]`). **Invariant:** a fault of which nobody but the
//! test knows is a failure (`effect`).
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests fail by panicking, and print what they measure"
)]

#[path = "network/behind.rs"]
mod behind;
#[path = "network/effect.rs"]
mod effect;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fieldmesh_domain::EntityId;
use fieldmesh_tests::{
    live::until,
    process::{Server, crowd::Crowd, fieldmesh, namespaces::Network, nodes::Nodes},
    unchecked,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

const NODES: u64 = 3;
const CUSTOMERS: usize = 6;
const TECHNICIANS: usize = 3;
/// A test's whole time: a machine that builds something meanwhile is slow.
const BOUND: Duration = Duration::from_secs(180);
/// How long a fault lasts: longer than an election, and than a connection may be silent.
const FAULT: Duration = Duration::from_secs(6);
/// For how long a cable is out, and then in: shorter and longer than an election, so that leaders are elected and lost
/// again, and shorter than a connection may be silent.
const FLAPS_MS: [u64; 8] = [300, 700, 1100, 400, 900, 600, 1300, 500];

/// A cluster under load, on whatever network this machine allows.
struct Scene {
    nodes: Nodes,
    crowd: Crowd,
    /// Without namespaces: which ways are cut, by the faults of the nodes that they lead to.
    cut: BTreeSet<(u64, u64)>,
}

impl Scene {
    async fn start(settings: &[(&'static str, &'static str)]) -> Self {
        let (network, mut settings) = (network(NODES), settings.to_vec());
        if network.is_none() {
            settings.push(("chaos.enabled", "true"));
        }
        let nodes = Nodes::start_in(network, NODES, &settings).await;
        let crowd = Crowd::gather(nodes.any(), &nodes.devices(), CUSTOMERS, TECHNICIANS).await;
        let scene = Self { nodes, crowd, cut: BTreeSet::new() };
        scene.crowd.served_since(Instant::now()).await;
        scene
    }

    /// Nothing from these nodes arrives at those any more.
    async fn cut(&mut self, ways: &[(u64, u64)]) {
        match &self.nodes.network {
            Some(network) => ways.iter().for_each(|(from, to)| network.cut(*from, *to)),
            None => {
                self.cut.extend(ways);
                self.follow().await;
            }
        }
    }

    async fn heal(&mut self) {
        match &self.nodes.network {
            Some(network) => network.heal(),
            None => {
                self.cut.clear();
                self.follow().await;
            }
        }
    }

    /// Takes a node from the network, for nodes and devices alike; on loopback, for nodes alone.
    async fn unplug(&mut self, number: u64) {
        match &self.nodes.network {
            Some(network) => network.unplug(number),
            None => self.cut(&isolated(number)).await,
        }
    }

    async fn plug(&mut self, number: u64) {
        match &self.nodes.network {
            Some(network) => network.plug(number),
            None => self.heal().await,
        }
    }

    /// Has the nodes on loopback lose what is cut.
    async fn follow(&mut self) {
        for number in 1..=NODES {
            let ways = self.cut.iter().filter(|(_, to)| *to == number);
            let rules: Vec<String> = ways
                .map(|(from, _)| {
                    let peer = self.nodes.address(*from);
                    format!("{{ peer = \"{peer}\", direction = \"in\", loss_percent = 100 }}")
                })
                .collect();
            self.nodes.set(number, "chaos.rules", &format!("[{}]", rules.join(", ")));
            self.nodes.config(number, &[]);
            self.nodes.signal(number, "HUP").await;
        }
    }

    /// How long after a moment every customer was served.
    async fn served_since(&self, since: Instant, when: &str) {
        let took = self.crowd.served_since(since).await;
        println!("{when}: every customer was served after {} ms", took.as_millis());
    }

    /// What holds when all is over; there are so many tickets beside those of the crowd.
    async fn end(self, others: usize) {
        let Self { nodes, crowd, .. } = self;
        let healed = Instant::now();
        let view = nodes.settle().await;
        println!("the cluster has settled after {} ms", healed.elapsed().as_millis());
        assert_eq!(view["settled"], true, "{view}");
        account(crowd, nodes.any(), others).await;
    }
}

/// What was asked is there, once, and with one technician; beside so many tickets of others.
async fn account(crowd: Crowd, server: &Server, others: usize) {
    let took = crowd.served_since(Instant::now()).await;
    println!("afterwards every customer was served after {} ms", took.as_millis());
    let tally = crowd.disperse().await;
    println!("{tally}");
    tally.expect_whole();
    let mut found: BTreeSet<EntityId> = BTreeSet::new();
    // A list is of the replica that the node has, which may be a moment behind.
    let states = until("each ticket is listed", async || {
        let mut states: BTreeMap<String, usize> = BTreeMap::new();
        for row in server.all_tickets().await {
            found.insert(row["id"].as_str().unwrap().parse().unwrap());
            *states.entry(row["state"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        println!("tickets: {states:?}");
        (tally.tickets.is_subset(&found) && states.len() == 1).then_some(states)
    })
    .await;
    assert_eq!(found.len(), tally.tickets.len() + others, "each request is one ticket");
    assert_eq!(states.keys().collect::<Vec<_>>(), ["accepted"], "{states:?}");
}

/// A network of namespaces, where this machine can have one.
fn network(nodes: u64) -> Option<Network> {
    // Else nodes are on loopback, and their own faults ([chaos]) stand for the network's.
    unchecked::or_say("faults of a network of namespaces", Network::new(nodes))
}

/// The ways that are cut around a node.
fn isolated(number: u64) -> Vec<(u64, u64)> {
    let others = (1..=NODES).filter(|other| *other != number);
    others.flat_map(|other| [(number, other), (other, number)]).collect()
}

/// Groups that a node leads.
fn led_by(view: &Value, number: u64) -> Vec<u64> {
    let groups = view["groups"].as_array().unwrap().iter();
    let led = groups.filter(|group| group["leader"] == number);
    led.map(|group| group["group"].as_u64().unwrap()).collect()
}

/// Within a bound, so that what hangs is a failure of the test that hangs.
async fn bounded(test: impl Future<Output = ()>) {
    timeout(BOUND, test).await.expect("the whole test ends in time");
}

#[tokio::test]
async fn a_node_whose_cable_is_pulled_comes_back() {
    bounded(async {
        let mut scene = Scene::start(&[]).await;
        let view = scene.nodes.settle().await;
        assert!(!led_by(&view, 2).is_empty(), "{view}");
        let ways = [(1, 2), (3, 2)];
        effect::expect_ways(&scene.nodes, &ways).await;
        scene.unplug(2).await;
        let since = Instant::now();
        scene.served_since(since, "without node 2").await;
        effect::expect_no_way(&scene.nodes, &ways).await;
        sleep(FAULT.saturating_sub(since.elapsed())).await;
        scene.plug(2).await;
        scene.end(0).await;
    })
    .await;
}

#[tokio::test]
async fn ways_cut_in_one_direction_keep_nobody_waiting() {
    bounded(async {
        let mut scene = Scene::start(&[]).await;
        scene.nodes.settle().await;
        effect::expect_ways(&scene.nodes, &[(2, 1), (1, 3), (2, 3)]).await;
        // Node 1 is not heard by node 2, which it still hears; then node 3 not by node 1, which have reached each other
        // until then: nodes 1 and 2 may go by way of node 3 for a while yet.
        for (unheard, deaf) in [(1, 2), (3, 1)] {
            scene.cut(&[(unheard, deaf)]).await;
            let since = Instant::now();
            scene.served_since(since, &format!("with node {deaf} deaf to node {unheard}")).await;
            effect::expect_no_way(&scene.nodes, &[(deaf, unheard)]).await;
            sleep(FAULT.saturating_sub(since.elapsed())).await;
            scene.heal().await;
        }
        // Nobody hears node 3, which hears everybody.
        effect::expect_ways(&scene.nodes, &[(2, 3)]).await;
        scene.cut(&[(3, 1), (3, 2)]).await;
        let since = Instant::now();
        scene.served_since(since, "with node 3 unheard").await;
        effect::expect_no_way(&scene.nodes, &[(1, 3), (2, 3)]).await;
        sleep(FAULT.saturating_sub(since.elapsed())).await;
        scene.heal().await;
        scene.end(0).await;
    })
    .await;
}

#[tokio::test]
async fn a_cable_that_comes_and_goes_does_not_stop_the_others() {
    bounded(async {
        let mut scene = Scene::start(&[]).await;
        scene.nodes.settle().await;
        let ways = [(1, 3), (2, 3)];
        effect::expect_ways(&scene.nodes, &ways).await;
        let before = effect::lost(&scene.nodes, &ways).await;
        let since = Instant::now();
        for milliseconds in FLAPS_MS {
            scene.unplug(3).await;
            sleep(Duration::from_millis(milliseconds)).await;
            scene.plug(3).await;
            sleep(Duration::from_millis(milliseconds)).await;
        }
        // Whoever leads says something several times a second: each time a packet was lost at least.
        effect::expect_lost(&scene.nodes, &ways, before + FLAPS_MS.len() as f64).await;
        scene.served_since(since, "since the first loss").await;
        scene.end(0).await;
    })
    .await;
}

#[tokio::test]
async fn a_node_that_stops_for_a_while_goes_on_behind_the_others() {
    bounded(async {
        let scene = Scene::start(&[]).await;
        let view = scene.nodes.settle().await;
        assert!(!led_by(&view, 2).is_empty(), "{view}");
        // Twice: shorter than a connection may be silent, and longer.
        for pause in [Duration::from_secs(2), FAULT] {
            scene.nodes.signal(2, "STOP").await;
            effect::expect_stopped(&scene.nodes, 2).await;
            let since = Instant::now();
            scene.served_since(since, "with node 2 stopped").await;
            sleep(pause.saturating_sub(since.elapsed())).await;
            scene.nodes.signal(2, "CONT").await;
        }
        scene.end(0).await;
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_promises_nothing() {
    bounded(async {
        let mut scene = Scene::start(&[]).await;
        let view = scene.nodes.settle().await;
        let led = led_by(&view, 1);
        assert!(!led.is_empty(), "{view}");
        // A device of a real program that has never heard of another node.
        let dir = TempDir::new().unwrap();
        let stale = scene.nodes.node(1);
        let id =
            stale.register("customer", "name,lat,lon,tier\nAda,48.85,2.35,2\n").await.remove(0);
        let devices = stale.devices.clone();
        let phone = stale.device(dir.path().join("phone"), id, &devices).await;
        scene.cut(&isolated(1)).await;
        let since = Instant::now();
        let unanswered = phone.try_request("to the node that is cut off", "5").await;
        unanswered.expect_code(75).expect_one_line(&["outbox"]);
        scene.served_since(since, "without node 1").await;
        assert!(scene.nodes.node(1).metrics().await.contains("fieldmesh_cut_off 1"));
        let fresh = scene.crowd.receipted_since(since);
        // It does not say that there is no such ticket: it cannot know. What it has it says when asked so.
        let (dir, fresh) = (scene.nodes.dir(1), fresh.to_string());
        let asked = fieldmesh(&dir, &["ticket", "show", &fresh]).await;
        asked.expect_code(3).expect_one_line(&["last word", "--stale"]);
        let asked = fieldmesh(&dir, &["ticket", "show", "--stale", &fresh]).await;
        asked.expect_code(3).expect_one_line(&["no such ticket"]);
        scene.heal().await;
        // What waited goes along, and is one ticket.
        let second = phone.request("to the node that is back").await;
        println!("the ticket of the second request is {second}");
        scene.end(2).await;
    })
    .await;
}

/// Rules by which a node's way to these others is 200 ms ± 50 ms long, there and back.
fn far_from(nodes: &Nodes, others: &[u64], loss_percent: u32) -> String {
    let rule = |other: &u64| {
        let peer = nodes.address(*other);
        format!(
            "{{ peer = \"{peer}\", delay_ms = 100, jitter_ms = 25, loss_percent = {loss_percent} }}"
        )
    };
    format!("[{}]", others.iter().map(rule).collect::<Vec<_>>().join(", "))
}

/// How a region is cut off from another one.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// The kernel between them forwards nothing, in either direction.
    Between,
    /// The node's own machine has no way there; it still hears the others.
    Away,
}

/// Cuts one node off from others, or heals that.
async fn cut_off(nodes: &mut Nodes, node: u64, others: &[u64], how: Cut, is_cut: bool) {
    let Some(network) = &nodes.network else {
        let direction = match how {
            Cut::Between => "",
            Cut::Away => "direction = \"out\", ",
        };
        let rule = |other: &u64| {
            let peer = nodes.address(*other);
            format!("{{ peer = \"{peer}\", {direction}loss_percent = 100 }}")
        };
        let rules: Vec<String> = others.iter().filter(|_| is_cut).map(rule).collect();
        nodes.set(node, "chaos.rules", &format!("[{}]", rules.join(", ")));
        nodes.config(node, &[]);
        return nodes.signal(node, "HUP").await;
    };
    for other in others {
        match (how, is_cut) {
            (Cut::Between, true) => {
                network.cut(node, *other);
                network.cut(*other, node);
            }
            (Cut::Between, false) => network.heal(),
            (Cut::Away, true) => network.blackhole(node, *other),
            (Cut::Away, false) => network.reroute(node, *other),
        }
    }
}

#[tokio::test]
async fn regions_that_are_cut_off_from_each_other_go_on() {
    bounded(async {
        let home = [1, 2, 3];
        let mut nodes = Nodes::start_in(network(4), 3, &[]).await;
        nodes.set(4, "chaos.enabled", "true");
        nodes.add_region(4, "us1").await;
        let devices = |numbers: &[u64]| -> Vec<_> {
            numbers.iter().map(|number| nodes.node(*number).devices.parse().unwrap()).collect()
        };
        let near = Crowd::gather(nodes.node(1), &devices(&home), CUSTOMERS, TECHNICIANS).await;
        let far = Crowd::gather(nodes.node(4), &devices(&[4]), CUSTOMERS, TECHNICIANS).await;
        let ways = effect::between(&home, &[4]);
        for how in [Cut::Between, Cut::Away] {
            effect::expect_a_way(&nodes, &ways).await;
            cut_off(&mut nodes, 4, &home, how, true).await;
            let since = Instant::now();
            for crowd in [&near, &far] {
                let took = crowd.served_since(since).await;
                println!("{how:?}: every customer was served after {} ms", took.as_millis());
            }
            effect::expect_no_way(&nodes, &ways).await;
            // Longer than connections and leaders of what spans regions may be silent.
            sleep(2 * FAULT).await;
            for crowd in [&near, &far] {
                crowd.served_since(Instant::now()).await;
            }
            cut_off(&mut nodes, 4, &home, how, false).await;
            assert_eq!(nodes.settle().await["settled"], true);
        }
        account(near, nodes.node(1), 0).await;
        account(far, nodes.node(4), 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_slow_and_lossy_way_between_regions_holds_up_neither() {
    const LOSS_PERCENT: u32 = 5;
    /// There and back, with what jitter does to the mean.
    const FAR_S: f64 = 0.15;
    bounded(async {
        let (home, abroad) = ([1, 2, 3], [4, 5]);
        let mut nodes = Nodes::start_in(network(5), 3, &[]).await;
        for number in abroad {
            nodes.set(number, "chaos.enabled", "true");
        }
        nodes.add_region(4, "us1").await;
        // The nodes that were there first know now that the placement group spans regions.
        for number in home {
            nodes.terminate(number).await;
            nodes.restart(number).await;
        }
        let devices = |numbers: &[u64]| -> Vec<_> {
            numbers.iter().map(|number| nodes.node(*number).devices.parse().unwrap()).collect()
        };
        let near = Crowd::gather(nodes.node(1), &devices(&home), CUSTOMERS, TECHNICIANS).await;
        let far = Crowd::gather(nodes.node(4), &devices(&[4]), CUSTOMERS, TECHNICIANS).await;
        let far_ways = effect::between(&home, &[4]);
        let lost = effect::lost(&nodes, &far_ways).await;
        // The kernel loses, where it can; it cannot delay.
        let by_kernel = nodes.network.is_some();
        let ways = home.iter().flat_map(|here| abroad.iter().map(move |there| (*here, *there)));
        for (here, there) in ways {
            if let Some(network) = &nodes.network {
                network.lose(here, there, LOSS_PERCENT);
                network.lose(there, here, LOSS_PERCENT);
            }
        }
        for number in abroad {
            let rules = far_from(&nodes, &home, if by_kernel { 0 } else { LOSS_PERCENT });
            nodes.set(number, "chaos.rules", &rules);
            nodes.config(number, &[]);
        }
        nodes.signal(4, "HUP").await;
        for crowd in [&near, &far] {
            let took = crowd.served_since(Instant::now()).await;
            println!("far apart, every customer was served after {} ms", took.as_millis());
        }
        effect::expect_slow(&nodes, &far_ways, FAR_S).await;
        // What spans regions works too: a node joins the far one.
        let began = Instant::now();
        nodes.join_beside(5, 4).await.expect_code(0);
        nodes.restart(5).await;
        assert_eq!(nodes.settle().await["settled"], true);
        println!("a node has joined the far region after {} ms", began.elapsed().as_millis());
        effect::expect_lost(&nodes, &far_ways, lost + 1.0).await;
        // The way stays bad: what is promised holds on it too.
        account(near, nodes.node(1), 0).await;
        account(far, nodes.node(4), 0).await;
    })
    .await;
}
