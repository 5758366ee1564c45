//! Runs a command against a network of its own: `with-stack -- COMMAND ARGUMENT...`.
//!
//! For tests that are not written in Rust. The command finds in its environment where everything is.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::json;
use tranche_tests::stack::{Setup, Stack};

const USAGE: &str = "\
NAME
    with-stack - run a command against two simulated nodes and their controller

SYNOPSIS
    with-stack [--ran] [--no-controller] [--listen ADDR:PORT] -- COMMAND [ARGUMENT...]

OPTIONS
    --ran                Two access points and a node with an LTE and an NR cell instead; before the other options.
    --no-controller      Start the nodes only.
    --listen ADDR:PORT   Where the controller listens [default: 127.0.0.1:0, a free port].

ENVIRONMENT of the command
    TRANCHE_URL                  Address of the operator's page.
    TRANCHE_RESTCONF             Root resource of RESTCONF.
    TRANCHE_USER                 A user who may do anything, at the controller and at the nodes.
    TRANCHE_PASSWORD             The password of that user.
    TRANCHE_KEY                  File with a private key of that user at the nodes.
    TRANCHE_OBSERVER             A user who may read and listen at the nodes.
    TRANCHE_OBSERVER_PASSWORD    The password of that user.
    TRANCHE_NODES                JSON: [{name, host, port, host_key, fingerprint}...].
    TRANCHE_SLICES               JSON: the slices of figure 21, or those of --ran; none of them exists at the start.
    TRANCHE_SCENE                figure-21 or ran.

EXIT STATUS
    That of the command; 125 when the network could not be started.
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            report(&format!("with-stack: {error:#}"));
            ExitCode::from(125)
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a command line program speaks to its user"
)]
fn report(text: &str) {
    eprintln!("{text}");
}

#[tokio::main]
async fn run() -> anyhow::Result<ExitCode> {
    let mut setup = Setup::figure_21();
    let mut scene = ("figure-21", tranche_tests::figure_21::SLICES);
    let mut arguments = std::env::args().skip(1);
    loop {
        match arguments.next().as_deref() {
            Some("--help" | "-h") => {
                report(USAGE);
                return Ok(ExitCode::SUCCESS);
            }
            Some("--ran") => {
                setup = tranche_tests::ran::setup();
                scene = ("ran", tranche_tests::ran::SLICES);
            }
            Some("--no-controller") => setup = setup.without_controller(),
            Some("--listen") => {
                let address = arguments.next().context("--listen wants ADDR:PORT")?;
                setup.listen = address
                    .parse::<SocketAddr>()
                    .context("--listen wants ADDR:PORT")?;
            }
            Some("--") => break,
            Some(other) => bail!("{other:?} is not understood; --help explains"),
            None => bail!("no command; --help explains"),
        }
    }
    let program = arguments
        .next()
        .context("no command after --; --help explains")?;
    let with_controller = setup.controller.is_some();
    let stack = Stack::start(setup).await?;

    let mut command = tokio::process::Command::new(&program);
    command.args(arguments).kill_on_drop(true);
    for (name, value) in environment(&stack, with_controller, scene) {
        command.env(name, value);
    }
    let mut child = command.spawn().with_context(|| program.clone())?;
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let status = tokio::select! {
        status = child.wait() => status?,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminated.recv() => bail!("terminated"),
    };
    let code = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1);
    if code != 0 {
        report(&stack.last_words());
    }
    Ok(ExitCode::from(code))
}

fn environment(
    stack: &Stack,
    with_controller: bool,
    (scene, slices): (&str, &str),
) -> Vec<(&'static str, String)> {
    let nodes: Vec<_> = stack
        .nodes
        .iter()
        .map(|node| {
            json!({
                "name": node.name,
                "host": node.address.ip().to_string(),
                "port": node.address.port(),
                "host_key": node.public_key,
                "fingerprint": node.host_key,
            })
        })
        .collect();
    let mut variables = vec![
        ("TRANCHE_USER", "admin".to_owned()),
        ("TRANCHE_PASSWORD", stack.password.clone()),
        ("TRANCHE_KEY", stack.admin_key().display().to_string()),
        ("TRANCHE_OBSERVER", "observer".to_owned()),
        ("TRANCHE_OBSERVER_PASSWORD", stack.observer_password.clone()),
        ("TRANCHE_NODES", json!(nodes).to_string()),
        ("TRANCHE_SLICES", slices.to_owned()),
        ("TRANCHE_SCENE", scene.to_owned()),
    ];
    if with_controller {
        variables.push(("TRANCHE_URL", stack.page().to_owned()));
        variables.push(("TRANCHE_RESTCONF", stack.restconf().root().to_owned()));
    }
    variables
}
