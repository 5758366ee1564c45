//! The steering domain of one node: plans and carries out what is configured, and looks after it.
//!
//! Owns what is in force: the configuration, the program that it leads to with the interfaces as they are, and where things are
//! counted. Handles of one [`Steering`] are the same. An interface that comes, goes, or gets or loses its link leads to another
//! program within [`LOOK`], an application that fails its health check or passes it again at once; what somebody changed by hand
//! is put right within [`LOOK`] times [`LOOKS_TO_CHECK`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, broadcast};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tranche_steering::{FaultKind, TOP, WayOut, chain_path, port_path, resolver_path, rule_path};

use super::change::{shadowed, step, steps, warnings};
use super::condition::Conditions;
use super::health::Checks;
use super::plane::Plane;
use super::program::{Counted, Failing, Interfaces, Program, Slots, counted, program};
use super::reference::{ECHO, FAILED, FIRST, FRAGMENT, MALFORMED, OVERSIZED, UNMATCHED};
use super::state::{
    ApplicationState, ChainState, Counter, Counters, Event, OperState, PortState, Repair,
    RuleState, SliceState, SteeringState,
};
use super::{SteeringBackend, SteeringConfig};
use crate::backend::{
    Applied, Backend, BoxFuture, NodeConfig, Plan, Reconciled, Refusal, Step, Why,
};

const DOMAIN: &str = "steering";
const PUT_BACK: &str = "put steering in force again, which somebody had changed";
/// How often interfaces are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// And how often what is in force is read back.
const LOOKS_TO_CHECK: u32 = 40;
/// Events that a listener may be behind.
const EVENTS: usize = 64;
/// Positions of counters.
const COUNTERS: u32 = 24_576;

/// The steering domain of a node. Clones are handles of the same.
#[derive(Clone)]
pub struct Steering {
    inner: Arc<Inner>,
}

struct Inner {
    plane: Arc<dyn Plane>,
    /// Held by who changes anything, also where that waits for something: readers do not.
    turn: Mutex<()>,
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
    /// An application fails its health check, or passes it again.
    news: Arc<Notify>,
    /// Follows the interfaces from the first configuration on.
    watch: OnceLock<AbortOnDropHandle<()>>,
}

#[derive(Default)]
struct State {
    config: SteeringConfig,
    /// In force; none where nothing is.
    program: Option<Program>,
    slots: Slots,
    has_recovered: bool,
    checks: Checks,
    /// Applications that the program leaves out because of their health checks.
    failing: Failing,
    conditions: Conditions,
    /// By rule, the earlier one that leaves it nothing.
    shadowed: Vec<Option<String>>,
    /// Why what is configured is not in force, and with which interfaces that was tried.
    fault: Option<(String, Interfaces)>,
    /// What was last said of resolvers that do not run.
    unserved: Option<String>,
}

impl std::fmt::Debug for Steering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steering").finish_non_exhaustive()
    }
}

impl Steering {
    /// The domain on a data plane.
    pub(super) fn new(plane: Arc<dyn Plane>) -> Self {
        let state = State::default();
        Self {
            inner: Arc::new(Inner {
                plane,
                turn: Mutex::default(),
                news: state.checks.news(),
                state: Mutex::new(state),
                events: broadcast::Sender::new(EVENTS),
                watch: OnceLock::new(),
            }),
        }
    }

    /// From the first configuration on, and where there is a runtime: simulated time needs none.
    fn look_after(&self, config: &SteeringConfig) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if !config.is_nothing() {
            let (inner, news) = (Arc::downgrade(&self.inner), Arc::clone(&self.inner.news));
            let watch = || runtime.spawn(watch(inner, news));
            self.inner
                .watch
                .get_or_init(|| AbortOnDropHandle::new(watch()));
        }
    }
}

