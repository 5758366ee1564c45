//! What is to be in force, with names resolved: ports as the kernel numbers them, rules as patterns, chains as hops. Pure.
//!
//! Actions are ranked: before all others the one for answers to health checks, where there are any, then those of rules in their
//! order, then the hops of chains. A chain whose application is down is worked out here, so that the data plane knows nothing of
//! chains.

use std::collections::BTreeMap;

use crate::backend::MacAddress;
use tranche_steering::{
    ApplicationConfig, ChainConfig, Direction, Ends, Malformed, OnFailure, Oversized, Pattern,
    RuleConfig, SteeringConfig, WayOut, answer_pattern, answers, arrival_pattern, octets, pattern,
};

pub(super) const PASS: u32 = 1;
pub(super) const DROP: u32 = 2;
pub(super) const POP: u32 = 4;
pub(super) const END_GTP: u32 = 8;
pub(super) const ENCAPSULATE: u32 = 16;
pub(super) const OUTER_IPV6: u32 = 32;
pub(super) const QFI: u32 = 64;
pub(super) const UPLINK: u32 = 128;
pub(super) const PUSH: u32 = 256;
pub(super) const SET_MAC: u32 = 512;

/// An interface as it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) ifindex: u32,
    pub(super) mac: MacAddress,
    pub(super) mtu: u32,
    /// Whether it is switched on and has a link.
    pub(super) is_up: bool,
    /// Address of the other end, of an end of a pair.
    pub(super) other_end: Option<MacAddress>,
}

/// Interfaces by name.
pub(super) type Interfaces = BTreeMap<String, Found>;

/// Applications that fail their health checks, by chain and name, and why.
pub(super) type Failing = BTreeMap<(String, String), String>;

/// Something that is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Counted {
    Rule(String),
    Slice(String),
    Application(String, String),
}

impl Counted {
    /// A number for it that stays the same over restarts (FNV-1a).
    pub(super) fn hash(&self) -> u64 {
        let text = match self {
            Self::Rule(name) => format!("rule {name}"),
            Self::Slice(name) => format!("slice {name}"),
            Self::Application(chain, name) => format!("application {chain} {name}"),
        };
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    }
}

/// Where each thing is counted: positions in the data plane's counters.
pub(super) type Slots = BTreeMap<Counted, u32>;

/// What is done to a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Action {
    /// Of the rule, the slice and the application: hash and position. None where 0.
    pub(super) counters: [(u64, u32); 3],
    pub(super) steps: u32,
    pub(super) ifindex: u32,
    pub(super) mtu: u32,
    pub(super) teid: u32,
    pub(super) vlan: u16,
    pub(super) qfi: u8,
    pub(super) destination_mac: [u8; 6],
    pub(super) source_mac: [u8; 6],
    pub(super) local: [u8; 16],
    pub(super) peer: [u8; 16],
}

/// A port at which packets come in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Port {
    /// Rank of the action for everything that comes in; rules decide where 0.
    pub(super) action: u32,
    /// Whether the rules decide on what came back from a chain.
    pub(super) is_return: bool,
    pub(super) echoes: Vec<[u8; 16]>,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) drops_malformed: bool,
    pub(super) drops_oversized: bool,
    /// By number of the interface.
    pub(super) ports: BTreeMap<u32, Port>,
    /// Patterns of rules with their ranks, in order; some rules have several.
    pub(super) rules: Vec<(Pattern, u32)>,
    /// By rank, from 1.
    pub(super) actions: Vec<Action>,
}

/// Everything that a configuration counts.
pub(super) fn counted(config: &SteeringConfig) -> impl Iterator<Item = Counted> + '_ {
    let rules = config.rules.iter();
    let of_rules = rules.flat_map(|rule| {
        [
            Counted::Rule(rule.name.clone()),
            Counted::Slice(rule.slice.clone()),
        ]
    });
    let of_chains = config.chains.iter().flat_map(|chain| {
        let of =
            |one: &ApplicationConfig| Counted::Application(chain.name.clone(), one.name.clone());
        chain.applications.iter().map(of)
    });
    of_rules.chain(of_chains)
}

