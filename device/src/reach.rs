//! How the command finds the service: by the addresses that its owner named, and by the nodes that it
//! was told of, which are kept beside the device for its next start.
//!
//! **Invariants:** what is kept is a hint: lost or damaged it costs time and nothing else; it is not
//! among the device's secrets, so that no start rewrites those. **Not here:** which address is tried
//! after which (the library).

use std::{io, net::SocketAddr, path::Path, time::Duration};

use fieldmesh_device::{
    Nodes, Others, files,
    transport::{self, Endpoint},
};
use minicbor::{Decode, Encode};
use tokio::{task::JoinSet, time::timeout};

/// A name is resolved by then, or the network is not there.
const RESOLVE: Duration = Duration::from_secs(5);
/// Addresses that names may give, all together: a region has fewer nodes for devices.
const NAMED_MAX: usize = 16;
const FILE: &str = "nodes.cbor";

#[derive(Encode, Decode)]
struct Stored {
    /// The node that took the device last, IP:port.
    #[n(0)]
    last: Option<String>,
    /// What the service told, in this device's order.
    #[n(1)]
    told: Vec<String>,
}

/// The nodes that were known when the device last ran.
pub(crate) fn known(dir: &Path) -> Nodes {
    let bytes = files::read_if_there(&dir.join(FILE)).ok().flatten().unwrap_or_default();
    let Ok(Stored { last, told }) = minicbor::decode(&bytes) else {
        return Nodes::default();
    };
    let told = told.iter().filter_map(|node| node.parse().ok()).collect();
    Nodes { last: last.and_then(|node| node.parse().ok()), told }
}

/// Keeps the nodes for the next start.
pub(crate) fn keep(dir: &Path, nodes: &Nodes) -> io::Result<()> {
    let told = nodes.told.iter().map(SocketAddr::to_string).collect();
    let stored = Stored { last: nodes.last.map(|node| node.to_string()), told };
    let bytes = minicbor::to_vec(&stored).map_err(io::Error::other)?;
    files::write_secret(&dir.join(FILE), &bytes)
}

