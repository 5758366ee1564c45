//! The packets that a filter means, as matches of rules: one for each combination of its values.

use std::net::IpAddr;

use tranche_steering::{GtpMatch, MatchConfig, PortRange, Prefix, Written};

use super::map::{Mapped, Mapper};
use super::{Access, TrafficFilter};

/// Rules that one filter may become.
const MOST: usize = 64;
/// The UDP port of GTP-U (3GPP TS 29.281 4.4.2).
const GTP_PORT: &str = "2152";

impl Mapper<'_> {
    /// The matches of packets of users that a filter means.
    pub(super) fn matches(&self, filter: &TrafficFilter, at: &str) -> Mapped<Vec<MatchConfig>> {
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
            (m.source_port, m.source_port_range) = ports(v)?;
            Some(())
        })?;
        set("srcTunnelPort", &filter.src_tunnel_port, &|m, v| {
            (m.source_port, m.source_port_range) = ports(v)?;
            Some(())
        })?;
        set("dstPort", &filter.dst_port, &|m, v| {
            (m.destination_port, m.destination_port_range) = ports(v)?;
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
}

/// A port, or a range of them.
fn ports(text: &str) -> Option<(Option<u16>, Option<PortRange>)> {
    let Some((lower, upper)) = text.split_once('-') else {
        return Some((Some(text.parse().ok()?), None));
    };
    let range = PortRange {
        lower_port: lower.parse().ok()?,
        upper_port: upper.parse().ok()?,
    };
    (range.lower_port <= range.upper_port).then_some((None, Some(range)))
}

/// An address or a prefix, as a prefix.
fn prefix(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Prefix::host(address).to_string());
    }
    let prefix: Prefix = text.parse().ok()?;
    (prefix.network() == prefix).then(|| prefix.to_string())
}