/// Resolves a configuration that was checked.
pub(super) fn program(
    config: &SteeringConfig,
    interfaces: &Interfaces,
    slots: &Slots,
    failing: &Failing,
) -> Program {
    let resolver = Resolver {
        config,
        interfaces,
        slots,
        failing,
    };
    let mut program = Program {
        drops_malformed: config.malformed_gtp == Malformed::Drop,
        drops_oversized: config.oversized == Oversized::Drop,
        ..Program::default()
    };
    for port in &config.ports {
        if let Some(found) = interfaces.get(&port.name) {
            let echoes = port
                .gtp_addresses
                .iter()
                .map(|address| octets(*address))
                .collect();
            program.ports.insert(
                found.ifindex,
                Port {
                    echoes,
                    ..Port::default()
                },
            );
        }
    }
    let answers = answers(config)
        .filter_map(|(port, ends)| Some((interfaces.get(port)?.ifindex, ends)))
        .collect::<Vec<_>>();
    let first = leave_answers(&mut program, &answers);
    for rule in &config.rules {
        program.actions.push(resolver.of_rule(rule));
    }
    let mut returned = Vec::new();
    for chain in &config.chains {
        for (index, application) in chain.applications.iter().enumerate() {
            let Some(found) = interfaces.get(application.return_port()) else {
                continue;
            };
            let port = program.ports.entry(found.ifindex).or_default();
            let is_last = index + 1 == chain.applications.len();
            if is_last && chain.classify.is_some() {
                port.is_return = true;
                returned.push(found.ifindex);
                continue;
            }
            program
                .actions
                .push(resolver.hop(chain, index + 1, Action::default()));
            port.action = u32::try_from(program.actions.len()).unwrap_or(0);
        }
    }
    for (rule, rank) in config.rules.iter().zip(first..) {
        let port = match &rule.matching.in_port {
            None => None,
            Some(name) => match interfaces.get(name) {
                Some(found) => Some((found.ifindex, returned.contains(&found.ifindex))),
                // Nothing comes in where nothing is.
                None => continue,
            },
        };
        let is_encapsulated = rule
            .forward
            .as_ref()
            .is_some_and(|way| way.encapsulate.is_some());
        let patterns = pattern(rule, port, is_encapsulated).into_iter();
        program
            .rules
            .extend(patterns.map(|pattern| (pattern, rank)));
    }
    ask_for_hops(&mut program, &answers);
    program
}

/// Leaves answers to health checks to the node's network stack; the rank of the first rule.
fn leave_answers(program: &mut Program, answers: &[(u32, Ends)]) -> u32 {
    if answers.is_empty() {
        return 1;
    }
    let patterns = answers
        .iter()
        .map(|(ifindex, ends)| (answer_pattern(*ifindex, *ends), 1));
    program.rules.extend(patterns);
    program.actions.push(Action {
        steps: PASS,
        ..Action::default()
    });
    2
}

/// Where answers come in among packets that go on in a chain, the hop is looked up like a rule.
fn ask_for_hops(program: &mut Program, answers: &[(u32, Ends)]) {
    let mut hops = Vec::new();
    for (ifindex, _) in answers {
        let port = program
            .ports
            .get_mut(ifindex)
            .filter(|port| port.action != 0);
        if let Some(port) = port {
            hops.push((arrival_pattern(*ifindex), port.action));
            (port.action, port.is_return) = (0, true);
        }
    }
    hops.sort_unstable_by_key(|(_, rank)| *rank);
    program.rules.extend(hops);
}

