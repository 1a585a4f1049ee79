//! Looks at the cluster while a run goes on: who leads, what processes hold, how full queues are.
//!
//! **Invariants:** a group is led by whom most of its voters name, and without a leader where they cannot; what nodes that
//! can be asked do not tell is noted as that. **Not here:** what is too much (`fieldmesh_chaos`).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use fieldmesh_actors::queues::Queue;
use fieldmesh_chaos::{FILES, Limits, RESIDENT, history::What};
use futures_util::future::join_all;
use tokio::{task::JoinHandle, time::timeout};

use super::{
    nodes::{Led, Nodes, Reachable},
    recorder::Recorder,
};
use crate::{
    cli::fleet::footprint,
    files,
    web::cluster::{ClusterView, GroupView},
};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A node that does not answer within this says nothing of who leads.
const PATIENCE: Duration = Duration::from_secs(1);
/// Whoever does not lead after so many looks, when all has settled, does not.
const LAST_LOOKS_MAX: u32 = 5;
/// A node that does not say within this how full its queues are does not say it.
const QUEUES_WITHIN: Duration = Duration::from_secs(5);

/// The most memory and files that a node holds now; zero of what cannot be read.
pub(super) fn held(nodes: &Nodes) -> (u64, u64) {
    let processes: Vec<u32> = nodes.all().into_values().filter_map(|node| node.process).collect();
    let resident = processes.iter().filter_map(|process| footprint(*process).ok());
    let resident = resident.map(|held| held.resident_bytes).max();
    let files = processes.iter().filter_map(|process| open_files(*process)).max();
    (resident.unwrap_or(0), files.unwrap_or(0))
}

/// Whether there is no such process; whatever keeps this program from looking says nothing of it.
fn is_gone(process: u32) -> bool {
    PathBuf::from(format!("/proc/{process}")).try_exists().is_ok_and(|is_there| !is_there)
}

fn open_files(process: u32) -> Option<u64> {
    files::count(format!("/proc/{process}/fd").as_ref())
}

/// Looks for as long as it runs.
pub(super) async fn look(nodes: Nodes, recorder: Arc<Recorder>, limits: Limits) {
    tokio::join!(processes(&nodes, &recorder, limits), queues(&nodes, &recorder));
}

