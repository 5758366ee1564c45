//! `tranche-controller`: reads settings, runs the controller, maps the outcome to an exit code.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tranche_controller::config::{Cli, Command, Config, LogFormat};
use tranche_controller::{Controller, keys};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may be off or JSON: what ended the process is said in plain text as well.
            drop(writeln!(std::io::stderr(), "tranche-controller: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let config = Config::load(&cli.options)?;
    if let Some(Command::PublicKey { name }) = &cli.command {
        let line = keys::public_key(&config.state_dir, name)?;
        writeln!(std::io::stdout(), "{line}")?;
        return Ok(());
    }
    init_log(&config)?;
    // Each node has two sessions, and each client a connection.
    tranche_netconf::open_files::raise_limit();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("can't start the runtime")?
        .block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("can't wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't wait for SIGINT")?;
    let controller = Controller::start(config).await?;
    let page = controller.url();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening restconf={page}restconf page={page}")?;
    stdout.flush()?;
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
        stop.cancel();
    });
    controller.run(shutdown).await?;
    Ok(())
}

/// The database logs what it writes, and there are secrets among it: whatever is asked for, it logs warnings only.
fn shows_no_values(of: &Metadata<'_>) -> bool {
    *of.level() <= Level::WARN || !of.target().starts_with(tranche_database::LOG_TARGET)
}

fn init_log(config: &Config) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(&config.log).with_context(|| format!("log filter '{}'", config.log))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(shows_no_values));
    match config.log_format {
        LogFormat::Text => log.with(lines.with_ansi(false)).init(),
        LogFormat::Json => log.with(lines.json()).init(),
    }
    Ok(())
}
