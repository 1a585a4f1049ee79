//! One run: a cluster, its load, what befalls it, and how it is in the end.
//!
//! **Invariants:** the cluster is healed before it is looked at in the end; whatever the run itself cannot do
//! is noted in the history. **Not here:** the parts, each in a file of its own.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use fieldmesh_actors::seams::Clock as _;
use fieldmesh_chaos::{
    Limits, Scenario, Timeline,
    history::{VERSION, What},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    endings,
    finals::{self, Wanted},
    ground::{Ground, There},
    interrupt::Interrupt,
    kernel::Kernel,
    leases::Leases,
    load::Load,
    nodes::{Nodes, Reachable},
    plane::Plane,
    prober,
    recorder::Recorder,
    striker::Striker,
};
use crate::{
    cli::{
        CliError, Common, Output,
        fleet::{Shape, fieldmesh, on_cluster},
        import::progress,
        lab::Lab,
    },
    files,
    issuer::sha256,
    os::SystemClock,
    web::est::hex,
};

/// The ledger, while it is verified.
const LEDGER: &str = "ledger.jsonl";
/// How often it is looked whether the run is to be given up, and whether all are served.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Somebody asks for so long behind the last fault, which on a busy machine is mended later than it was to be.
const ASKED_BEHIND: Duration = Duration::from_secs(5);
/// Where nobody more was served within this, once all is healed, nobody will be.
const PATIENCE: Duration = Duration::from_secs(20);
/// A cluster that was broken is whole again within this.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// What is run.
pub(super) struct Work<'a> {
    pub(super) scenario: &'a Scenario,
    /// As it was written.
    pub(super) document: &'a [u8],
    pub(super) timeline: &'a Timeline,
    /// Where what happens is written.
    pub(super) history: &'a Path,
    /// The program that nodes begin with, where it is another.
    pub(super) program: Option<&'a Path>,
    /// Where each node has a machine of its own.
    pub(super) lab: Option<Arc<Lab>>,
    /// Whether somebody gives it up.
    pub(super) interrupt: Interrupt,
}

impl Work<'_> {
    /// Whether the run was to be given up, which is noted then.
    fn is_stopped(&self, recorder: &Recorder) -> bool {
        let why = recorder.give_up().or_else(|| self.interrupt.why());
        let is_stopped = why.is_some();
        why.into_iter().for_each(|why| recorder.note(What::Aborted { why }));
        is_stopped
    }

    /// Whether somebody gives it up, which is then in the history.
    fn is_interrupted(&self, recorder: &Recorder) -> bool {
        let Some(why) = self.interrupt.why() else { return false };
        recorder.note(What::Aborted { why });
        true
    }
}

/// Runs a scenario on a cluster that is made for it.
pub(super) async fn on_its_own(
    common: &Common,
    work: &Work<'_>,
    output: &Output,
) -> Result<(), CliError> {
    let Scenario { nodes, shards, regions, .. } = *work.scenario;
    let (with_region, program) = (regions > 1, work.program.map(Path::to_owned));
    let lab = work.lab.clone();
    let shape = Shape { may_be_cut: true, with_region, program, lab, ..Shape::of(nodes, shards) };
    on_cluster(common, shape, output, async |fleet| {
        recorded(&mut Ground::Made { fleet, shards }, work, output).await
    })
    .await
}

/// Runs it on one that is there already, and takes away again what the run put there.
pub(super) async fn on_one_that_is_there(
    there: There,
    work: &Work<'_>,
    output: &Output,
) -> Result<(), CliError> {
    recorded(&mut Ground::There(Box::new(there)), work, output).await
}

/// The version, and of nodes that begin with this run what their program is: one version has many builds.
fn product(ground: &Ground<'_>, program: Option<&Path>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let Ground::Made { .. } = ground else { return version.to_owned() };
    let path = program.map_or_else(fieldmesh, |path| Ok(path.to_owned()));
    match path.and_then(|path| files::sha256(&path)) {
        Ok(sum) => format!("{version}, program {}", hex(&sum)),
        Err(error) => format!("{version}, program unknown: {error}"),
    }
}

async fn recorded(
    ground: &mut Ground<'_>,
    work: &Work<'_>,
    output: &Output,
) -> Result<(), CliError> {
    let Work { scenario, timeline, .. } = work;
    let recorder = Arc::new(Recorder::create(work.history, scenario)?);
    recorder.note(What::Begun {
        version: VERSION,
        scenario: Box::new((*scenario).clone()),
        document: hex(&sha256(work.document)),
        wall_ms: SystemClock.now_ms(),
        product: product(ground, work.program),
        nodes: scenario.nodes,
        strikes: timeline.0.clone(),
        shards: ground.groups(),
    });
    // What the run itself cannot do is in its history, and its verdict says so.
    if let Err(error) = on(ground, work, &recorder, output).await {
        recorder.note(What::Harness { why: error.to_string() });
    }
    recorder.end()
}

