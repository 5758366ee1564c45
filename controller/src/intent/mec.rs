//! Traffic rules of edge applications (ETSI GS MEC 010-2) as rules of slices. Pure.
//!
//! A filter means the packets that match any value of each of its lists, a rule of a node exactly one: a filter becomes as many
//! rules as there are combinations. What steering can't do is refused at the field that asks for it; nothing is left out silently.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;
use tranche_steering::{
    Encapsulation, GtpMatch, MacAddress, MatchConfig, RuleConfig, WayOut, Written, present,
};

use super::{ErrorKind, IntentError, SliceRule};

/// Rules that one filter may become.
const MOST: usize = 64;
/// The UDP port of GTP-U (3GPP TS 29.281 4.4.2).
const GTP_PORT: &str = "2152";

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
    /// Its traffic rules.
    #[serde(default, rename = "appTrafficRule")]
    pub rules: Vec<TrafficRule>,
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

type Mapped<T> = Result<T, Box<IntentError>>;

struct Mapper<'a> {
    application: &'a Application,
    rule: &'a TrafficRule,
    path: String,
}

/// What is done, and to what.
#[derive(Clone)]
struct Steps {
    end_gtp: bool,
    drop: bool,
    way: Option<WayOut>,
}

impl Mapper<'_> {
    fn refuse<T>(&self, below: &str, message: impl Into<String>) -> Mapped<T> {
        Err(Box::new(IntentError {
            path: format!("{}{below}", self.path),
            kind: ErrorKind::MecUnsupported,
            message: message.into(),
        }))
    }

    fn rules(&self) -> Mapped<Vec<SliceRule>> {
        let id = &self.rule.traffic_rule_id;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if id.len() > 20 || !id.chars().all(is_name) {
            let message = "an identifier that becomes the name of a rule has up to 20 letters, digits and hyphens";
            return self.refuse("/trafficRuleId", message);
        }
        if self.rule.traffic_filter.is_empty() {
            let message = "a rule without a trafficFilter would mean every packet of the node";
            return self.refuse("/trafficFilter", message);
        }
        let steps = self.steps()?;
        let mut rules = Vec::new();
        for filter in &self.rule.traffic_filter {
            let path = format!("/trafficFilter[index='{}']", filter.index);
            for matching in self.matches(filter, &path)? {
                for (matching, steps) in self.directions(matching, &steps) {
                    let name = format!("{}_{id}_{}", self.application.name, rules.len() + 1);
                    rules.push(self.slice_rule(name, matching, &steps, &path));
                }
            }
        }
        Ok(rules)
    }

    fn slice_rule(
        &self,
        name: String,
        matching: MatchConfig,
        steps: &Steps,
        below: &str,
    ) -> SliceRule {
        let rule = RuleConfig {
            name,
            matching,
            end_gtp: steps.end_gtp.then_some([()]),
            drop: if steps.drop { present() } else { None },
            pass: if steps.drop || steps.way.is_some() {
                None
            } else {
                present()
            },
            forward: steps.way.clone(),
            ..RuleConfig::default()
        };
        SliceRule {
            nodes: self.application.nodes.clone(),
            rule,
            origin: Some(format!("{}{below}", self.path)),
            ..SliceRule::default()
        }
    }

    /// What the action does; it knows nothing of filters.
    fn steps(&self) -> Mapped<Steps> {
        let plain = self.application.access == Access::Plain;
        let is_flow = self.rule.filter_type == FilterType::Flow;
        let mut steps = Steps {
            end_gtp: false,
            drop: self.rule.action == Action::Drop,
            way: None,
        };
        match self.rule.action {
            Action::Drop | Action::Passthrough => {
                if let Some(to) = self.rule.dst_interface.first() {
                    let at = format!("/dstInterface[index='{}']", to.index);
                    return self.refuse(
                        &at,
                        "packets that are dropped or left alone go to no interface",
                    );
                }
            }
            Action::DuplicateDecapsulated | Action::DuplicateEncapsulated => {
                return self.refuse(
                    "/action",
                    "steering sends a packet one way and duplicates none",
                );
            }
            Action::ForwardDecapsulated if is_flow && !plain => {
                let message = "FLOW is also about the way back into the users' tunnels, whose TEIDs no descriptor has: \
                               say PACKET, and give the slice rules that encapsulate";
                return self.refuse("/filterType", message);
            }
            Action::ForwardDecapsulated => {
                steps.end_gtp = !plain;
                steps.way = Some(self.way_out(false)?);
            }
            Action::ForwardEncapsulated => {
                let way = self.way_out(true)?;
                if way.encapsulate.is_some() && is_flow {
                    let message = "FLOW is also about the way back out of the tunnel, which no descriptor describes: say PACKET";
                    return self.refuse("/filterType", message);
                }
                if plain && way.encapsulate.is_none() {
                    let message = "packets of users come in without a tunnel here, and no dstInterface has one";
                    return self.refuse("/action", message);
                }
                steps.end_gtp = !plain && way.encapsulate.is_some();
                steps.way = Some(way);
            }
        }
        Ok(steps)
    }

    fn way_out(&self, may_be_tunnel: bool) -> Mapped<WayOut> {
        let mut way = WayOut {
            out_port: self.application.app_port.clone(),
            ..WayOut::default()
        };
        let [to] = self.rule.dst_interface.as_slice() else {
            let Some(second) = self.rule.dst_interface.get(1) else {
                return Ok(way);
            };
            let at = format!("/dstInterface[index='{}']", second.index);
            return self.refuse(&at, "steering sends a packet to one interface");
        };
        let at = format!("/dstInterface[index='{}']", to.index);
        if to.src_mac_address.is_some() {
            let message = "the source of a frame is the address of the port where it leaves";
            return self.refuse(&format!("{at}/srcMacAddress"), message);
        }
        if to.dst_ip_address.is_some() || to.interface_type == InterfaceType::Ip {
            let message = "steering sends frames to a port and resolves no IP address: say MAC and dstMacAddress";
            return self.refuse(&format!("{at}/interfaceType"), message);
        }
        way.destination_mac = to.dst_mac_address;
        if to.interface_type == InterfaceType::Tunnel {
            if !may_be_tunnel {
                let message =
                    "packets that are decapsulated go into no tunnel: say FORWARD_ENCAPSULATED";
                return self.refuse(&format!("{at}/interfaceType"), message);
            }
            way.encapsulate = Some(self.tunnel(&to.tunnel_info, &format!("{at}/tunnelInfo"))?);
        }
        Ok(way)
    }

    fn tunnel(&self, info: &TunnelInfo, at: &str) -> Mapped<Encapsulation> {
        if info.tunnel_type.as_deref() != Some("GTP_U") {
            return self.refuse(
                &format!("{at}/tunnelType"),
                "steering knows tunnels of type GTP_U only",
            );
        }
        let address = |name: &str, text: &Option<String>| -> Mapped<IpAddr> {
            let parsed = text.as_deref().and_then(|text| text.parse().ok());
            parsed.map_or_else(
                || {
                    self.refuse(
                        &format!("{at}/{name}"),
                        format!("{name} is not an IP address"),
                    )
                },
                Ok,
            )
        };
        let data = info.tunnel_specific_data;
        let Some(teid) = data.teid else {
            let message = "a GTP-U tunnel has a teid";
            return self.refuse(&format!("{at}/tunnelSpecificData"), message);
        };
        Ok(Encapsulation {
            teid,
            local_address: address("tunnelSrcAddress", &info.tunnel_src_address)?,
            peer_address: address("tunnelDstAddress", &info.tunnel_dst_address)?,
            qfi: data.qfi,
            direction: Default::default(),
        })
    }

    /// The matches of packets of users that a filter means.
    fn matches(&self, filter: &TrafficFilter, at: &str) -> Mapped<Vec<MatchConfig>> {
        self.check_filter(filter, at)?;
        let tunnelled = self.application.access == Access::GtpU;
        let mut matches = vec![MatchConfig {
            in_port: Some(self.application.user_port.clone()),
            gtp: tunnelled.then(GtpMatch::default),
            ..MatchConfig::default()
        }];
        if let Some(dscp) = filter.dscp {
            let Some(dscp) = u8::try_from(dscp).ok().filter(|dscp| *dscp < 64) else {
                return self.refuse(
                    &format!("{at}/dSCP"),
                    format!("{dscp} is no DSCP: they end at 63"),
                );
            };
            matches[0].dscp = Some(dscp);
        }
        let prefix = |text: &str| Some(Written(prefix(text)?));
        let mut set =
            |field: &str, values: &[String], put: &dyn Fn(&mut MatchConfig, &str) -> Option<()>| {
                self.combine(&mut matches, (at, field), values, put)
            };
        set("srcAddress", &filter.src_address, &|m, v| {
            let found = prefix(v)?;
            match &mut m.gtp {
                Some(gtp) => gtp.inner_source_prefix = Some(found),
                None => m.source_prefix = Some(found),
            }
            Some(())
        })?;
        set("dstAddress", &filter.dst_address, &|m, v| {
            let found = prefix(v)?;
            match &mut m.gtp {
                Some(gtp) => gtp.inner_destination_prefix = Some(found),
                None => m.destination_prefix = Some(found),
            }
            Some(())
        })?;
        set("srcTunnelAddress", &filter.src_tunnel_address, &|m, v| {
            m.source_prefix = Some(prefix(v)?);
            Some(())
        })?;
        set("tgtTunnelAddress", &filter.tgt_tunnel_address, &|m, v| {
            m.destination_prefix = Some(prefix(v)?);
            Some(())
        })?;
        set("protocol", &filter.protocol, &|m, v| {
            m.protocol = Some(v.parse().ok()?);
            Some(())
        })?;
        set("srcPort", &filter.src_port, &|m, v| {
            m.source_port = Some(v.parse().ok()?);
            Some(())
        })?;
        set("srcTunnelPort", &filter.src_tunnel_port, &|m, v| {
            m.source_port = Some(v.parse().ok()?);
            Some(())
        })?;
        set("dstPort", &filter.dst_port, &|m, v| {
            m.destination_port = Some(v.parse().ok()?);
            Some(())
        })?;
        set("tag", &filter.tag, &|m, v| {
            m.vlan_id = Some(v.parse().ok().filter(|vlan| (1..=4094).contains(vlan))?);
            Some(())
        })?;
        Ok(matches)
    }

    /// Fields that no rule of a node looks at.
    fn check_filter(&self, filter: &TrafficFilter, at: &str) -> Mapped<()> {
        let tunnelled = self.application.access == Access::GtpU;
        let inside = "of packets in GTP-U steering looks at the addresses inside, not at this";
        let outside = "packets of users come in without a tunnel here (access is plain)";
        let is_other = |ports: &[String]| ports.iter().any(|port| port != GTP_PORT);
        let names = "steering looks at addresses and ports, not at names";
        let odd = [
            ("uri", !filter.uri.is_empty(), names),
            (
                "packetLabel",
                !filter.packet_label.is_empty(),
                "steering knows no labels of packets",
            ),
            (
                "qCI",
                filter.qci.is_some(),
                "a packet does not carry its QCI",
            ),
            (
                "tC",
                filter.tc.is_some(),
                "steering looks at the DSCP, not at the traffic class",
            ),
            ("srcPort", tunnelled && !filter.src_port.is_empty(), inside),
            ("dstPort", tunnelled && !filter.dst_port.is_empty(), inside),
            ("protocol", tunnelled && !filter.protocol.is_empty(), inside),
            ("dSCP", tunnelled && filter.dscp.is_some(), inside),
            (
                "srcTunnelAddress",
                !tunnelled && !filter.src_tunnel_address.is_empty(),
                outside,
            ),
            (
                "tgtTunnelAddress",
                !tunnelled && !filter.tgt_tunnel_address.is_empty(),
                outside,
            ),
            (
                "srcTunnelPort",
                !tunnelled && !filter.src_tunnel_port.is_empty(),
                outside,
            ),
            (
                "dstTunnelPort",
                !tunnelled && !filter.dst_tunnel_port.is_empty(),
                outside,
            ),
            (
                "dstTunnelPort",
                is_other(&filter.dst_tunnel_port),
                "the port of GTP-U is 2152",
            ),
        ];
        match odd.into_iter().find(|(_, is_odd, _)| *is_odd) {
            Some((field, _, why)) => self.refuse(&format!("{at}/{field}"), why),
            None => Ok(()),
        }
    }

    /// Every match with every value of a list of the filter.
    fn combine(
        &self,
        matches: &mut Vec<MatchConfig>,
        (at, field): (&str, &str),
        values: &[String],
        put: &dyn Fn(&mut MatchConfig, &str) -> Option<()>,
    ) -> Mapped<()> {
        if values.is_empty() {
            return Ok(());
        }
        if matches.len() * values.len() > MOST {
            let message = format!("the filter has more than {MOST} combinations of its values");
            return self.refuse(&format!("{at}/{field}"), message);
        }
        let mut all = Vec::with_capacity(matches.len() * values.len());
        for value in values {
            for one in matches.iter() {
                let mut one = one.clone();
                if put(&mut one, value).is_none() {
                    let message = format!("'{value}' is no {field} that steering understands");
                    return self.refuse(&format!("{at}/{field}[.='{value}']"), message);
                }
                all.push(one);
            }
        }
        *matches = all;
        Ok(())
    }

    /// The packets of users, and with FLOW those that answer them: what comes back from the application goes to the users'
    /// port, what is dropped or left alone comes from anywhere.
    fn directions(&self, matching: MatchConfig, steps: &Steps) -> Vec<(MatchConfig, Steps)> {
        if self.rule.filter_type == FilterType::Packet {
            return vec![(matching, steps.clone())];
        }
        let mut back = matching.clone();
        std::mem::swap(&mut back.source_prefix, &mut back.destination_prefix);
        std::mem::swap(&mut back.source_port, &mut back.destination_port);
        if let Some(gtp) = &mut back.gtp {
            std::mem::swap(
                &mut gtp.inner_source_prefix,
                &mut gtp.inner_destination_prefix,
            );
        }
        back.in_port = steps.way.as_ref().map(|way| way.out_port.clone());
        let mut returning = steps.clone();
        if returning.way.is_some() {
            returning.way = Some(WayOut {
                out_port: self.application.user_port.clone(),
                ..WayOut::default()
            });
        }
        vec![(matching, steps.clone()), (back, returning)]
    }
}

/// An address or a prefix, as a prefix.
fn prefix(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(tranche_steering::Prefix::host(address).to_string());
    }
    let prefix: tranche_steering::Prefix = text.parse().ok()?;
    (prefix.network() == prefix).then(|| prefix.to_string())
}

#[cfg(test)]
#[path = "mec_tests.rs"]
mod tests;