/// Follows the interfaces and the applications until the domain is let go.
async fn watch(inner: Weak<Inner>, news: Arc<Notify>) {
    let (mut looks, mut next) = (0_u32, Instant::now() + LOOK);
    loop {
        let is_time = tokio::select! {
            () = tokio::time::sleep_until(next) => true,
            () = news.notified() => false,
        };
        if is_time {
            looks = looks.wrapping_add(1);
            next = Instant::now() + LOOK;
        }
        let Some(inner) = inner.upgrade() else { return };
        let reads_back = is_time && looks.is_multiple_of(LOOKS_TO_CHECK);
        let (steps, _) = inner.follow(is_time, reads_back).await;
        // What fails is in the log and in the state.
        inner.tell(steps);
    }
}

fn failed(message: String) -> Refusal {
    Refusal::new(TOP, message)
}

impl Inner {
    /// Tells of what was put right by itself.
    fn tell(&self, steps: Vec<Step>) {
        for step in steps {
            tracing::warn!(domain = DOMAIN, path = step.path, "{}", step.action);
            let cause = match step.action == PUT_BACK {
                true => "steering in force was changed by hand",
                false => "an interface came, went, or got or lost its link",
            };
            let repair = Repair {
                target: step.path,
                action: step.action,
            };
            // Without a listener there is nobody to tell.
            drop(self.events.send(Event::Repaired {
                cause: cause.to_owned(),
                repairs: vec![repair],
            }));
        }
    }

    /// Takes in what applications are now, and tells of those that went up or down.
    fn notice(&self, state: &mut State, interfaces: &Interfaces) {
        let now = SystemTime::now();
        let failing = state.checks.failing(&state.config);
        let changed = state
            .conditions
            .take(&state.config, interfaces, &failing, now);
        for event in changed {
            if let Event::Application {
                chain,
                application,
                now,
            } = &event
            {
                match &now.down {
                    None => {
                        tracing::info!(domain = DOMAIN, chain, application, "application is up")
                    }
                    Some(down) => {
                        let reason = &down.reason;
                        tracing::warn!(
                            domain = DOMAIN,
                            chain,
                            application,
                            reason,
                            "application is down"
                        );
                    }
                }
            }
            // Without a listener there is nobody to tell.
            drop(self.events.send(event));
        }
    }

    async fn interfaces(&self, config: &SteeringConfig) -> Result<Interfaces, Refusal> {
        let names: Vec<&str> = config.ports.iter().map(|port| port.name.as_str()).collect();
        let ends = ways_out(config).filter(|(_, way)| way.to_other_end.is_some());
        let ends: Vec<&str> = ends.map(|(_, way)| way.out_port.as_str()).collect();
        self.plane.interfaces(&names, &ends).await.map_err(failed)
    }

    /// Lets the resolvers of a configuration run, and no others; what was done.
    async fn serve(&self, config: &SteeringConfig) -> Result<Vec<String>, Refusal> {
        let served = self.plane.serve(&config.resolvers).await;
        served.map_err(|error| match error.slice {
            Some(slice) => {
                let message = format!(
                    "the resolver of slice {slice} does not run: {}",
                    error.message
                );
                Refusal::new(resolver_path(&slice), message)
            }
            None => failed(error.message),
        })
    }

    /// Where things are counted before anything was: as an earlier agent left it.
    async fn recover(&self, state: &mut State, config: &SteeringConfig) -> Result<(), Refusal> {
        if state.has_recovered {
            return Ok(());
        }
        let found = self.plane.recover().await.map_err(failed)?;
        for counted in counted(config) {
            if let Some(position) = found.get(&counted.hash()) {
                state.slots.insert(counted, *position);
            }
        }
        state.has_recovered = true;
        Ok(())
    }

