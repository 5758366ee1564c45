//! The scene of `--ran`: two tenants on Wi-Fi, LTE and NR at once. Strangers take airtime, and what the aggregate promise of one
//! tenant misses on Wi-Fi is made up for where there is room.
//!
//! Starts the real agents and the real controller, listens to every node over NETCONF and to the controller's event stream, and
//! shows what comes. Measures nothing itself and corrects nothing.

mod ledger;
mod table;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tranche_netconf::message::{Datastore, DefaultOperation, EditConfig, ErrorOption, TestOption};
use tranche_netconf::xml::Fragment;
use tranche_tests::stack::Stack;
use tranche_tests::telemetry::{Heard, connect};
use tranche_tests::{ran, wait::eventually};

use crate::play::{self, Act, Times, say, scheduler};
use ledger::{Ledger, Promise};
use table::Said;

/// Percent of the first access point's channel that strangers try to take.
const INTERFERENCE: u32 = 90;
/// Until the slices are in service.
const ACTIVE_LIMIT: Duration = Duration::from_secs(60);

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Settings {
    /// When to end, and when the strangers come.
    pub(crate) times: Times,
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
    play::create(&stack, &settings.slices).await?;
    active(&stack).await?;
    say(
        "slices    in service on both access points and both cells; every tenant wants more than there is everywhere",
    )?;
    let after = settings.times.turn.as_secs();
    say(&format!(
        "strangers come to the channel of node-1 after {after} s\n"
    ))?;
    say(&table::head(&promises))?;
    let mut both = Both {
        promises,
        ledger: Ledger::default(),
        said: Said::default(),
    };
    play::play(&mut both, settings.times, &stack, &mut events).await
}

/// A round of the global scheduler each period, and two reports of each node in it.
async fn prepare(stack: &Stack, settings: &Settings) -> anyhow::Result<()> {
    scheduler(stack, true, settings.times.period).await?;
    let period = u64::try_from(settings.times.period.as_millis())?;
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

/// What the table shows of promises over Wi-Fi and cells, and the strangers.
struct Both {
    promises: Vec<Promise>,
    ledger: Ledger,
    said: Said,
}

impl Act for Both {
    fn report(&mut self, report: &Heard) {
        self.ledger.add(report);
    }

    fn event(&mut self, event: &Value) {
        self.said.hear(event);
    }

    fn line(&mut self, time: Duration) -> String {
        let got = self.ledger.since_last(&self.promises);
        table::line(time, &self.promises, got.as_deref(), &mut self.said)
    }

    fn verdict(&self) -> Option<(bool, String)> {
        let got = self.ledger.last(crate::ledger::VERDICT, &self.promises)?;
        Some(ledger::verdict(&self.promises, &got))
    }

    async fn turn(&mut self, stack: &Stack) -> anyhow::Result<&'static str> {
        edit_config(stack, 0, ran::interference(INTERFERENCE)).await?;
        Ok("strangers are on the channel of node-1")
    }
}
