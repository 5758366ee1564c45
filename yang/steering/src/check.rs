//! What makes no sense for steering, beyond what the schema can say. Pure; every refusal has the path of the node at fault.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::{
    ChainConfig, MatchConfig, OnFailure, PortRange, Prefix, RuleConfig, SteeringConfig, WayOut,
    Written, answer_pattern, answers, arrival_pattern, health::check_health, patterns,
    queries::check_queries, resolver::check_resolvers, tunnels::check_tunnels,
};

/// Rules of a node at most.
pub const RULES: usize = 16_000;
/// Ports of a node at most.
pub const MOST_PORTS: usize = 1_000;
/// Applications of a node at most.
const APPLICATIONS: usize = 1_000;
const LARGEST_QFI: u8 = 63;
const WITH_PORTS: [u8; 3] = [6, 17, 132];
const G_PDU: u8 = 255;

/// Sets of fields and prefix lengths that rules of a node may look at.
pub const TUPLES: usize = 64;

pub(crate) type Checked = Result<(), Fault>;

/// Something that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Fault {
    /// Instance path of the node at fault, below [`TOP`].
    pub path: String,
    /// One plain sentence.
    pub message: String,
    /// What kind of fault.
    pub kind: FaultKind,
}

/// Kinds of [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// A value that makes no sense, or not together with others.
    BadValue,
    /// More than a node has room for.
    NoRoom,
    /// Queries for a resolver that another one would get.
    ResolverClash,
}

/// Path of the domain.
pub const TOP: &str = "/tranche-steering:steering";

/// Path of a rule.
#[must_use]
pub fn rule_path(name: &str) -> String {
    format!("{TOP}/rule[name='{name}']")
}

/// Path of a port.
#[must_use]
pub fn port_path(name: &str) -> String {
    format!("{TOP}/port[name='{name}']")
}

/// Path of a chain.
#[must_use]
pub fn chain_path(name: &str) -> String {
    format!("{TOP}/chain[name='{name}']")
}

pub(crate) fn bad(path: impl Into<String>, message: impl Into<String>) -> Fault {
    Fault {
        path: path.into(),
        message: message.into(),
        kind: FaultKind::BadValue,
    }
}

pub(crate) fn no_room(message: String) -> Fault {
    Fault {
        kind: FaultKind::NoRoom,
        ..bad(TOP, message)
    }
}

/// Checks a configuration against itself.
///
/// # Errors
/// The first thing that makes no sense.
pub fn check(config: &SteeringConfig) -> Checked {
    let applications: usize = config
        .chains
        .iter()
        .map(|chain| chain.applications.len())
        .sum();
    if config.rules.len() > RULES || applications > APPLICATIONS || config.ports.len() > MOST_PORTS
    {
        let message = format!(
            "a node has room for {MOST_PORTS} ports, {RULES} rules and {APPLICATIONS} applications"
        );
        return Err(no_room(message));
    }
    let checker = Checker {
        config,
        ports: config.ports.iter().map(|port| port.name.as_str()).collect(),
    };
    for port in &config.ports {
        for address in &port.gtp_addresses {
            let at = format!("{}/gtp-address[.='{address}']", port_path(&port.name));
            check_host(&at, *address)?;
        }
    }
    let returns = checker.chains()?;
    for rule in &config.rules {
        checker.rule(rule, &returns)?;
    }
    checker.circles()?;
    check_resolvers(config)?;
    check_tunnels(config)?;
    let patterns = patterns(config);
    if patterns.len() > RULES {
        let message = format!(
            "a node has room for {RULES} rules, and with their ranges of ports these take that of {}",
            patterns.len()
        );
        return Err(no_room(message));
    }
    check_queries(config, &patterns)?;
    let mut masks: Vec<_> = patterns.iter().map(|(one, _)| one.mask).collect();
    for (_, ends) in answers(config) {
        masks.extend([answer_pattern(1, ends), arrival_pattern(1)].map(|one| one.mask));
    }
    masks.sort_unstable();
    masks.dedup();
    match masks.len() {
        ..=TUPLES => Ok(()),
        kinds => Err(no_room(format!(
            "the rules and health checks look at {kinds} different sets of fields and prefix lengths; there is room for {TUPLES}"
        ))),
    }
}

struct Checker<'a> {
    config: &'a SteeringConfig,
    ports: BTreeSet<&'a str>,
}

impl<'a> Checker<'a> {
    fn known(&self, at: impl FnOnce() -> String, port: &str) -> Checked {
        match self.ports.contains(port) {
            true => Ok(()),
            false => Err(bad(
                at(),
                format!("{port} is not among the ports of this node's steering"),
            )),
        }
    }

