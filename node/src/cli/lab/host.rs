//! What this machine has for the laboratory: by what each kind of fault is done, and what is missing for it.
//!
//! **Invariants:** what is said to be possible was tried on this kernel, or is a program or library that is here.
//! **Not here:** doing it (`super::Lab`).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fieldmesh_chaos::{Fault, KINDS};

use super::{groups, machines, order::is_here};
use crate::{cli::CliError, files};

/// By what a fault is done in a laboratory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// By the process that runs the node, or by an operator's request: as in any run.
    AsEver,
    Cable,
    Chance,
    Rate,
    SmallDisk,
    FailingCalls,
    FakedClock,
    Processor,
    Memory,
    /// The kernel is not asked for it.
    Nothing,
}

/// Each kind that scenarios know.
const MEANS: &[(&str, Means)] = &[
    ("partition", Means::Cable),
    ("delay", Means::Nothing),
    ("loss", Means::Chance),
    ("duplicate", Means::Nothing),
    ("reorder", Means::Nothing),
    ("corrupt", Means::Nothing),
    ("bandwidth", Means::Rate),
    ("kill", Means::AsEver),
    ("pause", Means::AsEver),
    ("drain", Means::AsEver),
    ("restart", Means::AsEver),
    ("upgrade", Means::AsEver),
    ("disk.slow", Means::Nothing),
    ("disk.full", Means::SmallDisk),
    ("disk.broken", Means::FailingCalls),
    ("disk.lost", Means::AsEver),
    ("disk.flip", Means::AsEver),
    ("clock", Means::FakedClock),
    ("drift", Means::FakedClock),
    ("actor.fail", Means::AsEver),
    ("actor.slow", Means::AsEver),
    ("actor.stall", Means::AsEver),
    ("cpu", Means::Processor),
    ("memory", Means::Memory),
    ("herd", Means::AsEver),
    ("revoke", Means::AsEver),
    ("expire", Means::AsEver),
    ("join", Means::AsEver),
    ("rotate", Means::AsEver),
];

/// What needs the machine's network, and cannot be without it.
const OF_THE_NETWORK: &[Means] = &[Means::Cable, Means::Chance, Means::Rate];
/// Where packages put the libraries that make calls fail.
const CALLS_AT: &[&str] = &["/usr/lib/fiu", "/usr/local/lib/fiu", "/usr/lib64/fiu"];
/// Those libraries: the first one is told what the second one does.
const CALLS: &[&str] = &["fiu_run_preload.so", "fiu_posix_preload.so"];
const CLOCK: &str = "faketime/libfaketimeMT.so.1";

pub(super) fn means(kind: &str) -> Means {
    let known = MEANS.iter().find(|(name, _)| *name == kind);
    known.map_or(Means::Nothing, |(_, means)| *means)
}

impl Means {
    /// As people are told.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::AsEver => "signals, processes and requests, as in any run",
            Self::Cable => {
                "a cable's end that is taken down; one way, between regions or two nodes: nft drop"
            }
            Self::Chance => "nft, numgen random",
            Self::Rate => "nft, limit rate",
            Self::SmallDisk => "a tmpfs that is filled",
            Self::FailingCalls => "libfiu, fdatasync with EIO",
            Self::FakedClock => "libfaketime",
            Self::Processor => "cgroup: cpu.max of v2, cpu.cfs_quota_us of v1",
            Self::Memory => "cgroup: memory.high of v2, memory.limit_in_bytes of v1",
            Self::Nothing => "nothing",
        }
    }
}

/// What this machine has.
#[derive(Debug)]
pub(super) struct Host {
    is_root: bool,
    /// By what is missing.
    missing: BTreeMap<&'static str, String>,
    pub(super) calls: Vec<PathBuf>,
    pub(super) clock: Option<PathBuf>,
}

/// What is to be installed where one of these programs is not here; each comes with its package.
fn absent(programs: &[(&str, &str)]) -> Option<String> {
    let (program, package) = programs.iter().find(|(program, _)| !is_here(program))?;
    Some(format!("`{program}` is missing; install the package {package}"))
}

fn library(of: &[PathBuf]) -> Option<PathBuf> {
    of.iter().find(|path| path.is_file()).cloned()
}

/// Where the library of clocks may be: with the machine's libraries, or with those of its architecture.
fn clocks() -> Vec<PathBuf> {
    let lib = Path::new("/usr/lib");
    let own = files::names(lib).unwrap_or_default().into_iter().map(|name| lib.join(name));
    let all =
        own.chain([lib, "/usr/lib64".as_ref(), "/usr/local/lib".as_ref()].map(Path::to_owned));
    all.map(|dir| dir.join(CLOCK)).collect()
}

