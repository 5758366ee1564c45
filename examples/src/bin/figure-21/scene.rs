//! The scene: set up, played period by period, and judged at its end.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tranche_tests::proxy::Proxy;
use tranche_tests::restconf::Events;
use tranche_tests::stack::{Setup, Stack};
use tranche_tests::telemetry::{Report, Reports};
use tranche_tests::vm::figure_21::Scene;

use crate::ledger::{self, Ledger, Promise};
use crate::table::{self, Said};

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Settings {
    /// When to end; never where absent.
    pub(crate) run_for: Option<Duration>,
    /// How long the global scheduler stays off.
    pub(crate) without: Duration,
    /// Length of a period.
    pub(crate) period: Duration,
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

    let restconf = stack.restconf();
    scheduler(stack, false, settings.period).await?;
    let mut events = restconf.events("NETCONF").await?;
    restconf
        .demand(
            Method::PUT,
            "/data/tranche-slice:slices",
            Some(&settings.slices),
        )
        .await
        .context("the slices were refused")?;
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

    let mut reports = subscribe(stack).await?;
    let verdict = periods(settings, stack, &mut events, &mut reports).await;
    if verdict.is_err() {
        say(&stack.last_words())?;
    }
    verdict
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

async fn periods(
    settings: &Settings,
    stack: &Stack,
    events: &mut Events,
    reports: &mut mpsc::Receiver<anyhow::Result<Report>>,
) -> anyhow::Result<bool> {
    let (nodes, promises) = (stack.nodes.len(), &settings.promises);
    let mut ledger = Ledger::default();
    let mut said = Said::default();
    let start = Instant::now();
    let mut ticks = tokio::time::interval_at(start + settings.period, settings.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let turn = tokio::time::sleep_until(start + settings.without);
    let end = tokio::time::sleep_until(start + settings.run_for.unwrap_or_default());
    tokio::pin!(turn, end);
    let mut turned = false;
    loop {
        tokio::select! {
            report = reports.recv() => {
                ledger.add(&report.context("the nodes report no more")??);
            }
            event = events.next() => {
                said.hear(&event?.context("the controller closed its event stream")?);
            }
            _ = ticks.tick() => {
                let got = ledger.period(nodes, promises);
                say(&table::line(start.elapsed(), promises, got.as_deref(), &mut said))?;
            }
            () = &mut end, if settings.run_for.is_some() => {
                let got = ledger.last(ledger::VERDICT, nodes, promises);
                let got = got.context("the nodes reported less than the last 10 s")?;
                let (met, line) = ledger::verdict(promises, &got);
                say(&line)?;
                return Ok(met);
            }
            () = &mut turn, if !turned => {
                turned = true;
                scheduler(stack, true, settings.period).await?;
                say("        the global scheduler is on from here")?;
            }
        }
    }
}

/// Switches the global scheduler, over RESTCONF.
async fn scheduler(stack: &Stack, enabled: bool, period: Duration) -> anyhow::Result<()> {
    let interval = u64::try_from(period.as_millis())?;
    let body = json!({"tranche-sla:scheduler": {"enabled": enabled, "interval": interval}});
    let path = "/data/tranche-sla:sla/scheduler";
    // PUT creates it where it is not there yet, which PATCH may not (RFC 8040 4.6).
    stack
        .restconf()
        .demand(Method::PUT, path, Some(&body))
        .await?;
    Ok(())
}

/// Opens a NETCONF session to every node and gathers their reports.
async fn subscribe(stack: &Stack) -> anyhow::Result<mpsc::Receiver<anyhow::Result<Report>>> {
    let (sender, receiver) = mpsc::channel(64);
    for node in &stack.nodes {
        let mut reports = Reports::subscribe(node, "observer", &stack.observer_password).await?;
        let sender = sender.clone();
        // Ends with its session, or when nobody receives any more.
        tokio::spawn(async move {
            loop {
                let report = reports.next().await.map_err(anyhow::Error::from);
                let last = report.is_err();
                if sender.send(report).await.is_err() || last {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}

/// Prints a line at once.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("standard output")
}
