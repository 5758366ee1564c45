//! The scene of `--ran`: two tenants on Wi-Fi, LTE and NR at once. Strangers take airtime, and what the aggregate promise of one
//! tenant misses on Wi-Fi is made up for where there is room.
//!
//! Starts the real agents and the real controller, listens to every node over NETCONF and to the controller's event stream, and
//! shows what comes. Measures nothing itself and corrects nothing.

mod ledger;
mod table;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tranche_netconf::message::{Datastore, DefaultOperation, EditConfig, ErrorOption, TestOption};
use tranche_netconf::xml::Fragment;
use tranche_tests::restconf::Events;
use tranche_tests::stack::Stack;
use tranche_tests::telemetry::{Heard, Reports, connect};
use tranche_tests::{ran, wait::eventually};

use crate::scene::say;
use ledger::{Ledger, Promise};
use table::Said;

/// Percent of the first access point's channel that strangers try to take.
const INTERFERENCE: u32 = 90;
/// Until the slices are in service.
const ACTIVE_LIMIT: Duration = Duration::from_secs(60);

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Settings {
    /// When to end; never where absent.
    pub(crate) run_for: Option<Duration>,
    /// When the strangers come.
    pub(crate) without: Duration,
    /// Length of a period.
    pub(crate) period: Duration,
    /// Where the controller listens.
    pub(crate) listen: SocketAddr,
    /// The slices, as RESTCONF takes them.
    pub(crate) slices: Value,
}

/// Plays it. Gives whether the promises were kept; ends only where `run_for` says when.
pub(crate) async fn play(settings: &Settings) -> anyhow::Result<bool> {
    let promises = ledger::promises(&settings.slices)?;
    say("starting two access points, a node with an LTE and an NR cell, and their controller ...")?;
    let mut setup = ran::setup();
    setup.listen = settings.listen;
    let stack = Stack::start(setup).await?;
    stack.connected().await?;
    let page = stack.page();
    say(&format!(
        "page      {page}   user admin, password {}",
        stack.password
    ))?;
    prepare(&stack, settings).await?;
    let mut events = stack.restconf().events("NETCONF").await?;
    stack
        .restconf()
        .demand(
            Method::PUT,
            "/data/tranche-slice:slices",
            Some(&settings.slices),
        )
        .await
        .context("the slices were refused")?;
    active(&stack).await?;
    say(
        "slices    in service on both access points and both cells; every tenant wants more than there is everywhere",
    )?;
    let after = settings.without.as_secs();
    say(&format!(
        "strangers come to the channel of node-1 after {after} s\n"
    ))?;
    say(&table::head(&promises))?;
    let mut reports = subscribe(&stack).await?;
    let verdict = periods(settings, &promises, &stack, (&mut events, &mut reports)).await;
    if verdict.is_err() {
        say(&stack.last_words())?;
    }
    verdict
}

/// A round of the global scheduler each period, and two reports of each node in it.
async fn prepare(stack: &Stack, settings: &Settings) -> anyhow::Result<()> {
    let period = u64::try_from(settings.period.as_millis())?;
    let body = json!({"tranche-sla:scheduler": {"enabled": true, "interval": period}});
    let path = "/data/tranche-sla:sla/scheduler";
    // PUT creates it where it is not there yet, which PATCH may not (RFC 8040 4.6).
    stack
        .restconf()
        .demand(Method::PUT, path, Some(&body))
        .await?;
    let interval = (period / 2).clamp(100, 1000);
    for node in 0..stack.nodes.len() {
        let edit = format!(
            "<wifi xmlns=\"urn:tranche:yang:tranche-wifi\"><telemetry><interval>{interval}</interval></telemetry></wifi>"
        );
        edit_config(stack, node, edit).await?;
    }
    Ok(())
}

async fn edit_config(stack: &Stack, node: usize, xml: String) -> anyhow::Result<()> {
    let (client, _notifications) = connect(&stack.nodes[node], "admin", &stack.password).await?;
    let edit = EditConfig {
        target: Datastore::Running,
        default_operation: DefaultOperation::Merge,
        test_option: TestOption::TestThenSet,
        error_option: ErrorOption::RollbackOnError,
        config: Fragment::from_trusted(xml),
    };
    client.edit_config(&edit).await?;
    Ok(())
}

/// Waits until every slice is in service everywhere.
async fn active(stack: &Stack) -> anyhow::Result<()> {
    let waited = eventually("the slices in service", ACTIVE_LIMIT, async || {
        let body = stack.restconf().get("/data/tranche-slice:slices").await?;
        let slices = body["tranche-slice:slices"]["slice"].as_array();
        let states: Vec<String> = slices
            .into_iter()
            .flatten()
            .map(|one| format!("{} {}", one["id"], one["state"]))
            .collect();
        let is_active = |state: &String| state.contains("\"oper-state\":\"active\"");
        Ok(match !states.is_empty() && states.iter().all(is_active) {
            true => Ok(()),
            false => Err(states.join(", ")),
        })
    });
    Ok(waited.await?)
}

async fn periods(
    settings: &Settings,
    promises: &[Promise],
    stack: &Stack,
    (events, reports): (&mut Events, &mut mpsc::Receiver<anyhow::Result<Heard>>),
) -> anyhow::Result<bool> {
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
                let got = ledger.since_last(promises);
                say(&table::line(start.elapsed(), promises, got.as_deref(), &mut said))?;
            }
            () = &mut end, if settings.run_for.is_some() => {
                let Some(got) = ledger.last(crate::ledger::VERDICT, promises) else {
                    bail!("the nodes reported less than the last 10 s");
                };
                let (met, line) = ledger::verdict(promises, &got);
                say(&line)?;
                return Ok(met);
            }
            () = &mut turn, if !turned => {
                turned = true;
                edit_config(stack, 0, ran::interference(INTERFERENCE)).await?;
                say("        strangers are on the channel of node-1 from here")?;
            }
        }
    }
}

/// Opens a NETCONF session to every node and gathers their reports.
async fn subscribe(stack: &Stack) -> anyhow::Result<mpsc::Receiver<anyhow::Result<Heard>>> {
    let (sender, receiver) = mpsc::channel(64);
    for node in &stack.nodes {
        let mut reports = Reports::subscribe(node, "observer", &stack.observer_password).await?;
        let sender = sender.clone();
        // Ends with its session, or when nobody receives any more.
        tokio::spawn(async move {
            loop {
                let report = reports.hear().await.map_err(anyhow::Error::from);
                let last = report.is_err();
                if sender.send(report).await.is_err() || last {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}
