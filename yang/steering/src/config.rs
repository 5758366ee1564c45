//! The typed form of the `tranche-steering` configuration. Names and meanings are the module's.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{HealthCheck, MacAddress, ResolverConfig, Written};

/// A leaf of type empty, in RFC 7951 an array of one null.
pub(crate) type Empty = [(); 1];

/// `/tranche-steering:steering`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct SteeringConfig {
    /// What is done to malformed GTP-U.
    pub malformed_gtp: Malformed,
    /// What is done to packets that are larger than the MTU of the port where they leave.
    pub oversized: Oversized,
    /// Interfaces at which packets are steered.
    #[serde(rename = "port", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortConfig>,
    /// Chains of applications.
    #[serde(rename = "chain", skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<ChainConfig>,
    /// Rules in their order.
    #[serde(rename = "rule", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleConfig>,
    /// Resolvers of slices.
    #[serde(rename = "resolver", skip_serializing_if = "Vec::is_empty")]
    pub resolvers: Vec<ResolverConfig>,
}

impl SteeringConfig {
    /// Whether nothing is to be steered.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.ports.is_empty()
            && self.chains.is_empty()
            && self.rules.is_empty()
            && self.resolvers.is_empty()
    }

    /// The chain of this name.
    #[must_use]
    pub fn chain(&self, name: &str) -> Option<&ChainConfig> {
        self.chains.iter().find(|chain| chain.name == name)
    }
}

/// `malformed-gtp`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Malformed {
    /// Left to the network stack.
    #[default]
    Pass,
    /// Dropped.
    Drop,
}

/// `oversized`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Oversized {
    /// Left to the network stack.
    Pass,
    /// Dropped.
    #[default]
    Drop,
}

/// `port`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PortConfig {
    /// Name of the interface.
    pub name: String,
    /// Who configured it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Addresses whose echo requests are answered.
    #[serde(default, rename = "gtp-address", skip_serializing_if = "Vec::is_empty")]
    pub gtp_addresses: Vec<IpAddr>,
}

/// `chain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChainConfig {
    /// Its name.
    pub name: String,
    /// Who configured it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What is done while an application is down.
    pub on_failure: OnFailure,
    /// Applications in order.
    #[serde(default, rename = "application")]
    pub applications: Vec<ApplicationConfig>,
    /// After the last: match again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classify: Option<Empty>,
    /// After the last: leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<WayOut>,
}

/// `on-failure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The application is left out.
    Bypass,
    /// Packets are dropped.
    Close,
}

/// `application`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ApplicationConfig {
    /// Its name.
    pub name: String,
    /// Where it gets packets.
    pub port: String,
    /// Where it gives them back; the same where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_port: Option<String>,
    /// Destination address of frames to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_mac: Option<MacAddress>,
    /// Whether it does its work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

impl ApplicationConfig {
    /// Where it gives packets back.
    #[must_use]
    pub fn return_port(&self) -> &str {
        self.return_port.as_ref().unwrap_or(&self.port)
    }
}

/// The grouping `way-out`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WayOut {
    /// Take the tag away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pop_vlan: Option<Empty>,
    /// Put a tag in front.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push_vlan: Option<u16>,
    /// Put into GTP-U.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encapsulate: Option<Encapsulation>,
    /// Where it leaves.
    pub out_port: String,
    /// Destination address of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_mac: Option<MacAddress>,
    /// Destination address: that of the other end of the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_other_end: Option<Empty>,
}

/// `encapsulate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Encapsulation {
    /// Tunnel endpoint identifier at the peer.
    pub teid: u32,
    /// Outer source.
    pub local_address: IpAddr,
    /// Outer destination.
    pub peer_address: IpAddr,
    /// QoS flow identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qfi: Option<u8>,
    /// Kind of the container.
    #[serde(default)]
    pub direction: Direction,
}

/// `direction`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Towards the users.
    #[default]
    Downlink,
    /// Towards the core.
    Uplink,
}

/// `rule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RuleConfig {
    /// Its name.
    pub name: String,
    /// Who configured it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whose traffic it is.
    #[serde(default)]
    pub slice: String,
    /// What a packet must be.
    #[serde(default, rename = "match")]
    pub matching: MatchConfig,
    /// End GTP-U first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_gtp: Option<Empty>,
    /// Leave it to the stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<Empty>,
    /// Drop it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<Empty>,
    /// Let it leave at a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<WayOut>,
    /// Let it visit a chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
}

/// `match`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct MatchConfig {
    /// Port at which it came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_port: Option<String>,
    /// Source of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_mac: Option<MacAddress>,
    /// Destination of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_mac: Option<MacAddress>,
    /// VLAN; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan_id: Option<u16>,
    /// Source address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_prefix: Option<Written>,
    /// Destination address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_prefix: Option<Written>,
    /// Protocol above IP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// Source port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Source ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port_range: Option<PortRange>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// Destination ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port_range: Option<PortRange>,
    /// Differentiated services code point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dscp: Option<u8>,
    /// GTP-U only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gtp: Option<GtpMatch>,
}

/// The grouping `port-range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PortRange {
    /// The first.
    pub lower_port: u16,
    /// The last.
    pub upper_port: u16,
}

/// `match/gtp`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct GtpMatch {
    /// Tunnel endpoint identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teid: Option<u32>,
    /// Message type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_type: Option<u8>,
    /// Source of the user's packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_source_prefix: Option<Written>,
    /// Destination of the user's packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_destination_prefix: Option<Written>,
}

/// What a leaf of type empty is when it is there.
#[must_use]
pub const fn present() -> Option<Empty> {
    Some([()])
}
