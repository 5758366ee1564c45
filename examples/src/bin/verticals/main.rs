//! Three verticals on one NR cell: broadband (eMBB), control of robots (URLLC) and meters (MIoT), ten users each.
//!
//! Starts a real agent with a simulated cell and the real controller, gives it the three slices over RESTCONF, listens to the node
//! over NETCONF, and shows what each slice got. Measures nothing itself.

mod figures;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use reqwest::Method;
use serde_json::Value;
use tranche_tests::stack::{Setup, Stack};
use tranche_tests::telemetry::Reports;
use tranche_tests::wait::eventually;

use crate::figures::Figures;

const NODE: &str = include_str!("../../../verticals/node.json");
const CONTROLLER: &str = include_str!("../../../verticals/controller.json");
const SLICES: &str = include_str!("../../../verticals/slices.json");
/// Until all slices are active, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Three slices on one cell that has less than is asked of it: what each is owed, and what it gets.
///
/// Ten cameras take all that they get (eMBB), ten robots have a small packet every 10 ms in each direction (URLLC), ten meters
/// report twice a second (MIoT). Cells, cores and users are in examples/verticals/node.json, the slices in slices.json.
#[derive(Debug, Parser)]
#[command(name = "verticals", version, after_long_help = AFTER_HELP)]
struct Arguments {
    /// Seconds to measure.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
}

const AFTER_HELP: &str = "\
COLUMNS, for each direction
  owed   min-ratio to max-ratio of the slice, percent of the cell's PRB
  share  percent of the cell's PRB that it used
  Mbit/s throughput of all its users together
  mean   time that its packets waited, in ms
  p99    what 99 % of them waited at most in the worst second, in ms

EXIT STATUS
  0  measured; 1  something failed";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("verticals: {error:#}\n");
            // Nobody is left to tell where this fails.
            drop(std::io::stderr().write_all(text.as_bytes()));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let slices: Value = serde_json::from_str(SLICES)?;
    let stack = Stack::start(Setup {
        nodes: vec![NODE.to_owned()],
        controller: Some(CONTROLLER.to_owned()),
        ..Setup::figure_21()
    })
    .await?;
    stack.connected().await?;
    let asked = Instant::now();
    let path = "/data/tranche-slice:slices";
    let put = stack.restconf().demand(Method::PUT, path, Some(&slices));
    put.await.context("the slices were refused")?;
    let committed = asked.elapsed();
    let is_active = |state: &Value| state["oper-state"] == "active";
    until_all(&stack, &slices, "an active slice", is_active).await?;
    let active = asked.elapsed();
    let has_users = |state: &Value| is_active(state) && state["cell"][0]["ues"] == 10;
    until_all(&stack, &slices, "a slice with its users", has_users).await?;
    say(&format!(
        "three slices on cell nr1: committed after {:.2} s, active after {:.2} s, with all users after {:.2} s\n\n",
        committed.as_secs_f64(),
        active.as_secs_f64(),
        asked.elapsed().as_secs_f64()
    ))?;
    let node = &stack.nodes[0];
    let mut reports = Reports::subscribe(node, "admin", &stack.password).await?;
    // The first period began before the users came.
    reports.next_prb().await?;
    let mut figures = Figures::default();
    let wanted = Duration::from_secs(arguments.seconds.into());
    while figures.measured() < wanted {
        figures.take(&reports.next_prb().await?);
    }
    say(&table(&slices, &figures)?)
}

/// Waits until the controller shows this of every slice.
async fn until_all(
    stack: &Stack,
    slices: &Value,
    what: &str,
    is_so: impl Fn(&Value) -> bool,
) -> anyhow::Result<()> {
    for slice in entries(slices)? {
        let id = slice["id"].as_str().unwrap_or_default();
        let path = format!("/data/tranche-slice:slices/slice={id}/state");
        eventually(what, LIMIT, async || {
            let state = stack.restconf().get(&path).await?["tranche-slice:state"].take();
            Ok(if is_so(&state) {
                Ok(())
            } else {
                Err(state.to_string())
            })
        })
        .await?;
    }
    Ok(())
}

fn entries(slices: &Value) -> anyhow::Result<&Vec<Value>> {
    slices["tranche-slice:slices"]["slice"]
        .as_array()
        .context("examples/verticals/slices.json has no slices")
}

fn table(slices: &Value, figures: &Figures) -> anyhow::Result<String> {
    let mut text = String::from(
        "slice  users  direction    owed %     share %   Mbit/s   mean ms    p99 ms\n",
    );
    for slice in entries(slices)? {
        let id = slice["id"].as_str().unwrap_or_default();
        for (index, direction) in ["down", "up"].into_iter().enumerate() {
            let promise = &slice["sla"]["prb"][direction];
            let ratio = |leaf: &str, default: &'static str| {
                promise[leaf].as_str().unwrap_or(default).to_owned()
            };
            let owed = format!(
                "{} to {}",
                ratio("min-ratio", "0"),
                ratio("max-ratio", "100")
            );
            let got = figures.of(id, index);
            let ms =
                |us: Option<f64>| us.map_or("-".to_owned(), |us| format!("{:.2}", us / 1000.0));
            writeln!(
                text,
                "{:<6} {:>5}  {direction:<9} {owed:>9} {:>11.2} {:>8.3} {:>9} {:>9}",
                if index == 0 { id } else { "" },
                if index == 0 {
                    got.ues.to_string()
                } else {
                    String::new()
                },
                got.share,
                got.throughput / 1e6,
                ms(got.delay_us),
                ms(got.p99_us),
            )?;
        }
    }
    Ok(text)
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
