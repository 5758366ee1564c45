//! A whole network in child processes: agents with simulated radios, and the controller that looks after them.
//!
//! Owns the processes, a temporary directory for all they keep, and the credentials between them. Configuration comes from
//! templates: RFC 7951 JSON instance data in which `@name@` stands for what is known only once something else has started.
//!
//! | in a node's template | |
//! |---|---|
//! | `@controller.key-data@` | public key of the controller, as `ietf-system` wants it |
//! | `@admin.key-data@` | public key of which [`Stack::admin_key`] is the private half |
//! | `@admin.password@`, `@observer.password@` | passwords of those users |
//!
//! | in the controller's template | |
//! |---|---|
//! | `@admin.password@` | password of that user |
//! | `@node-K.host@`, `@node-K.port@`, `@node-K.host-key@` | where node K listens (or the line to it), and its key |

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tranche_netconf::transport::ssh::HostKey;

use crate::error::Error;
use crate::figure_21;
use crate::process::{Process, binary};
use crate::proxy::Proxy;
use crate::restconf::Restconf;
use crate::template::{fields, fill};
use crate::wait::eventually;

/// Long enough for a machine that compiles at the same time.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Name of the controller's key.
const KEY_NAME: &str = "demo";

/// What to start.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Template of the factory default of each node.
    pub nodes: Vec<String>,
    /// Template of the factory default of the controller; no controller where absent.
    pub controller: Option<String>,
    /// Where the controller listens.
    pub listen: SocketAddr,
    /// How the nodes are put into processes.
    pub layout: Layout,
    /// Further arguments of every agent, such as `--yang-module FILE`.
    pub agent_arguments: Vec<String>,
    /// Configuration file (TOML) of the controller.
    pub controller_config: String,
    /// What serves machines: an agent for each node, in [`Layout::Separate`]. Simulated nodes where empty.
    pub hardware: Vec<Hardware>,
}

/// An agent that serves a machine, not a simulated node.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// The words before its command, such as `ip netns exec NAME`.
    pub inside: Vec<String>,
    /// Where it listens; the controller has to reach that.
    pub listen: SocketAddr,
    /// Name of the radio; every radio that is there where absent.
    pub radio: Option<String>,
}

/// How nodes are put into processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All in one, which gives them one medium.
    Shared,
    /// Each in its own, with a [`Proxy`] between it and the controller: it can be killed, and its line be cut.
    Separate,
}

impl Setup {
    /// Figure 21: two nodes in range of each other, and their controller at a free port.
    #[must_use]
    pub fn figure_21() -> Self {
        Self {
            nodes: figure_21::NODES
                .iter()
                .map(|&text| text.to_owned())
                .collect(),
            controller: Some(figure_21::CONTROLLER.to_owned()),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            layout: Layout::Shared,
            agent_arguments: Vec::new(),
            controller_config: String::new(),
            hardware: Vec::new(),
        }
    }

    /// The same nodes without a controller.
    #[must_use]
    pub fn without_controller(mut self) -> Self {
        self.controller = None;
        self
    }

    /// The same in another layout.
    #[must_use]
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }
}

/// One node of a running stack.
#[derive(Debug)]
pub struct Node {
    /// Its name at the controller.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Fingerprint of its host key.
    pub host_key: String,
    /// Its host key as an OpenSSH public key line.
    pub public_key: String,
    /// The line to it, in [`Layout::Separate`].
    pub line: Option<Proxy>,
}

/// A running network. Dropping it ends every process and removes what they kept.
#[derive(Debug)]
pub struct Stack {
    /// The nodes in order.
    pub nodes: Vec<Node>,
    /// Password of the user `admin` everywhere, who may do anything.
    pub password: String,
    /// Password of the user `observer` at the nodes, who may read and listen.
    pub observer_password: String,
    controller: Option<Controller>,
    agents: Vec<Process>,
    setup: Setup,
    directory: TempDir,
}

#[derive(Debug)]
struct Controller {
    process: Process,
    restconf: Restconf,
    page: String,
    listen: SocketAddr,
}