/// The places in a list with commas.
pub(crate) fn places(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

/// The first of a list that is not HOST:PORT.
pub(crate) fn misnamed(list: &str) -> Option<&str> {
    let is_place = |place: &str| {
        let parts = place.rsplit_once(':');
        parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    places(list).find(|place| !is_place(place))
}

/// Where to begin, where else to try, and a socket that reaches it.
pub(crate) struct Way {
    pub(crate) endpoint: Endpoint,
    pub(crate) first: SocketAddr,
    pub(crate) others: Others,
}

/// Finds the way to a service by the names that its owner gave and by what is known.
pub(crate) async fn way(service: &str, known: &Nodes) -> Result<Way, String> {
    let named = resolved(service).await;
    let is_there = |node: &SocketAddr| {
        known.told.contains(node) || named.iter().flatten().any(|it| it == node)
    };
    let first = match (known.last.filter(is_there), &named) {
        // Where the device was last it need not be told again.
        (Some(last), _) => last,
        (None, Ok(named)) => named[0],
        (None, Err(why)) => *known.told.first().ok_or(why)?,
    };
    let others = Others { named: named.unwrap_or_default(), told: known.told.clone() };
    // A socket for IPv6 reaches IPv4 too, where the machine has both.
    let mut all = others.named.iter().chain(&others.told);
    let six = all.find(|address| address.is_ipv6());
    let endpoint = transport::endpoint(*six.unwrap_or(&first))
        .or_else(|_| transport::endpoint(first))
        .map_err(|error| format!("no socket: {error}"))?;
    Ok(Way { endpoint, first, others })
}

/// The addresses of all names that are resolved in time, in the order of the names; at least one.
async fn resolved(service: &str) -> Result<Vec<SocketAddr>, String> {
    let mut lookups = JoinSet::new();
    for (position, place) in places(service).enumerate() {
        let place = place.to_owned();
        lookups.spawn(async move {
            let found = timeout(RESOLVE, tokio::net::lookup_host(&place)).await;
            let found = match found {
                Ok(Ok(found)) => Ok(found.collect::<Vec<_>>()),
                Ok(Err(error)) => Err(format!("{place} is not resolved: {error}")),
                Err(_) => Err(format!("{place} is not resolved in time")),
            };
            (position, found)
        });
    }
    let mut found = lookups.join_all().await;
    found.sort_by_key(|(position, _)| *position);
    let (mut addresses, mut why) = (Vec::new(), format!("{service} has no address"));
    for (_, found) in found {
        match found {
            Ok(found) => addresses.extend(found),
            Err(error) => why = error,
        }
    }
    addresses.truncate(NAMED_MAX);
    if addresses.is_empty() { Err(why) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::disallowed_methods,
        reason = "tests fail by panicking and damage files"
    )]

    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_list_names_places_with_their_ports() {
        let found: Vec<&str> = places("a:1, [::1]:2,c:3").collect();
        assert_eq!(found, ["a:1", "[::1]:2", "c:3"]);
        assert_eq!(misnamed("a:1,[::1]:2"), None);
        for (list, wrong) in [("", ""), ("a:1,", ""), ("a:1,b", "b"), ("a:x", "a:x"), (":1", ":1")]
        {
            assert_eq!(misnamed(list), Some(wrong), "{list}");
        }
    }

    #[test]
    fn what_is_kept_is_found_again_and_damage_is_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(known(dir.path()), Nodes::default());
        let nodes = Nodes { last: Some(at(2)), told: vec![at(1), at(2)] };
        keep(dir.path(), &nodes).unwrap();
        assert_eq!(known(dir.path()), nodes);
        std::fs::write(dir.path().join(FILE), b"\x82").unwrap();
        assert_eq!(known(dir.path()), Nodes::default());
        keep(dir.path(), &nodes).unwrap();
        assert_eq!(known(dir.path()), nodes);
    }

    #[test]
    fn the_bytes_of_what_is_kept_are_frozen() {
        let dir = tempfile::tempdir().unwrap();
        let file = |nodes: &Nodes| {
            keep(dir.path(), nodes).unwrap();
            std::fs::read(dir.path().join(FILE)).unwrap()
        };
        let nodes = Nodes { last: Some(at(2)), told: vec![at(1)] };
        assert_eq!(file(&nodes), b"\x82\x6b127.0.0.1:2\x81\x6b127.0.0.1:1");
        assert_eq!(known(dir.path()), nodes);
        assert_eq!(file(&Nodes::default()), b"\x82\xf6\x80");
    }

    #[tokio::test]
    async fn a_device_begins_where_it_was_last() {
        let begin = async |service: &str, last: Option<u16>, told: &[u16]| {
            let told = told.iter().copied().map(at).collect();
            way(service, &Nodes { last: last.map(at), told }).await.map(|way| way.first)
        };
        let two = "127.0.0.1:1,127.0.0.1:2";
        assert_eq!(begin(two, None, &[]).await, Ok(at(1)));
        assert_eq!(begin(two, Some(2), &[]).await, Ok(at(2)));
        assert_eq!(begin(two, Some(3), &[3]).await, Ok(at(3)));
        assert_eq!(begin(two, Some(3), &[4]).await, Ok(at(1)), "it is not a node any more");
        // Without anybody to resolve names, what was told is enough.
        assert_eq!(begin("nowhere", None, &[4]).await, Ok(at(4)));
        assert!(begin("nowhere", Some(4), &[]).await.is_err());
    }

    #[tokio::test]
    async fn all_that_is_named_and_told_is_tried() {
        let known = Nodes { last: None, told: vec![at(3)] };
        let way = way("127.0.0.1:1,nowhere,127.0.0.1:2", &known).await.unwrap();
        assert_eq!((way.others.named, way.others.told), (vec![at(1), at(2)], vec![at(3)]));
    }
}
