//! Simulated steering: the rules are worked out by the reference interpreter for frames that a test lets come in.
//!
//! Every interface that is asked for is there, unless a test takes it away. Counts as the kernel's program does.

mod datagram;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::dns::{Core, Taken, Transport};
use super::plane::{Plane, Unserved};
use super::program::{Found, Interfaces, Program};
use super::reference::{Verdict, steer};
use super::state::{Counter, ResolverState};
use super::{ApplicationConfig, HealthCheck, ResolverConfig, Steering};
use crate::backend::{BoxFuture, MacAddress};

/// The UDP port of resolvers.
const DNS: u16 = 53;

/// The interfaces of a simulated node, with what is in force on them. It outlives the agent, as a kernel does.
#[derive(Debug, Clone, Default)]
pub struct SimulatedPorts {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers of interfaces that were asked for once.
    numbers: BTreeMap<String, u32>,
    down: HashSet<String>,
    missing: HashSet<String>,
    /// Ports whose application hangs.
    hung: HashSet<String>,
    /// A port where nothing can be put.
    obstructed: Option<String>,
    program: Option<Program>,
    counters: HashMap<u32, Counter>,
    resolvers: BTreeMap<String, (ResolverConfig, Core)>,
    /// What other resolvers answer to whom asks them.
    others: HashMap<IpAddr, Vec<u8>>,
}

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It went to the network stack.
    Passed,
    /// It was dropped.
    Dropped,
    /// It left at this port, like this.
    Left(String, Vec<u8>),
}

impl SimulatedPorts {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The domain on these ports. Resolvers end with the agent that they were of.
    #[must_use]
    pub fn steering(&self) -> Steering {
        self.state().resolvers.clear();
        Steering::new(Arc::new(self.clone()))
    }

    /// Takes the link of an interface away, or gives it back.
    pub fn set_link(&self, name: &str, is_up: bool) {
        let mut state = self.state();
        match is_up {
            true => state.down.remove(name),
            false => state.down.insert(name.to_owned()),
        };
    }

    /// Takes an interface away, or gives it back.
    pub fn set_present(&self, name: &str, is_present: bool) {
        let mut state = self.state();
        match is_present {
            true => state.missing.remove(name),
            false => state.missing.insert(name.to_owned()),
        };
    }

    /// Lets the applications at these ports hang, so that no probe of a health check is answered, and all others do their work.
    pub fn set_hung(&self, ports: &[String]) {
        self.state().hung = ports.iter().cloned().collect();
    }

    /// Takes steering off a port and lets nobody put it there, or gives the place back.
    pub fn obstruct(&self, port: &str, is_obstructed: bool) {
        let mut state = self.state();
        state.obstructed = is_obstructed.then(|| port.to_owned());
        if is_obstructed {
            state.program = None;
        }
    }

    /// Changes what is in force, as somebody might do by hand.
    pub fn disturb(&self) {
        self.state().program = None;
    }

    /// Whether nothing is in force.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.state().program.is_none()
    }

    /// Lets another resolver answer this, with the identifier of whatever it is asked; nothing where there is none.
    pub fn set_other_resolver(&self, server: IpAddr, answer: Option<Vec<u8>>) {
        let mut state = self.state();
        match answer {
            Some(answer) => state.others.insert(server, answer),
            None => state.others.remove(&server),
        };
    }

    /// Lets a frame come in, with its VLAN tags in it. What it leads a resolver to answer is what becomes of it.
    #[must_use]
    pub fn receive(&self, port: &str, frame: &[u8]) -> Fate {
        self.state().receive(port, frame)
    }
}

impl State {
    fn receive(&mut self, port: &str, frame: &[u8]) -> Fate {
        let (Some(program), Some(ifindex)) = (&self.program, self.numbers.get(port)) else {
            return Fate::Passed;
        };
        let outcome = steer(program, *ifindex, frame);
        for position in outcome.counted {
            let counter = self.counters.entry(position).or_default();
            counter.packets += 1;
            counter.bytes += frame.len() as u64;
        }
        match outcome.verdict {
            Verdict::Pass => Fate::Passed,
            Verdict::Drop => Fate::Dropped,
            Verdict::Leave(ifindex) => {
                let name = self.numbers.iter().find(|(_, number)| **number == ifindex);
                let Some((name, _)) = name.filter(|(name, _)| !self.down.contains(*name)) else {
                    return Fate::Dropped;
                };
                let name = name.clone();
                let mut resolvers = self.resolvers.values();
                match resolvers.find(|(config, _)| config.port == name) {
                    None => Fate::Left(name, outcome.frame),
                    Some((config, core)) => {
                        let answer = self.answer(ifindex, config, core, &outcome.frame);
                        answer.map_or(Fate::Dropped, |answer| self.receive(&name, &answer))
                    }
                }
            }
        }
    }

