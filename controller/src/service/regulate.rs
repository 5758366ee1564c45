//! The loops that run beside changes: the global scheduler's, and the one that listens to nodes.
//!
//! Every period the newest reports of all nodes go into [`crate::scheduler`]; its corrections go out, and what each slice
//! was owed and got is recorded and told. Nothing here touches the configuration.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tranche_yang::clock::rfc3339;

use super::state::plain;
use super::{Service, blocking};
use crate::device::DeviceEvent;
use crate::event::Event;
use crate::scheduler::{Correction, Decision, NetworkReport, Period, RadioId, Scheduler, Settings};
use crate::service::desired::{Desired, SchedulerSettings};
use crate::sla::Moment;

/// Time that nodes which come at once are waited for, so that their slices are worked out together.
const GATHER: Duration = Duration::from_millis(100);

/// Runs the global scheduler until shutdown.
pub(super) async fn schedule(service: Arc<Service>, shutdown: CancellationToken) {
    let mut desired = Arc::clone(&service.published().desired);
    let mut settings = desired.scheduler;
    let mut promises = Arc::new(desired.promises());
    let mut scheduler = Scheduler::new(control(settings));
    let mut period = Period(0);
    let mut due = Instant::now() + settings.interval;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep_until(due) => {}
        }
        let wanted = Arc::clone(&service.published().desired);
        if !Arc::ptr_eq(&wanted, &desired) {
            // Only then: the scheduler finds slices in the table it knows at a glance.
            promises = Arc::new(wanted.promises());
            desired = wanted;
        }
        if desired.scheduler != settings {
            settings = desired.scheduler;
            scheduler.set_enabled(settings.enabled);
            scheduler.set_lifetime(control(settings).lifetime);
        }
        // A late period is not made up for: its reports are gathered in the next one.
        due = (due + settings.interval).max(Instant::now());
        period = Period(period.0 + 1);
        let (fleet, promises) = (service.network.fleet().clone(), Arc::clone(&promises));
        let stepped = blocking(move || {
            let report = fleet.report(period);
            let decision = scheduler.step(period, &report, &promises);
            let conflicts = scheduler.conflicts();
            (scheduler, report, decision, conflicts)
        });
        let Ok((returned, report, decision, conflicts)) = stepped.await else {
            tracing::error!("the global scheduler failed; it starts anew");
            scheduler = Scheduler::new(control(settings));
            continue;
        };
        scheduler = returned;
        let lifetime = settings.ceiling_lifetime;
        let limit = settings.interval;
        let fleet = service.network.fleet();
        let (airtime, prb) = tokio::join!(
            fleet.correct(lifetime, limit, &decision.corrections),
            fleet.correct_prb(lifetime, limit, &decision.prb),
        );
        for (node, error) in airtime {
            tracing::warn!(node, %error, "a correction did not arrive");
            scheduler.undelivered(&node);
        }
        for (node, error) in prb {
            if !error.is_unsupported() {
                tracing::warn!(node, %error, "a correction of a cell did not arrive");
                scheduler.undelivered_prb(&node);
            } else if scheduler.refused_prb(&node, &plain(&error.without_node())) {
                tracing::warn!(node, %error, "the node's cells are not corrected");
            }
        }
        let moment = Moment {
            sequence: period.0,
            time: SystemTime::now(),
            enabled: settings.enabled,
        };
        let recorder = Arc::clone(&service);
        let recorded = blocking(move || recorder.record(moment, &decision, report, conflicts));
        if recorded.await.is_err() {
            tracing::error!("a period could not be recorded");
        }
    }
}

fn control(settings: SchedulerSettings) -> Settings {
    let interval = settings.interval.as_millis().max(1);
    let lifetime = settings.ceiling_lifetime.as_millis() / interval;
    Settings {
        lifetime: u64::try_from(lifetime).unwrap_or(u64::MAX).max(2),
        enabled: settings.enabled,
        ..Settings::default()
    }
}