    /// Positions for everything that a configuration counts: those there are, and new ones that begin at nothing.
    async fn slots(&self, state: &State, config: &SteeringConfig) -> Result<Slots, Refusal> {
        let wanted: BTreeSet<Counted> = counted(config).collect();
        let taken: BTreeSet<u32> = state.slots.values().copied().collect();
        let mut free = (FIRST..COUNTERS).filter(|position| !taken.contains(position));
        let (mut slots, mut new) = (Slots::new(), Vec::new());
        for counted in wanted {
            let position = match state.slots.get(&counted) {
                Some(position) => *position,
                None => {
                    let no_room = || {
                        failed("there is no room for so many counters".to_owned())
                            .because(Why::NoRoom)
                    };
                    let position = free.next().ok_or_else(no_room)?;
                    new.push(position);
                    position
                }
            };
            slots.insert(counted, position);
        }
        self.plane.clear(new).await.map_err(failed)?;
        Ok(slots)
    }

    /// Puts a program in force, or leaves the former one there.
    async fn install(
        &self,
        state: &mut State,
        new: Option<&Program>,
        interfaces: &Interfaces,
    ) -> Result<(), Refusal> {
        let Err(reason) = self.plane.install(new).await else {
            state.fault = None;
            return Ok(());
        };
        // A part of it may be there.
        match self.plane.install(state.program.as_ref()).await {
            Ok(()) => Err(failed(reason)),
            Err(second) => {
                let both = format!("{reason}; and then: {second}");
                state.fault = Some((both.clone(), interfaces.clone()));
                Err(failed(both))
            }
        }
    }

    /// Puts a configuration in force with the interfaces as they are.
    async fn put(
        &self,
        state: &mut State,
        config: &SteeringConfig,
        interfaces: &Interfaces,
    ) -> Result<(), Refusal> {
        self.recover(state, config).await?;
        let slots = self.slots(state, config).await?;
        let failing = state.checks.failing(config);
        let new = (!config.is_nothing()).then(|| program(config, interfaces, &slots, &failing));
        self.install(state, new.as_ref(), interfaces).await?;
        state.config = config.clone();
        state.shadowed = shadowed(config);
        state.slots = slots;
        state.program = new;
        state.failing = failing;
        state.checks.follow(config, &self.plane);
        self.notice(state, interfaces);
        Ok(())
    }

    async fn apply(&self, config: &SteeringConfig) -> Result<SteeringConfig, Refusal> {
        let _turn = self.turn.lock().await;
        let before = self.state.lock().await.config.clone();
        if before == *config {
            return Ok(before);
        }
        let done = async {
            // They make ports that rules need.
            self.serve(config).await?;
            let interfaces = self.interfaces(config).await?;
            check_present(&before, config, &interfaces)?;
            let mut state = self.state.lock().await;
            self.put(&mut state, config, &interfaces).await
        };
        let Err(mut refusal) = done.await else {
            return Ok(before);
        };
        if let Err(second) = self.serve(&before).await {
            refusal.message = format!("{}; and then: {}", refusal.message, second.message);
        }
        Err(refusal)
    }

    async fn restore(&self, config: &SteeringConfig) -> Result<(), Refusal> {
        let _turn = self.turn.lock().await;
        self.serve(config).await?;
        let interfaces = self.interfaces(config).await?;
        let mut state = self.state.lock().await;
        self.put(&mut state, config, &interfaces).await
    }

    async fn reconcile(&self, config: &SteeringConfig) -> Result<Vec<Step>, Refusal> {
        {
            let _turn = self.turn.lock().await;
            let mut state = self.state.lock().await;
            self.recover(&mut state, config).await?;
            state.config = config.clone();
            state.shadowed = shadowed(config);
            state.checks.follow(config, &self.plane);
        }
        let (steps, done) = self.follow(true, true).await;
        if let Err(refusal) = done {
            self.tell(steps);
            return Err(refusal);
        }
        let interfaces = self.interfaces(config).await?;
        for port in config
            .ports
            .iter()
            .filter(|port| !interfaces.contains_key(&port.name))
        {
            tracing::warn!(
                port = port.name,
                "there is no such interface: nothing is steered there until there is one"
            );
        }
        Ok(steps)
    }

