//! The scene of slices with a backhaul: two access nodes, an edge and a data centre, each a network namespace with a real agent
//! that has no radio, on one switch with their controller. Two tenants have the same addresses on purpose, so that a packet that
//! left its slice would arrive at the other's. The files are those of `examples/backhaul`.

mod network;
mod traffic;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tranche_netconf::message::{
    Datastore, DefaultOperation, EditConfig, ErrorOption, Filter, TestOption,
};
use tranche_netconf::xml::{Element, Fragment};

pub use self::network::{MACHINES, Network, TENANTS, missing};
pub use self::traffic::{Capture, Ear, PORT, Stream, arrived};
use crate::error::Error;
use crate::stack::{Hardware, Layout, Setup, Stack};
use crate::telemetry::connect;
use crate::vm::shell::sh_at_the_end;
use crate::wait::eventually;

/// The two slices, as the body of a request for [`SLICES_PATH`].
pub const SLICES: &str = include_str!("../../../examples/backhaul/slices.json");
/// Where the slices are below the root of RESTCONF.
pub const SLICES_PATH: &str = "/data/tranche-slice:slices";
/// Index of the machine at the edge.
pub const EDGE: usize = 2;
/// Index of the machine in the data centre.
pub const DATA_CENTRE: usize = 3;
/// What is behind the hubs, at either of them.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 2);

/// Whose packets are sent without a tunnel.
pub const NOBODY: &str = "nobody";

const BACKHAUL: &str = "urn:tranche:yang:tranche-backhaul";
const NODE: &str = include_str!("../../../examples/backhaul/node.json");
const CONTROLLER: &str = include_str!("../../../examples/backhaul/controller.json");
/// For what takes a moment on a quiet machine.
const SOON: Duration = Duration::from_secs(60);

/// [`SLICES`], parsed.
///
/// # Panics
/// Never: the text is part of this program and every play of the scene reads it.
#[must_use]
pub fn slices() -> Value {
    serde_json::from_str(SLICES).expect("examples/backhaul/slices.json is JSON")
}

/// Identifier of a tenant's slice.
#[must_use]
pub fn slice(tenant: usize) -> String {
    format!("tenant-{}", TENANTS[tenant])
}

/// A peer as a node tells of it, in the words of `tranche-backhaul`; `-` for what it does not tell.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// What it is good for.
    pub state: String,
    /// When both last agreed on a session key.
    pub handshake: String,
    /// Round trip of the last probe, in microseconds.
    pub rtt_us: String,
    /// Octets sent to it.
    pub tx_bytes: String,
    /// Octets received from it.
    pub rx_bytes: String,
}

/// Agents and controller in a [`Network`]. Dropping it ends them, and removes what agents that are killed leave.
#[derive(Debug)]
pub struct Scene<'a> {
    /// Its processes.
    pub stack: Stack,
    /// Where they are.
    pub network: &'a Network,
}

impl<'a> Scene<'a> {
    /// Starts them; to be called in [`Network::run`].
    ///
    /// # Errors
    /// When a process does not come up.
    pub async fn start(network: &'a Network) -> Result<Self, Error> {
        let machines = 0..MACHINES;
        let hardware = machines.clone().map(|index| Hardware {
            inside: inside_words(&network.machine(index)),
            listen: SocketAddr::from((underlay(index), 830)),
            radio: None,
        });
        let setup = Setup {
            nodes: machines.map(|_| NODE.to_owned()).collect(),
            controller: Some(CONTROLLER.to_owned()),
            hardware: hardware.collect(),
            ..Setup::figure_21().layout(Layout::Separate)
        };
        let stack = Stack::start(setup).await?;
        let scene = Self { stack, network };
        scene.stack.connected().await?;
        Ok(scene)
    }

    /// Puts these slices in the place of those that are there. It is answered when their tunnels do.
    ///
    /// # Errors
    /// When the controller refuses.
    pub async fn put(&self, slices: &Value) -> Result<(), Error> {
        let restconf = self.stack.restconf();
        restconf
            .demand(Method::PUT, SLICES_PATH, Some(slices))
            .await
            .map(drop)
    }

