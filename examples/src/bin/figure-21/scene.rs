//! The scene of figure 21: two tenants on one channel, first without and then with the global scheduler.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tranche_tests::proxy::Proxy;
use tranche_tests::stack::{Setup, Stack};
use tranche_tests::telemetry::Heard;
use tranche_tests::vm::figure_21::Scene;

use crate::ledger::{self, Ledger, Promise};
use crate::play::{self, Act, Times, say, scheduler};
use crate::table::{self, Said};

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Settings {
    /// When to end, and to turn the global scheduler on.
    pub(crate) times: Times,
    /// Where the controller listens.
    pub(crate) listen: SocketAddr,
    /// Where connections are handed on to it, too.
    pub(crate) relay: Option<SocketAddr>,
    /// On the kernel's radios instead of simulated ones.
    pub(crate) real: bool,
    /// Address of the page for those who reach it by another way.
    pub(crate) shown_as: Option<String>,
    /// The slices, as RESTCONF takes them.
    pub(crate) slices: Value,
    /// The promises in them.
    pub(crate) promises: Vec<Promise>,
}

/// Plays it. Gives whether the promises were kept; ends only where `run_for` says when.
pub(crate) async fn play(settings: &Settings) -> anyhow::Result<bool> {
    let mut network = Network::start(settings).await?;
    let stack = network.stack();
    stack.connected().await?;
    let _relay = match settings.relay {
        None => None,
        Some(address) => Some(Proxy::open_at(address, address_of(stack.page())?).await?),
    };
    for node in &stack.nodes {
        let (name, address, key) = (&node.name, node.address, &node.public_key);
        say(&format!(
            "{name}    {address} (NETCONF)   user admin, {key}"
        ))?;
    }
    let page = settings.shown_as.as_deref().unwrap_or(stack.page());
    let page = page.trim_end_matches('/');
    say(&format!("RESTCONF  {page}/restconf"))?;
    say(&format!(
        "page      {page}/   user admin, password {}",
        stack.password
    ))?;

    scheduler(stack, false, settings.times.period).await?;
    let mut events = stack.restconf().events("NETCONF").await?;
    play::create(stack, &settings.slices).await?;
    say(
        "slices    created at both nodes over RESTCONF; traffic of A at node-1 only, of B at node-2 only\n",
    )?;
    if let Network::Real(scene) = &mut network {
        say("clients   looking for their networks ...")?;
        scene.join(&settings.slices).await?;
        for tenant in 0..settings.promises.len() {
            scene.traffic(tenant, true)?;
        }
    }
    let stack = network.stack();
    say(&table::head(&settings.promises))?;

    let mut airtime = Airtime {
        settings,
        nodes: stack.nodes.len(),
        ledger: Ledger::default(),
        said: Said::default(),
    };
    play::play(&mut airtime, settings.times, stack, &mut events).await
}

/// Address and port in `http://ADDR:PORT/`.
fn address_of(page: &str) -> anyhow::Result<SocketAddr> {
    let address = page.trim_start_matches("http://").trim_end_matches('/');
    let wrong = || format!("the page is at {page}, which cannot be handed on to");
    address.parse().with_context(wrong)
}

/// What the scene is played on.
enum Network {
    /// Simulated radios.
    Simulated(Box<Stack>),
    /// The radios of this kernel.
    Real(Box<Scene>),
}

impl Network {
    async fn start(settings: &Settings) -> anyhow::Result<Self> {
        if settings.real {
            say("starting two nodes on radios of this kernel, and their controller ...")?;
            let scene = Scene::start(settings.listen).await?;
            return Ok(Self::Real(Box::new(scene)));
        }
        say("starting two simulated nodes and their controller ...")?;
        let mut setup = Setup::figure_21();
        setup.listen = settings.listen;
        Ok(Self::Simulated(Box::new(Stack::start(setup).await?)))
    }

    fn stack(&self) -> &Stack {
        match self {
            Self::Simulated(stack) => stack,
            Self::Real(scene) => &scene.stack,
        }
    }
}

/// What the table shows of two tenants on one channel, and the turn to the global scheduler.
struct Airtime<'a> {
    settings: &'a Settings,
    nodes: usize,
    ledger: Ledger,
    said: Said,
}

impl Act for Airtime<'_> {
    fn report(&mut self, report: &Heard) {
        if let Heard::Airtime(report) = report {
            self.ledger.add(report);
        }
    }

    fn event(&mut self, event: &Value) {
        self.said.hear(event);
    }

    fn line(&mut self, time: Duration) -> String {
        let promises = &self.settings.promises;
        let got = self.ledger.period(self.nodes, promises);
        table::line(time, promises, got.as_deref(), &mut self.said)
    }

    fn verdict(&self) -> Option<(bool, String)> {
        let promises = &self.settings.promises;
        let got = self.ledger.last(ledger::VERDICT, self.nodes, promises)?;
        Some(ledger::verdict(promises, &got))
    }

    async fn turn(&mut self, stack: &Stack) -> anyhow::Result<&'static str> {
        scheduler(stack, true, self.settings.times.period).await?;
        Ok("the global scheduler is on")
    }
}
