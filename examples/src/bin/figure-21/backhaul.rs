//! Two slices with an encrypted path each, shown: their tunnels, their packets, and what the underlay sees of them.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};
use tranche_tests::backhaul::{
    self as tunnels, Capture, DATA_CENTRE, EDGE, Ear, MACHINES, Network, SERVER, Scene, Stream,
    TENANTS,
};

use crate::play::say;

/// A rotation and what comes after it fit into this.
const SHORTEST: Duration = Duration::from_secs(10);
/// Keys are rotated after so many periods.
const ROTATION: u32 = 3;
/// Time between two packets of a user.
const EVERY: Duration = Duration::from_millis(10);
/// What has not arrived by then is lost.
const PATIENCE: Duration = Duration::from_secs(10);
const HEAD: &str = concat!(
    "  time  slice     tunnel            peer    shaken      rtt        out         in    sent     got  strange  wire\n",
    "---------------------------------------------------------------------------------------------------------------",
);

/// Shows it, for a time or until Ctrl-C.
pub(crate) fn run(run_for: Option<Duration>, period: Duration) -> anyhow::Result<ExitCode> {
    if let Some(what) = tunnels::missing() {
        bail!("--backhaul makes real tunnels between network namespaces, and needs {what}");
    }
    if let Some(run_for) = run_for
        && run_for < SHORTEST
    {
        bail!("--for: {run_for:?} is less than the {SHORTEST:?} that a rotation of keys fits into");
    }
    let network = Network::new()?;
    network.run(async || show(&network, run_for, period).await)?
}

async fn show(
    network: &Network,
    run_for: Option<Duration>,
    period: Duration,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let show = tokio::select! {
        show = Show::start(network) => show?,
        code = signals.next() => return Ok(ExitCode::from(code)),
    };
    let mut show = show;
    let interrupted = tokio::select! {
        done = show.periods(run_for, period) => { done?; None }
        code = signals.next() => Some(code),
    };
    match interrupted {
        // Without an end of its own, Ctrl-C is the end.
        Some(code) if code != Signals::INTERRUPT || run_for.is_some() => Ok(ExitCode::from(code)),
        _ => show.verdict().await,
    }
}

/// What ends a program from outside.
struct Signals([(Signal, u8); 3]);

impl Signals {
    /// Exit status of Ctrl-C.
    const INTERRUPT: u8 = 130;

    fn new() -> std::io::Result<Self> {
        Ok(Self([
            (signal(SignalKind::interrupt())?, Self::INTERRUPT),
            (signal(SignalKind::terminate())?, 143),
            (signal(SignalKind::hangup())?, 129),
        ]))
    }

    /// The exit status that goes with the next one.
    async fn next(&mut self) -> u8 {
        let [interrupt, terminate, hang_up] = &mut self.0;
        tokio::select! {
            _ = interrupt.0.recv() => interrupt.1,
            _ = terminate.0.recv() => terminate.1,
            _ = hang_up.0.recv() => hang_up.1,
        }
    }
}

/// The packets of a slice.
struct Tenant {
    name: String,
    /// Its users, by machine.
    ears: Vec<Ear>,
    /// Streams, and the machines where they may arrive.
    streams: Vec<(Stream, Vec<usize>)>,
    capture: Capture,
}

impl Tenant {
    async fn start(scene: &Scene<'_>, index: usize, capture: Capture) -> anyhow::Result<Self> {
        let name = tunnels::slice(index);
        let places = 0..MACHINES;
        let ears = places.map(|place| Ear::open(&name, &scene.network.user(index, place)));
        let ears = ears.collect::<Result<_, _>>()?;
        let user = scene.user_address(index, 0).await?;
        let hubs = vec![EDGE, DATA_CENTRE];
        let ways = [
            (0, SERVER, hubs.clone()),
            (1, SERVER, hubs),
            (EDGE, user, vec![0]),
        ];
        let mut streams = Vec::new();
        for (number, (place, to, at)) in (0..).zip(ways) {
            let space = scene.network.user(index, place);
            let from = (space.as_str(), Ipv4Addr::UNSPECIFIED);
            streams.push((Stream::start(&name, number, from, to, EVERY)?, at));
        }
        Ok(Self {
            name,
            ears,
            streams,
            capture,
        })
    }

    fn sent(&self) -> u32 {
        self.streams.iter().map(|(stream, _)| stream.sent()).sum()
    }

    fn got(&self) -> u32 {
        let streams = self.streams.iter().map(|(stream, at)| {
            let ears: Vec<&Ear> = at.iter().map(|place| &self.ears[*place]).collect();
            tunnels::arrived(stream.number, &ears)
        });
        streams.sum()
    }

    fn strange(&self) -> u64 {
        self.ears.iter().map(Ear::foreign).sum()
    }

    /// Waits until so many arrived, or no longer. How many did not.
    async fn lost(&self, of: u32) -> u32 {
        let end = Instant::now() + PATIENCE;
        while self.got() < of && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        of.saturating_sub(self.got())
    }
}

struct Show<'a> {
    tenants: Vec<Tenant>,
    scene: Scene<'a>,
    lost: u32,
}