    /// Gives the users at the access nodes the addresses of their subnets, and the servers behind the hubs theirs.
    ///
    /// # Errors
    /// When there are no slices yet.
    pub async fn address_users(&self) -> Result<(), Error> {
        for tenant in 0..TENANTS.len() {
            for index in 0..EDGE {
                let address = self.user_address(tenant, index).await?;
                let [a, b, c, _] = address.octets();
                let user = self.network.user(tenant, index);
                let (own, gateway) = (format!("{address}/24"), format!("{a}.{b}.{c}.1"));
                self.network.address(&user, &own, &gateway)?;
            }
            for index in [EDGE, DATA_CENTRE] {
                let server = self.network.user(tenant, index);
                self.network
                    .address(&server, &format!("{SERVER}/24"), "10.79.0.1")?;
            }
        }
        Ok(())
    }

    /// Address of a tenant's user at an access node: the tenth of the subnet that the controller gave it.
    ///
    /// # Errors
    /// When it gave none.
    pub async fn user_address(&self, tenant: usize, index: usize) -> Result<Ipv4Addr, Error> {
        let path = format!(
            "{SLICES_PATH}/slice={}/backhaul/allocation=node-{}/client-prefix",
            slice(tenant),
            index + 1
        );
        let answer = self.stack.restconf().get(&path).await?;
        let prefix = answer["tranche-slice:client-prefix"].as_str();
        let network = prefix.and_then(|prefix| prefix.split('/').next()?.parse().ok());
        let network: Ipv4Addr = network.ok_or_else(|| Error::Answer {
            from: path,
            what: answer.to_string(),
        })?;
        let [a, b, c, _] = network.octets();
        Ok(Ipv4Addr::new(a, b, c, 10))
    }

    /// What the controller says of the tunnels of a tenant's slice.
    ///
    /// # Errors
    /// When it does not.
    pub async fn tunnels(&self, tenant: usize) -> Result<Value, Error> {
        let path = format!("{SLICES_PATH}/slice={}/state/backhaul", slice(tenant));
        let mut answer = self.stack.restconf().get(&path).await?;
        Ok(answer["tranche-slice:backhaul"].take())
    }

    /// The peers of a tenant's tunnel at a machine, as the node itself tells now: the controller reads counters less often.
    ///
    /// # Errors
    /// When it does not.
    pub async fn peers(&self, tenant: usize, index: usize) -> Result<Vec<Peer>, Error> {
        let node = &self.stack.nodes[index];
        let (client, _) = connect(node, "admin", &self.stack.password).await?;
        let failed = |source| Error::Netconf {
            node: node.name.clone(),
            source,
        };
        let filter = format!(
            "<backhaul xmlns=\"{BACKHAUL}\"><tunnel><slice>{}</slice><state/></tunnel></backhaul>",
            slice(tenant)
        );
        let filter = Filter::Subtree(Fragment::from_trusted(filter));
        let data = client.get(Some(filter), None).await.map_err(failed)?;
        let roots = data.elements().map_err(|error| Error::Answer {
            from: node.name.clone(),
            what: error.to_string(),
        })?;
        let tunnels = roots.iter().flat_map(|root| root.children("tunnel"));
        let states = tunnels.flat_map(|tunnel| tunnel.children("state"));
        let peers = states.flat_map(|state| state.children("peer"));
        let text = |peer: &Element, name| peer.child_text(name).unwrap_or("-").to_owned();
        let peers = peers.map(|peer| Peer {
            name: text(peer, "name"),
            state: text(peer, "state"),
            handshake: text(peer, "latest-handshake"),
            rtt_us: text(peer, "probe-rtt"),
            tx_bytes: text(peer, "tx-bytes"),
            rx_bytes: text(peer, "rx-bytes"),
        });
        Ok(peers.collect())
    }

