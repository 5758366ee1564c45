//! Many simulated cells under one controller: how long slices take to be active on all of them, and what it costs the controller.

mod scene;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use reqwest::Method;
use tranche_tests::stack::{Setup, Stack};
use tranche_tests::wait::eventually;

/// Until all slices are active, on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// Puts slices on many simulated cells in one change, and tells how long that took and what it cost.
///
/// All nodes are in one process of the agent, each with its own NETCONF server; every slice is on every cell, with a PLMN of its
/// own and 15 % of the PRB in each direction.
#[derive(Debug, Parser)]
#[command(name = "thousand-cells", version)]
struct Arguments {
    /// Nodes.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    nodes: u16,
    /// LTE cells of each node.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    cells: u16,
    /// Slices on each cell: an LTE cell carries six.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=6))]
    slices: u16,
    /// UEs of each slice at each node, with a packet a second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=100))]
    ues: u16,
    /// Seconds to watch the controller at rest, with the telemetry of all nodes.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=600))]
    rest: u16,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("thousand-cells: {error:#}\n");
            // Nobody is left to tell where this fails.
            drop(std::io::stderr().write_all(text.as_bytes()));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let nodes = (0..arguments.nodes).map(|_| scene::node(&arguments));
    let stack = Stack::start(Setup {
        nodes: nodes.collect::<anyhow::Result<_>>()?,
        controller: Some(scene::controller(arguments.nodes)?),
        ..Setup::figure_21()
    })
    .await?;
    stack.connected().await?;
    let Arguments {
        nodes,
        cells,
        slices,
        ..
    } = arguments;
    say(&format!(
        "{nodes} nodes with {cells} cells each are connected; {slices} slices on each of the {} cells\n",
        u32::from(nodes) * u32::from(cells)
    ))?;
    let controller = stack.controller_process().id();
    let (asked, before) = (Instant::now(), cpu(controller)?);
    let path = "/data/tranche-slice:slices";
    let body = scene::slices(slices);
    let put = stack.restconf().demand(Method::PUT, path, Some(&body));
    put.await.context("the slices were refused")?;
    let committed = (asked.elapsed(), cpu(controller)? - before);
    until_active(&stack, &arguments).await?;
    let active = (asked.elapsed(), cpu(controller)? - before);
    for (what, (elapsed, cpu)) in [("committed", committed), ("all active", active)] {
        say(&format!(
            "{what:<11} after {:6.2} s; processor time of the controller {:5.2} s\n",
            elapsed.as_secs_f64(),
            cpu.as_secs_f64()
        ))?;
    }
    let (at, before) = (Instant::now(), cpu(controller)?);
    tokio::time::sleep(Duration::from_secs(arguments.rest.into())).await;
    let used = (cpu(controller)? - before).as_secs_f64() / at.elapsed().as_secs_f64();
    say(&format!(
        "at rest, with the reports of all nodes once a second: {:.1} % of one processor\n",
        used * 100.0
    ))
}

/// Waits until the controller shows every slice active on every cell.
async fn until_active(stack: &Stack, arguments: &Arguments) -> anyhow::Result<()> {
    let wanted = usize::from(arguments.nodes) * usize::from(arguments.cells);
    for slice in 1..=arguments.slices {
        let path = format!("/data/tranche-slice:slices/slice=s{slice}/state");
        let state = eventually("an active slice", LIMIT, async || {
            let oper = stack.restconf().get(&format!("{path}/oper-state")).await?;
            let oper = oper["tranche-slice:oper-state"].clone();
            Ok(if oper == "active" {
                Ok(())
            } else {
                Err(oper.to_string())
            })
        });
        state.await?;
        let state = stack.restconf().get(&path).await?;
        let cells = state["tranche-slice:state"]["cell"].as_array();
        let active = cells.into_iter().flatten();
        let active = active.filter(|cell| cell["oper-state"] == "active").count();
        if active != wanted {
            bail!("slice s{slice} is active on {active} of {wanted} cells");
        }
    }
    Ok(())
}

/// Processor time that a process has used (proc(5), `stat`, fields 14 and 15, in hundredths of a second).
fn cpu(process: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name, in brackets, may have blanks in it; after it comes field 3.
    let (_, rest) = text.rsplit_once(')').with_context(|| path.clone())?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let sum = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
    Ok(Duration::from_millis(
        sum.with_context(|| path.clone())? * 10,
    ))
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