type Owners = HashMap<(Arc<str>, Arc<str>), Arc<str>>;

/// The slice of every interface, by node and name.
fn owners(report: &NetworkReport) -> Owners {
    let mut owners = HashMap::new();
    for radio in &report.radios {
        for vif in &radio.vifs {
            if let Some(slice) = &vif.slice {
                let place = (Arc::clone(&radio.id.node), Arc::clone(&vif.name));
                owners.insert(place, Arc::clone(slice));
            }
        }
    }
    owners
}

fn owner(owners: &Owners, correction: &Correction) -> Option<Arc<str>> {
    let place = (
        Arc::clone(&correction.radio.node),
        Arc::clone(&correction.vif),
    );
    owners.get(&place).cloned()
}

/// Tells of nodes that come and go, and sees to those that were read for the first time, until shutdown.
pub(super) async fn listen(service: Arc<Service>, shutdown: CancellationToken) {
    let mut events = service.network.fleet().events();
    let mut due: Option<Instant> = None;
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            event = events.recv() => event,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                due = None;
                service.welcome().await;
                continue;
            }
        };
        match event {
            Ok(DeviceEvent::State { node }) => {
                service.tell_state(&node);
                service.hurry_rotations(&node);
            }
            Ok(DeviceEvent::Read { node }) if service.network.wanted(&node).is_none() => {
                due.get_or_insert_with(|| Instant::now() + GATHER);
            }
            Ok(DeviceEvent::Read { node }) => service.resume_rotations(&node),
            Ok(DeviceEvent::Tunnel { node, event }) => service.take_tunnel_event(&node, &event),
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "events of nodes were missed");
                due.get_or_insert_with(|| Instant::now() + GATHER);
            }
            Err(RecvError::Closed) => return,
        }
    }
}

impl Service {
    /// Records what a period showed, and tells of it.
    fn record(
        &self,
        moment: Moment,
        decision: &Decision,
        report: NetworkReport,
        conflicts: Vec<(RadioId, RadioId)>,
    ) {
        let owners = owners(&report);
        let notices = {
            let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            live.conflicts = conflicts;
            live.report = report;
            live.reported = Some(moment.time);
            live.record
                .take(moment, decision, |correction| owner(&owners, correction))
        };
        for (name, content) in notices {
            self.tell("tranche-sla", name, moment.time, content);
        }
    }

    /// Sends a notification of a module.
    pub(super) fn tell(
        &self,
        module: &'static str,
        name: &'static str,
        time: SystemTime,
        content: Map<String, Value>,
    ) {
        let namespace = self
            .schema
            .module(module)
            .map_or("", |m| m.namespace.as_str());
        self.events
            .send(Event::new(module, namespace, name, &rfc3339(time), content));
    }

    /// Tells of nodes that were switched off: no session says so.
    pub(super) fn tell_disabled(&self, before: &Desired, after: &Desired) {
        let was_enabled = |name: &String| {
            let node = before.inventory.nodes.get(name);
            node.is_some_and(|node| node.config.enabled)
        };
        for (name, node) in &after.inventory.nodes {
            if !node.config.enabled && was_enabled(name) {
                let mut content = Map::new();
                content.insert("node".into(), name.as_str().into());
                content.insert("oper-state".into(), "disabled".into());
                self.tell(
                    "tranche-inventory",
                    "node-state-change",
                    SystemTime::now(),
                    content,
                );
            }
        }
    }

    fn tell_state(&self, node: &str) {
        let Some(device) = self.network.fleet().device(node) else {
            return;
        };
        let status = device.status();
        let mut content = Map::new();
        content.insert("node".into(), node.into());
        content.insert("oper-state".into(), status.state.as_str().into());
        if let Some(reason) = status.last_error {
            content.insert("reason".into(), reason.into());
        }
        self.tell(
            "tranche-inventory",
            "node-state-change",
            SystemTime::now(),
            content,
        );
    }
}