    /// Waits until the state of a tenant's tunnels is good.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn until(
        &self,
        tenant: usize,
        what: &str,
        good: impl Fn(&Value) -> bool,
    ) -> Result<Value, Error> {
        eventually(what, SOON, async || {
            let state = self.tunnels(tenant).await?;
            Ok(if good(&state) {
                Ok(state)
            } else {
                Err(state.to_string())
            })
        })
        .await
    }

    /// Waits until all tunnels of a tenant answer, and both access nodes have their traffic at this hub.
    ///
    /// # Errors
    /// When they do not in time.
    pub async fn until_at(&self, tenant: usize, hub: &str) -> Result<Value, Error> {
        self.until(tenant, "the traffic at the hub", |state| {
            let nodes = state["node"].as_array().into_iter().flatten();
            let peers = nodes.filter(|node| node["role"] == "spoke");
            let peers = peers.filter_map(|node| node["peer"].as_array());
            let is_active = |peer: &Value| peer["name"] == hub && peer["state"] == "active";
            let active = peers.filter(|peers| peers.iter().any(is_active)).count();
            state["oper-state"] == "up" && active == EDGE
        })
        .await
    }

    /// Gives every end of a tenant's slice a new key. It is answered when the old ones are out of use.
    ///
    /// # Errors
    /// When the controller refuses.
    pub async fn rotate(&self, tenant: usize) -> Result<Value, Error> {
        let slice = slice(tenant);
        let path = format!("{SLICES_PATH}/slice={slice}/backhaul/rotate-keys");
        let input = json!({ "tranche-slice:input": {} });
        let restconf = self.stack.restconf();
        let answer = restconf.demand(Method::POST, &path, Some(&input)).await?;
        Ok(answer.body)
    }

    /// Changes the configuration of a node as its own administrator does.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn edit(&self, index: usize, config: &str) -> Result<(), Error> {
        let node = &self.stack.nodes[index];
        let (client, _) = connect(node, "admin", &self.stack.password).await?;
        let edit = EditConfig {
            target: Datastore::Running,
            default_operation: DefaultOperation::Merge,
            test_option: TestOption::TestThenSet,
            error_option: ErrorOption::RollbackOnError,
            config: Fragment::from_trusted(config.to_owned()),
        };
        let failed = |source| Error::Netconf {
            node: node.name.clone(),
            source,
        };
        client.edit_config(&edit).await.map_err(failed)
    }

    /// Packets between two machines as they are, without a tunnel, until so many are seen on the switch. Gives how many were.
    ///
    /// # Errors
    /// When none is seen.
    pub async fn in_the_clear(&self, count: u64) -> Result<u64, Error> {
        let capture = Capture::start(&self.network.switch(), NOBODY)?;
        let from = self.network.machine(0);
        let every = Duration::from_millis(5);
        let _stream = Stream::start(NOBODY, 0, (&from, underlay(0)), underlay(EDGE), every)?;
        eventually("a packet without a tunnel", SOON, async || {
            let marked = capture.marked();
            Ok(if marked >= count {
                Ok(marked)
            } else {
                Err(marked.to_string())
            })
        })
        .await
    }

    /// The namespaces of slices at a machine.
    #[must_use]
    pub fn spaces(&self, index: usize) -> Vec<String> {
        let held = Network::held_by(self.stack.agent(index).id());
        held.into_iter().collect()
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        for index in 0..self.stack.nodes.len() {
            let left = self.spaces(index);
            self.stack.kill_agent(index);
            for name in left {
                sh_at_the_end(&format!("ip netns del {name}"));
            }
        }
    }
}

/// What a command is run with in a namespace. An interrupt from the terminal is not for it: what is on its way shall arrive, and
/// its slices' namespaces be known to whoever removes them. It does not outlive its parent either.
fn inside_words(namespace: &str) -> Vec<String> {
    let net = format!("--net=/run/netns/{namespace}");
    let words = ["setpriv", "--pdeathsig", "KILL", "setsid", "nsenter", &net];
    words.map(str::to_owned).into()
}

/// Address of a machine on the switch.
#[must_use]
pub fn underlay(index: usize) -> Ipv4Addr {
    let host = u8::try_from(index + 1).unwrap_or(u8::MAX);
    Ipv4Addr::new(192, 0, 2, host)
}
