//! What is sent to a cell: minima that moved, that were lost, or that are taken back.

use std::sync::Arc;

use super::super::cell::{Cell, CellId, Direction, Flow, PrbCorrection};
use super::super::radio::Delivery;
use super::super::types::Period;
use super::{CellRound, SAME, place, promise};

/// A minimum is sent anew when it moves by more than this, percent; what is taken back is sent however little it is.
const MIN_STEP: f64 = 1.0;
/// Periods after which a node must show the minimum that it was sent.
const SHOWN_AFTER: u64 = 3;

/// What is wanted of a slice profile.
struct Wanted {
    /// Its place on the cell.
    at: usize,
    min: f64,
    /// What that is more than what is in force.
    step: f64,
    need: Need,
}

#[derive(PartialEq, Eq)]
enum Need {
    /// It has to be sent.
    Due,
    /// It may wait.
    Small,
    /// Less than is configured is in force: a change of configuration is under way.
    Changing,
}

/// Decides the minima of a direction of a cell; `extra` is what each slice profile gets above what is configured, fraction. What is
/// lowered comes first, and all of it where something is raised: a node refuses what does not fit at any moment.
pub(super) fn correct(
    (id, cell): (&CellId, &mut Cell),
    direction: Direction,
    extra: &[f64],
    round: &CellRound<'_>,
    out: &mut Vec<PrbCorrection>,
) {
    let mut all = Vec::new();
    for (at, (profile, &extra)) in cell.profiles.iter_mut().zip(extra).enumerate() {
        if let Some(sla) = place(&profile.place, round.sla) {
            let owed = promise(&sla, direction).min_ratio;
            let flow = &mut profile.flows[direction as usize];
            all.push(want(flow, at, (owed, extra), round.now));
        }
    }
    let raises = |one: &Wanted| one.need == Need::Due && one.step > 0.0;
    let any_raise = all.iter().any(raises);
    all.retain(|one| match one.need {
        Need::Due => true,
        Need::Small => any_raise && one.step < -SAME,
        Need::Changing => false,
    });
    all.sort_by(|one, other| one.step.total_cmp(&other.step));
    for Wanted { at, min, .. } in all {
        let profile = &mut cell.profiles[at];
        let flow = &mut profile.flows[direction as usize];
        flow.sent = Some((min, round.now));
        flow.delivery = Delivery::UnderWay;
        out.push(PrbCorrection {
            cell: id.clone(),
            profile: Arc::clone(&profile.name),
            slice: Arc::clone(&profile.slice),
            direction,
            min_ratio: min,
        });
    }
}

/// The minimum of a slice profile that is owed so much (percent) and gets so much more (fraction).
fn want(flow: &mut Flow, at: usize, (owed, extra): (f64, f64), now: Period) -> Wanted {
    let min = floor_2(owed + 100.0 * extra);
    let is_as_configured = |min: f64| (min - owed).abs() <= SAME;
    if flow.sent.is_some_and(|(min, _)| is_as_configured(min))
        && flow.shown.is_none_or(is_as_configured)
        && flow.delivery == Delivery::Arrived
    {
        flow.sent = None;
    }
    let current = flow.sent.map_or(flow.shown.unwrap_or(owed), |(min, _)| min);
    let is_lost = flow.sent.is_some_and(|(min, at)| {
        let shown = flow.shown.unwrap_or(min);
        now.since(at) >= SHOWN_AFTER && (shown - min).abs() > SAME
    });
    let step = min - current;
    let is_due = flow.delivery == Delivery::Unknown
        || is_lost
        || step.abs() > MIN_STEP
        || (extra == 0.0 && step.abs() > SAME);
    let need = match is_due {
        _ if flow.sent.is_none() && extra == 0.0 && current < owed + SAME => Need::Changing,
        true => Need::Due,
        false => Need::Small,
    };
    Wanted {
        at,
        min,
        step,
        need,
    }
}

fn floor_2(percent: f64) -> f64 {
    (percent * 100.0 + 1e-6).floor() / 100.0
}