impl Host {
    /// Looks at it; of the network, by trying.
    pub(super) fn look() -> Self {
        let is_root = rustix::process::geteuid().is_root();
        let calls_at = CALLS_AT.iter().map(Path::new).find(|dir| dir.join(CALLS[0]).is_file());
        let calls: Vec<PathBuf> =
            CALLS.iter().flat_map(|name| calls_at.map(|dir| dir.join(name))).collect();
        let clock = library(&clocks());
        let mut missing = BTreeMap::new();
        // Also of a kind that has no means yet: it is refused, and not taken for done.
        for (kind, _) in KINDS {
            let why = match means(kind) {
                Means::AsEver => None,
                Means::Nothing => Some(
                    "the laboratory has no means of the kernel for it (few kernels have netem \
                     and dm-delay)"
                        .to_owned(),
                ),
                _ if !is_root => Some("it needs root".to_owned()),
                Means::Cable | Means::Chance | Means::Rate => None,
                Means::SmallDisk => {
                    absent(&[("mount", "mount"), ("umount", "mount"), ("fallocate", "util-linux")])
                }
                Means::FailingCalls if calls.is_empty() => {
                    Some("libfiu is missing; install the package fiu-utils".to_owned())
                }
                Means::FailingCalls => absent(&[("fiu-ctrl", "fiu-utils")]),
                Means::FakedClock if clock.is_none() => {
                    Some("libfaketime is missing; install the package libfaketime".to_owned())
                }
                Means::FakedClock => None,
                Means::Processor => groups::missing("cpu"),
                Means::Memory => groups::missing("memory"),
            };
            if let Some(why) = why {
                missing.insert(*kind, why);
            }
        }
        let mut host = Self { is_root, missing, calls, clock };
        if is_root {
            host.try_the_network();
        }
        host
    }

    fn try_the_network(&mut self) {
        let rules = OF_THE_NETWORK.iter().map(|means| match means {
            Means::Chance => "ether type ip numgen random mod 100 < 50",
            Means::Rate => "ether type ip limit rate over 1000 bytes/second burst 3000 bytes",
            _ => "iifname \"mesh1\" oifname \"mesh2\" ether type ip",
        });
        let tried = absent(&[("ip", "iproute2"), ("nft", "nftables"), ("setpriv", "util-linux")])
            .map_or_else(|| machines::tried(&rules.collect::<Vec<_>>()), Err);
        for (at, means) in OF_THE_NETWORK.iter().enumerate() {
            let why = match &tried {
                Err(why) => Some(why),
                Ok(rules) => rules.get(at).and_then(|rule| rule.as_ref().err()),
            };
            let Some(why) = why else { continue };
            for (kind, _) in MEANS.iter().filter(|(_, of)| of == means) {
                self.missing.insert(*kind, why.clone());
            }
        }
    }

    /// Whatever befalls it, a laboratory needs machines.
    ///
    /// # Errors
    /// Another user than root.
    pub(super) fn demand_root(&self) -> Result<(), CliError> {
        if self.is_root {
            return Ok(());
        }
        Err(CliError::usage(
            "a laboratory is made of network namespaces, which needs root; `fieldmesh chaos run` makes one on \
             loopback, and needs nobody",
        ))
    }

    /// Why a kind of fault is not possible.
    pub(super) fn missing(&self, kind: &str) -> Option<&str> {
        self.missing.get(kind).map(String::as_str)
    }

    pub(super) fn refuses(&self, fault: &Fault) -> Option<String> {
        if matches!(fault, Fault::Devices(_)) {
            let text = "the laboratory has no means of the kernel between devices and nodes";
            return Some(text.to_owned());
        }
        self.missing(fault.name()).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_means_or_a_reason() {
        let known: Vec<&str> = MEANS.iter().map(|(kind, _)| *kind).collect();
        let all: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(known, all);
        let host = Host::look();
        for (kind, _) in KINDS {
            match means(kind) {
                Means::AsEver => assert_eq!(host.missing(kind), None, "{kind}"),
                Means::Nothing => assert!(host.missing(kind).is_some(), "{kind}"),
                _ if !host.is_root => assert_eq!(host.missing(kind), Some("it needs root")),
                _ => {}
            }
        }
        assert_eq!(host.demand_root().is_ok(), host.is_root);
    }

    #[test]
    fn what_is_missing_is_called_by_its_package() {
        let missing = absent(&[("sh", "dash"), ("fieldmesh-has-no-such-program", "such")]);
        assert!(missing.is_some_and(|why| why.ends_with("package such")));
        assert_eq!(absent(&[("sh", "dash")]), None);
    }
}
