//! The agent's process: command line, log and signals. Everything else is in the library.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tranche_agent::Agent;
use tranche_agent::config::{Args, Command, LogFormat, LogSettings, Settings};
use tranche_agent::render_ran::RenderRan;

/// The database logs what it writes, and there are secrets among it: whatever is asked for, it logs warnings only.
fn shows_no_values(of: &Metadata<'_>) -> bool {
    *of.level() <= Level::WARN || !of.target().starts_with(tranche_database::LOG_TARGET)
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may be off or JSON: whoever starts the agent by hand must see why it does not run.
            drop(writeln!(io::stderr(), "tranche-agent: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    if let Some(Command::RenderRan(command)) = args.command {
        return render_ran(&command);
    }
    let settings = Settings::resolve(args)?;
    start_log(&settings.log)?;
    // A thousand tunnels have more files open than a process may have where nobody has said otherwise.
    tranche_netconf::open_files::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?;
    runtime.block_on(serve(settings))
}

/// One line for each file and for all that is in none.
fn render_ran(command: &RenderRan) -> anyhow::Result<()> {
    let done = command.run()?;
    let mut out = io::stdout().lock();
    for path in &done.written {
        writeln!(out, "wrote {}", path.display())?;
    }
    for skipped in &done.skipped {
        writeln!(out, "skipped {skipped}")?;
    }
    for warning in &done.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    out.flush().context("standard output cannot be written")
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let agent = Agent::start(settings).await?;
    announce(&agent).context("standard output cannot be written")?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
        _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
    }
    agent.shutdown().await;
    Ok(())
}

/// One line for each node, for scripts: see OUTPUT in the help.
fn announce(agent: &Agent) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for node in agent.nodes() {
        writeln!(
            out,
            "listening node={} address={} host-key={}",
            node.name(),
            node.address(),
            node.host_key_fingerprint()
        )?;
    }
    out.flush()
}

fn start_log(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.filter)
        .with_context(|| format!("log filter '{}'", settings.filter))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    let log = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(shows_no_values));
    match settings.format {
        LogFormat::Text => log.with(lines).init(),
        LogFormat::Json => log.with(lines.json()).init(),
    }
    Ok(())
}
