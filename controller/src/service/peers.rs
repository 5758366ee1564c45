//! Operations on the backhaul of a slice that change the configuration as a commit like any other: foreign peers, and a path
//! between two nodes for a slice that has none.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;
use tranche_netconf::error::{ErrorTag, RpcError};
use tranche_yang::datastore::SERVER;
use tranche_yang::nacm::User;
use tranche_yang::{Datastores, Node, Operation, Tree};

use super::desired::Desired;
use super::{Author, Called, Published, Run, Service, rpc_errors};
use crate::intent::{Backhaul, Hub, OwnKey, Prefix, Topology, underlay};

/// Where a peer whose key is elsewhere should say something now and then, so that translators on the way remember it.
const KEEPALIVE: u16 = 25;
/// Pools that are given where none is asked for (RFC 6598).
const SHARED: &str = "100.64.0.0/10";
/// The operation that gives a slice a path.
const ENCRYPT_PATH: &str = "/tranche-slice:encrypt-path";

/// What came of an edit.
pub(super) enum Edited<T> {
    /// It is in force; with what it answered.
    Done(T),
    /// What it would do: the content of the container `dry-run`.
    Told(Value),
}

/// A refusal of an operation.
fn refuse(tag: ErrorTag, path: &str, message: impl Into<String>) -> Vec<RpcError> {
    vec![RpcError::new(tag, message.into()).at(path)]
}

/// A leaf of the input that the schema makes mandatory.
fn mandatory(input: Node<'_>, leaf: &str) -> Result<String, Vec<RpcError>> {
    let missing = || {
        let error = RpcError::new(ErrorTag::MissingElement, format!("{leaf} is missing"));
        vec![error.with_info("bad-element", leaf)]
    };
    input.get(leaf).map(str::to_owned).ok_or_else(missing)
}

fn one(error: tranche_yang::Error) -> Vec<RpcError> {
    vec![error.to_rpc_error()]
}

fn set_all(tree: &mut Tree, leaves: &[(String, String)]) -> Result<(), Vec<RpcError>> {
    for (path, value) in leaves {
        tree.set(path, value.as_str()).map_err(one)?;
    }
    Ok(())
}

fn backhaul_path(slice: &str) -> String {
    format!("/tranche-slice:slices/slice[id='{slice}']/backhaul")
}

impl Service {
    /// The actions and the operation of `tranche-slice`.
    pub(super) async fn call_slice(
        self: &Arc<Self>,
        user: User,
        operation: Operation,
        run: Run,
    ) -> Result<Called, Vec<RpcError>> {
        if operation.name() == "encrypt-path" {
            return self.encrypt_path(user, &operation, run).await;
        }
        let slice = {
            let backhaul = operation.data().parent();
            let slice = backhaul.and_then(Node::parent);
            slice.and_then(|slice| slice.get("id").map(str::to_owned))
        };
        let slice = slice.ok_or_else(|| super::internal("the action is of no slice"))?;
        match operation.name() {
            action @ "rotate-keys" => {
                run.must_be_wet(action, "a rotation changes no configuration here")?;
                let output = self.rotate_keys(slice, &operation).await?;
                Ok(Called::Done(Some(output)))
            }
            action @ "cancel-rotation" => {
                run.must_be_wet(action, "a rotation changes no configuration here")?;
                self.cancel_rotation(&slice).await?;
                Ok(Called::Done(None))
            }
            "add-peer" => self.add_peer(user, slice, (&operation, run)).await,
            "del-peer" => self.del_peer(user, slice, (&operation, run)).await,
            action @ "peer-configuration" => {
                run.must_be_wet(action, "it only reads")?;
                let name = mandatory(operation.data(), "name")?;
                let side = match operation.data().get("key") {
                    Some("next") => Side::Next,
                    _ => Side::Current,
                };
                let output = self.peer_configuration(&slice, &name, (action, side))?;
                Ok(Called::Done(Some(output)))
            }
            name => Err(vec![RpcError::new(
                ErrorTag::OperationNotSupported,
                format!("the operation tranche-slice:{name} is not supported"),
            )]),
        }
    }