async fn on(
    ground: &mut Ground<'_>,
    work: &Work<'_>,
    recorder: &Arc<Recorder>,
    output: &Output,
) -> Result<(), CliError> {
    let (scenario, timeline, nodes) = (work.scenario, work.timeline, Nodes::default());
    for number in ground.numbers() {
        let (api, process) = (ground.api_of(number)?, ground.process_of(number)?);
        nodes.is_back(number, Reachable { api, process });
    }
    let mut wanted = Wanted::before(ground, &nodes, work.history.with_file_name(LEDGER)).await?;
    let moments = endings::moments(timeline);
    let mut load = Load::new(ground, recorder, &nodes)?;
    let prepared = load.prepare(&scenario.workload, &moments, &work.interrupt).await;
    if work.is_interrupted(recorder) || prepared.is_err() {
        left(ground, &mut load, output).await?;
        return prepared;
    }
    let limits = Limits::of(scenario, prober::held(&nodes));
    let probing = tokio::spawn(prober::look(nodes.clone(), Arc::clone(recorder), limits));
    let revocable = load.customers.clone();
    let asking = load.start(&scenario.workload, scenario.seed);
    let (tell, given_up) = watch::channel(false);
    let start = Instant::now();
    let end = start + Duration::from_millis(scenario.duration_ms);
    let watching = watch_over(work, recorder, (start, end), tell, output);
    let plane = plane_of(work, recorder, &nodes);
    let mut striker = Striker {
        ground,
        recorder,
        target: scenario.target,
        start,
        nodes: nodes.clone(),
        plane,
        revocable,
        under_way: BTreeMap::new(),
        damaged: BTreeMap::new(),
        expired: BTreeMap::new(),
        load: &mut load,
    };
    let striking = async {
        striker.run(timeline, given_up).await;
        Instant::now()
    };
    let (mended, is_given_up) = tokio::join!(striking, watching);
    drop(striker);
    // Strikes that began late go on behind the end, and may be stopped there.
    let is_given_up = is_given_up || work.is_stopped(recorder);
    if !is_given_up {
        load.ask_each().await;
        // What ended later than it was to is to be felt, too.
        sleep_until(mended + ASKED_BEHIND).await;
    }
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    served(&load, recorder, Duration::from_millis(scenario.recover_within_ms)).await;
    if let Err(error) = settled(ground, recorder).await {
        recorder.note(What::Down { node: None, why: error.to_string() });
    }
    prober::end(&probing, &nodes, recorder).await;
    let tickets = load.tickets();
    (wanted.people, wanted.recorded) = (load.people().to_vec(), load.recorded);
    let read = finals::read(ground, &tickets, &wanted, (recorder, &nodes), output).await;
    if !is_given_up {
        work.is_interrupted(recorder);
    }
    left(ground, &mut load, output).await?;
    read
}

fn plane_of(work: &Work<'_>, recorder: &Arc<Recorder>, nodes: &Nodes) -> Plane {
    let leases = Leases::new(Arc::clone(recorder), nodes.clone());
    match &work.lab {
        None => Plane::Inside(leases),
        Some(lab) => Plane::Kernel(Kernel::new(Arc::clone(lab), Arc::clone(recorder)), leases),
    }
}

/// Nobody of the run is left in a cluster that others use, however far it came.
async fn left(ground: &Ground<'_>, load: &mut Load, output: &Output) -> Result<(), CliError> {
    if ground.is_shared() {
        load.leave(&ground.api()?, output).await;
    }
    load.end();
    Ok(())
}

/// Until the end, or a reason to give up; whether there was one.
async fn watch_over(
    work: &Work<'_>,
    recorder: &Recorder,
    (start, end): (Instant, Instant),
    tell: watch::Sender<bool>,
    output: &Output,
) -> bool {
    let bar = progress((end - start).as_secs(), output);
    bar.set_message("seconds");
    let is_given_up = loop {
        if let Some(why) = recorder.give_up().or_else(|| work.interrupt.why()) {
            recorder.note(What::Aborted { why });
            tell.send_replace(true);
            break true;
        }
        let now = Instant::now();
        if now >= end {
            break false;
        }
        bar.set_position((now - start).as_secs());
        sleep_until(end.min(now + LOOK_EVERY)).await;
    };
    bar.finish_and_clear();
    is_given_up
}

/// Until every customer who is believed heard of a technician, and of the end where a technician's word of it was
/// acknowledged, or nobody has for a while, which is no shorter than it may take: the verdict says who did not.
async fn served(load: &Load, recorder: &Recorder, within: Duration) {
    let (mut before, mut since) = (None, Instant::now());
    let patience = PATIENCE.max(within);
    loop {
        // In this order: what is under way no more is open by then, where anything follows from it.
        let (under_way, open) = (load.under_way(), load.open());
        if before.replace(open) != Some(open) {
            since = Instant::now();
        }
        let is_over = open == 0 && under_way == 0;
        if is_over || since.elapsed() >= recorder.patience(patience) {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Until the cluster is whole again.
async fn settled(ground: &Ground<'_>, recorder: &Recorder) -> Result<(), CliError> {
    match timeout(recorder.patience(SETTLED_WITHIN), ground.settled()).await {
        Ok(settled) => settled,
        Err(_) => Err(CliError::failed("the cluster does not settle")),
    }
}
