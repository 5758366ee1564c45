//! Traffic rules of edge applications (ETSI GS MEC 010-2) as rules of slices. Pure.
//!
//! A filter means the packets that match any value of each of its lists, a rule of a node exactly one: a filter becomes as many
//! rules as there are combinations. What steering can't do is refused at the field that asks for it; nothing is left out silently.

mod dns;
mod filter;
mod map;

use std::collections::BTreeSet;

use serde::Deserialize;
use tranche_steering::MacAddress;

pub(crate) use self::dns::names;
use self::map::Mapper;
use super::{IntentError, SliceRule};

/// An application (`/tranche-mec:mec/application`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Application {
    /// Its name here.
    pub name: String,
    /// The slice whose traffic it gets.
    pub slice: String,
    /// The nodes that run it.
    #[serde(rename = "node")]
    pub nodes: BTreeSet<String>,
    /// Where packets of users come in.
    pub user_port: String,
    /// Where the application is.
    pub app_port: String,
    /// How packets of users come in.
    #[serde(default)]
    pub access: Access,
    /// Destination address of frames to users.
    #[serde(default)]
    pub user_mac: Option<MacAddress>,
    /// Its traffic rules.
    #[serde(default, rename = "appTrafficRule")]
    pub rules: Vec<TrafficRule>,
    /// Its DNS rules.
    #[serde(default, rename = "appDNSRule")]
    pub names: Vec<DnsRule>,
}

/// `appDNSRule`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsRule {
    /// Its identifier.
    pub dns_rule_id: String,
    domain_name: String,
    ip_address_type: AddressType,
    ip_address: String,
    ttl: u32,
    #[serde(default)]
    state: RuleState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum AddressType {
    #[serde(rename = "IP_V4")]
    V4,
    #[serde(rename = "IP_V6")]
    V6,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum RuleState {
    #[default]
    Active,
    Inactive,
}

/// How packets of users come in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// In GTP-U.
    #[default]
    GtpU,
    /// As they are.
    Plain,
}

/// `appTrafficRule`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficRule {
    /// Its identifier.
    pub traffic_rule_id: String,
    /// Which packets the filters are about.
    pub filter_type: FilterType,
    /// The greater counts.
    pub priority: u8,
    /// Packets that are meant.
    #[serde(default)]
    pub traffic_filter: Vec<TrafficFilter>,
    /// What is done to them.
    pub action: Action,
    /// Where they go.
    #[serde(default)]
    pub dst_interface: Vec<DstInterface>,
}

/// `filterType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FilterType {
    /// Packets of users and those that answer them.
    Flow,
    /// Packets of users.
    Packet,
}

/// `action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// Dropped.
    Drop,
    /// Out of their tunnel, to the interface.
    ForwardDecapsulated,
    /// To the interface in a tunnel.
    ForwardEncapsulated,
    /// Left to the network stack.
    Passthrough,
    /// Not supported.
    DuplicateDecapsulated,
    /// Not supported.
    DuplicateEncapsulated,
}

/// `trafficFilter`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrafficFilter {
    /// Its place, from 1.
    pub index: u8,
    src_address: Vec<String>,
    dst_address: Vec<String>,
    src_port: Vec<String>,
    dst_port: Vec<String>,
    protocol: Vec<String>,
    tag: Vec<String>,
    uri: Vec<String>,
    packet_label: Vec<String>,
    src_tunnel_address: Vec<String>,
    tgt_tunnel_address: Vec<String>,
    src_tunnel_port: Vec<String>,
    dst_tunnel_port: Vec<String>,
    #[serde(rename = "qCI")]
    qci: Option<u32>,
    #[serde(rename = "dSCP")]
    dscp: Option<u32>,
    #[serde(rename = "tC")]
    tc: Option<u32>,
}

/// `dstInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DstInterface {
    /// Its place, from 1.
    pub index: u8,
    interface_type: InterfaceType,
    #[serde(default)]
    tunnel_info: TunnelInfo,
    src_mac_address: Option<MacAddress>,
    dst_mac_address: Option<MacAddress>,
    dst_ip_address: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum InterfaceType {
    Tunnel,
    Mac,
    Ip,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TunnelInfo {
    tunnel_type: Option<String>,
    tunnel_dst_address: Option<String>,
    tunnel_src_address: Option<String>,
    tunnel_specific_data: TunnelData,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct TunnelData {
    teid: Option<u32>,
    qfi: Option<u8>,
}

/// The rules of the applications of one slice, in the order in which they are asked: by priority, then by application and
/// identifier.
///
/// # Errors
/// Every field that steering can't do.
pub(crate) fn rules<'a>(
    applications: impl Iterator<Item = &'a Application>,
) -> Result<Vec<SliceRule>, Vec<IntentError>> {
    let of = |application: &'a Application| application.rules.iter().map(move |r| (application, r));
    let mut all: Vec<(&Application, &TrafficRule)> = applications.flat_map(of).collect();
    all.sort_by_key(|(application, rule)| {
        let priority = std::cmp::Reverse(rule.priority);
        (priority, &application.name, &rule.traffic_rule_id)
    });
    let (mut rules, mut errors) = (Vec::new(), Vec::new());
    for (application, rule) in all {
        let path = format!(
            "/tranche-mec:mec/application[name='{}']/appTrafficRule[trafficRuleId='{}']",
            application.name, rule.traffic_rule_id
        );
        match (Mapper {
            application,
            rule,
            path,
        })
        .rules()
        {
            Ok(mapped) => rules.extend(mapped),
            Err(error) => errors.push(*error),
        }
    }
    match errors.is_empty() {
        true => Ok(rules),
        false => Err(errors),
    }
}

#[cfg(test)]
#[path = "mec_tests.rs"]
mod tests;