    async fn add_peer(
        self: &Arc<Self>,
        user: User,
        slice: String,
        (operation, run): (&Operation, Run),
    ) -> Result<Called, Vec<RpcError>> {
        let input = operation.data();
        let name = mandatory(input, "name")?;
        let path = format!("{}/foreign-peer[name='{name}']", backhaul_path(&slice));
        let mut leaves = vec![(
            format!("{path}/public-key"),
            mandatory(input, "public-key")?,
        )];
        if let Some(endpoint) = input.child("endpoint") {
            for leaf in ["address", "port"] {
                let value = mandatory(endpoint, leaf)?;
                leaves.push((format!("{path}/endpoint/{leaf}"), value));
            }
            let second = endpoint.get("second-port");
            leaves.extend(
                second.map(|port| (format!("{path}/endpoint/second-port"), port.to_owned())),
            );
        }
        for prefix in input.list("allowed-prefix").filter_map(Node::value) {
            leaves.push((format!("{path}/allowed-prefix"), prefix.to_owned()));
        }
        let label = format!("add peer {name} to slice {slice}");
        let edit = move |before: &Published, tree: &mut Tree| {
            if before.running.exists(&path) {
                let message = "the slice has a foreign peer of this name already";
                return Err(refuse(ErrorTag::DataExists, &path, message));
            }
            set_all(tree, &leaves)
        };
        if let Edited::Told(told) = self.edit((user, label), run, edit).await? {
            return Ok(Called::Told(told));
        }
        let action = ("add-peer", Side::Current);
        let output = self.peer_configuration(&slice, &name, action)?;
        Ok(Called::Done(Some(output)))
    }

    async fn del_peer(
        self: &Arc<Self>,
        user: User,
        slice: String,
        (operation, run): (&Operation, Run),
    ) -> Result<Called, Vec<RpcError>> {
        let name = mandatory(operation.data(), "name")?;
        let path = format!("{}/foreign-peer[name='{name}']", backhaul_path(&slice));
        let label = format!("remove peer {name} from slice {slice}");
        let edit = move |before: &Published, tree: &mut Tree| {
            if !before.running.exists(&path) {
                let message = "the slice has no foreign peer of this name";
                return Err(refuse(ErrorTag::DataMissing, &path, message));
            }
            tree.remove(&path).map(drop).map_err(one)
        };
        Ok(match self.edit((user, label), run, edit).await? {
            Edited::Done(()) => Called::Done(None),
            Edited::Told(told) => Called::Told(told),
        })
    }

