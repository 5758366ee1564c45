//! The steering of a node, read into types, and the reports of what changes there.

use serde_json::{Map, Value};
use tranche_netconf::message::Notification;
use tranche_netconf::xml::Element;

use crate::intent::{Applied, Counted, NodeSteering, ResolverSeen, RuleSeen, STEERING};
use tranche_steering::ResolverConfig;

use super::read::{ReadError, mandatory, parsed};

/// Leaves that are numbers in RFC 7951.
const NUMBERS: [&str; 17] = [
    "client-rate",
    "interval",
    "timeout",
    "fall",
    "rise",
    "lower-port",
    "upper-port",
    "ttl",
    "vlan-id",
    "protocol",
    "source-port",
    "destination-port",
    "dscp",
    "message-type",
    "push-vlan",
    "teid",
    "qfi",
];
/// Leaves without a value.
const EMPTY: [&str; 7] = [
    "pass-through",
    "pop-vlan",
    "to-other-end",
    "classify",
    "end-gtp",
    "pass",
    "drop",
];
/// Containers, of which some are empty and mean something.
const CONTAINERS: [&str; 10] = [
    "health-check",
    "icmp-echo",
    "tcp",
    "http",
    "match",
    "gtp",
    "forward",
    "encapsulate",
    "source-port-range",
    "destination-port-range",
];
/// The other leaves.
const TEXTS: [&str; 26] = [
    "destination-address",
    "source-address",
    "path",
    "address",
    "type",
    "through",
    "name",
    "owner",
    "slice",
    "on-failure",
    "port",
    "return-port",
    "in-port",
    "out-port",
    "source-mac",
    "destination-mac",
    "source-prefix",
    "destination-prefix",
    "inner-source-prefix",
    "inner-destination-prefix",
    "local-address",
    "peer-address",
    "direction",
    "chain",
    "malformed-gtp",
    "oversized",
];

/// Reads the content of `steering`.
pub(super) fn steering(element: &Element) -> Result<NodeSteering, ReadError> {
    let mut read = NodeSteering::default();
    let mut config = Map::new();
    for (kind, key) in [
        ("port", "name"),
        ("chain", "name"),
        ("rule", "name"),
        ("resolver", "slice"),
    ] {
        let mut list = Vec::new();
        for entry in element.children(kind) {
            let name = mandatory(entry, kind, key)?;
            let mut is_odd = false;
            list.push(members(entry, kind, &mut is_odd)?);
            if is_odd {
                read.odd.insert(format!("{kind} {name}"));
            }
            see(&mut read, kind, &name, entry)?;
        }
        config.insert(kind.to_owned(), list.into());
    }
    read.config = serde_json::from_value(config.into()).map_err(|error| ReadError::Value {
        leaf: "steering".to_owned(),
        value: error.to_string(),
    })?;
    let resolvers = std::mem::take(&mut read.config.resolvers).into_iter();
    read.config.resolvers = resolvers.map(ResolverConfig::sorted).collect();
    Ok(read)
}

/// Whether there may be several leaves of this name here.
fn is_leaf_list(at: &str, name: &str) -> bool {
    matches!(
        (at, name),
        (_, "gtp-address" | "client" | "server") | ("resolver", "address")
    )
}

/// The configuration of a list entry or container in RFC 7951. State is left out; what is not known makes it odd.
fn members(element: &Element, at: &str, is_odd: &mut bool) -> Result<Value, ReadError> {
    let mut members = Map::new();
    for child in &element.children {
        let name = &*child.name;
        let value = match name {
            "state" => continue,
            "application" | "record" => {
                let list = members
                    .entry(name)
                    .or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    list.push(self::members(child, name, is_odd)?);
                }
                continue;
            }
            _ if is_leaf_list(at, name) => {
                let list = members
                    .entry(name)
                    .or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    list.push(child.text.as_str().into());
                }
                continue;
            }
            _ if CONTAINERS.contains(&name) => self::members(child, name, is_odd)?,
            _ if EMPTY.contains(&name) => Value::Array(vec![Value::Null]),
            _ if NUMBERS.contains(&name) => parsed::<u32>(element, at, name)?.into(),
            _ if TEXTS.contains(&name) => child.text.as_str().into(),
            _ => {
                *is_odd = true;
                continue;
            }
        };
        members.insert(name.to_owned(), value);
    }
    Ok(members.into())
}

