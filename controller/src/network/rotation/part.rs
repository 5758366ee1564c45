//! One node that takes part in a rotation: what it is asked, and the edits of its peers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use tranche_netconf::Error;
use tranche_netconf::client::Client;
use tranche_netconf::message::{
    Datastore, DefaultOperation, EditConfig, ErrorOption, Operation, Reply, TestOption,
};
use tranche_netconf::xml::Fragment;

use super::RotationError;
use crate::device::{own_key, tunnels_filter, tunnels_of};
use crate::intent::{BACKHAUL, OwnKey, PeerConfig, Tunnel, TunnelConfig, leaf, write_endpoint};
use crate::inventory::NodeName;
use crate::rollout::action;

/// One node that takes part.
pub(super) struct Part {
    pub(super) node: NodeName,
    pub(super) wanted: TunnelConfig,
    pub(super) client: Client,
    pub(super) has: Tunnel,
    /// Ports that its tunnels receive at, and that the others are told to.
    pub(super) ports: BTreeSet<u16>,
}

/// Where a node's next port comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortRange {
    /// The ports that it may have.
    pub(crate) all: RangeInclusive<u16>,
    /// Those that it was given for other slices, also for such as it does not have at present.
    pub(crate) given: BTreeSet<u16>,
}

impl PortRange {
    /// Whether a port may be that of the slice.
    fn allows(&self, port: u16) -> bool {
        self.all.contains(&port) && !self.given.contains(&port)
    }
}

impl Part {
    /// The port that the node is to be told for its next key. `None`: it keeps what it has prepared. By itself a node takes a port
    /// of any range, which is given up.
    pub(super) async fn next_port(
        &self,
        slice: &str,
        range: &PortRange,
    ) -> Result<Option<u16>, RotationError> {
        let prepared = self.has.state.next.as_ref();
        let prepared = prepared.map(|(key, _)| key.listen_port);
        if prepared.is_some_and(|port| range.allows(port)) {
            return Ok(None);
        }
        let free = self.free_port(range)?;
        if prepared.is_some() {
            if self.has.has_next {
                // With them and without a next key of its own it would look as if it had moved.
                self.edit(&self.without_next(slice)).await?;
            }
            self.act(slice, "<cancel-rotation/>").await?;
        }
        Ok(Some(free))
    }

    /// A port that no other slice has, nor will have; the one that the slice is given is as good as any.
    fn free_port(&self, range: &PortRange) -> Result<u16, RotationError> {
        let is_free = |port: &u16| range.allows(*port) && !self.ports.contains(port);
        let free = range.all.clone().find(is_free);
        free.ok_or_else(|| self.failed("it has no port left for the next key"))
    }

    pub(super) fn failed(&self, why: impl Into<String>) -> RotationError {
        RotationError::Node {
            node: self.node.clone(),
            why: why.into(),
        }
    }

    /// Reads what its tunnel is now.
    pub(super) async fn look(&mut self, slice: &str) -> Result<(), RotationError> {
        let data = self.client.get(Some(tunnels_filter()), None).await;
        let data = data.map_err(|error| self.failed(error.to_string()))?;
        let tunnels = tunnels_of(&data).map_err(|error| self.failed(error.to_string()))?;
        let tunnel = tunnels.get(slice).cloned();
        self.has = tunnel.ok_or_else(|| self.failed("its tunnel is gone"))?;
        Ok(())
    }

    /// Has it as before, whatever it has of a rotation.
    pub(super) async fn take_back(&mut self, slice: &str) -> Result<(), RotationError> {
        self.look(slice).await?;
        // First: with its peers' next keys and without its own it would look as if it had moved.
        self.edit(&self.without_next(slice)).await?;
        if self.has.state.next.is_some() {
            self.act(slice, "<cancel-rotation/>").await?;
        }
        Ok(())
    }

    /// Peers that were not heard on their next keys: those that are nodes of ours, or the others.
    pub(super) fn silent(&self, ours: bool) -> impl Iterator<Item = &String> {
        let peers = self.wanted.peers.iter();
        let peers = peers.filter(move |(_, peer)| peer.node.is_some() == ours);
        let silent = peers.filter(|(name, _)| {
            let seen = self.has.state.peers.get(*name);
            seen.is_none_or(|seen| seen.next_handshake.is_none())
        });
        silent.map(|(name, _)| name)
    }