    /// The frame with which a resolver answers one.
    fn answer(
        &self,
        ifindex: u32,
        config: &ResolverConfig,
        core: &Core,
        frame: &[u8],
    ) -> Option<Vec<u8>> {
        let query = datagram::read(frame)?;
        let is_for_it = query.mac == other_end(ifindex)
            && query.port == DNS
            && config.addresses.contains(&query.to);
        let answer = match core.take(query.from, query.content, (Transport::Udp, Instant::now())) {
            _ if !is_for_it => return None,
            Taken::Ignored => return None,
            Taken::Answer(answer) => answer,
            Taken::Forward(pending) => {
                let mut servers = config.forward.iter().flat_map(|one| &one.servers);
                let reply = servers.find_map(|server| self.others.get(server).cloned());
                core.finish(*pending, reply)?
            }
        };
        Some(datagram::answer(&query, &answer))
    }
}

fn mac(kind: u8, ifindex: u32) -> MacAddress {
    let [_, high, low, last] = ifindex.to_be_bytes();
    MacAddress([2, kind, 0, high, low, last])
}

/// Address of the other end of an interface.
fn other_end(ifindex: u32) -> MacAddress {
    mac(0x54, ifindex)
}

impl Plane for SimulatedPorts {
    fn interfaces<'a>(
        &'a self,
        names: &'a [&'a str],
        _ends: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Interfaces, String>> {
        let mut state = self.state();
        let mut interfaces = Interfaces::new();
        for name in names
            .iter()
            .filter(|name| !state.missing.contains(**name))
            .copied()
            .collect::<Vec<_>>()
        {
            let next = state.numbers.len() as u32 + 1;
            let ifindex = *state.numbers.entry(name.to_owned()).or_insert(next);
            let is_up = !state.down.contains(name);
            interfaces.insert(
                name.to_owned(),
                Found {
                    ifindex,
                    mac: mac(0x53, ifindex),
                    mtu: 1500,
                    is_up,
                    other_end: Some(other_end(ifindex)),
                },
            );
        }
        Box::pin(async move { Ok(interfaces) })
    }

    fn serve<'a>(
        &'a self,
        resolvers: &'a [ResolverConfig],
    ) -> BoxFuture<'a, Result<Vec<String>, Unserved>> {
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.resolvers);
        let mut done = Vec::new();
        for config in resolvers {
            let last = before.remove(&config.slice);
            if last.is_none() {
                done.push(format!("answer names of slice {}", config.slice));
            }
            let core = Core::new(config, last.as_ref().map(|(_, core)| core));
            state
                .resolvers
                .insert(config.slice.clone(), (config.clone(), core));
        }
        let gone = before.into_keys();
        done.extend(gone.map(|slice| format!("end the resolver of slice {slice}")));
        Box::pin(async { Ok(done) })
    }

    fn resolvers(&self) -> BoxFuture<'_, Vec<ResolverState>> {
        let state = self.state();
        let seen = state
            .resolvers
            .iter()
            .map(|(slice, (_, core))| ResolverState {
                slice: slice.clone(),
                is_up: true,
                counts: core.counts(),
                since: Some(core.since()),
            });
        let seen = seen.collect();
        Box::pin(async { seen })
    }

    /// Answered at once by whatever is there, or never.
    fn probe<'a>(
        &'a self,
        application: &'a ApplicationConfig,
        _check: &'a HealthCheck,
    ) -> BoxFuture<'a, Result<(), String>> {
        let state = self.state();
        let ports = [application.port.as_str(), application.return_port()];
        let lost = ports
            .iter()
            .find(|port| state.down.contains(**port) || state.missing.contains(**port));
        let result = lost.map_or(Ok(()), |port| Err(format!("nothing can be sent at {port}")));
        match ports.iter().any(|port| state.hung.contains(*port)) {
            true => Box::pin(std::future::pending()),
            false => Box::pin(std::future::ready(result)),
        }
    }

    fn install<'a>(&'a self, program: Option<&'a Program>) -> BoxFuture<'a, Result<(), String>> {
        let mut state = self.state();
        let number = state.obstructed.as_ref().and_then(|port| {
            let number = state.numbers.get(port)?;
            program?.ports.get(number).map(|_| port.clone())
        });
        if let Some(port) = number {
            let fault = format!("cannot put steering at port {port}");
            return Box::pin(async { Err(fault) });
        }
        state.program = program.cloned();
        if program.is_none() {
            state.counters.clear();
        }
        Box::pin(async { Ok(()) })
    }

    fn is_in_force<'a>(
        &'a self,
        program: Option<&'a Program>,
    ) -> BoxFuture<'a, Result<bool, String>> {
        let is_it = self.state().program.as_ref() == program;
        Box::pin(async move { Ok(is_it) })
    }

    fn recover(&self) -> BoxFuture<'_, Result<HashMap<u64, u32>, String>> {
        let state = self.state();
        let actions = state.program.iter().flat_map(|program| &program.actions);
        let counters = actions
            .flat_map(|action| action.counters)
            .filter(|(_, position)| *position != 0);
        let found = counters.collect();
        Box::pin(async move { Ok(found) })
    }

    fn counters(&self, positions: Vec<u32>) -> BoxFuture<'_, Result<Vec<Counter>, String>> {
        let state = self.state();
        let read = positions
            .iter()
            .map(|position| state.counters.get(position).copied().unwrap_or_default());
        let read = read.collect();
        Box::pin(async move { Ok(read) })
    }

    fn clear(&self, positions: Vec<u32>) -> BoxFuture<'_, Result<(), String>> {
        let mut state = self.state();
        for position in positions {
            state.counters.remove(&position);
        }
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backend::steering::suite::{SteeringRig, at, base, configure, rule, shared, to};
    use crate::backend::steering::{Event, RuleConfig, SteeringBackend as _};

    #[derive(Default)]
    struct Rig {
        ports: SimulatedPorts,
        steering: Option<Steering>,
        hung: Vec<String>,
        left: Vec<(String, Vec<u8>)>,
    }

    impl SteeringRig for Rig {
        fn steering(&mut self) -> &mut Steering {
            self.steering.get_or_insert_with(|| self.ports.steering())
        }

        async fn restart(&mut self) {
            self.steering = None;
        }

        fn send(&mut self, port: &str, frame: &[u8]) {
            if let Fate::Left(port, frame) = self.ports.receive(port, frame) {
                self.left.push((port, frame));
            }
        }

        fn left(&mut self) -> Vec<(String, Vec<u8>)> {
            std::mem::take(&mut self.left)
        }

        fn set_link(&mut self, port: &str, is_up: bool) {
            self.ports.set_link(port, is_up);
        }

        fn run_application(&mut self, _port: &str) -> HealthCheck {
            HealthCheck {
                pass_through: Some([()]),
                ..HealthCheck::default()
            }
        }

        fn hang(&mut self, port: &str, is_hung: bool) {
            self.hung.retain(|one| one != port);
            if is_hung {
                self.hung.push(port.to_owned());
            }
            self.ports.set_hung(&self.hung);
        }

        fn take_away(&mut self, port: &str) {
            self.ports.set_present(port, false);
        }

        fn disturb(&mut self) {
            self.ports.disturb();
        }

        fn obstruct(&mut self, port: &str, is_obstructed: bool) {
            self.ports.obstruct(port, is_obstructed);
        }

        fn other_resolver(&mut self, answer: Option<Vec<u8>>) -> IpAddr {
            let server = "10.99.0.2".parse().unwrap();
            self.ports.set_other_resolver(server, answer);
            server
        }

        fn is_untouched(&mut self) -> bool {
            self.ports.is_untouched()
        }
    }

    fn run(test: impl AsyncFnOnce(&mut Rig)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test(&mut Rig::default()));
    }

    shared!(run);

    /// Time passes by itself while nobody has anything to do.
    #[tokio::test(start_paused = true)]
    async fn what_somebody_changed_is_put_back_and_told() {
        let mut rig = Rig::default();
        let mut config = base();
        config.rules.push(RuleConfig {
            forward: to("p1"),
            ..rule("r", "s", at("p0"))
        });
        configure(&mut rig, &config).await;
        let mut events = rig.steering().events();
        rig.disturb();
        let event: Event = events.recv().await.unwrap();
        assert_eq!(
            json!(event),
            json!({ "tranche-wifi:drift-repaired": {
                "cause": "steering in force was changed by hand",
                "repair": [{
                    "target": "/tranche-steering:steering",
                    "action": "put steering in force again, which somebody had changed",
                }],
            } })
        );
        assert!(!rig.is_untouched());
        rig.take_away("p1");
        let Event::Repaired { cause, .. } = events.recv().await.unwrap() else {
            panic!("no application went up or down");
        };
        assert_eq!(cause, "an interface came, went, or got or lost its link");
    }
}