/// Whether the ports of an application can be used.
pub(super) fn has_link(application: &ApplicationConfig, interfaces: &Interfaces) -> bool {
    let is_up = |name: &str| interfaces.get(name).is_some_and(|found| found.is_up);
    is_up(&application.port) && is_up(application.return_port())
}

struct Resolver<'a> {
    config: &'a SteeringConfig,
    interfaces: &'a Interfaces,
    slots: &'a Slots,
    failing: &'a Failing,
}

impl Resolver<'_> {
    fn counter(&self, counted: &Counted) -> (u64, u32) {
        (
            counted.hash(),
            self.slots.get(counted).copied().unwrap_or(0),
        )
    }

    fn of_rule(&self, rule: &RuleConfig) -> Action {
        let mut action = Action::default();
        action.counters[0] = self.counter(&Counted::Rule(rule.name.clone()));
        action.counters[1] = self.counter(&Counted::Slice(rule.slice.clone()));
        if rule.end_gtp.is_some() {
            action.steps |= END_GTP;
        }
        if rule.pass.is_some() {
            action.steps = PASS;
        } else if let Some(way) = &rule.forward {
            self.leave(&mut action, way);
        } else if let Some(chain) = rule.chain.as_ref().and_then(|name| self.config.chain(name)) {
            return self.hop(chain, 0, action);
        } else {
            action.steps = DROP;
        }
        action
    }

    /// What is done to a packet that has visited the first `visited` applications of a chain.
    fn hop(&self, chain: &ChainConfig, visited: usize, mut action: Action) -> Action {
        let is_up = |one: &ApplicationConfig| {
            let fails = (chain.name.clone(), one.name.clone());
            has_link(one, self.interfaces) && !self.failing.contains_key(&fails)
        };
        let is_closed =
            chain.on_failure == OnFailure::Close && !chain.applications.iter().all(is_up);
        let mut rest = chain.applications.iter().skip(visited);
        let next = rest.find(|one| is_up(one));
        match (next, &chain.forward) {
            (Some(next), _) if !is_closed => {
                let counted = Counted::Application(chain.name.clone(), next.name.clone());
                action.counters[2] = self.counter(&counted);
                self.to_port(&mut action, &next.port, next.destination_mac);
            }
            (None, Some(way)) if !is_closed => self.leave(&mut action, way),
            _ => action.steps = DROP,
        }
        action
    }

    fn leave(&self, action: &mut Action, way: &WayOut) {
        if way.pop_vlan.is_some() {
            action.steps |= POP;
        }
        if let Some(vlan) = way.push_vlan {
            action.steps |= PUSH;
            action.vlan = vlan;
        }
        if let Some(tunnel) = &way.encapsulate {
            action.steps |= ENCAPSULATE;
            action.teid = tunnel.teid;
            action.local = octets(tunnel.local_address);
            action.peer = octets(tunnel.peer_address);
            if tunnel.peer_address.is_ipv6() {
                action.steps |= OUTER_IPV6;
            }
            if let Some(qfi) = tunnel.qfi {
                action.steps |= QFI;
                action.qfi = qfi;
            }
            if tunnel.direction == Direction::Uplink {
                action.steps |= UPLINK;
            }
        }
        if way.to_other_end.is_none() {
            return self.to_port(action, &way.out_port, way.destination_mac);
        }
        match self
            .interfaces
            .get(&way.out_port)
            .and_then(|found| found.other_end)
        {
            Some(mac) => self.to_port(action, &way.out_port, Some(mac)),
            // Nobody would take it.
            None => action.steps = DROP,
        }
    }

    fn to_port(&self, action: &mut Action, name: &str, mac: Option<MacAddress>) {
        let Some(found) = self.interfaces.get(name) else {
            action.steps = DROP;
            return;
        };
        action.ifindex = found.ifindex;
        action.mtu = found.mtu;
        if let Some(MacAddress(mac)) = mac {
            action.steps |= SET_MAC;
            action.destination_mac = mac;
            action.source_mac = found.mac.0;
        }
    }
}
