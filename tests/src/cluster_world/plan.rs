//! What a simulated cluster is like, and what befalls it, by its seed.
//!
//! **Invariant:** what a seed once found something with stays as it was. **Not here:** what is drawn while it runs
//! (`faults`, `moves`).

/// A step of the simulation. Within it a host goes on by itself, to the millisecond; what others sent comes at its
/// beginning, and between two steps all is looked at and machines fail. Each step costs something for each host and
/// each pair of hosts, also where there is nothing to do: in steps twice as long a cluster at rest costs about half.
/// In much longer ones, what was sent at different times would come at once, in the order of sending.
const STEP_MS: u64 = 2;
/// The shortest time that the product itself counts in.
const FINE_STEP_MS: u64 = 1;
/// Customers and technicians are behind each.
const LINES: usize = 2;
/// Of so many seeds, one has machines that come and go, and another one, where there are two regions, loses the second. It
/// has no factor in common with what else is drawn by remainder, so that each shape of a cluster has some.
const CHANGES_EVERY: u64 = 5;
/// Of so many seeds, two have a technician in each region whose first acceptance comes too late: one of them with one
/// region, one with two, and neither with machines that come and go, which take their time too.
const LATE_EVERY: u64 = 15;

/// What a run is like.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    /// Milliseconds from one step to the next.
    pub step_ms: u64,
    /// Whether devices are there before anybody is taken in, and it is looked in each step how the cluster grows.
    pub eager: bool,
    /// Hosts that the devices of a region share, each of which may be cut off; none where each device is one. A
    /// simulation's cost grows with the square of its hosts.
    pub lines: Option<usize>,
    /// Nodes of each region.
    pub nodes: &'static [u64],
    /// Shards of each region.
    pub shards: u32,
    /// Milliseconds that a sync of each node's disk takes, in turn.
    pub sync_ms: [u64; 5],
    /// The longest pause between two faults; none without any.
    pub pause_ms: Option<u64>,
    /// Whether disks become full, and slow for logs or for states alone.
    pub disks: bool,
    /// Whether a machine joins, and another one leaves for good, while faults go on.
    pub moves: bool,
    /// Whether the second region is lost while faults go on, and begins again with the copies that the first one has.
    pub loses: bool,
    /// Whether the first technician of each region accepts its first offer when that is over.
    pub late: bool,
    /// Whether nodes pack what they send. How long that is depends on signatures, which no seed has a part in.
    pub packs: bool,
    /// Of each region.
    pub customers: usize,
    pub technicians: usize,
    /// Of each customer.
    pub requests: usize,
}

impl Plan {
    /// The plan of the sweep: every third one has two regions, of which now and then neither has a node to
    /// spare; every eighth one has fine steps, with disks of each speed; in every fifth one machines come and go, in
    /// every fifth one with two regions the second of them is lost, and in some an acceptance comes too late.
    pub fn of(seed: u64) -> Self {
        let found = Self::as_found(seed);
        let nodes: &[u64] = if matches!(seed % 24, 6 | 15) { &[2, 1] } else { found.nodes };
        let step_ms = if matches!(seed % 32, 5 | 14 | 20 | 31) { FINE_STEP_MS } else { STEP_MS };
        // Of a sync that begins with a step and ends within it no failing machine would lose anything.
        let sync_ms = found.sync_ms.map(|ms| if ms == 0 { 0 } else { ms.max(step_ms) });
        let moves = seed % CHANGES_EVERY == 2;
        // The placement group goes on without the second region's voters.
        let loses = seed % CHANGES_EVERY == 4 && nodes.len() > 1 && nodes[0] > 2;
        let late = matches!(seed % LATE_EVERY, 3 | 13);
        let (eager, lines, disks) = (false, Some(LINES), true);
        Self { step_ms, eager, lines, nodes, sync_ms, disks, moves, loses, late, ..found }
    }

    /// The plan of a seed that found something before disks had faults of their own: what is drawn for those
    /// would make another run of it, and so would other steps, machines that join, or devices that come later.
    pub fn as_found(seed: u64) -> Self {
        let sync_ms = match seed % 4 {
            0 => [0; 5],
            1 => [1, 2, 5, 20, 1],
            2 => [2; 5],
            _ => [30, 1, 1, 50, 1],
        };
        let nodes: &[u64] = if seed.is_multiple_of(3) { &[3, 2] } else { &[3] };
        let pause_ms = Some([1200, 2500][(seed / 12) as usize % 2]);
        Self {
            seed,
            step_ms: FINE_STEP_MS,
            eager: true,
            lines: None,
            nodes,
            shards: 2,
            sync_ms,
            pause_ms,
            disks: false,
            moves: false,
            loses: false,
            late: false,
            packs: true,
            customers: 3,
            technicians: 3,
            requests: 4,
        }
    }

    /// Nothing befalls it.
    pub fn quiet(self) -> Self {
        Self { pause_ms: None, ..self }
    }

    /// What is sent is as long as the seed has it.
    pub fn plain(self) -> Self {
        Self { packs: false, ..self }
    }

    pub(super) fn all_requests(&self) -> usize {
        self.nodes.len() * self.customers * self.requests
    }
}
