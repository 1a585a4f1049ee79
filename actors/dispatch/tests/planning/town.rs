//! Made-up towns, in the file format, so that everything begins where the product begins.
//!
//! **Invariant:** the same seed and size give the same town.

use std::fmt::Write;

use fieldmesh_dispatch::{
    instance::{Instance, TICKS_PER_UNIT, release_dates},
    problem::Ticks,
    search::WHOLE,
};

pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let Self(state) = self;
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % end
    }

    /// Some of three kinds.
    fn kinds(&mut self, percent: u64) -> String {
        let kinds = (0..3).filter(|_| self.below(100) < percent);
        kinds.map(|kind| kind.to_string()).collect::<Vec<_>>().join(",")
    }
}

/// How many technicians and requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) technicians: u64,
    pub(crate) requests: u64,
}

/// The text of an instance with three skills, three tools and two kinds of parts, in a day of 400.
pub(crate) fn text(seed: u64, size: Size) -> String {
    let mut chance = Chance(seed);
    let mut text = format!(
        "TOWN{seed}\n\nINFO\nCREW COUNT  SKILLS  TOOLS   SPARE PARTS\n{}  3  3  2\n\n\
         DEPOT TECHNICIANS AND REQUESTS\nID X Y TWS TWE Serv SKILLS TOOLS PARTS\n\
         0 50 50 0 400 0 [] [] []\n",
        size.technicians
    );
    for id in 1..=size.technicians {
        let (x, y) = (chance.below(100), chance.below(100));
        let (skills, tools) = (chance.kinds(80), chance.kinds(60));
        let (one, two) = (chance.below(3), chance.below(3));
        writeln!(text, "{id} {x} {y} 0 400 0 [{skills}] \t[{tools}] \t[{one},{two}]").unwrap();
    }
    for id in size.technicians + 1..=size.technicians + size.requests {
        let (x, y, open) = (chance.below(100), chance.below(100), chance.below(250));
        let close = open + 5 + chance.below(80);
        let (skill, tools) = (chance.below(3), chance.kinds(25));
        let (one, two) = (chance.below(2), chance.below(2));
        writeln!(text, "{id} {x} {y} {open} {close} 10 [{skill}] [{tools}] [{one}, {two}]")
            .unwrap();
    }
    text
}

pub(crate) fn town(seed: u64, size: Size) -> Instance {
    Instance::parse(&text(seed, size)).unwrap()
}

/// About half of the requests become known some time before they close.
pub(crate) fn releases_text(seed: u64, instance: &Instance) -> String {
    let mut chance = Chance(seed ^ 0xbeef);
    let mut rows = String::new();
    let mut dynamic = 0;
    for request in instance.problem.requests() {
        let close = request.window.close / TICKS_PER_UNIT as Ticks;
        if chance.below(2) == 0 {
            writeln!(rows, "{} -1", request.id).unwrap();
        } else {
            let before = 20 + chance.below(100) as Ticks;
            writeln!(rows, "{} {}", request.id, (close - before).max(0)).unwrap();
            dynamic += 1;
        }
    }
    let known = instance.problem.requests().len() - dynamic;
    format!("# Instance\nDyn Stat\n{dynamic} {known}\nID RD\n{rows}")
}

pub(crate) fn releases(seed: u64, instance: &Instance) -> Vec<Option<Ticks>> {
    release_dates(&releases_text(seed, instance), &instance.problem).unwrap()
}

/// A budget of so many steps.
pub(crate) fn steps(steps: u32) -> impl FnMut() -> u32 {
    let mut done = 0;
    move || {
        done += 1;
        if done > steps {
            WHOLE
        } else {
            (u64::from(done) * u64::from(WHOLE) / u64::from(steps + 1)) as u32
        }
    }
}