/// Takes in what is seen of an entry.
fn see(read: &mut NodeSteering, kind: &str, name: &str, entry: &Element) -> Result<(), ReadError> {
    let state = entry.child("state");
    match (kind, state) {
        ("port", Some(state)) => {
            let oper_state = state.child_text("oper-state").unwrap_or("unknown");
            read.ports.insert(name.to_owned(), oper_state.to_owned());
        }
        ("rule", Some(state)) => {
            let seen = RuleSeen {
                counted: counted(state)?,
                shadowed_by: state.child_text("shadowed-by").map(str::to_owned),
            };
            read.rules.insert(name.to_owned(), seen);
        }
        ("resolver", Some(state)) => {
            read.resolvers
                .insert(name.to_owned(), resolver_seen(state)?);
        }
        ("chain", _) => {
            for application in entry.children("application") {
                let Some(state) = application.child("state") else {
                    continue;
                };
                let seen = applied(state, "application/state")?;
                let of = mandatory(application, "application", "name")?;
                read.applications.insert((name.to_owned(), of), seen);
            }
        }
        _ => {}
    }
    Ok(())
}

/// What changed of a node's steering (`steering-report`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SteeringReport {
    pub(super) sequence: u64,
    ports: Vec<(String, String)>,
    applications: Vec<((String, String), Applied)>,
    rules: Vec<(String, Counted)>,
    resolvers: Vec<(String, ResolverSeen)>,
}

impl SteeringReport {
    /// Reads a notification; `None` if it is another one.
    ///
    /// # Errors
    /// When it breaks the model.
    pub(super) fn read(notification: &Notification) -> Result<Option<Self>, ReadError> {
        let elements = notification.content.elements()?;
        let is_it = |top: &&Element| top.name == "steering-report" && top.namespace == STEERING;
        let Some(report) = elements.iter().find(is_it) else {
            return Ok(None);
        };
        let at = "steering-report";
        let missing = || ReadError::Missing(format!("{at}/sequence"));
        let mut read = Self {
            sequence: parsed(report, at, "sequence")?.ok_or_else(missing)?,
            ..Self::default()
        };
        for port in report.children("port") {
            let leaf = |name| mandatory(port, "steering-report/port", name);
            read.ports.push((leaf("name")?, leaf("oper-state")?));
        }
        for rule in report.children("rule") {
            let name = mandatory(rule, "steering-report/rule", "name")?;
            read.rules.push((name, counted(rule)?));
        }
        for resolver in report.children("resolver") {
            let slice = mandatory(resolver, "steering-report/resolver", "slice")?;
            read.resolvers.push((slice, resolver_seen(resolver)?));
        }
        for chain in report.children("chain") {
            let of = mandatory(chain, "steering-report/chain", "name")?;
            for application in chain.children("application") {
                let at = "steering-report/chain/application";
                let seen = applied(application, at)?;
                let name = mandatory(application, at, "name")?;
                read.applications.push(((of.clone(), name), seen));
            }
        }
        Ok(Some(read))
    }

    /// Puts it over what was read. What the last reading does not have comes with the next one.
    pub(super) fn put_over(self, read: &mut NodeSteering) {
        for (name, state) in self.ports {
            read.ports.entry(name).and_modify(|old| *old = state);
        }
        for (name, counted) in self.rules {
            let rule = read.rules.entry(name);
            rule.and_modify(|rule| rule.counted = counted);
        }
        for (slice, seen) in self.resolvers {
            read.resolvers.entry(slice).and_modify(|old| *old = seen);
        }
        for (name, seen) in self.applications {
            read.applications.entry(name).and_modify(|old| *old = seen);
        }
    }
}

fn applied(state: &Element, at: &str) -> Result<Applied, ReadError> {
    let text = |leaf| state.child_text(leaf).map(str::to_owned);
    Ok(Applied {
        is_up: parsed(state, at, "is-up")?.unwrap_or(false),
        down_by: text("down-by"),
        reason: text("reason"),
        changed_at: text("changed-at"),
        counted: counted(state)?,
    })
}

fn resolver_seen(state: &Element) -> Result<ResolverSeen, ReadError> {
    let counter = |leaf| Ok::<u64, ReadError>(parsed(state, "resolver", leaf)?.unwrap_or(0));
    let oper_state = state.child_text("oper-state").unwrap_or("unknown");
    Ok(ResolverSeen {
        oper_state: oper_state.to_owned(),
        answered: counter("answered")?,
        forwarded: counter("forwarded")?,
        refused: counter("refused")?,
        failed: counter("failed")?,
        ignored: counter("ignored")?,
        limited: counter("limited")?,
        since: state.child_text("discontinuity-time").map(str::to_owned),
    })
}

