//! Figure 21 of 5GCity D3.1: two access points on one channel, two tenants, and a promise that only the controller can keep.
//!
//! Starts the real agent and the real controller, gives them the slices over RESTCONF, listens to both nodes over NETCONF and
//! to the controller's event stream, and shows what comes. Measures nothing itself and corrects nothing.

mod backhaul;
mod ledger;
mod play;
mod ran;
mod scene;
mod table;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Two tenants on one channel: what each was promised, what each got, and who saw to it.
///
/// Tenant A is owed 30 % of the airtime, tenant B 70 %. A's traffic is at the first node only, B's at the second only, so that
/// neither node can see that the two share the channel: without the global scheduler each gets about half. It is off at first.
///
/// With --backhaul, another scene: the encrypted paths of two tenants, and that nothing gets from one to the other. With --ran, a
/// third one: promises over Wi-Fi and cells together.
#[derive(Debug, Parser)]
#[command(name = "figure-21", version, after_long_help = AFTER_HELP)]
struct Arguments {
    /// End by itself after this time from when the slices are there, and tell whether the promises were kept over the
    /// last 10 s; until Ctrl-C where absent.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    run_for: Option<Duration>,
    /// How long to do without the global scheduler first; with --ran, without strangers.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15s")]
    without: Duration,
    /// Length of a period: one line of the table, and one round of the global scheduler.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "2s")]
    period: Duration,
    /// Where the controller serves RESTCONF and the page; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Also take connections there and hand them on to the controller, which without a certificate serves loopback only. For a
    /// machine that nobody else reaches, as that of make demo-vm.
    #[arg(long, value_name = "ADDR:PORT")]
    relay: Option<SocketAddr>,
    /// On the real radio stack of this kernel (mac80211_hwsim) instead of simulated radios: agents with hostapd and the
    /// scheduler in the kernel, a contended medium, clients and traffic. Takes the machine for itself, as root: make demo-vm
    /// gives it one.
    #[arg(long)]
    real: bool,
    /// Two slices with an encrypted path each, between agents in network namespaces, instead of radios: what crosses the tunnels,
    /// what is seen of it on the underlay, and a rotation of the keys. Needs root, /dev/net/tun, and the programs ip and nft;
    /// leaves nothing behind.
    #[arg(long, conflicts_with_all = ["without", "listen", "relay", "real", "shown_as", "slices"])]
    backhaul: bool,
    /// Two tenants on Wi-Fi, LTE and NR at once, on simulated radios and cells: after the time of --without strangers take airtime at one
    /// access point, and
    /// what the aggregate promise of tenant A misses there is made up for at the cells. The global scheduler is on all the time.
    #[arg(long, conflicts_with_all = ["relay", "real", "shown_as", "backhaul"])]
    ran: bool,
    /// The page's address as you reach it, where that is not where it listens.
    #[arg(long, value_name = "URL")]
    shown_as: Option<String>,
    /// The slices to create, as the body of a request for /data/tranche-slice:slices
    /// [default: those of examples/figure-21/slices.json, with --ran those of examples/ran/slices.json].
    #[arg(long, value_name = "FILE")]
    slices: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
COLUMNS
  owed     percent of the airtime that the tenants use between them, from the slice's min-ratio
  got      the same, measured: from the airtime-report notifications of both nodes
  wall     what it got in percent of the whole time; the rest is contention, overhead and silence
  state    of the promise, as the controller says
  correction  what the controller's global scheduler told the nodes at the end of the period

COLUMNS WITH --backhaul
  tunnel   from an access node to a gateway; both of them answer, the active one has the traffic
  shaken   time since both ends last agreed on a session key
  out, in  octets that the tunnel carried under this key, probes included
  sent     packets of the slice's users since the beginning, and got: those that arrived at the other end
  strange  packets that came to the slice's users and were not theirs
  wire     frames on the switch in which a packet of the slice can be read

COLUMNS WITH --ran
  wi-fi N  percent of the airtime that the tenants use between them at node N, from its airtime-report notifications
  lte, nr  percent of the downlink PRB of that cell, from the prb-report notifications
  mean     of all four, of Wi-Fi percent of the whole time: what an aggregate promise is about
  state    the worst of the tenant's promises, as the controller says
  corrected  new minima at cells, and how many interfaces of access points got new minima and ceilings

EXIT STATUS
  0    with --for: every tenant was within 2 points of what it is owed over the last 10 s (with --ran: at most 2 points
       short of each promise); without: ended by Ctrl-C;
       with --backhaul: every packet arrived, none came from elsewhere, none could be read on the switch
  1    one was not, or something failed
  130  interrupted before --for was over

DURATION is a number with ms, s or min.";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            let text = format!("figure-21: {error:#}\n");
            // Nobody is left to tell where this fails.
            drop(std::io::stderr().write_all(text.as_bytes()));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.backhaul {
        return backhaul::run(arguments.run_for, arguments.checked_period()?);
    }
    play(arguments)
}

#[tokio::main]
async fn play(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let run_for = arguments.run_for;
    let scene = arguments.scene()?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    // Whichever way this ends, the scene is dropped and its processes with it.
    tokio::select! {
        verdict = scene.play() => Ok(if verdict? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        _ = interrupt.recv() => Ok(if run_for.is_none() { ExitCode::SUCCESS } else { ExitCode::from(130) }),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
        _ = hang_up.recv() => Ok(ExitCode::from(129)),
    }
}

/// A scene on radios and cells.
enum Scene {
    Figure21(Box<scene::Settings>),
    Ran(Box<ran::Settings>),
}

impl Scene {
    async fn play(&self) -> anyhow::Result<bool> {
        match self {
            Self::Figure21(settings) => scene::play(settings).await,
            Self::Ran(settings) => ran::play(settings).await,
        }
    }
}

impl Arguments {
    fn checked_period(&self) -> anyhow::Result<Duration> {
        if !(Duration::from_millis(200)..=Duration::from_secs(10)).contains(&self.period) {
            bail!("--period: {:?} is not within 200ms and 10s", self.period);
        }
        Ok(self.period)
    }

    fn scene(self) -> anyhow::Result<Scene> {
        if let Some(run_for) = self.run_for
            && run_for < ledger::VERDICT
        {
            bail!(
                "--for: the promises are judged over {:?}, which does not fit into {run_for:?}",
                ledger::VERDICT
            );
        }
        let period = self.checked_period()?;
        let slices = match &self.slices {
            None if self.ran => tranche_tests::ran::slices(),
            None => tranche_tests::figure_21::slices(),
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                serde_json::from_str(&text).with_context(|| path.display().to_string())?
            }
        };
        let times = play::Times {
            run_for: self.run_for,
            turn: self.without,
            period,
        };
        if self.ran {
            return Ok(Scene::Ran(Box::new(ran::Settings {
                times,
                listen: self.listen,
                slices,
            })));
        }
        Ok(Scene::Figure21(Box::new(scene::Settings {
            times,
            listen: self.listen,
            relay: self.relay,
            real: self.real,
            shown_as: self.shown_as,
            promises: ledger::promises(&slices)?,
            slices,
        })))
    }
}

/// Reads `45s`, `1500ms` or `2min`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("{text:?} is not a duration such as 45s, 500ms or 2min");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" | "min" => number.checked_mul(60_000),
        _ => None,
    };
    milliseconds.map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expect) in [
            ("45s", 45_000),
            ("500ms", 500),
            ("2min", 120_000),
            ("2m", 120_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(expect)), "{text}");
        }
        for text in [
            "",
            "s",
            "45",
            "-1s",
            "1.5s",
            "1h",
            "99999999999999999999s",
            "18446744073709551615s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