    /// Renews the program if the interfaces or the applications are not what they were, or if it is not in force, and resolvers
    /// that do not run: what was put right, and the first that could not be.
    async fn follow(&self, is_time: bool, reads_back: bool) -> (Vec<Step>, Result<(), Refusal>) {
        let _turn = self.turn.lock().await;
        let config = {
            let state = self.state.lock().await;
            if state.config.is_nothing() && state.fault.is_none() && !reads_back {
                return (Vec::new(), Ok(()));
            }
            state.config.clone()
        };
        let mut steps = Vec::new();
        let done = self.follow_to(&config, (is_time, reads_back), &mut steps);
        let done = done.await;
        (steps, done)
    }

    async fn follow_to(
        &self,
        config: &SteeringConfig,
        (is_time, reads_back): (bool, bool),
        steps: &mut Vec<Step>,
    ) -> Result<(), Refusal> {
        let mut served = Ok(());
        let mut interfaces = self.interfaces(config).await;
        let is_absent = interfaces.as_ref().is_ok_and(|found| {
            let mut resolvers = config.resolvers.iter();
            resolvers.any(|one| !found.contains_key(&one.port))
        });
        let serves = reads_back || is_time && is_absent;
        if serves {
            match self.serve(config).await {
                Ok(done) => steps.extend(done.into_iter().map(|action| step(TOP, action))),
                // The rest does not wait for it.
                Err(refusal) => served = Err(refusal),
            }
            interfaces = self.interfaces(config).await;
        }
        let mut state = self.state.lock().await;
        if serves {
            let unserved = served.as_ref().err().map(ToString::to_string);
            if let Some(refusal) = unserved.as_ref().filter(|_| state.unserved != unserved) {
                tracing::error!(domain = DOMAIN, refusal, "a resolver does not run");
            }
            state.unserved = unserved;
        }
        let before = state.fault.take();
        let renewed = match &interfaces {
            Ok(interfaces) => {
                let with = (interfaces, reads_back);
                self.renew(&mut state, config, with, &before).await
            }
            Err(refusal) => Err(refusal.clone()),
        };
        match (&renewed, before) {
            (Err(refusal), before) => {
                if before.is_none_or(|(before, _)| before != refusal.message) {
                    tracing::error!(domain = DOMAIN, %refusal, "steering is not as it is configured");
                }
                let interfaces = interfaces.unwrap_or_default();
                state.fault = Some((refusal.message.clone(), interfaces));
            }
            (Ok(_), Some(_)) => {
                tracing::info!(domain = DOMAIN, "steering is as it is configured again");
            }
            (Ok(_), None) => {}
        }
        steps.extend(renewed?);
        served
    }

    /// The program of [`Inner::follow`]; what it failed with `before` is tried again when an interface is otherwise, or at the next
    /// look at all of it.
    async fn renew(
        &self,
        state: &mut State,
        config: &SteeringConfig,
        (interfaces, reads_back): (&Interfaces, bool),
        before: &Option<(String, Interfaces)>,
    ) -> Result<Option<Step>, Refusal> {
        if let Some((fault, tried)) = before
            && !reads_back
            && tried == interfaces
        {
            return Err(failed(fault.clone()));
        }
        let slots = self.slots(state, config).await?;
        let failing = state.checks.failing(config);
        let with =
            |failing| (!config.is_nothing()).then(|| program(config, interfaces, &slots, failing));
        let wanted = with(&failing);
        let is_news = wanted != state.program;
        let is_there = match reads_back || is_news || before.is_some() {
            true => {
                let is_there = self.plane.is_in_force(wanted.as_ref()).await;
                is_there.map_err(failed)?
            }
            false => true,
        };
        if !is_there {
            self.plane.install(wanted.as_ref()).await.map_err(failed)?;
        }
        // Of what only applications led to, they themselves are told.
        let is_repair = !is_news || with(&state.failing) != state.program;
        state.slots = slots;
        state.program = wanted;
        state.failing = failing;
        self.notice(state, interfaces);
        let action = match (is_there || !is_repair, is_news) {
            (true, _) => return Ok(None),
            (false, true) => "put steering in force with the interfaces as they are now",
            (false, false) => PUT_BACK,
        };
        Ok(Some(step(TOP, action)))
    }