async fn processes(nodes: &Nodes, recorder: &Recorder, limits: Limits) {
    loop {
        leaders(nodes, recorder).await;
        for (number, node) in nodes.all() {
            let Some(process) = node.process else { continue };
            let sample = |name: &str, value: u64, bound: u64| {
                recorder.note(What::Sample { node: number, name: name.to_owned(), value, bound });
            };
            let held = footprint(process);
            // It may have been started again meanwhile, as another process.
            let is_same = |now: &Reachable| now.process == node.process;
            let is_over = held.as_ref().map_or_else(|_| is_gone(process), |held| held.is_over);
            if is_over && nodes.all().get(&number).is_some_and(is_same) {
                nodes.is_out(number);
                let why = "its process ended by itself".to_owned();
                recorder.note(What::Down { node: Some(number), why });
                continue;
            }
            let missing = |name: &str, why: String| {
                // One that was ended meanwhile has none.
                if nodes.all().get(&number).is_some_and(is_same) {
                    let (name, why) = (name.to_owned(), Some(why));
                    recorder.note(What::Unsampled { node: number, name, why });
                }
            };
            match held {
                Ok(held) => sample(RESIDENT, held.resident_bytes, limits.resident_bytes),
                Err(error) => missing(RESIDENT, error.to_string()),
            }
            match open_files(process) {
                Some(open) => sample(FILES, open, limits.open_files),
                None => missing(FILES, "they cannot be counted".to_owned()),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Asks each node how full its queues are, which it says with their bounds.
async fn queues(nodes: &Nodes, recorder: &Recorder) {
    let mut shown = Shown::default();
    loop {
        let asked = nodes.all().into_iter().map(async |(number, node)| {
            let told = match timeout(QUEUES_WITHIN, node.api.bytes("/metrics")).await {
                Ok(Ok(text)) => Ok(figures(&String::from_utf8_lossy(&text))),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {} s", QUEUES_WITHIN.as_secs())),
            };
            (number, node.process, told)
        });
        for (number, process, told) in join_all(asked).await {
            // It may have been taken out meanwhile, or started again.
            if nodes.all().get(&number).is_some_and(|now| now.process == process) {
                shown.entries(number, told).into_iter().for_each(|what| recorder.note(what));
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How much of each queue is in use, with its bound.
type Figures = BTreeMap<&'static str, (u64, u64)>;

/// Which queues each node has shown; false where it showed none of that name yet, which is noted once.
#[derive(Default)]
struct Shown(BTreeMap<(u64, &'static str), bool>);

impl Shown {
    /// What is to be noted of what a node told, or of why it did not.
    fn entries(&mut self, node: u64, told: Result<Figures, String>) -> Vec<What> {
        let mut entries = Vec::new();
        for name in Queue::ALL.map(Queue::name) {
            let figure = told.as_ref().map(|figures| figures.get(name).copied());
            let before = self.0.get(&(node, name)).copied();
            let owned = name.to_owned();
            match (figure, before) {
                (Ok(Some((value, bound))), _) => {
                    self.0.insert((node, name), true);
                    entries.push(What::Sample { node, name: owned, value, bound });
                }
                (Ok(None), Some(true)) => {
                    let why = Some("it shows it no more".to_owned());
                    entries.push(What::Unsampled { node, name: owned, why });
                }
                (Ok(None), Some(false)) => {}
                (Ok(None), None) => {
                    self.0.insert((node, name), false);
                    entries.push(What::Unsampled { node, name: owned, why: None });
                }
                (Err(why), _) => {
                    let why = Some(why.clone());
                    entries.push(What::Unsampled { node, name: owned, why });
                }
            }
        }
        entries
    }
}

/// What the metrics of a node say of its queues; only what has a bound.
fn figures(metrics: &str) -> Figures {
    let of = |metric: &str, queue: &str| {
        let value = |line: &str| {
            let line = line.strip_prefix(metric)?.strip_prefix("{queue=\"")?;
            line.strip_prefix(queue)?.strip_prefix("\"} ")?.trim().parse::<u64>().ok()
        };
        metrics.lines().find_map(value)
    };
    let figure = |name: &'static str| {
        let used = of("fieldmesh_queue_used", name)?;
        Some((name, (used, of("fieldmesh_queue_bound", name)?)))
    };
    Queue::ALL.map(Queue::name).into_iter().filter_map(figure).collect()
}

/// What nodes said of a group: whom each of those that answered names.
type Said = BTreeMap<u64, Option<u64>>;

/// What nodes said in one look.
#[derive(Default)]
struct Looked {
    said: BTreeMap<u32, Said>,
    /// With the epoch of the record that has them.
    voters: BTreeMap<u32, (u64, Vec<u64>)>,
}

impl Looked {
    fn take(&mut self, number: u64, view: ClusterView) {
        let own = view.members.iter().find(|member| member.number == view.node);
        let own = own.map(|member| member.region.clone());
        // What another region does is not what this one's nodes are broken for.
        let is_ours = |group: &GroupView| group.region.is_none() || group.region == own;
        for group in view.groups.into_iter().filter(is_ours) {
            self.said.entry(group.group).or_default().insert(number, group.leader);
            let known = self.voters.entry(group.group).or_default();
            // One that is cut off has a record of before.
            if view.epoch >= known.0 {
                *known = (view.epoch, group.wanted_voters);
            }
        }
    }
}

/// Who leads a group: whom most of its voters name that are nodes of the run. Nobody does where too few could name one,
/// whatever those would say that did not answer, or are of other regions; who is out says nothing for anybody.
fn led(voters: &[u64], numbers: &BTreeSet<u64>, asked: &BTreeSet<u64>, said: &Said) -> Led {
    let of_the_run: BTreeSet<u64> =
        voters.iter().copied().filter(|voter| numbers.contains(voter)).collect();
    // Of a group that votes elsewhere alone, whoever can be asked knows by others.
    let (ours, foreign) = match of_the_run.len() {
        0 => (numbers.clone(), 0),
        count => (of_the_run, voters.len().saturating_sub(count)),
    };
    let mut named: BTreeMap<u64, usize> = BTreeMap::new();
    for leader in ours.iter().filter_map(|voter| said.get(voter).copied().flatten()) {
        *named.entry(leader).or_default() += 1;
    }
    let most = named.into_iter().max_by_key(|(_, count)| *count);
    let count = most.map_or(0, |(_, count)| count);
    if let Some((leader, _)) = most
        && count * 2 > ours.len()
    {
        return Led::By(leader);
    }
    let has_answered = |voter: &&u64| said.contains_key(*voter);
    let answered = ours.iter().filter(has_answered).count();
    let silent = ours.intersection(asked).filter(|voter| !has_answered(voter)).count();
    if (count + silent + foreign) * 2 > ours.len() + foreign {
        return Led::Unknown { answered: answered as u64, of: ours.len() as u64 };
    }
    Led::Nobody
}

/// Looks who leads; whether every group has somebody.
async fn leaders(nodes: &Nodes, recorder: &Recorder) -> bool {
    let views = nodes.all().into_iter().map(async |(number, node)| {
        let told = timeout(PATIENCE, node.api.get::<ClusterView>("/v1/cluster")).await;
        (number, told.ok().and_then(Result::ok))
    });
    let mut looked = Looked::default();
    for (number, view) in join_all(views).await {
        if let Some(view) = view {
            looked.take(number, view);
        }
    }
    let Looked { said, voters } = looked;
    let voters = voters.into_iter().map(|(group, (_, voters))| (group, voters)).collect();
    // Whoever was taken out meanwhile is not asked.
    let (numbers, asked) = (nodes.numbers(), nodes.all().into_keys().collect());
    let (mut is_led, nothing) = (true, Said::new());
    for (group, voters) in nodes.voting(voters) {
        let led = led(&voters, &numbers, &asked, said.get(&group).unwrap_or(&nothing));
        is_led &= matches!(led, Led::By(_));
        if nodes.led_by(group, led) {
            recorder.note(match led {
                Led::By(node) => What::Leader { group, node: Some(node) },
                Led::Nobody => What::Leader { group, node: None },
                Led::Unknown { answered, of } => What::LeaderUnknown { group, answered, of },
            });
        }
    }
    is_led
}

/// Looks no more, once it was seen how things are in the end: a node that is busy is asked again.
pub(super) async fn end(probing: &JoinHandle<()>, nodes: &Nodes, recorder: &Recorder) {
    probing.abort();
    for _ in 0..LAST_LOOKS_MAX {
        if leaders(nodes, recorder).await {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn said(all: &[(u64, Option<u64>)]) -> Said {
        all.iter().copied().collect()
    }

    /// Of three voters, of whom these were asked.
    fn of_three(asked: &[u64], all: &[(u64, Option<u64>)]) -> Led {
        let (numbers, asked) = (BTreeSet::from([1, 2, 3, 4]), asked.iter().copied().collect());
        led(&[1, 2, 3], &numbers, &asked, &said(all))
    }

    #[test]
    fn a_leader_is_whom_most_voters_name() {
        let all = [1, 2, 3, 4];
        let (none, one) = (None, Some(1));
        assert_eq!(of_three(&all, &[(1, one), (2, one), (3, none)]), Led::By(1));
        // One that is cut off names itself, and one that has no vote believes it.
        let alone = [(1, one), (2, none), (3, none), (4, one)];
        assert_eq!(of_three(&all, &alone), Led::Nobody);
        // Two are out: who is left leads nobody.
        assert_eq!(of_three(&[1], &[(1, one)]), Led::Nobody);
        assert_eq!(of_three(&[], &[]), Led::Nobody, "all are out");
        let unknown = |answered| Led::Unknown { answered, of: 3 };
        assert_eq!(of_three(&all, &[]), unknown(0), "nobody answers");
        assert_eq!(of_three(&all, &[(4, one)]), unknown(0), "no voter does");
        assert_eq!(of_three(&[1, 2], &[(1, one)]), unknown(1), "the other one may say the same");
        assert_eq!(of_three(&all, &[(1, none)]), unknown(1));
        assert_eq!(of_three(&[2, 3], &[(2, Some(3)), (3, Some(3))]), Led::By(3));
    }

    #[test]
    fn voters_of_other_regions_may_know_better() {
        let (voters, numbers) = ([1, 2, 8, 9, 10], BTreeSet::from([1, 2]));
        let of = |asked: &[u64], all: &[(u64, Option<u64>)]| {
            led(&voters, &numbers, &asked.iter().copied().collect(), &said(all))
        };
        assert_eq!(of(&[1, 2], &[(1, Some(9)), (2, Some(9))]), Led::By(9));
        let unknown = Led::Unknown { answered: 1, of: 2 };
        assert_eq!(of(&[1], &[(1, None)]), unknown, "three could lead elsewhere");
        let elsewhere = led(&[8, 9], &numbers, &numbers, &said(&[(1, Some(8)), (2, Some(8))]));
        assert_eq!(elsewhere, Led::By(8));
    }

    #[test]
    fn what_is_said_again_is_no_news_and_who_led_last_stays_known() {
        let nodes = Nodes::default();
        assert!(nodes.led_by(1, Led::By(2)) && !nodes.led_by(1, Led::By(2)));
        assert!(nodes.led_by(1, Led::Unknown { answered: 0, of: 3 }));
        assert_eq!(nodes.leaders(), BTreeMap::from([(1, 2)]));
        assert!(nodes.led_by(1, Led::By(2)), "it is known again");
        assert!(nodes.led_by(1, Led::Nobody) && nodes.leaders().is_empty());
    }

    #[test]
    fn a_queue_is_read_with_its_bound_and_not_without() {
        let text = "# TYPE fieldmesh_queue_used gauge\nfieldmesh_queue_used{queue=\"outbox\"} 7\n\
                    fieldmesh_queue_used{queue=\"outbox_under_way\"} 3\n\
                    fieldmesh_queue_bound{queue=\"outbox\"} 8192\nfieldmesh_queue_used{queue=\"mail\"} 1\n\
                    fieldmesh_queue_bound{queue=\"mail\"} NaN\n";
        assert_eq!(figures(text), BTreeMap::from([("outbox", (7, 8192))]));
        assert_eq!(figures("fieldmesh_entities_awake 4\n"), BTreeMap::new());
    }

    #[test]
    fn what_is_not_told_is_noted_as_missing_and_what_a_release_does_not_have_once() {
        let mut shown = Shown::default();
        let count = Queue::ALL.len();
        let missing = |entries: &[What], of: bool| {
            let is_so =
                |what: &&What| matches!(what, What::Unsampled { why, .. } if why.is_some() == of);
            entries.iter().filter(is_so).count()
        };
        let first = shown.entries(1, Ok(Figures::from([("outbox", (7, 8192))])));
        assert_eq!((first.len(), missing(&first, false)), (count, count - 1));
        let sample = What::Sample { node: 1, name: "outbox".into(), value: 7, bound: 8192 };
        assert!(first.contains(&sample), "{first:?}");
        let gone = shown.entries(1, Ok(Figures::new()));
        assert_eq!((gone.len(), missing(&gone, true)), (1, 1), "it was there: {gone:?}");
        let silent = shown.entries(1, Err("no answer".into()));
        assert_eq!((silent.len(), missing(&silent, true)), (count, count));
        assert_eq!(shown.entries(2, Ok(Figures::new())).len(), count, "another node");
    }
}
