//! The cluster that a run breaks: one that was made for it, or one that is there already.
//!
//! A cluster that is there is reached as an operator reaches it, with the operator's files of a node on this
//! machine; of it, the nodes of that node's region are broken. **Invariant:** processes are touched only where
//! this program started them. **Not here:** whether the cluster may be broken (`guards`), what befalls it
//! (`striker`).

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use fieldmesh_domain::placement::GROUPS_PER_REGION;
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep};

use crate::{
    cli::{
        CliError, Common,
        api::Api,
        fleet::{Fleet, said_by},
    },
    web::{
        cluster::{ClusterView, GroupView},
        rest::Point,
    },
};

/// A cluster that was broken is whole again within this.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where a run takes place.
pub(super) enum Ground<'a> {
    Made { fleet: &'a mut Fleet, shards: u32 },
    There(Box<There>),
}

/// A cluster that others use.
pub(super) struct There {
    common: Common,
    api: Api,
    pub(super) view: ClusterView,
    nodes: BTreeMap<u64, Api>,
    devices: Vec<SocketAddr>,
    region: String,
    /// The region's position among the regions, and its shards.
    index: u32,
    shards: u32,
}

impl There {
    /// The cluster of the node whose directory this is.
    ///
    /// # Errors
    /// No such node, or one that cannot be asked.
    pub(super) async fn find(common: &Common) -> Result<Self, CliError> {
        let api = Api::from_common(common)?;
        let view: ClusterView = api.get("/v1/cluster").await?;
        let asked = view.members.iter().find(|member| member.number == view.node);
        let region = asked.map(|member| member.region.clone());
        let region = region.ok_or_else(|| CliError::failed("the node is no member yet"))?;
        let (mut nodes, mut devices) = (BTreeMap::new(), Vec::new());
        for member in view.members.iter().filter(|member| member.region == region) {
            if member.presence == "gone" {
                continue;
            }
            let named = |error: std::io::Error| {
                CliError::failed(format!("{} cannot be resolved: {error}", member.devices))
            };
            devices.extend(tokio::net::lookup_host(&member.devices).await.map_err(named)?.next());
            let node = Api {
                server: member.https.clone(),
                devices: member.devices.clone(),
                ..api.clone()
            };
            nodes.insert(member.number, node);
        }
        let is_ours = |group: &&GroupView| {
            group.kind == "shard" && group.region.as_deref() == Some(region.as_str())
        };
        let first = view.groups.iter().filter(is_ours).map(|group| group.group).min();
        let index = first.unwrap_or(0) / GROUPS_PER_REGION;
        let shards = view.regions.iter().find(|one| one.region == region).map(|one| one.shards);
        let (common, shards) = (common.clone(), shards.unwrap_or(1));
        Ok(Self { common, api, view, nodes, devices, region, index, shards })
    }

    pub(super) fn numbers(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    pub(super) fn node(&self, number: u64) -> Result<Api, CliError> {
        let node = self.nodes.get(&number).cloned();
        node.ok_or_else(|| CliError::failed(format!("there is no node {number}")))
    }

    /// How it is now.
    pub(super) async fn look(&self) -> Result<ClusterView, CliError> {
        self.api.get("/v1/cluster").await
    }

    async fn settled(&self) -> Result<(), CliError> {
        let until = Instant::now() + SETTLED_WITHIN;
        loop {
            if self.look().await.is_ok_and(|view| view.settled) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(CliError::failed("the cluster does not settle"));
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Ground<'_> {
    pub(super) fn numbers(&self) -> Vec<u64> {
        match self {
            Self::Made { fleet, .. } => (1..=fleet.len() as u64).collect(),
            Self::There(there) => there.numbers(),
        }
    }

    /// Where the region's groups begin, and its shards.
    pub(super) fn shards(&self) -> (u32, u32) {
        match self {
            Self::Made { shards, .. } => (0, *shards),
            Self::There(there) => (there.index, there.shards),
        }
    }

    /// The groups that these shards are.
    pub(super) fn groups(&self) -> Vec<u32> {
        let (index, shards) = self.shards();
        let first = index.saturating_mul(GROUPS_PER_REGION);
        (1..=shards).map(|shard| first.saturating_add(shard)).collect()
    }

    /// Whether others use it too: whatever the run put there is to be taken away again.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::There(_))
    }

    pub(super) fn api(&self) -> Result<Api, CliError> {
        match self {
            Self::Made { fleet, .. } => fleet.api(),
            Self::There(there) => Ok(there.api.clone()),
        }
    }

    pub(super) fn api_of(&mut self, number: u64) -> Result<Api, CliError> {
        match self {
            Self::Made { fleet, .. } => fleet.api_of(number),
            Self::There(there) => there.node(number),
        }
    }

    /// The node's process, where this program started it.
    pub(super) fn process_of(&mut self, number: u64) -> Result<Option<u32>, CliError> {
        match self {
            Self::Made { fleet, .. } => fleet.process_of(number),
            Self::There(_) => Ok(None),
        }
    }

    /// Where devices connect.
    pub(super) fn devices(&self) -> Vec<SocketAddr> {
        match self {
            Self::Made { fleet, .. } => fleet.devices(),
            Self::There(there) => there.devices.clone(),
        }
    }

    /// Where its people live, where an operator said so: elsewhere nobody is registered.
    pub(super) fn home(&self) -> Option<Point> {
        let Self::There(there) = self else { return None };
        let mut regions = there.view.regions.iter();
        let corner = regions.find(|one| one.region == there.region)?.areas.first()?;
        Some(Point { lat_e6: corner.south_e6, lon_e6: corner.west_e6 })
    }

    /// Whoever can end and start processes.
    pub(super) fn fleet(&mut self) -> Result<&mut Fleet, CliError> {
        match self {
            Self::Made { fleet, .. } => Ok(fleet),
            Self::There(_) => Err(CliError::failed("its processes are not this program's")),
        }
    }

    /// Until every group has the members and the leader that it is to have.
    pub(super) async fn settled(&self) -> Result<(), CliError> {
        match self {
            Self::Made { fleet, .. } => fleet.settled().await.map(drop),
            Self::There(there) => there.settled().await,
        }
    }

    /// A command of this program, as an operator would give it; what it says.
    pub(super) async fn command(&mut self, args: &[&str]) -> Result<Value, CliError> {
        match self {
            Self::Made { fleet, .. } => fleet.ask(1, args).await,
            Self::There(there) => {
                let path =
                    |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
                let (config, dir) = (path(&there.common.config), path(&there.common.data_dir));
                let mut args: Vec<&str> = args.to_vec();
                for (name, value) in [("--config", &config), ("--data-dir", &dir)] {
                    if let Some(value) = value {
                        args.extend([name, value]);
                    }
                }
                said_by(&args).await
            }
        }
    }
}