impl<'a> Show<'a> {
    async fn start(network: &'a Network) -> anyhow::Result<Self> {
        say(
            "starting two access nodes, an edge and a data centre in network namespaces, and their controller ...",
        )?;
        let scene = Scene::start(network).await?;
        let clear = scene.in_the_clear(10).await?;
        say(&format!(
            "without a tunnel: packets can be read on the switch (seen {clear} times)"
        ))?;
        let captures = (0..TENANTS.len())
            .map(|index| Capture::start(&network.switch(), &tunnels::slice(index)))
            .collect::<Result<Vec<_>, _>>()?;
        let begin = Instant::now();
        scene
            .put(&tunnels::slices())
            .await
            .context("the slices were refused")?;
        say(&format!(
            "slices            two, with the same addresses; every tunnel answered {:.2?} after they were asked for",
            begin.elapsed()
        ))?;
        for index in 0..TENANTS.len() {
            scene.until_at(index, "node-3").await?;
        }
        scene.address_users().await?;
        let mut tenants = Vec::new();
        for (index, capture) in captures.into_iter().enumerate() {
            tenants.push(Tenant::start(&scene, index, capture).await?);
        }
        say(&format!("\n{HEAD}"))?;
        Ok(Self {
            tenants,
            scene,
            lost: 0,
        })
    }

    async fn periods(&mut self, run_for: Option<Duration>, period: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut ticks = tokio::time::interval_at(start + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rotation = run_for.map_or(period * ROTATION, |all| all / 2);
        let mut rotated = false;
        while run_for.is_none_or(|end| start.elapsed() < end) {
            ticks.tick().await;
            for index in 0..self.tenants.len() {
                self.rows(index, start.elapsed()).await?;
            }
            if !rotated && start.elapsed() >= rotation {
                rotated = true;
                self.rotate().await?;
            }
        }
        Ok(())
    }

    /// The tunnels of a slice, its packets beside the first.
    async fn rows(&self, index: usize, at: Duration) -> anyhow::Result<()> {
        let tenant = &self.tenants[index];
        // Later packets are none that should have arrived.
        let (got, sent) = (tenant.got(), tenant.sent());
        let mut packets = format!(
            "{sent:>8}{got:>8}{:>9}{:>6}",
            tenant.strange(),
            tenant.capture.marked()
        );
        for node in 0..EDGE {
            for peer in self.scene.peers(index, node).await? {
                let tunnel = format!("node-{} - {}", node + 1, peer.name);
                say(&format!(
                    "{:>5}s  {:<9} {tunnel:<17} {:<7} {:>6}  {:>5}us {:>10} {:>10}{packets}",
                    at.as_secs(),
                    tenant.name,
                    peer.state,
                    age(&peer.handshake),
                    peer.rtt_us,
                    peer.tx_bytes,
                    peer.rx_bytes,
                ))?;
                packets.clear();
            }
        }
        Ok(())
    }

    async fn rotate(&mut self) -> anyhow::Result<()> {
        for (index, tenant) in self.tenants.iter().enumerate() {
            let (before, begin) = (tenant.sent(), Instant::now());
            let answer = self.scene.rotate(index).await?;
            let took = begin.elapsed();
            let sent = tenant.sent();
            let lost = tenant.lost(sent).await;
            self.lost += lost;
            let nodes = answer["tranche-slice:output"]["node"].as_array();
            say(&format!(
                "        {}: new keys at {} nodes in {took:.2?}; {} packets sent meanwhile, {lost} lost",
                tenant.name,
                nodes.map_or(0, Vec::len),
                sent - before,
            ))?;
        }
        Ok(())
    }

    /// The last lines, and whether all is as it should be.
    async fn verdict(mut self) -> anyhow::Result<ExitCode> {
        let mut is_good = self.lost == 0;
        say("")?;
        for tenant in &mut self.tenants {
            tenant
                .streams
                .iter_mut()
                .for_each(|(stream, _)| stream.stop());
            let sent = tenant.sent();
            let lost = tenant.lost(sent).await;
            let (strange, marked) = (tenant.strange(), tenant.capture.marked());
            is_good &= sent > 0 && lost == 0 && strange == 0 && marked == 0;
            is_good &= tenant.capture.frames() > u64::from(sent);
            say(&format!(
                "{}: {} of {sent} packets crossed its tunnel, {strange} came from elsewhere, marker seen on the underlay {marked} times",
                tenant.name,
                sent - lost,
            ))?;
        }
        Ok(if is_good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Time since a moment of this day or the last, by the clock in it.
fn age(moment: &str) -> String {
    let clock = moment
        .split_once('T')
        .map(|(_, clock)| clock.trim_end_matches('Z'));
    let mut fields = clock.unwrap_or_default().split(':').map(str::parse::<f64>);
    let (Some(Ok(hours)), Some(Ok(minutes)), Some(Ok(seconds))) =
        (fields.next(), fields.next(), fields.next())
    else {
        return "-".to_owned();
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let then = hours.mul_add(3600.0, minutes.mul_add(60.0, seconds));
    let age = (now.as_secs_f64() % 86_400.0 - then).rem_euclid(86_400.0);
    format!("{age:.1}s")
}
