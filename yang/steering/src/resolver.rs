//! Resolvers of slices as they are configured: the typed form, and what of it makes no sense. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::check::{Checked, bad, check_host, check_prefix, no_room};
use crate::{SteeringConfig, TOP, Written};

/// Resolvers of a node at most.
const RESOLVERS: usize = 64;
/// Records of a node at most.
const RECORDS: usize = 10_000;
/// Octets of a name as it is written, at most (RFC 1035 2.3.4, less what is there beside the letters).
const LONGEST_NAME: usize = 253;
/// And of each of its labels.
const LONGEST_LABEL: usize = 63;
/// Largest time to live (RFC 2181 8).
pub const LARGEST_TTL: u32 = 0x7fff_ffff;
/// Queries of one client over UDP that are answered, a second, where nothing is said.
pub const DEFAULT_CLIENT_RATE: u32 = 200;
/// Time to live where none is said.
pub const DEFAULT_TTL: u32 = 300;

/// `resolver`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResolverConfig {
    /// The slice.
    #[serde(default)]
    pub slice: String,
    /// Who configured it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Interface to make in the node's namespace.
    pub port: String,
    /// Where it answers.
    #[serde(default, rename = "address")]
    pub addresses: Vec<IpAddr>,
    /// Whom it answers.
    #[serde(default, rename = "client")]
    pub clients: Vec<Written>,
    /// Queries of one client over UDP that are answered, a second.
    #[serde(default = "default_client_rate")]
    pub client_rate: u32,
    /// Where it asks for what it has no record for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// Its records.
    #[serde(default, rename = "record", skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<RecordConfig>,
}

impl ResolverConfig {
    /// With everything that has no order in the one of its values, so that what means the same is the same.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.addresses.sort_unstable();
        self.clients.sort_unstable();
        let key = |one: &RecordConfig| (one.name.clone(), one.kind);
        self.records.sort_unstable_by_key(key);
        self
    }
}

/// `resolver/forward`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Forward {
    /// Resolvers in the order in which they are asked.
    #[serde(default, rename = "server")]
    pub servers: Vec<IpAddr>,
    /// From where.
    #[serde(default)]
    pub through: Through,
}

/// `through`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Through {
    /// The node's namespace.
    #[default]
    Node,
    /// That of the slice's tunnel.
    Tunnel,
}

/// `record`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordConfig {
    /// Its name, without a dot at the end.
    pub name: String,
    /// What kind of address.
    #[serde(rename = "type")]
    pub kind: RecordType,
    /// The address.
    pub address: IpAddr,
    /// Seconds for which it may be remembered.
    #[serde(default = "default_ttl")]
    pub ttl: u32,
}

const fn default_client_rate() -> u32 {
    DEFAULT_CLIENT_RATE
}

const fn default_ttl() -> u32 {
    DEFAULT_TTL
}

/// `record/type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
}

impl RecordType {
    /// Its name in the DNS.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
        }
    }

    /// Whether an address is of its family.
    #[must_use]
    pub const fn fits(self, address: IpAddr) -> bool {
        matches!(self, Self::A) == address.is_ipv4()
    }
}

/// Path of a resolver.
#[must_use]
pub fn resolver_path(slice: &str) -> String {
    format!("{TOP}/resolver[slice='{slice}']")
}

/// Path of one of its records.
#[must_use]
pub fn record_path(slice: &str, name: &str, kind: RecordType) -> String {
    let kind = kind.as_str();
    format!(
        "{}/record[name='{name}'][type='{kind}']",
        resolver_path(slice)
    )
}

/// Checks a name of the DNS: letters, digits, hyphens and underscores in labels of up to 63, 253 octets in all; before them a
/// wildcard, perhaps (RFC 1035 2.3.1, RFC 4592).
///
/// # Errors
/// The sentence that says what is wrong.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.len() > LONGEST_NAME {
        return Err(format!(
            "a name of the DNS has up to {LONGEST_NAME} characters"
        ));
    }
    let labels = name.strip_prefix("*.").unwrap_or(name);
    for label in labels.split('.') {
        let is_edge = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let has_edges = label.starts_with(is_edge) && label.ends_with(is_edge);
        let is_inside = label.chars().all(|c| is_edge(c) || c == '-');
        if !has_edges || !is_inside || label.len() > LONGEST_LABEL {
            return Err(format!(
                "'{label}' in '{name}' is no label of a name: they have up to {LONGEST_LABEL} letters, digits, hyphens and \
                 underscores, and no hyphen at an end; only the first may be '*'"
            ));
        }
    }
    Ok(())
}

