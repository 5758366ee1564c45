//! Drift: what runs is not what is configured any more, because somebody or something changed it behind the agent's back.
//!
//! ```text
//!  news of the hardware --> does it concern the configuration? --> settle --> committer: reconcile --> notify
//!                                                                    ^                        |
//!                                                                    +---- not well: later ---+
//! ```
//! The committer does the work, so that a repair never meets a commit. News that a commit itself causes leads to a
//! reconciliation that finds nothing to do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::backend::hardware::{Disturbance, News};
use crate::backend::{NodeConfig, Refusal, Registry, Step};
use crate::node::Node;
use crate::notification;
use crate::streams::Stream;
use crate::transaction::blocking;

/// Time for things that happen together to have happened.
const SETTLE: Duration = Duration::from_millis(500);
/// Longest time between attempts at what cannot be repaired, or does not stay so.
const LONGEST: Duration = Duration::from_secs(60);

/// What a reconciliation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// What was put right, in order.
    pub steps: Vec<Step>,
    /// What could not be.
    pub refusals: Vec<Refusal>,
}

impl Repair {
    /// Whether nothing was wrong, and nothing is.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.steps.is_empty() && self.refusals.is_empty()
    }
}

/// Repairs what differs between the backends and a configuration, and logs it. What cannot be repaired leaves the rest
/// in service: a node must go on, or nobody could change its configuration.
pub(crate) async fn reconcile(registry: &mut Registry, config: &NodeConfig) -> Repair {
    let mut repair = Repair::default();
    for backend in registry.backends_mut() {
        let domain = backend.domain();
        match backend.reconcile(config).await {
            Ok(done) => {
                for step in &done.repaired {
                    tracing::info!(domain, path = step.path, "{}", step.action);
                }
                repair.steps.extend(done.repaired);
            }
            Err(refusal) => {
                tracing::error!(domain, %refusal, "the configuration could not be put in force");
                repair.refusals.push(refusal);
            }
        }
    }
    repair
}

/// Watches over a node until `stop`. `is_well` says whether the configuration was in force when it started.
pub async fn run(node: Arc<Node>, mut news: News, is_well: bool, stop: CancellationToken) {
    let mut watch = Watch {
        node,
        delay: SETTLE,
        due: None,
        reported: Vec::new(),
    };
    if !is_well {
        watch.expect("the configuration is not in force".to_owned(), None);
    }
    loop {
        let at = watch.due.as_ref().map(|due| due.at);
        let due = async {
            match at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = due => watch.repair().await,
            disturbance = news.next() => {
                let Some(disturbance) = disturbance else { return };
                if matches!(disturbance, Disturbance::Radios { .. } | Disturbance::Unknown) {
                    news.look_at_radios().await;
                }
                watch.take(disturbance).await;
            }
        }
    }
}

/// A reconciliation to come.
struct Due {
    at: Instant,
    cause: String,
    /// The interface that it is about.
    interface: Option<String>,
}

struct Watch {
    node: Arc<Node>,
    /// Before the next attempt: longer each time that something had to be done.
    delay: Duration,
    due: Option<Due>,
    /// What could not be repaired and was said.
    reported: Vec<Refusal>,
}

impl Watch {
    async fn take(&mut self, disturbance: Disturbance) {
        match disturbance {
            Disturbance::Interface { name, what } if concerns(&self.node, &name) => {
                let cause = format!("interface {name} {what}");
                match &mut self.due {
                    // An interface is switched off before it is removed: the end of it is the news.
                    Some(due) if due.interface.as_ref() == Some(&name) => due.cause = cause,
                    _ => self.expect(cause, Some(name)),
                }
            }
            Disturbance::Interface { .. } => {}
            Disturbance::Radios { what } => self.expect(what.to_owned(), None),
            Disturbance::Unknown => self.expect("events of the kernel were lost".to_owned(), None),
            Disturbance::Repaired(steps) => {
                let repair = Repair {
                    steps,
                    refusals: Vec::new(),
                };
                self.announce("a process ended", &repair).await;
            }
        }
    }

    /// The first cause is what is reported; what follows is mostly its consequence.
    fn expect(&mut self, cause: String, interface: Option<String>) {
        tracing::debug!(cause, "what runs may have changed");
        let at = Instant::now() + self.delay;
        self.due.get_or_insert(Due {
            at,
            cause,
            interface,
        });
    }

    async fn repair(&mut self) {
        let Some(due) = self.due.take() else { return };
        let Ok(repair) = self.node.transactions().reconcile().await else {
            return;
        };
        if repair.is_nothing() {
            self.delay = SETTLE;
            self.reported.clear();
            return;
        }
        self.delay = (self.delay * 2).min(LONGEST);
        if !repair.steps.is_empty() || repair.refusals != self.reported {
            self.announce(&due.cause, &repair).await;
        }
        self.reported = repair.refusals;
        // Whether it stays repaired, and what could not be, is looked at again.
        self.expect(due.cause, None);
    }

    async fn announce(&self, cause: &str, repair: &Repair) {
        tracing::warn!(
            cause,
            repairs = repair.steps.len(),
            failures = repair.refusals.len(),
            "what runs was not what is configured"
        );
        if !self.node.streams().has_subscribers(Stream::Netconf) {
            return;
        }
        let event = notification::drift_repaired(cause, repair);
        let node = Arc::clone(&self.node);
        // A fault is logged where it happens.
        drop(blocking(move || node.announce(Stream::Netconf, &event)).await);
    }
}

/// Whether the configuration is about a network interface: a virtual interface, the attachment of a tunnel, or the bridge
/// of one.
fn concerns(node: &Node, name: &str) -> bool {
    let in_force = node.in_force();
    let is_it = |found: Option<&str>| found == Some(name);
    let wifi = in_force.running.get("/tranche-wifi:wifi");
    let of_wifi = wifi.is_some_and(|wifi| {
        wifi.list("vif")
            .any(|vif| is_it(vif.get("name")) || is_it(vif.get("attachment/bridge")))
    });
    let backhaul = in_force.running.get("/tranche-backhaul:backhaul");
    let of_backhaul = backhaul.is_some_and(|backhaul| {
        backhaul.list("tunnel").any(|tunnel| {
            is_it(tunnel.get("attachment/interface")) || is_it(tunnel.get("attachment/bridge"))
        })
    });
    of_wifi || of_backhaul
}
