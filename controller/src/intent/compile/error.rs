//! What can be wrong with an intent.

use std::fmt;

/// Why an intent can't be put on the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentError {
    /// What is at fault: an instance path in the intent.
    pub path: String,
    /// What kind of fault.
    pub kind: ErrorKind,
    /// One plain sentence.
    pub message: String,
}

/// Kinds of [`IntentError`]; [`ErrorKind::app_tag`] is what a peer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// A node that is not in the inventory.
    UnknownNode,
    /// A site that is not in the inventory.
    UnknownSite,
    /// A node that is administratively off.
    DisabledNode,
    /// A selector that selects no node or no radio.
    SelectsNothing,
    /// A node that was not read since it was added: its radios are not known.
    NodeNotRead,
    /// An SSID of more than 32 octets.
    SsidTooLong,
    /// Two slices with one SSID on a node.
    SsidClash,
    /// A vif of ours would have the name of somebody else's.
    NameClash,
    /// More vifs than the radio carries.
    TooManyVifs,
    /// The minimum ratios on a radio sum past 100 %.
    RadioOvercommitted,
    /// The guarantees of the slices around a radio sum past 100 %.
    DomainOvercommitted,
    /// A pool has no address or subnet left.
    PoolExhausted,
    /// A node has no UDP port left.
    PortsExhausted,
    /// What was given to an end is not in its pool.
    OutsidePool,
    /// Prefixes of one slice that must be apart are not.
    PoolOverlap,
    /// No prefix, or one of a length that does not fit.
    BadPrefix,
    /// A prefix with bits set beyond its length.
    HostBits,
    /// A prefix that an underlay address is in.
    CoversUnderlay,
    /// A default route from elsewhere than a hub.
    DefaultRoute,
    /// Two hubs at one node.
    HubClash,
    /// Two hubs of one priority.
    PriorityClash,
    /// Two ends of one name.
    PeerNameClash,
    /// Two ends of one key.
    KeyClash,
    /// Rotation that an end whose key is elsewhere could not follow.
    KeyElsewhere,
    /// A mesh of too many nodes.
    MeshTooLarge,
    /// Two slices with one VXLAN network identifier on a node.
    VniClash,
    /// Two slices with a backhaul from one bridge of a node.
    BridgeClash,
    /// A tunnel of ours would have the name of somebody else's.
    TunnelClash,
    /// A node that others call, without an address to call.
    NoUnderlay,
    /// A cell that no selected node has.
    UnknownCell,
    /// A core that a node does not have.
    UnknownCore,
    /// Something that cells of this technology do not have, or a core that is not for them.
    RatMismatch,
    /// A slice differentiator that is not written as it has to be.
    SdNotCanonical,
    /// A slice profile of ours would have the name of somebody else's.
    ProfileClash,
    /// More PLMNs than a cell can broadcast.
    TooManyPlmns,
    /// Two slices with one PLMN and S-NSSAI on a cell.
    DuplicateSlice,
    /// The minima of PRB on a cell sum past 100 %.
    PrbOvercommitted,
    /// A subscriber of two slices on a cell.
    ImsiOverlap,
    /// A name that is too long at a node.
    NameTooLong,
    /// Steering that a node would refuse.
    BadSteering,
    /// More steering than a node has room for.
    SteeringFull,
    /// A rule to which another slice leaves nothing.
    RuleShadowed,
    /// Queries for the resolver of a slice that the one of another slice would get.
    ResolverClash,
    /// A traffic rule of an application that steering can't do.
    MecUnsupported,
}

impl ErrorKind {
    /// The `error-app-tag`.
    #[must_use]
    pub fn app_tag(self) -> &'static str {
        match self {
            Self::UnknownNode => "unknown-node",
            Self::UnknownSite => "unknown-site",
            Self::DisabledNode => "node-disabled",
            Self::SelectsNothing => "selects-nothing",
            Self::NodeNotRead => "node-not-read",
            Self::SsidTooLong => "ssid-too-long",
            Self::SsidClash => "ssid-clash",
            Self::NameClash => "vif-name-clash",
            Self::TooManyVifs => "too-many-vifs",
            Self::RadioOvercommitted => "ratio-sum",
            Self::DomainOvercommitted => "domain-ratio-sum",
            Self::PoolExhausted => "pool-exhausted",
            Self::PortsExhausted => "ports-exhausted",
            Self::OutsidePool => "outside-pool",
            Self::PoolOverlap => "prefix-overlap",
            Self::BadPrefix => "bad-prefix",
            Self::HostBits => "host-bits",
            Self::CoversUnderlay => "covers-underlay",
            Self::DefaultRoute => "default-route",
            Self::HubClash => "hub-clash",
            Self::PriorityClash => "priority-clash",
            Self::PeerNameClash => "peer-name-clash",
            Self::KeyClash => "key-clash",
            Self::KeyElsewhere => "key-elsewhere",
            Self::MeshTooLarge => "mesh-too-large",
            Self::VniClash => "vni-clash",
            Self::BridgeClash => "bridge-clash",
            Self::TunnelClash => "tunnel-name-clash",
            Self::NoUnderlay => "no-underlay-address",
            Self::UnknownCell => "unknown-cell",
            Self::UnknownCore => "unknown-core",
            Self::RatMismatch => "rat-mismatch",
            Self::SdNotCanonical => "sd-not-canonical",
            Self::ProfileClash => "profile-name-clash",
            Self::TooManyPlmns => "too-many-plmns",
            Self::DuplicateSlice => "duplicate-slice",
            Self::PrbOvercommitted => "ratio-sum",
            Self::ImsiOverlap => "imsi-overlap",
            Self::NameTooLong => "name-too-long",
            Self::BadSteering => "bad-steering",
            Self::SteeringFull => "steering-full",
            Self::RuleShadowed => "rule-shadowed",
            Self::ResolverClash => "resolver-clash",
            Self::MecUnsupported => "mec-unsupported",
        }
    }
}

impl fmt::Display for IntentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at {})", self.message, self.path)
    }
}

impl std::error::Error for IntentError {}
