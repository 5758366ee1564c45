//! What the scenes with periods share: reports and events come in, a line goes out each period, and at the end the verdict.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tranche_tests::restconf::Events;
use tranche_tests::stack::Stack;
use tranche_tests::telemetry::{Heard, Reports};

/// What is different from scene to scene.
pub(crate) trait Act {
    /// Takes a report of a node in.
    fn report(&mut self, report: &Heard);

    /// Takes an event of the controller in.
    fn event(&mut self, event: &Value);

    /// The line of the period that ends so long after the start.
    fn line(&mut self, time: Duration) -> String;

    /// Whether the promises were kept at the end, and the line that says so; `None` where too little was reported.
    fn verdict(&self) -> Option<(bool, String)>;

    /// Changes what the scene is about; a line that says what.
    async fn turn(&mut self, stack: &Stack) -> anyhow::Result<&'static str>;
}

/// When things happen, from the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// When to end; never where absent.
    pub(crate) run_for: Option<Duration>,
    /// When to turn.
    pub(crate) turn: Duration,
    /// Length of a period.
    pub(crate) period: Duration,
}

/// Plays from now to the end. Gives whether the promises were kept.
pub(crate) async fn play(
    act: &mut impl Act,
    times: Times,
    stack: &Stack,
    events: &mut Events,
) -> anyhow::Result<bool> {
    let mut reports = subscribe(stack).await?;
    let verdict = periods(act, times, stack, (events, &mut reports)).await;
    if verdict.is_err() {
        say(&stack.last_words())?;
    }
    verdict
}

async fn periods(
    act: &mut impl Act,
    times: Times,
    stack: &Stack,
    (events, reports): (&mut Events, &mut mpsc::Receiver<anyhow::Result<Heard>>),
) -> anyhow::Result<bool> {
    let start = Instant::now();
    let mut ticks = tokio::time::interval_at(start + times.period, times.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let turn = tokio::time::sleep_until(start + times.turn);
    let end = tokio::time::sleep_until(start + times.run_for.unwrap_or_default());
    tokio::pin!(turn, end);
    let mut turned = false;
    loop {
        tokio::select! {
            report = reports.recv() => act.report(&report.context("the nodes report no more")??),
            event = events.next() => {
                act.event(&event?.context("the controller closed its event stream")?);
            }
            _ = ticks.tick() => say(&act.line(start.elapsed()))?,
            () = &mut end, if times.run_for.is_some() => {
                let (met, line) = act.verdict().context("the nodes reported less than the last 10 s")?;
                say(&line)?;
                return Ok(met);
            }
            () = &mut turn, if !turned => {
                turned = true;
                say(&format!("        {} from here", act.turn(stack).await?))?;
            }
        }
    }
}

/// Switches the global scheduler and says how long its periods are, over RESTCONF.
pub(crate) async fn scheduler(
    stack: &Stack,
    enabled: bool,
    period: Duration,
) -> anyhow::Result<()> {
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

/// Creates the slices, over RESTCONF.
pub(crate) async fn create(stack: &Stack, slices: &Value) -> anyhow::Result<()> {
    let path = "/data/tranche-slice:slices";
    let created = stack.restconf().demand(Method::PUT, path, Some(slices));
    created.await.context("the slices were refused")?;
    Ok(())
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

/// Prints a line at once.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("standard output")
}