impl Stack {
    /// Starts everything and waits until it listens.
    ///
    /// # Errors
    /// When a binary is missing or a process does not come up; the text holds the end of its log.
    pub async fn start(setup: Setup) -> Result<Self, Error> {
        let directory = tempfile::Builder::new()
            .prefix("tranche-")
            .tempdir()
            .map_err(Error::system("temporary directory"))?;
        let mut stack = Self {
            nodes: Vec::new(),
            password: secret(),
            observer_password: secret(),
            controller: None,
            agents: Vec::new(),
            setup,
            directory,
        };
        stack.start_agents().await?;
        if stack.setup.controller.is_some() {
            stack.start_controller().await?;
        }
        Ok(stack)
    }

    /// A client of the controller, logged in as `admin`.
    ///
    /// # Panics
    /// In a stack without controller.
    #[must_use]
    pub fn restconf(&self) -> &Restconf {
        &self.running().restconf
    }

    /// Address of the operator's page.
    ///
    /// # Panics
    /// In a stack without controller.
    #[must_use]
    pub fn page(&self) -> &str {
        &self.running().page
    }

    /// The directory of all files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Private key (OpenSSH form) of the user `admin` at the nodes.
    #[must_use]
    pub fn admin_key(&self) -> PathBuf {
        self.directory.path().join("admin_key")
    }

    /// The process of the controller.
    ///
    /// # Panics
    /// In a stack without controller.
    #[must_use]
    pub fn controller_process(&self) -> &Process {
        &self.running().process
    }

    /// The process that runs a node, by the node's place in [`Stack::nodes`].
    #[must_use]
    pub fn agent(&self, node: usize) -> &Process {
        match self.setup.layout {
            Layout::Shared => &self.agents[0],
            Layout::Separate => &self.agents[node],
        }
    }

    /// Ends a node as a power failure would; in [`Layout::Shared`] all nodes go with it.
    pub fn kill_agent(&mut self, node: usize) {
        let index = if self.setup.layout == Layout::Shared {
            0
        } else {
            node
        };
        self.agents[index].kill();
    }