/// Checks all resolvers of a node.
pub(crate) fn check_resolvers(config: &SteeringConfig) -> Checked {
    let records: usize = config.resolvers.iter().map(|one| one.records.len()).sum();
    if config.resolvers.len() > RESOLVERS || records > RECORDS {
        let message = format!("a node has room for {RESOLVERS} resolvers and {RECORDS} records");
        return Err(no_room(message));
    }
    let mut ports: BTreeSet<&str> = BTreeSet::new();
    for resolver in &config.resolvers {
        let at = resolver_path(&resolver.slice);
        let port = resolver.port.as_str();
        if config.ports.iter().all(|known| known.name != port) {
            let message = format!("{port} is not among the ports of this node's steering");
            return Err(bad(format!("{at}/port"), message));
        }
        let applications = config.chains.iter().flat_map(|chain| &chain.applications);
        let mut taken = applications.flat_map(|one| [one.port.as_str(), one.return_port()]);
        if !ports.insert(port) || taken.any(|other| other == port) {
            let message = format!("{port} is the port of another resolver or of an application");
            return Err(bad(format!("{at}/port"), message));
        }
        check_resolver(resolver, &at)?;
    }
    Ok(())
}

fn check_resolver(resolver: &ResolverConfig, at: &str) -> Checked {
    for address in &resolver.addresses {
        check_host(&format!("{at}/address[.='{address}']"), *address)?;
    }
    for client in &resolver.clients {
        let at = format!("{at}/client[.='{}']", client.0);
        check_prefix(&at, Some(client))?;
    }
    for server in resolver.forward.iter().flat_map(|one| &one.servers) {
        let at = format!("{at}/forward/server[.='{server}']");
        check_host(&at, *server)?;
        if resolver.addresses.contains(server) {
            return Err(bad(at, format!("{server} is this resolver itself")));
        }
    }
    let mut known = BTreeSet::new();
    for record in &resolver.records {
        let at = record_path(&resolver.slice, &record.name, record.kind);
        check_name(&record.name).map_err(|message| bad(format!("{at}/name"), message))?;
        let kind = record.kind.as_str();
        if !record.kind.fits(record.address) {
            let message = format!(
                "{} is no address of a record of type {kind}",
                record.address
            );
            return Err(bad(format!("{at}/address"), message));
        }
        check_host(&format!("{at}/address"), record.address)?;
        if record.ttl > LARGEST_TTL {
            let message = format!("a time to live ends at {LARGEST_TTL} seconds");
            return Err(bad(format!("{at}/ttl"), message));
        }
        if !known.insert((record.name.to_ascii_lowercase(), record.kind)) {
            let message = format!(
                "slice {} has two records of type {kind} for {}, which the DNS does not tell apart by case",
                resolver.slice, record.name
            );
            return Err(bad(format!("{at}/name"), message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_dns() {
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        for name in [
            "video.example.com",
            "*.edge.example",
            "a",
            "_srv._tcp.x",
            "xn--bcher-kva.example",
            &longest,
        ] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let too_long = format!("{longest}c");
        let label = "a".repeat(64);
        for name in [
            "",
            ".",
            "a..b",
            "a.",
            "-a.example",
            "a-.example",
            "a.*.b",
            "*",
            "a b",
            "büch.er",
            &too_long,
            &label,
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_at_its_leaf() {
        let resolver = |change: &dyn Fn(&mut ResolverConfig)| {
            let mut resolver: ResolverConfig = serde_json::from_value(serde_json::json!({
                "slice": "a", "port": "dns0", "address": ["10.53.0.1"], "client": ["10.60.0.0/16"],
                "record": [{ "name": "x.example", "type": "A", "address": "10.0.0.1" }],
            }))
            .unwrap();
            change(&mut resolver);
            let mut config = SteeringConfig::default();
            config.ports.push(crate::PortConfig {
                name: "dns0".to_owned(),
                ..Default::default()
            });
            config.resolvers.push(resolver);
            check_resolvers(&config).map_err(|fault| fault.path)
        };
        assert_eq!(resolver(&|_| {}), Ok(()));
        let top = "/tranche-steering:steering/resolver[slice='a']";
        let record = format!("{top}/record[name='x.example'][type='A']");
        type Change<'a> = &'a dyn Fn(&mut ResolverConfig);
        let cases: [(Change<'_>, String); 7] = [
            (&|one| one.port = "eth9".to_owned(), format!("{top}/port")),
            (
                &|one| one.addresses.push("224.0.0.1".parse().unwrap()),
                format!("{top}/address[.='224.0.0.1']"),
            ),
            (
                &|one| one.clients.push(Written("10.0.0.1/8".to_owned())),
                format!("{top}/client[.='10.0.0.1/8']"),
            ),
            (
                &|one| {
                    one.forward = Some(Forward {
                        servers: one.addresses.clone(),
                        through: Through::Node,
                    })
                },
                format!("{top}/forward/server[.='10.53.0.1']"),
            ),
            (
                &|one| one.records[0].address = "fd00::1".parse().unwrap(),
                format!("{record}/address"),
            ),
            (
                &|one| one.records[0].ttl = LARGEST_TTL + 1,
                format!("{record}/ttl"),
            ),
            (
                &|one| {
                    let mut other = one.records[0].clone();
                    other.name = "X.Example".to_owned();
                    one.records.push(other);
                },
                format!("{top}/record[name='X.Example'][type='A']/name"),
            ),
        ];
        for (change, path) in cases {
            assert_eq!(resolver(change), Err(path));
        }
    }
}