    /// Changes the configuration as a user, or says what that would do. What an `edit` goes by is what it is given: before it
    /// runs, other changes may be made.
    pub(super) async fn edit<T: Send + 'static>(
        self: &Arc<Self>,
        (user, label): (User, String),
        run: Run,
        edit: impl FnOnce(&Published, &mut Tree) -> Result<T, Vec<RpcError>> + Send + 'static,
    ) -> Result<Edited<T>, Vec<RpcError>> {
        let propose = move |before: &Published, datastores: &mut Datastores| {
            let mut tree = before.running.duplicate().map_err(one)?;
            let answer = edit(before, &mut tree)?;
            let proposal = datastores.propose_replace(SERVER, &tree);
            Ok::<_, Vec<RpcError>>((proposal.map_err(rpc_errors)?, answer))
        };
        if run == Run::Dry {
            return self.dry_run(user, propose).await.map(Edited::Told);
        }
        let (answer, _) = self.change(Author { user, label }, propose).await?;
        Ok(Edited::Done(answer))
    }

    async fn encrypt_path(
        self: &Arc<Self>,
        user: User,
        operation: &Operation,
        run: Run,
    ) -> Result<Called, Vec<RpcError>> {
        let input = operation.data();
        let ends = PathEnds {
            slice: mandatory(input, "slice")?,
            from: mandatory(input, "from")?,
            to: mandatory(input, "to")?,
        };
        let asked = input.get("pool").map(str::to_owned);
        let PathEnds { slice, from, to } = &ends;
        let label = format!("encrypt the path of slice {slice} from {from} to {to}");
        let edit = move |before: &Published, tree: &mut Tree| {
            ends.check(&before.desired)?;
            let pool = asked.or_else(|| free_pool(&before.desired));
            let pool = pool.ok_or_else(|| {
                let message = format!("every prefix of 30 bits out of {SHARED} is in use");
                let path = format!("{ENCRYPT_PATH}/pool");
                refuse(ErrorTag::ResourceDenied, &path, message)
            })?;
            let (path, to) = (backhaul_path(&ends.slice), &ends.to);
            let leaves = [
                (format!("{path}/pool"), pool.clone()),
                (format!("{path}/hub[name='{to}']/node"), to.clone()),
            ];
            set_all(tree, &leaves)?;
            Ok(pool)
        };
        let pool = match self.edit((user, label), run, edit).await? {
            Edited::Done(pool) => pool,
            Edited::Told(told) => return Ok(Called::Told(told)),
        };
        let mut output = self.schema.new_output(ENCRYPT_PATH).map_err(one)?;
        output.set("pool", pool.as_str()).map_err(one)?;
        Ok(Called::Done(Some(output)))
    }

    /// What an end whose key is elsewhere needs to know: the output of an action.
    fn peer_configuration(
        &self,
        slice: &str,
        name: &str,
        (action, side): (&str, Side),
    ) -> Result<Operation, Vec<RpcError>> {
        let desired = Arc::clone(&self.published().desired);
        let path = backhaul_path(slice);
        let backhaul = desired.intent.slices.get(slice);
        let backhaul = backhaul.and_then(|slice| slice.backhaul.as_ref());
        let missing = || {
            let message = format!(
                "slice {slice} has no foreign peer and no gateway of a tenant called {name}"
            );
            refuse(ErrorTag::DataMissing, &path, message)
        };
        let backhaul = backhaul.ok_or_else(missing)?;
        let given = backhaul.allocation(name).ok_or_else(missing)?;
        let writer = Writer {
            service: self,
            desired: &desired,
            slice,
            backhaul,
            side,
        };
        let tenant = |hub: &&Hub| hub.node.is_none() && hub.name == name;
        let text = match backhaul.hubs.iter().find(tenant) {
            Some(hub) => writer.of_gateway(hub)?,
            None => writer.of_peer(name)?.ok_or_else(missing)?,
        };
        let text = match side {
            Side::Current => text,
            Side::Next => match default_route(&text) {
                None => of_second_interface(&text),
                Some(message) => {
                    let refusal = RpcError::new(ErrorTag::OperationNotSupported, message);
                    return Err(vec![refusal.with_app_tag("default-route").at(&path)]);
                }
            },
        };
        let mut output = self
            .schema
            .new_output(&format!("{path}/{action}"))
            .map_err(one)?;
        let address = given.address.to_string();
        output
            .set("tunnel-address", address.as_str())
            .map_err(one)?;
        output.set("wg-quick", text.as_str()).map_err(one)?;
        Ok(output)
    }
}

/// A path that is to be encrypted.
struct PathEnds {
    slice: String,
    from: String,
    to: String,
}