fn counted(state: &Element) -> Result<Counted, ReadError> {
    Ok(Counted {
        packets: parsed(state, "state", "packets")?.unwrap_or(0),
        bytes: parsed(state, "state", "bytes")?.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::NodePlan;
    use crate::inventory::Observed;
    use serde_json::json;
    use tranche_netconf::xml::Fragment;
    use tranche_steering::SteeringConfig;

    fn read(xml: &str) -> NodeSteering {
        let elements = Fragment::from_trusted(xml.to_owned()).elements().unwrap();
        steering(&elements[0]).unwrap()
    }

    #[test]
    fn what_was_written_is_read_back_the_same() {
        let config: SteeringConfig = serde_json::from_value(json!({
            "port": [{ "name": "ran0", "owner": "tranche-controller", "gtp-address": ["10.0.0.1", "fd00::1"] }],
            "chain": [{
                "name": "a.local", "owner": "tranche-controller", "on-failure": "bypass",
                "application": [
                    { "name": "cache", "port": "app0", "return-port": "app1", "health-check": {
                        "http": { "destination-address": "10.9.0.2", "source-address": "10.9.0.1", "destination-port": 8080, "path": "/status?a=1" },
                        "interval": 250, "timeout": 200, "fall": 2, "rise": 1 } },
                    { "name": "dpi", "port": "app2", "health-check": { "pass-through": [null] } },
                    { "name": "ids", "port": "app3", "health-check": {
                        "icmp-echo": { "destination-address": "fd00::9", "source-address": "fd00::8" } } },
                    { "name": "web", "port": "app4", "health-check": {
                        "tcp": { "destination-address": "10.9.1.2", "source-address": "10.9.1.1", "destination-port": 22 } } },
                ],
                "forward": { "push-vlan": 7, "out-port": "core0", "destination-mac": "02:00:00:00:00:09" },
            }],
            "rule": [
                { "name": "a.all", "owner": "tranche-controller", "slice": "a", "match": {}, "drop": [null] },
                { "name": "a.tunnel", "owner": "tranche-controller", "slice": "a", "end-gtp": [null], "chain": "a.local",
                  "match": { "in-port": "ran0", "vlan-id": 0, "dscp": 46,
                             "gtp": { "teid": 4_294_967_295_u32, "inner-destination-prefix": "10.9.0.0/16" } } },
                { "name": "a.back", "owner": "tranche-controller", "slice": "a",
                  "match": { "gtp": {}, "source-mac": "02:00:00:00:00:01", "protocol": 17, "destination-port": 53 },
                  "forward": { "pop-vlan": [null], "out-port": "ran0",
                               "encapsulate": { "teid": 9, "local-address": "10.0.0.1", "peer-address": "10.0.0.2", "qfi": 5, "direction": "uplink" } } },
                { "name": "a.names", "owner": "tranche-controller", "slice": "a", "forward": { "out-port": "dns0", "to-other-end": [null] },
                  "match": { "source-port-range": { "lower-port": 1024, "upper-port": 65535 }, "destination-port-range": { "lower-port": 53, "upper-port": 54 } } },
            ],
            "resolver": [{
                "slice": "a", "owner": "tranche-controller", "port": "dns0", "client-rate": 50, "address": ["10.53.0.1", "fd00::53"],
                "client": ["10.60.0.0/16", "10.61.0.0/16"], "forward": { "server": ["10.0.0.54", "10.0.0.53"], "through": "tunnel" },
                "record": [{ "name": "x.example", "type": "A", "address": "10.0.0.7", "ttl": 60 },
                           { "name": "x.example", "type": "AAAA", "address": "fd00::7", "ttl": 300 }],
            }],
        }))
        .unwrap();
        let plan = NodePlan {
            steering: config.clone(),
            ..NodePlan::default()
        };
        let edit = plan.edit(None, &Observed::default()).unwrap();
        let found = read(edit.as_str());
        assert_eq!(found.config, config);
        assert!(found.odd.is_empty());
        let has = Observed {
            steering: found,
            ..Observed::default()
        };
        assert!(plan.drift(None, &has).is_empty());
    }

    #[test]
    fn a_report_is_put_over_what_was_read() {
        let mut read = read(
            "<steering><port><name>ran0</name><state><oper-state>down</oper-state></state></port>\
             <chain><name>c</name><on-failure>close</on-failure><application><name>x</name><port>app0</port>\
             <state><is-up>true</is-up></state></application><classify/></chain>\
             <rule><name>r</name><slice>a</slice><drop/><state><packets>3</packets><bytes>300</bytes><shadowed-by>q</shadowed-by></state></rule>\
             <resolver><slice>a</slice><port>dns0</port><state><oper-state>up</oper-state></state></resolver></steering>",
        );
        let notification = |content: &str| Notification {
            event_time: "2026-01-01T00:00:00Z".to_owned(),
            content: Fragment::from_trusted(content.to_owned()),
        };
        let report = format!(
            "<steering-report xmlns='{STEERING}'><sequence>4</sequence><interval>1000</interval>\
             <port><name>ran0</name><oper-state>up</oper-state></port>\
             <chain><name>c</name><application><name>x</name><is-up>false</is-up>\
             <down-by>health-check</down-by><reason>no answer within 500 ms</reason><changed-at>2026-01-01T00:00:00Z</changed-at><packets>2</packets><bytes>9</bytes></application></chain>\
             <rule><name>r</name><packets>5</packets><bytes>500</bytes></rule><rule><name>new</name><packets>1</packets></rule>\
             <resolver><slice>a</slice><oper-state>down</oper-state><refused>7</refused></resolver></steering-report>"
        );
        let report = SteeringReport::read(&notification(&report))
            .unwrap()
            .unwrap();
        assert_eq!(report.sequence, 4);
        report.put_over(&mut read);
        assert_eq!(read.ports["ran0"], "up");
        assert_eq!(read.rules["r"].counted.packets, 5);
        assert_eq!(read.rules["r"].shadowed_by.as_deref(), Some("q"));
        assert_eq!(read.rules.len(), 1, "what is not configured is not seen");
        let resolver = &read.resolvers["a"];
        assert_eq!(
            (resolver.oper_state.as_str(), resolver.refused),
            ("down", 7)
        );
        let application = &read.applications[&("c".to_owned(), "x".to_owned())];
        assert!(!application.is_up && application.counted.packets == 2);
        assert_eq!(
            application.reason.as_deref(),
            Some("no answer within 500 ms")
        );
        let other = notification("<prb-report xmlns='urn:x'/>");
        assert_eq!(SteeringReport::read(&other).unwrap(), None);
        let broken = notification(&format!("<steering-report xmlns='{STEERING}'/>"));
        assert!(SteeringReport::read(&broken).is_err());
    }

    #[test]
    fn what_is_seen_is_read_and_what_is_not_known_makes_an_entry_odd() {
        let found = read(
            "<steering><port><name>ran0</name><state><oper-state>down</oper-state></state></port>\
             <chain><name>c</name><on-failure>close</on-failure><application><name>x</name><port>app0</port>\
             <state><is-up>true</is-up><packets>4</packets><bytes>400</bytes></state></application><classify/></chain>\
             <rule><name>r</name><slice>a</slice><drop/><state><packets>3</packets><bytes>300</bytes><shadowed-by>q</shadowed-by></state></rule>\
             <rule><name>s</name><slice>a</slice><match><in-port>ran0</in-port><weather>wet</weather></match><pass/></rule>\
             <resolver><slice>a</slice><port>dns0</port><client>10.61.0.0/16</client><client>10.60.0.0/16</client>\
             <state><oper-state>up</oper-state><answered>5</answered><failed>1</failed></state></resolver></steering>",
        );
        let resolver = &found.resolvers["a"];
        assert_eq!(
            (
                resolver.oper_state.as_str(),
                resolver.answered,
                resolver.failed
            ),
            ("up", 5, 1)
        );
        let clients = found.config.resolvers[0].clients.iter();
        assert!(clients.is_sorted());
        assert_eq!(found.ports["ran0"], "down");
        let application = &found.applications[&("c".to_owned(), "x".to_owned())];
        assert!(application.is_up && application.counted.bytes == 400);
        assert_eq!(found.rules["r"].counted.packets, 3);
        assert_eq!(found.rules["r"].shadowed_by.as_deref(), Some("q"));
        assert_eq!(found.odd.into_iter().collect::<Vec<_>>(), ["rule s"]);
    }
}