    async fn observe(&self) -> Result<SteeringState, Refusal> {
        let mut state = self.state.lock().await;
        if state.config.is_nothing() {
            return Ok(SteeringState {
                fault: state.fault.as_ref().map(|(fault, _)| fault.clone()),
                ..SteeringState::default()
            });
        }
        let interfaces = self.interfaces(&state.config).await?;
        self.notice(&mut state, &interfaces);
        let mut positions = vec![FRAGMENT, MALFORMED, OVERSIZED, ECHO, FAILED, UNMATCHED];
        positions.extend(state.slots.values());
        let read = self.plane.counters(positions).await.map_err(failed)?;
        let mut read = read.into_iter();
        let mut next = || read.next().unwrap_or_default();
        let mut counters = Counters {
            fragments: next(),
            malformed: next(),
            too_large: next(),
            echo_answered: next(),
            failed: next(),
            unmatched: next(),
            slices: Vec::new(),
        };
        let by: BTreeMap<&Counted, Counter> = state
            .slots
            .keys()
            .map(|counted| (counted, next()))
            .collect();
        let slices = by.iter().filter_map(|(counted, counter)| match counted {
            Counted::Slice(name) => Some(SliceState {
                name: name.clone(),
                counter: *counter,
            }),
            _ => None,
        });
        counters.slices = slices.collect();
        Ok(SteeringState {
            ports: ports(&state, &interfaces),
            chains: chains(&state, &by),
            rules: rules(&state, &by),
            resolvers: self.plane.resolvers().await,
            counters: Some(counters),
            fault: state.fault.as_ref().map(|(fault, _)| fault.clone()),
        })
    }
}

/// Checks a configuration against itself.
pub(super) fn check(config: &SteeringConfig) -> Result<(), Refusal> {
    tranche_steering::check(config).map_err(|fault| {
        let refusal = Refusal::new(fault.path, fault.message);
        match fault.kind {
            FaultKind::BadValue => refusal.because(Why::BadValue),
            FaultKind::NoRoom => refusal.because(Why::NoRoom),
            FaultKind::ResolverClash => refusal.because(Why::BadValue).tagged("resolver-clash"),
        }
    })
}

/// A port that nobody's application is at has to be there.
fn check_present(
    before: &SteeringConfig,
    config: &SteeringConfig,
    interfaces: &Interfaces,
) -> Result<(), Refusal> {
    let applications = config.chains.iter().flat_map(|chain| &chain.applications);
    let of_applications: BTreeSet<&str> = applications
        .flat_map(|one| [one.port.as_str(), one.return_port()])
        .collect();
    for port in config
        .ports
        .iter()
        .filter(|port| !interfaces.contains_key(&port.name))
    {
        // One that was there and is gone holds up nothing else.
        let is_new = before.ports.iter().all(|old| old.name != port.name);
        if is_new && !of_applications.contains(port.name.as_str()) {
            let message = format!("this node has no interface {}", port.name);
            return Err(Refusal::new(port_path(&port.name), message).because(Why::BadValue));
        }
    }
    for (at, way) in ways_out(config).filter(|(_, way)| way.to_other_end.is_some()) {
        let found = interfaces.get(&way.out_port);
        if found.is_some_and(|found| found.other_end.is_none()) {
            let message = format!(
                "{} is not one of a pair of virtual Ethernet interfaces, so it has no other end",
                way.out_port
            );
            let path = format!("{at}/to-other-end");
            return Err(Refusal::new(path, message).because(Why::BadValue));
        }
    }
    Ok(())
}