impl PathEnds {
    /// Whether there can be one: the slice has none, and is on `from` and no other node than these two.
    fn check(&self, desired: &Desired) -> Result<(), Vec<RpcError>> {
        let Self { slice, from, to } = self;
        let at = |leaf: &str| format!("{ENCRYPT_PATH}/{leaf}");
        let Some(intent) = desired.intent.slices.get(slice) else {
            let message = format!("there is no slice {slice}");
            return Err(refuse(ErrorTag::DataMissing, &at("slice"), message));
        };
        if intent.backhaul.is_some() {
            let message = format!("slice {slice} has a backhaul already");
            return Err(refuse(ErrorTag::DataExists, &backhaul_path(slice), message));
        }
        for (leaf, node) in [("from", from), ("to", to)] {
            if !desired.inventory.nodes.contains_key(node) {
                let message = format!("node {node} is not in the inventory");
                return Err(refuse(ErrorTag::DataMissing, &at(leaf), message));
            }
        }
        if from == to {
            let message = "a path has two ends: from and to are the same node";
            return Err(refuse(ErrorTag::InvalidValue, &at("to"), message));
        }
        let selected = intent.nodes(&desired.inventory);
        let other = selected.iter().find(|n| **n != from && **n != to);
        let message = match other {
            Some(other) => format!(
                "the slice is on node {other} too: give it a backhaul of its own configuration"
            ),
            None if !selected.contains(from.as_str()) => format!("the slice is not on node {from}"),
            None => return Ok(()),
        };
        Err(refuse(ErrorTag::InvalidValue, &at("from"), message))
    }
}

/// A prefix of 30 bits that no slice uses.
fn free_pool(desired: &Desired) -> Option<String> {
    let slices = desired.intent.slices.values();
    let backhauls = slices.filter_map(|slice| slice.backhaul.as_ref());
    let used = backhauls.flat_map(|b| [Some(&b.pool), b.client_pool.as_ref()]);
    let used: Vec<Prefix> = used.flatten().filter_map(|one| one.parse().ok()).collect();
    let shared: Prefix = SHARED.parse().ok()?;
    let mut all = shared.subnets(30);
    let nodes = || desired.inventory.nodes.values();
    let is_free = |one: &Prefix| {
        !used.iter().any(|other| other.overlaps(*one))
            && !nodes().any(|node| underlay(&node.config).is_some_and(|a| one.contains(a)))
    };
    all.find(is_free).map(|pool| pool.to_string())
}

/// Which keys of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Those in force.
    Current,
    /// Those that a rotation waits with.
    Next,
}

/// Why there is no file of a second interface beside one with a default route, and what is needed without one. For such a route wg-quick
/// drops what is sent to the address of its interface and comes in on another one (`preraw`), and takes away the rules of all such
/// interfaces with one of them.
fn default_route(text: &str) -> Option<String> {
    let is_default = |one: &&str| {
        one.parse::<Prefix>()
            .is_ok_and(|prefix| prefix.is_default())
    };
    let allowed = text
        .lines()
        .filter_map(|line| line.strip_prefix("AllowedIPs = "));
    let prefix = allowed.flat_map(|all| all.split(", ")).find(is_default)?;
    let peers = text.split("\n\n# ").skip(1).map(|peer| {
        let name = peer.lines().next().unwrap_or_default();
        let after = |start| peer.lines().find_map(|line| line.strip_prefix(start));
        let key = after("PublicKey = ").unwrap_or_default();
        let at = after("Endpoint = ").map(|at| format!(" at {at}"));
        format!("peer {name} with the key {key}{}", at.unwrap_or_default())
    });
    let peers: Vec<String> = peers.collect();
    Some(format!(
        "there is no file for it: beside an interface with the route {prefix}, wg-quick lets nothing in on a second one; bring that up by other means, with the fwmark of the first and routing rules of its own, and with {}",
        peers.join(" and ")
    ))
}

/// The file of a second interface. It takes over what is sent to a peer once that has shaken hands, by routes in place of those of
/// the first interface, which goes on receiving. (WireGuard keeps few packets for a peer that has not.) Each peer for itself and
/// in the background, since they come when they like.
fn of_second_interface(text: &str) -> String {
    let after = |name: &'static str| text.lines().filter_map(move |line| line.strip_prefix(name));
    let peers = after("PublicKey = ").zip(after("AllowedIPs = "));
    let turns: String = peers
        .map(|(key, allowed)| {
            let routes: String = allowed
                .split(", ")
                .map(|prefix| format!("; ip route replace {prefix} dev %i"))
                .collect();
            format!(
                "PostUp = (while wg show %i latest-handshakes | grep -q '^{key}.0$'; do sleep 0.1; done{routes}) >/dev/null 2>&1 &\n"
            )
        })
        .collect();
    text.replacen("\n\n", &format!("\nTable = off\n{turns}\n"), 1)
}

