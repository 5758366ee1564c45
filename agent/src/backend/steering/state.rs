//! What can be observed of steering. Serialises as the module's state (RFC 7951).

use std::time::SystemTime;

use serde::{Serialize, Serializer};
use tranche_yang::clock::rfc3339;

use crate::backend::value::as_text;

/// What happens to steering by itself. Serialises as its notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Event {
    /// What ran was not what is configured, and is again.
    #[serde(rename = "tranche-wifi:drift-repaired")]
    Repaired {
        /// What happened.
        cause: String,
        /// What was put right.
        #[serde(rename = "repair")]
        repairs: Vec<Repair>,
    },
    /// An application went up or down.
    #[serde(rename = "tranche-steering:application-state-change")]
    Application {
        /// Its chain.
        chain: String,
        /// Its name.
        application: String,
        /// What it is now.
        #[serde(flatten)]
        now: Condition,
    },
}

/// Something that was put right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// Instance path of what is carried out again.
    pub target: String,
    /// What was done.
    pub action: String,
}

/// Packets and octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// Packets.
    #[serde(serialize_with = "as_text")]
    pub packets: u64,
    /// Octets of the frames as they came in.
    #[serde(serialize_with = "as_text")]
    pub bytes: u64,
}

/// All that is seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SteeringState {
    /// Ports, in the order of the configuration.
    pub ports: Vec<PortState>,
    /// Chains.
    pub chains: Vec<ChainState>,
    /// Rules in their order.
    pub rules: Vec<RuleState>,
    /// Resolvers.
    pub resolvers: Vec<ResolverState>,
    /// What is counted for the node as a whole; none where nothing is steered.
    pub counters: Option<Counters>,
    /// Why what is configured is not in force; none where it is.
    pub fault: Option<String>,
}

/// `resolver/state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverState {
    /// The slice.
    pub slice: String,
    /// Whether its sockets are bound at all addresses.
    pub is_up: bool,
    /// What became of queries.
    pub counts: ResolverCounts,
    /// Since when they are counted; not known of one that does not run.
    pub since: Option<SystemTime>,
}

/// What became of the queries to a resolver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ResolverCounts {
    /// Answered from the records.
    #[serde(serialize_with = "as_text")]
    pub answered: u64,
    /// Answered by another resolver.
    #[serde(serialize_with = "as_text")]
    pub forwarded: u64,
    /// Refused.
    #[serde(serialize_with = "as_text")]
    pub refused: u64,
    /// Answered by nobody in time.
    #[serde(serialize_with = "as_text")]
    pub failed: u64,
    /// No query, or not from a client.
    #[serde(serialize_with = "as_text")]
    pub ignored: u64,
    /// Over UDP and too many of one client.
    #[serde(serialize_with = "as_text")]
    pub limited: u64,
}

/// `port/state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortState {
    /// Name.
    pub name: String,
    /// Whether it can be used.
    pub oper_state: OperState,
}

/// `oper-state` of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperState {
    /// Packets are steered.
    Up,
    /// No link.
    Down,
    /// No such interface.
    Missing,
    /// It is there, and what is configured is not in force.
    Failed,
}

/// `chain` with what is seen of its applications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainState {
    /// Name.
    pub name: String,
    /// Applications in order.
    pub applications: Vec<ApplicationState>,
}

/// `application/state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationState {
    /// Name.
    pub name: String,
    /// Whether packets are sent to it, and why not.
    pub condition: Condition,
    /// When its last health check had a result.
    pub checked_at: Option<SystemTime>,
    /// What was sent to it.
    pub counter: Counter,
}

/// The grouping `application-state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Condition {
    /// Whether packets are sent to it.
    pub is_up: bool,
    /// What is wrong.
    #[serde(flatten)]
    pub down: Option<Down>,
    /// Since when, as far as is known.
    #[serde(serialize_with = "as_time")]
    pub changed_at: SystemTime,
}

/// What is wrong with an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Down {
    /// What kind of fault.
    pub down_by: DownBy,
    /// The same in words.
    pub reason: String,
}

/// `down-by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DownBy {
    /// A port of it has no link or is not there.
    Port,
    /// It fails its health check.
    HealthCheck,
}

fn as_time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// `rule/state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleState {
    /// Name.
    pub name: String,
    /// What matched.
    pub counter: Counter,
    /// The rule that takes everything from it.
    pub shadowed_by: Option<String>,
}

/// What the rules of a slice matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SliceState {
    /// The slice.
    pub name: String,
    /// How much.
    #[serde(flatten)]
    pub counter: Counter,
}

/// `/tranche-steering:steering/state`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counters {
    /// Fragments.
    pub fragments: Counter,
    /// Malformed GTP-U.
    pub malformed: Counter,
    /// Larger than the MTU of their port.
    pub too_large: Counter,
    /// Echo requests.
    pub echo_answered: Counter,
    /// Dropped because the kernel could not change them.
    pub failed: Counter,
    /// Matched by no rule.
    pub unmatched: Counter,
    /// By slice.
    #[serde(rename = "slice")]
    pub slices: Vec<SliceState>,
}