    /// Starts a killed node again, at the same port and from what it had stored.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart_agent(&mut self, node: usize) -> Result<(), Error> {
        let (index, count) = match self.setup.layout {
            Layout::Shared => (0, self.nodes.len()),
            Layout::Separate => (node, 1),
        };
        let mut process = self.spawn_agent(index, self.nodes[index].address)?;
        process.lines_with("listening ", count, START_LIMIT).await?;
        self.agents[index] = process;
        Ok(())
    }

    /// Ends the controller as a power failure would.
    pub fn kill_controller(&mut self) {
        if let Some(controller) = &mut self.controller {
            controller.process.kill();
        }
    }

    /// Starts a killed controller again, at the same port and from what it had stored.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart_controller(&mut self) -> Result<(), Error> {
        if let Some(old) = self.controller.take() {
            self.setup.listen = old.listen;
        }
        self.start_controller().await
    }

    /// Waits until the controller has a session to every node.
    ///
    /// # Errors
    /// When it has not in time; the text says in which state they are.
    pub async fn connected(&self) -> Result<(), Error> {
        eventually("a session to every node", START_LIMIT, async || {
            let inventory = self
                .restconf()
                .get("/data/tranche-inventory:inventory")
                .await?;
            let nodes = inventory["tranche-inventory:inventory"]["node"].as_array();
            let states: Vec<String> = nodes
                .into_iter()
                .flatten()
                .map(|n| {
                    format!(
                        "{} {} {}",
                        n["name"], n["state"]["oper-state"], n["state"]["last-error"]
                    )
                })
                .collect();
            let up = states
                .iter()
                .filter(|s| s.contains("\"connected\""))
                .count();
            Ok(if up == self.nodes.len() {
                Ok(())
            } else {
                Err(states.join(", "))
            })
        })
        .await
    }

    /// The ends of the logs of all processes.
    #[must_use]
    pub fn last_words(&self) -> String {
        let agents = self.agents.iter().map(|agent| ("an agent", agent));
        let controller = self
            .controller
            .iter()
            .map(|c| ("the controller", &c.process));
        let logs = agents.chain(controller);
        logs.map(|(who, p)| format!("--- end of the log of {who}\n{}", p.last_words()))
            .collect()
    }

    fn running(&self) -> &Controller {
        self.controller
            .as_ref()
            .expect("this stack was set up with a controller")
    }

    async fn start_agents(&mut self) -> Result<(), Error> {
        let (_, controller_key) = key_of(&self.controller_public_key().await?)?;
        let admin_key =
            HostKey::load_or_generate(self.admin_key()).map_err(|source| Error::Netconf {
                node: "admin key".to_owned(),
                source,
            })?;
        let (_, admin_key) = key_of(&admin_key.public_openssh())?;
        let values = BTreeMap::from([
            ("controller.key-data".to_owned(), controller_key),
            ("admin.key-data".to_owned(), admin_key),
            ("admin.password".to_owned(), self.password.clone()),
            (
                "observer.password".to_owned(),
                self.observer_password.clone(),
            ),
        ]);
        for (index, template) in self.setup.nodes.iter().enumerate() {
            let name = format!("node-{}.json", index + 1);
            write(&self.path(&name), &fill(&name, template, &values)?)?;
        }
        let (processes, nodes_each) = match self.setup.layout {
            Layout::Shared => (1, self.setup.nodes.len()),
            Layout::Separate => (self.setup.nodes.len(), 1),
        };
        for index in 0..processes {
            let listen = self.setup.hardware.get(index).map(|one| one.listen);
            let listen = listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
            let mut process = self.spawn_agent(index, listen)?;
            let lines = process
                .lines_with("listening ", nodes_each, START_LIMIT)
                .await?;
            self.agents.push(process);
            for (k, line) in lines.iter().enumerate() {
                let node = self.node(index, k, line).await?;
                self.nodes.push(node);
            }
        }
        Ok(())
    }

    fn spawn_agent(&self, process: usize, listen: SocketAddr) -> Result<Process, Error> {
        let shared = self.setup.layout == Layout::Shared;
        let count = if shared { self.setup.nodes.len() } else { 1 };
        let first = if shared { 0 } else { process };
        let mut arguments = vec![
            "--listen".to_owned(),
            listen.to_string(),
            "--state-dir".to_owned(),
            self.agent_state(process).display().to_string(),
        ];
        let hardware = self.setup.hardware.get(process);
        let simulated = hardware.is_none().then(|| ("--sim", count.to_string()));
        let radio = hardware.and_then(|hardware| Some(("--radio", hardware.radio.clone()?)));
        if let Some((option, value)) = simulated.or(radio) {
            arguments.extend([option.to_owned(), value]);
        }
        for k in first..first + count {
            arguments.push("--factory-default".to_owned());
            arguments.push(
                self.path(&format!("node-{}.json", k + 1))
                    .display()
                    .to_string(),
            );
        }
        arguments.extend(self.setup.agent_arguments.iter().cloned());
        let mut program = binary("tranche-agent")?;
        if let Some((first, others)) = hardware.and_then(|one| one.inside.split_first()) {
            let agent = std::mem::replace(&mut program, PathBuf::from(first));
            let words = others.iter().cloned();
            let words = words.chain([agent.display().to_string()]);
            arguments = words.chain(arguments).collect();
        }
        let log = self.path(&format!("agent-{process}.log"));
        Process::start(&program, &arguments, &log)
    }

    async fn node(&self, process: usize, k: usize, line: &str) -> Result<Node, Error> {
        let nonsense = || Error::Answer {
            from: "tranche-agent".to_owned(),
            what: line.to_owned(),
        };
        let fields = fields(line);
        let field = |name: &str| fields.get(name).copied().ok_or_else(nonsense);
        let address: SocketAddr = field("address")?.parse().map_err(|_| nonsense())?;
        let mut public = self.agent_state(process);
        if self.setup.hardware.is_empty() {
            public.push(format!("node-{}", k + 1));
        }
        public.push("ssh_host_ed25519_key.pub");
        let public_key = std::fs::read_to_string(&public)
            .map_err(Error::system(public.display().to_string()))?;
        let line = match self.setup.layout {
            Layout::Shared => None,
            Layout::Separate => Some(Proxy::open(address).await?),
        };
        Ok(Node {
            name: format!("node-{}", self.nodes.len() + 1),
            address,
            host_key: field("host-key")?.to_owned(),
            public_key: public_key.trim().to_owned(),
            line,
        })
    }

    async fn controller_public_key(&self) -> Result<String, Error> {
        let arguments = [
            "--state-dir".to_owned(),
            self.controller_state(),
            "public-key".to_owned(),
            KEY_NAME.to_owned(),
        ];
        if self.setup.controller.is_none() {
            let key = HostKey::load_or_generate(self.path("controller_key"));
            return key
                .map(|key| key.public_openssh())
                .map_err(|source| Error::Netconf {
                    node: "controller key".to_owned(),
                    source,
                });
        }
        let program = binary("tranche-controller")?;
        let mut process = Process::start(&program, &arguments, &self.path("controller.log"))?;
        let mut lines = process.lines_with("", 1, START_LIMIT).await?;
        Ok(lines.remove(0))
    }

    async fn start_controller(&mut self) -> Result<(), Error> {
        let mut values = BTreeMap::from([("admin.password".to_owned(), self.password.clone())]);
        for node in &self.nodes {
            let address = node.line.as_ref().map_or(node.address, Proxy::address);
            values.insert(format!("{}.host", node.name), address.ip().to_string());
            values.insert(format!("{}.port", node.name), address.port().to_string());
            values.insert(format!("{}.host-key", node.name), node.host_key.clone());
        }
        let template = self.setup.controller.as_deref().unwrap_or_default();
        let factory = self.path("controller.json");
        write(&factory, &fill("controller.json", template, &values)?)?;
        let config = self.path("controller.toml");
        write(&config, &self.setup.controller_config)?;
        let arguments = [
            "--config".to_owned(),
            config.display().to_string(),
            "--listen".to_owned(),
            self.setup.listen.to_string(),
            "--state-dir".to_owned(),
            self.controller_state(),
            "--factory-default".to_owned(),
            factory.display().to_string(),
        ];
        let program = binary("tranche-controller")?;
        let mut process = Process::start(&program, &arguments, &self.path("controller.log"))?;
        let line = process
            .lines_with("listening ", 1, START_LIMIT)
            .await?
            .remove(0);
        let nonsense = || Error::Answer {
            from: "tranche-controller".to_owned(),
            what: line.clone(),
        };
        let fields = fields(&line);
        let root = *fields.get("restconf").ok_or_else(nonsense)?;
        let authority = root.split('/').nth(2).ok_or_else(nonsense)?;
        let listen = authority.parse().map_err(|_| nonsense())?;
        let restconf = Restconf::new(root, "admin", &self.password)?;
        let page = (*fields.get("page").ok_or_else(nonsense)?).to_owned();
        self.controller = Some(Controller {
            process,
            restconf,
            page,
            listen,
        });
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn agent_state(&self, process: usize) -> PathBuf {
        self.path(&format!("agent-{process}"))
    }

    fn controller_state(&self) -> String {
        self.path("controller").display().to_string()
    }
}

impl Drop for Stack {
    #[expect(
        clippy::print_stderr,
        reason = "a failed test has nothing else to say what the processes thought"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.last_words());
        }
    }
}

/// 64 random bits, in a form that is safe in JSON and on a command line.
fn secret() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// The two fields of an OpenSSH public key line.
fn key_of(line: &str) -> Result<(String, String), Error> {
    let mut words = line.split_whitespace();
    match (words.next(), words.next()) {
        (Some(algorithm), Some(data)) => Ok((algorithm.to_owned(), data.to_owned())),
        _ => Err(Error::Answer {
            from: "public-key".to_owned(),
            what: line.to_owned(),
        }),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(Error::system(path.display().to_string()))
}