/// Writes configuration files for wg-quick(8).
struct Writer<'a> {
    service: &'a Service,
    desired: &'a Desired,
    slice: &'a str,
    backhaul: &'a Backhaul,
    side: Side,
}

impl Writer<'_> {
    /// The key of a node, as it was last read.
    fn key(&self, node: &str) -> Result<OwnKey, Vec<RpcError>> {
        let observed = self.service.network.fleet().device(node);
        let observed = observed.and_then(|device| device.status().observed);
        let tunnel = observed
            .as_ref()
            .and_then(|has| has.tunnels.get(self.slice));
        let state = tunnel.map(|tunnel| &tunnel.state);
        let (key, message) = match self.side {
            Side::Current => (
                state.and_then(|state| state.key.clone()),
                format!("the key of node {node} is not known yet"),
            ),
            Side::Next => (
                state.and_then(|state| state.next.as_ref().map(|(key, _)| key.clone())),
                format!("node {node} has no next key: no rotation waits for anybody"),
            ),
        };
        let at = backhaul_path(self.slice);
        key.ok_or_else(|| refuse(ErrorTag::OperationFailed, &at, message))
    }

    /// Where an end whose key is elsewhere receives: of two ports the one where nodes call it, or will.
    fn port(
        &self,
        name: &str,
        port: Option<u16>,
        second: Option<u16>,
    ) -> Result<Option<u16>, Vec<RpcError>> {
        if second.is_none() {
            return Ok(port);
        }
        let called = self.service.network.called_at(self.slice, name);
        match (self.side, called) {
            (Side::Current, Some((now, _))) if [port, second].contains(&Some(now)) => Ok(Some(now)),
            (Side::Current, _) => Ok(port),
            (Side::Next, Some((_, Some(next)))) => Ok(Some(next)),
            (Side::Next, _) => {
                let message = format!("no node calls {name} at another port: no rotation waits");
                let at = backhaul_path(self.slice);
                Err(refuse(ErrorTag::OperationFailed, &at, message))
            }
        }
    }

    fn interface(&self, name: &str, port: Option<u16>) -> String {
        let mut text = format!("# {name} in slice {}\n[Interface]\n", self.slice);
        text.push_str("# PrivateKey = the private half of its public key, which only it has\n");
        if let Some(given) = self.backhaul.allocation(name) {
            let host = Prefix::host(given.address);
            // Writing to a string can't fail.
            let _infallible = writeln!(text, "Address = {host}");
        }
        if let Some(port) = port {
            let _infallible = writeln!(text, "ListenPort = {port}");
        }
        let _infallible = writeln!(text, "MTU = {}", self.backhaul.mtu);
        text
    }

    /// Appends a peer; a node where its key has to be looked up.
    fn peer(&self, text: &mut String, name: &str, key: &str, allowed: &[String]) {
        let _infallible = write!(
            text,
            "\n# {name}\n[Peer]\nPublicKey = {key}\nAllowedIPs = {}\n",
            allowed.join(", ")
        );
    }

    fn endpoint(&self, text: &mut String, node: &str, port: u16) {
        let config = self.desired.inventory.nodes.get(node);
        if let Some(address) = config.and_then(|node| underlay(&node.config)) {
            let at = std::net::SocketAddr::new(address, port);
            let _infallible = writeln!(text, "Endpoint = {at}\nPersistentKeepalive = {KEEPALIVE}");
        }
    }

    fn host(&self, name: &str) -> Option<String> {
        let given = self.backhaul.allocation(name)?;
        Some(Prefix::host(given.address).to_string())
    }

    /// Of a tenant's gateway: the nodes and foreign peers call it.
    fn of_gateway(&self, hub: &Hub) -> Result<String, Vec<RpcError>> {
        let port = self.port(&hub.name, hub.port, hub.second_port)?;
        let mut text = self.interface(&hub.name, port);
        for given in &self.backhaul.allocations {
            let is_hub = self
                .backhaul
                .hubs
                .iter()
                .any(|hub| hub.peer() == given.name);
            let foreign = self.backhaul.foreign_peers.iter();
            let foreign = foreign.clone().find(|peer| peer.name == given.name);
            let mut allowed: Vec<String> = self.host(&given.name).into_iter().collect();
            match foreign {
                _ if is_hub => continue,
                Some(peer) => {
                    allowed.extend(peer.allowed_prefixes.iter().cloned());
                    self.peer(&mut text, &peer.name, &peer.public_key, &allowed);
                }
                None => {
                    allowed.extend(given.client_prefix.clone());
                    let key = self.key(&given.name)?;
                    self.peer(&mut text, &given.name, &key.public_key, &allowed);
                }
            }
        }
        Ok(text)
    }

    /// Of a foreign peer: it calls the hubs, or in a mesh everybody. `None`: there is none of this name.
    fn of_peer(&self, name: &str) -> Result<Option<String>, Vec<RpcError>> {
        let peers = &self.backhaul.foreign_peers;
        let Some(peer) = peers.iter().find(|peer| peer.name == name) else {
            return Ok(None);
        };
        let port = match peer.endpoint {
            Some(at) => self.port(name, Some(at.port), at.second_port)?,
            None => None,
        };
        let mut text = self.interface(name, port);
        if self.backhaul.topology == Topology::Mesh {
            let foreign = |one: &str| peers.iter().any(|peer| peer.name == one);
            let allocations = self.backhaul.allocations.iter();
            for given in allocations.filter(|given| !foreign(&given.name)) {
                let key = self.key(&given.name)?;
                let allowed: Vec<String> = self.host(&given.name).into_iter().collect();
                self.peer(&mut text, &given.name, &key.public_key, &allowed);
                self.endpoint(&mut text, &given.name, key.listen_port);
            }
            return Ok(Some(text));
        }
        let mut hubs: Vec<&Hub> = self.backhaul.hubs.iter().collect();
        hubs.sort_by_key(|hub| hub.priority);
        for (rank, hub) in hubs.into_iter().enumerate() {
            // What two peers have, WireGuard gives to the last one: the preferred hub has what is behind all of them.
            let allowed: Vec<String> = match rank {
                0 => self.behind(name),
                _ => self.host(hub.peer()).into_iter().collect(),
            };
            let port = match hub.node {
                Some(_) => None,
                None => self.port(&hub.name, hub.port, hub.second_port)?,
            };
            match (&hub.node, &hub.public_key, hub.address.zip(port)) {
                (Some(node), _, _) => {
                    let key = self.key(node)?;
                    self.peer(&mut text, &hub.name, &key.public_key, &allowed);
                    self.endpoint(&mut text, node, key.listen_port);
                }
                (None, Some(key), Some((address, port))) => {
                    self.peer(&mut text, &hub.name, key, &allowed);
                    let at = std::net::SocketAddr::new(address, port);
                    let _infallible =
                        writeln!(text, "Endpoint = {at}\nPersistentKeepalive = {KEEPALIVE}");
                }
                (None, ..) => {}
            }
        }
        Ok(Some(text))
    }

    /// Everything of the slice but what is behind the peer itself.
    fn behind(&self, name: &str) -> Vec<String> {
        let backhaul = self.backhaul;
        let others = backhaul
            .foreign_peers
            .iter()
            .filter(|peer| peer.name != name);
        [&backhaul.pool]
            .into_iter()
            .chain(&backhaul.client_pool)
            .chain(backhaul.hubs.iter().flat_map(|hub| &hub.prefixes))
            .chain(others.flat_map(|peer| &peer.allowed_prefixes))
            .cloned()
            .collect()
    }
}
