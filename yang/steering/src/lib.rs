//! Steering as it is configured at a node (`tranche-steering`), for who does it and for who configures it.
//!
//! Owns the typed configuration, what of it makes no sense, and rules as patterns over the fields of packets. Leaves to the agent
//! what interfaces there are and how packets are steered, and to the controller which node gets which rules. Does no I/O.

mod address;
mod check;
mod config;
mod health;
mod key;
mod mac;
mod queries;
mod resolver;
mod tunnels;

pub use address::{Prefix, Written};
pub use check::{
    Fault, FaultKind, MOST_PORTS, RULES, TOP, TUPLES, chain_path, check, port_path, rule_path,
};
pub use config::{
    ApplicationConfig, ChainConfig, Direction, Encapsulation, GtpMatch, Malformed, MatchConfig,
    OnFailure, Oversized, PortConfig, PortRange, RuleConfig, SteeringConfig, WayOut, present,
};
pub use health::{Connection, Ends, HealthCheck, Request, answers};
pub use key::{
    GTP, INNER, INNER_IPV6, IP, IPV6, Key, PORTS, Pattern, RETURNED, TAGGED, WORDS, Words,
    answer_pattern, arrival_pattern, octets, pattern, patterns,
};
pub use mac::{MacAddress, ParseValueError};
pub use resolver::{
    DEFAULT_CLIENT_RATE, DEFAULT_TTL, Forward, LARGEST_TTL, RecordConfig, RecordType,
    ResolverConfig, Through, check_name, record_path, resolver_path,
};