    pub(super) async fn rotate_key(
        &self,
        slice: &str,
        port: Option<u16>,
    ) -> Result<OwnKey, RotationError> {
        let mut inner = "<rotate-key>".to_owned();
        if let Some(port) = port {
            leaf(&mut inner, "listen-port", &port.to_string());
        }
        inner.push_str("</rotate-key>");
        let output = self.act(slice, &inner).await?;
        let wrapped = Fragment::from_trusted(format!("<output>{}</output>", output.as_str()));
        let elements = wrapped.elements().map_err(|e| self.failed(e.to_string()))?;
        let key = elements.first().map(own_key).transpose();
        let key = key.map_err(|e| self.failed(e.to_string()))?.flatten();
        key.ok_or_else(|| self.failed("it answered rotate-key without a key"))
    }

    pub(super) async fn act(&self, slice: &str, inner: &str) -> Result<Fragment, RotationError> {
        let operation: Operation = action(slice, inner);
        match self.client.call(operation).await {
            Ok(Reply::Output(output)) => Ok(output),
            Ok(_) => Ok(Fragment::from_trusted(String::new())),
            Err(error) => Err(self.failed(error.to_string())),
        }
    }

    pub(super) async fn edit(&self, inner: &str) -> Result<(), RotationError> {
        if inner.is_empty() {
            return Ok(());
        }
        let config = Fragment::from_trusted(format!(
            "<backhaul xmlns=\"{BACKHAUL}\" xmlns:nc=\"urn:ietf:params:xml:ns:netconf:base:1.0\">{inner}</backhaul>"
        ));
        let edit = EditConfig {
            target: Datastore::Candidate,
            default_operation: DefaultOperation::Merge,
            test_option: TestOption::TestThenSet,
            error_option: ErrorOption::RollbackOnError,
            config,
        };
        let done = async {
            self.client.lock(Datastore::Candidate).await?;
            let edited = async {
                self.client.edit_config(&edit).await?;
                self.client.commit(&Default::default()).await
            };
            let edited = edited.await;
            if edited.is_err() && !self.client.is_closed() {
                self.client.discard_changes().await?;
            }
            self.client.unlock(Datastore::Candidate).await?;
            edited
        };
        done.await
            .map_err(|error: Error| self.failed(error.to_string()))
    }

    /// The second key of every peer; the same one again of a peer whose key is elsewhere, at another port if it is called.
    pub(super) fn next_of(
        &self,
        slice: &str,
        keys: &BTreeMap<NodeName, OwnKey>,
        elsewhere: &BTreeMap<String, OwnKey>,
    ) -> String {
        self.peers(slice, |name, peer, xml| {
            let node = self.wanted.peers.get(name).and_then(|w| w.node.as_ref());
            let key = match node {
                Some(node) => keys.get(node),
                None => elsewhere.get(name),
            };
            xml.push_str("<next nc:operation=\"replace\">");
            match (key, &peer.public_key) {
                (Some(key), _) => leaf(xml, "public-key", &key.public_key),
                (None, Some(key)) => leaf(xml, "public-key", key),
                (None, None) => {}
            }
            if let Some(endpoint) = peer.endpoint {
                let port = key.map(|key| key.listen_port).or(endpoint.port);
                write_endpoint(endpoint.address, port.unwrap_or_default(), xml);
            }
            xml.push_str("</next>");
        })
    }

    /// The keys that are in force now, and no second ones.
    pub(super) fn settled(&self, slice: &str, keys: &BTreeMap<NodeName, OwnKey>) -> String {
        self.peers(slice, |name, peer, xml| {
            let node = self.wanted.peers.get(name).and_then(|w| w.node.as_ref());
            if let Some(key) = node.and_then(|node| keys.get(node)) {
                leaf(xml, "public-key", &key.public_key);
                if let Some(endpoint) = peer.endpoint {
                    write_endpoint(endpoint.address, key.listen_port, xml);
                }
            } else if let Some((endpoint, port)) = peer.endpoint.zip(peer.next_port) {
                write_endpoint(endpoint.address, port, xml);
            }
            xml.push_str("<next nc:operation=\"remove\"/>");
        })
    }

    pub(super) fn without_next(&self, slice: &str) -> String {
        self.peers(slice, |_, peer, xml| {
            if peer.has_next {
                xml.push_str("<next nc:operation=\"remove\"/>");
            }
        })
    }

    /// An edit of every peer that the tunnel has.
    fn peers(&self, slice: &str, write: impl Fn(&str, &PeerConfig, &mut String)) -> String {
        let mut xml = "<tunnel>".to_owned();
        leaf(&mut xml, "slice", slice);
        let config = self.has.config.as_ref();
        for (name, peer) in config.iter().flat_map(|config| &config.peers) {
            xml.push_str("<peer>");
            leaf(&mut xml, "name", name);
            write(name, peer, &mut xml);
            xml.push_str("</peer>");
        }
        xml.push_str("</tunnel>");
        xml
    }
}