/// Ways out of rules and chains, with their paths.
fn ways_out(config: &SteeringConfig) -> impl Iterator<Item = (String, &WayOut)> {
    let rules = config.rules.iter();
    let rules = rules.filter_map(|one| Some((rule_path(&one.name), one.forward.as_ref()?)));
    let chains = config.chains.iter();
    let chains = chains.filter_map(|one| Some((chain_path(&one.name), one.forward.as_ref()?)));
    rules
        .chain(chains)
        .map(|(at, way)| (format!("{at}/forward"), way))
}

fn ports(state: &State, interfaces: &Interfaces) -> Vec<PortState> {
    let of = |name: &str| match interfaces.get(name) {
        None => OperState::Missing,
        Some(found) if !found.is_up => OperState::Down,
        Some(_) if state.fault.is_some() => OperState::Failed,
        Some(_) => OperState::Up,
    };
    let states = state.config.ports.iter().map(|port| PortState {
        name: port.name.clone(),
        oper_state: of(&port.name),
    });
    states.collect()
}

fn chains(state: &State, by: &BTreeMap<&Counted, Counter>) -> Vec<ChainState> {
    let of = |chain: &super::ChainConfig| {
        let applications = chain.applications.iter().filter_map(|one| {
            let of = (chain.name.clone(), one.name.clone());
            Some(ApplicationState {
                name: one.name.clone(),
                condition: state.conditions.of(&of)?.clone(),
                checked_at: state.checks.checked_at(&of),
                counter: counter(by, &Counted::Application(of.0, of.1)),
            })
        });
        ChainState {
            name: chain.name.clone(),
            applications: applications.collect(),
        }
    };
    state.config.chains.iter().map(of).collect()
}

fn rules(state: &State, by: &BTreeMap<&Counted, Counter>) -> Vec<RuleState> {
    let of = |(rule, shadowed_by): (&super::RuleConfig, &Option<String>)| RuleState {
        name: rule.name.clone(),
        counter: counter(by, &Counted::Rule(rule.name.clone())),
        shadowed_by: shadowed_by.clone(),
    };
    let rules = state.config.rules.iter();
    rules.zip(&state.shadowed).map(of).collect()
}

fn counter(by: &BTreeMap<&Counted, Counter>, counted: &Counted) -> Counter {
    by.get(counted).copied().unwrap_or_default()
}

impl Backend for Steering {
    fn domain(&self) -> &'static str {
        DOMAIN
    }

    fn plan(&self, old: &NodeConfig, new: &NodeConfig) -> Result<Plan, Refusal> {
        if old.steering == new.steering {
            return Ok(Plan::new(DOMAIN, Vec::new(), old, new));
        }
        check(&new.steering)?;
        let steps = steps(&old.steering, &new.steering);
        Ok(Plan::new(DOMAIN, steps, old, new).warning(warnings(&new.steering)))
    }

    fn apply(&mut self, plan: Plan) -> BoxFuture<'_, Result<Applied, Refusal>> {
        Box::pin(async move {
            self.look_after(&plan.new_config().steering);
            let before = self.inner.apply(&plan.new_config().steering).await?;
            Ok(Applied::new(DOMAIN, before))
        })
    }

    fn undo(&mut self, applied: Applied) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move {
            let before: SteeringConfig = applied.into_memory(DOMAIN)?;
            self.inner.restore(&before).await
        })
    }

    fn reconcile(&mut self, wanted: &NodeConfig) -> BoxFuture<'_, Result<Reconciled, Refusal>> {
        let wanted = wanted.steering.clone();
        Box::pin(async move {
            self.look_after(&wanted);
            let repaired = self.inner.reconcile(&wanted).await?;
            Ok(Reconciled { repaired })
        })
    }
}

impl SteeringBackend for Steering {
    fn observe(&self) -> BoxFuture<'_, Result<SteeringState, Refusal>> {
        Box::pin(self.inner.observe())
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }
}
