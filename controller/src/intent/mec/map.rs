//! One traffic rule as rules of its slice: what the action does, where packets go, and both directions of a flow.

use std::net::IpAddr;

use tranche_steering::{Encapsulation, MatchConfig, RuleConfig, WayOut, present};

use super::{Access, Action, Application, FilterType, InterfaceType, TrafficRule, TunnelInfo};
use crate::intent::{ErrorKind, IntentError, SliceRule};

/// What it became, or the field that steering can't do.
pub(super) type Mapped<T> = Result<T, Box<IntentError>>;

/// Maps one traffic rule.
pub(super) struct Mapper<'a> {
    pub(super) application: &'a Application,
    pub(super) rule: &'a TrafficRule,
    /// Its instance path.
    pub(super) path: String,
}

/// What is done, and to what.
#[derive(Clone)]
struct Steps {
    end_gtp: bool,
    drop: bool,
    way: Option<WayOut>,
}

impl Mapper<'_> {
    pub(super) fn refuse<T>(&self, below: &str, message: impl Into<String>) -> Mapped<T> {
        Err(Box::new(IntentError {
            path: format!("{}{below}", self.path),
            kind: ErrorKind::MecUnsupported,
            message: message.into(),
        }))
    }

    pub(super) fn rules(&self) -> Mapped<Vec<SliceRule>> {
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

    /// The packets of users, and with FLOW those that answer them: what comes back from the application goes to the users'
    /// port, what is dropped or left alone comes from anywhere.
    fn directions(&self, matching: MatchConfig, steps: &Steps) -> Vec<(MatchConfig, Steps)> {
        if self.rule.filter_type == FilterType::Packet {
            return vec![(matching, steps.clone())];
        }
        let mut back = matching.clone();
        std::mem::swap(&mut back.source_prefix, &mut back.destination_prefix);
        std::mem::swap(&mut back.source_port, &mut back.destination_port);
        std::mem::swap(
            &mut back.source_port_range,
            &mut back.destination_port_range,
        );
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
                destination_mac: self.application.user_mac,
                ..WayOut::default()
            });
        }
        vec![(matching, steps.clone()), (back, returning)]
    }
}
