//! From one configuration of all tunnels to another: what is done at once, what in order, and how it is taken back.
//!
//! ```text
//! removed, some at once -> changed, one after the other -> made, some at once
//!    '------------- a failure: the same in the opposite order -----------'
//! ```

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;

use super::{AT_ONCE, Backhaul};
use crate::backend::backhaul::config::TunnelConfig;
use crate::backend::{BoxFuture, Plan, Refusal};

/// A step on its way.
type Doing<'a, T> = BoxFuture<'a, Result<T, Refusal>>;

/// What takes back one step.
pub(super) enum Undo {
    /// Remove what was made.
    Made(String),
    /// Bring back what was changed.
    Changed(Box<TunnelConfig>),
    /// Bring back what was removed.
    Removed(Box<TunnelConfig>),
}

impl Backhaul {
    /// Puts a plan in force, or leaves everything as it was.
    pub(super) async fn carry_out(&self, plan: &Plan) -> Result<Vec<Undo>, Refusal> {
        let mut done = Vec::new();
        let carried = self.try_carry_out(plan, &mut done).await;
        let Err(mut refusal) = carried else {
            return Ok(done);
        };
        if let Err(second) = self.take_back(done).await {
            refusal.message = format!("{}; and then: {second}", refusal.message);
        }
        Err(refusal)
    }

    async fn try_carry_out(&self, plan: &Plan, done: &mut Vec<Undo>) -> Result<(), Refusal> {
        let (old, new) = (&plan.old().backhaul, &plan.new_config().backhaul);
        // What goes makes room: ports, names and bridges.
        let mut removals: Vec<Doing<'_, Undo>> = Vec::new();
        for tunnel in &old.tunnels {
            if new.tunnel(&tunnel.slice).is_none() {
                removals.push(Box::pin(async {
                    self.remove(&tunnel.slice).await?;
                    Ok(Undo::Removed(Box::new(tunnel.clone())))
                }));
            }
        }
        at_once(removals, done).await?;
        // So does what changes, one after the other: the first may have what the second is to get.
        for tunnel in &new.tunnels {
            let before = old.tunnel(&tunnel.slice);
            if let Some(before) = before.filter(|before| *before != tunnel) {
                self.bring(tunnel).await?;
                done.push(Undo::Changed(Box::new(before.clone())));
            }
        }
        let mut births: Vec<Doing<'_, Undo>> = Vec::new();
        for tunnel in &new.tunnels {
            if old.tunnel(&tunnel.slice).is_none() {
                births.push(Box::pin(self.make(tunnel)));
            }
        }
        at_once(births, done).await
    }

    async fn make(&self, tunnel: &TunnelConfig) -> Result<Undo, Refusal> {
        let brought = self.bring(tunnel).await;
        if brought.is_err() {
            // It has put back itself what was before, which is nothing.
            drop(self.tasks().remove(&tunnel.slice));
        }
        brought.map(|()| Undo::Made(tunnel.slice.clone()))
    }

    /// In the order opposite to that of doing it.
    pub(super) async fn take_back(&self, done: Vec<Undo>) -> Result<(), Refusal> {
        let (mut made, mut changed, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for undo in done {
            match undo {
                Undo::Made(slice) => made.push(self.remove_owned(slice)),
                Undo::Changed(config) => changed.push(config),
                Undo::Removed(config) => removed.push(self.bring_owned(config)),
            }
        }
        let mut first = all(made).await;
        for config in changed.iter().rev() {
            first = first.and(self.bring(config).await);
        }
        first.and(all(removed).await)
    }

    fn remove_owned(&self, slice: String) -> Doing<'_, ()> {
        Box::pin(async move { self.remove(&slice).await })
    }

    fn bring_owned(&self, config: Box<TunnelConfig>) -> Doing<'_, ()> {
        Box::pin(async move { self.bring(&config).await })
    }
}

/// Does steps of which none needs another one, some at once. None is begun after one has failed, and those that were are
/// waited for: what is done is what is in `done`.
async fn at_once(steps: Vec<Doing<'_, Undo>>, done: &mut Vec<Undo>) -> Result<(), Refusal> {
    let mut waiting = steps.into_iter();
    let mut running: FuturesOrdered<_> = waiting.by_ref().take(AT_ONCE).collect();
    let mut first = Ok(());
    while let Some(step) = running.next().await {
        match step {
            Ok(undo) => done.push(undo),
            Err(refusal) => first = first.and(Err(refusal)),
        }
        if first.is_ok() {
            running.extend(waiting.next());
        }
    }
    first
}

/// Does all of it, some at once, whatever fails; the first failure.
async fn all(steps: Vec<Doing<'_, ()>>) -> Result<(), Refusal> {
    let mut steps = futures_util::stream::iter(steps).buffered(AT_ONCE);
    let mut first = Ok(());
    while let Some(step) = steps.next().await {
        first = first.and(step);
    }
    first
}