    /// The chain that goes on at each return port, with whether rules decide there.
    fn chains(&self) -> Result<BTreeMap<&'a str, (&'a str, bool)>, Fault> {
        let mut returns = BTreeMap::new();
        for chain in &self.config.chains {
            let at = chain_path(&chain.name);
            if chain.applications.is_empty() {
                return Err(bad(at, "a chain has at least one application"));
            }
            if chain.classify.is_some() && chain.on_failure == OnFailure::Bypass {
                let message = "who bypasses all applications has to say where packets leave: with classify a chain is closed";
                return Err(bad(format!("{at}/on-failure"), message));
            }
            self.applications(chain, &mut returns)?;
            if let Some(way) = &chain.forward {
                self.way_out(&format!("{at}/forward"), way)?;
                let is_visited = |port: &str| chain.applications.iter().any(|one| one.port == port);
                if is_visited(&way.out_port) {
                    let message = format!(
                        "packets would visit the application at {} again",
                        way.out_port
                    );
                    return Err(bad(format!("{at}/forward/out-port"), message));
                }
            }
        }
        Ok(returns)
    }

    fn applications(
        &self,
        chain: &'a ChainConfig,
        returns: &mut BTreeMap<&'a str, (&'a str, bool)>,
    ) -> Checked {
        let mut visited = BTreeSet::new();
        for (index, application) in chain.applications.iter().enumerate() {
            let at = format!(
                "{}/application[name='{}']",
                chain_path(&chain.name),
                application.name
            );
            let back = application.return_port();
            self.known(|| format!("{at}/port"), &application.port)?;
            self.known(|| format!("{at}/return-port"), back)?;
            if !visited.insert(application.port.as_str()) {
                let message = format!(
                    "packets would visit the application at {} twice",
                    application.port
                );
                return Err(bad(format!("{at}/port"), message));
            }
            check_health(&at, application)?;
            let is_last = index + 1 == chain.applications.len();
            let decides = is_last && chain.classify.is_some();
            if let Some((other, _)) = returns.insert(back, (&chain.name, decides)) {
                let message =
                    format!("packets that come back at {back} are those of chain {other}");
                return Err(bad(format!("{at}/return-port"), message));
            }
        }
        Ok(())
    }

    fn rule(&self, rule: &RuleConfig, returns: &BTreeMap<&str, (&str, bool)>) -> Checked {
        let at = rule_path(&rule.name);
        if let Some(port) = &rule.matching.in_port {
            self.known(|| format!("{at}/match/in-port"), port)?;
            if let Some((chain, false)) = returns.get(port.as_str()) {
                let message = format!(
                    "what comes in at {port} goes on in chain {chain}, and no rule is asked"
                );
                return Err(bad(format!("{at}/match/in-port"), message));
            }
        }
        check_match(&at, &rule.matching)?;
        if rule.end_gtp.is_some() {
            if rule.pass.is_some() || rule.drop.is_some() {
                let message = "GTP-U is ended for packets that are forwarded or visit a chain";
                return Err(bad(format!("{at}/end-gtp"), message));
            }
            let kind = rule.matching.gtp.as_ref().and_then(|gtp| gtp.message_type);
            if kind.is_some_and(|kind| kind != G_PDU) {
                let message = "only user data (255) has a packet inside that can go on";
                return Err(bad(format!("{at}/match/gtp/message-type"), message));
            }
        }
        if let Some(chain) = rule
            .chain
            .as_deref()
            .filter(|chain| self.config.chain(chain).is_none())
        {
            return Err(bad(
                format!("{at}/chain"),
                format!("there is no chain {chain}"),
            ));
        }
        match &rule.forward {
            Some(way) => self.way_out(&format!("{at}/forward"), way),
            None => Ok(()),
        }
    }

    fn way_out(&self, at: &str, way: &WayOut) -> Checked {
        self.known(|| format!("{at}/out-port"), &way.out_port)?;
        let Some(tunnel) = &way.encapsulate else {
            return Ok(());
        };
        let at = format!("{at}/encapsulate");
        if let Some(qfi) = tunnel.qfi.filter(|qfi| *qfi > LARGEST_QFI) {
            return Err(bad(
                format!("{at}/qfi"),
                format!("{qfi} is no QoS flow identifier: they end at {LARGEST_QFI}"),
            ));
        }
        check_host(&format!("{at}/local-address"), tunnel.local_address)?;
        check_host(&format!("{at}/peer-address"), tunnel.peer_address)?;
        match tunnel.local_address.is_ipv4() == tunnel.peer_address.is_ipv4() {
            true => Ok(()),
            false => Err(bad(
                format!("{at}/peer-address"),
                "the two ends of a tunnel are of one address family",
            )),
        }
    }

    /// Chains whose packets come back into them.
    fn circles(&self) -> Checked {
        let mut next: HashMap<&str, Vec<(&str, &str)>> = HashMap::new();
        for rule in &self.config.rules {
            let (Some(chain), Some(port)) = (&rule.chain, &rule.matching.in_port) else {
                continue;
            };
            let from = self.config.chains.iter().find(|chain| {
                chain.classify.is_some()
                    && chain
                        .applications
                        .last()
                        .is_some_and(|last| last.return_port() == port)
            });
            if let Some(from) = from {
                next.entry(&from.name)
                    .or_default()
                    .push((chain, &rule.name));
            }
        }
        for start in next.keys() {
            let (mut open, mut seen) = (vec![*start], BTreeSet::new());
            while let Some(chain) = open.pop() {
                for (to, rule) in next.get(chain).into_iter().flatten() {
                    if to == start {
                        let message = format!("packets would visit chain {to} again and again");
                        return Err(bad(format!("{}/chain", rule_path(rule)), message));
                    }
                    if seen.insert(*to) {
                        open.push(to);
                    }
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn check_host(at: &str, address: IpAddr) -> Checked {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    match address.is_unspecified() || address.is_multicast() || is_broadcast {
        true => Err(bad(at, format!("{address} is no address of a host"))),
        false => Ok(()),
    }
}

fn check_match(rule: &str, wanted: &MatchConfig) -> Checked {
    let at = format!("{rule}/match");
    let source = check_prefix(
        &format!("{at}/source-prefix"),
        wanted.source_prefix.as_ref(),
    )?;
    let to = format!("{at}/destination-prefix");
    let destination = check_prefix(&to, wanted.destination_prefix.as_ref())?;
    check_family(&to, source, destination)?;
    if let Some(gtp) = &wanted.gtp {
        let at = format!("{at}/gtp");
        let source = check_prefix(
            &format!("{at}/inner-source-prefix"),
            gtp.inner_source_prefix.as_ref(),
        )?;
        let to = format!("{at}/inner-destination-prefix");
        let destination = check_prefix(&to, gtp.inner_destination_prefix.as_ref())?;
        check_family(&to, source, destination)?;
    }
    let ranges = [
        ("source", wanted.source_port, wanted.source_port_range),
        (
            "destination",
            wanted.destination_port,
            wanted.destination_port_range,
        ),
    ];
    for (side, port, range) in ranges {
        check_range(&format!("{at}/{side}-port-range"), port, range)?;
    }
    let has_ports = ranges
        .iter()
        .any(|(_, port, range)| port.is_some() || range.is_some());
    if let Some(protocol) = wanted
        .protocol
        .filter(|protocol| has_ports && !WITH_PORTS.contains(protocol))
    {
        let message = format!(
            "protocol {protocol} has no ports: they are of TCP (6), UDP (17) and SCTP (132)"
        );
        return Err(bad(format!("{at}/protocol"), message));
    }
    Ok(())
}

fn check_range(at: &str, port: Option<u16>, range: Option<PortRange>) -> Checked {
    match range {
        Some(_) if port.is_some() => {
            Err(bad(at, "a packet has one port: say it, or a range of them"))
        }
        Some(PortRange {
            lower_port,
            upper_port,
        }) if lower_port > upper_port => Err(bad(
            format!("{at}/upper-port"),
            format!("the range ends at {upper_port}, before it begins at {lower_port}"),
        )),
        _ => Ok(()),
    }
}

pub(crate) fn check_prefix(at: &str, written: Option<&Written>) -> Result<Option<Prefix>, Fault> {
    let Some(written) = written else {
        return Ok(None);
    };
    let prefix = written
        .parse()
        .map_err(|error| bad(at, error.to_string()))?;
    match prefix.network() == prefix {
        true => Ok(Some(prefix)),
        false => Err(bad(
            at,
            format!(
                "{prefix} has bits set beyond its length: the prefix is {}",
                prefix.network()
            ),
        )),
    }
}

fn check_family(at: &str, one: Option<Prefix>, other: Option<Prefix>) -> Checked {
    let families = one
        .map(|prefix| prefix.address.is_ipv4())
        .zip(other.map(|prefix| prefix.address.is_ipv4()));
    match families {
        Some((one, other)) if one != other => {
            Err(bad(at, "no packet has addresses of two families"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn there_is_room_for_so_many_ports_and_no_more() {
        let of = |count: usize| -> SteeringConfig {
            let names = (0..count).map(|number| json!({ "name": format!("p{number}") }));
            serde_json::from_value(json!({ "port": names.collect::<Vec<_>>() })).unwrap()
        };
        check(&of(MOST_PORTS)).unwrap();
        let fault = check(&of(MOST_PORTS + 1)).unwrap_err();
        assert_eq!((fault.kind, &*fault.path), (FaultKind::NoRoom, TOP));
        assert!(fault.message.contains("1000 ports"), "{}", fault.message);
    }
}
