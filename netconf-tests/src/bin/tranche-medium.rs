//! The medium between the simulated radios of a kernel, as a program: command line and signals. All else is in the library.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tranche_tests::medium::{self, Config};

/// A contended medium for the radios of mac80211_hwsim
#[derive(Debug, Parser)]
#[command(
    name = "tranche-medium",
    version,
    long_about = "tranche-medium is the air between the simulated Wi-Fi radios of this kernel (module mac80211_hwsim), which by \
                  themselves are infinitely fast. Radios in range of each other on one channel contend for it as IEEE 802.11 \
                  says (EDCA: AIFS, backoff, collisions, retries); a frame is delivered when its airtime at its rate is over; \
                  links lose frames; full queues answer at once. A ledger says who was on the air for how long.",
    after_long_help = AFTER_HELP
)]
struct Arguments {
    /// Who hears whom, and how well; see CONFIGURATION. Without it all hear each other
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write each try down in this file, one line of JSON each; it is emptied first
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Answer questions at this Unix socket; see CONTROL
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Decides on backoff and losses: the same frames at the same times and the same seed give the same history
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

const AFTER_HELP: &str = "\
CONFIGURATION (TOML; the command line wins over it)
  seed, ledger, control   as the options
  queue                   frames that a radio holds in each access category, 1 to 48 [default: 40]
  [default]               what holds between radios that no [[link]] names:
    in-range              whether they hear each other [default: true]
    loss                  part of the tries that get lost, 0 to 1 [default: 0]
    max-rate              fastest rate that gets through, in Mbit/s [default: any]
    signal                strength in dBm [default: -50]
  [[link]]                two radios, and what differs from the default; the same in both directions:
    between = [0, 1]      by the driver's numbers, or by MAC addresses that they have, in quotes

CONTROL
  One line each; the answer is one line of JSON.
  ledger                  sums since the start by radio, transmitter and receiver; time that channels were busy; slipped-ns is
                          time for which the medium stood still because the machine was too slow, late-ns time in which it was
                          more than 3 ms late
  link A B KEY VALUE ...  changes a link, as in a [[link]]; `max-rate none` lifts the limit
  radios                  hardware addresses of all radios

OUTPUT
  ready radios=N          once the driver hands over all frames

ENVIRONMENT OF USE
  Run it in the network namespace in which the module was loaded. Radios that were moved to other namespaces
  (iw phy PHY set netns ...) stay on the medium. When it ends, the radios are infinitely fast again.

EXIT STATUS
  0  ended by SIGTERM or SIGINT      1  an error, named on standard error

NOT SIMULATED
  Aggregates, capture, lost acknowledgements, disturbance between channels that overlap without being the same.

EXAMPLE
  modprobe mac80211_hwsim radios=4
  tranche-medium --config links.toml --control /run/medium &
  echo ledger | socat - UNIX-CONNECT:/run/medium";

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell where this fails.
            drop(writeln!(std::io::stderr(), "tranche-medium: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut config = match &arguments.config {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    config.ledger = arguments.ledger.or(config.ledger);
    config.control = arguments.control.or(config.control);
    config.seed = arguments.seed.unwrap_or(config.seed);
    let stop = signals()?;
    medium::run(&config, stop.as_fd(), |radios| {
        // Whoever closed our output does not care.
        drop(writeln!(std::io::stdout(), "ready radios={radios}"));
        Ok(())
    })?;
    Ok(())
}

/// A socket whose other end is closed when the program is asked to end.
fn signals() -> anyhow::Result<UnixStream> {
    let (near, far) = UnixStream::pair().context("socket pair")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("runtime")?;
    let (mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        drop(far);
    });
    Ok(near)
}
