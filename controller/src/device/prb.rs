//! `prb-report` notifications, gathered into what the scheduler takes once a period.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tranche_netconf::message::Notification;
use tranche_netconf::xml::{Element, Fragment};

use crate::intent::{RAN, is_our_profile};
use crate::scheduler::{
    CellId, CellReport, Direction, Period, PrbCorrection, PrbUse, ProfileReport,
};

use super::read::{ReadError, mandatory, parsed, ratio};
use super::window::Window;

/// One report of a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PrbReport {
    pub(super) sequence: u64,
    /// Length of the node's period.
    interval: Duration,
    cells: Vec<CellSample>,
}

#[derive(Debug, Clone, PartialEq)]
struct CellSample {
    name: String,
    bandwidth_prb: Option<u16>,
    ues: Option<u32>,
    used_down: Option<f64>,
    used_up: Option<f64>,
    profiles: Vec<ProfileSample>,
}

#[derive(Debug, Clone, PartialEq)]
struct ProfileSample {
    name: String,
    slice: Option<String>,
    ues: Option<u32>,
    /// By direction.
    uses: [PrbUse; 2],
}

impl PrbReport {
    /// Reads a notification; `None` if it is another one.
    ///
    /// # Errors
    /// When it breaks the model.
    pub(super) fn read(notification: &Notification) -> Result<Option<Self>, ReadError> {
        let elements = notification.content.elements()?;
        let is_it = |top: &&Element| top.name == "prb-report" && top.namespace == RAN;
        let Some(report) = elements.iter().find(is_it) else {
            return Ok(None);
        };
        let at = "prb-report";
        let missing = |leaf: &str| ReadError::Missing(format!("{at}/{leaf}"));
        let interval = parsed(report, at, "interval")?.ok_or_else(|| missing("interval"))?;
        let cells = report.children("cell").map(CellSample::read);
        Ok(Some(Self {
            sequence: parsed(report, at, "sequence")?.ok_or_else(|| missing("sequence"))?,
            interval: Duration::from_millis(interval),
            cells: cells.collect::<Result<_, _>>()?,
        }))
    }
}

impl CellSample {
    fn read(cell: &Element) -> Result<Self, ReadError> {
        let at = "prb-report/cell";
        let profiles = cell.children("slice-profile").map(ProfileSample::read);
        Ok(Self {
            name: mandatory(cell, at, "name")?,
            bandwidth_prb: parsed(cell, at, "bandwidth-prb")?,
            ues: parsed(cell, at, "ues")?,
            used_down: ratio(cell, at, "used-down")?,
            used_up: ratio(cell, at, "used-up")?,
            profiles: profiles.collect::<Result<_, _>>()?,
        })
    }
}

impl ProfileSample {
    fn read(profile: &Element) -> Result<Self, ReadError> {
        let at = "prb-report/cell/slice-profile";
        let in_direction = |direction: Direction| -> Result<PrbUse, ReadError> {
            let name = direction.as_str();
            let at = format!("{at}/{name}");
            let Some(used) = profile.children(name).next() else {
                return Ok(PrbUse::default());
            };
            Ok(PrbUse {
                used: ratio(used, &at, "used-ratio")?,
                backlogged: parsed(used, &at, "backlogged")?.unwrap_or(false),
                effective_min: ratio(used, &at, "effective-min-ratio")?,
                effective_max: ratio(used, &at, "effective-max-ratio")?,
                throughput: parsed(used, &at, "throughput")?,
                delay_us: parsed(used, &at, "delay")?,
                delay_p99_us: parsed(used, &at, "delay-p99")?,
            })
        };
        Ok(Self {
            name: mandatory(profile, at, "name")?,
            slice: profile.child_text("slice").map(str::to_owned),
            ues: parsed(profile, at, "ues")?,
            uses: [in_direction(Direction::Down)?, in_direction(Direction::Up)?],
        })
    }
}

/// The operation `correct-prb`. Only slice profiles that bear a name of our making are corrected, so that needs no escaping; names of
/// cells are of letters, digits and `_.-` (`tranche-ran`).
pub(super) fn correct_prb(seconds: u128, corrections: &[PrbCorrection]) -> Fragment {
    let mut xml = format!("<correct-prb xmlns=\"{RAN}\"><lifetime>{seconds}</lifetime>");
    for one in corrections {
        let (name, cell, direction) = (&one.profile, &one.cell.radio, one.direction.as_str());
        // Writing to a string can't fail.
        let _infallible = write!(
            xml,
            "<slice-profile><name>{name}</name><cell>{cell}</cell><direction>{direction}</direction>\
             <min-ratio>{:.2}</min-ratio></slice-profile>",
            one.min_ratio
        );
    }
    xml.push_str("</correct-prb>");
    Fragment::from_trusted(xml)
}

/// What a node reported of its cells.
pub(super) type Cells = Window<PrbReport, CellReport>;

impl Cells {
    /// The mean of the reports since the last call, as of `now`; the last ones again, with their old time, if there are none. A cell
    /// that is not in the newest report is down: it stays with its old time as long as `has` it.
    pub(super) fn take(
        &mut self,
        node: &str,
        now: Period,
        has: impl Fn(&str) -> bool,
    ) -> Vec<Arc<CellReport>> {
        let fresh = std::mem::take(&mut self.fresh);
        if let Some(newest) = fresh.last() {
            let up = newest.cells.iter();
            let mut cells: Vec<_> = up
                .map(|cell| Arc::new(mean(node, now, (newest.sequence, cell), &fresh)))
                .collect();
            let is_up = |name: &str| newest.cells.iter().any(|cell| cell.name == name);
            let down = self.last.drain(..);
            cells.extend(down.filter(|cell| !is_up(&cell.id.radio) && has(&cell.id.radio)));
            self.last = cells;
        }
        self.last.clone()
    }
}

/// Shares and throughput are averaged over time; the rest is as the newest report says.
fn mean(
    node: &str,
    now: Period,
    (sequence, newest): (u64, &CellSample),
    all: &[PrbReport],
) -> CellReport {
    let samples: Vec<(f64, &CellSample)> = all
        .iter()
        .filter_map(|report| {
            let cell = report.cells.iter().find(|cell| cell.name == newest.name)?;
            Some((report.interval.as_secs_f64(), cell))
        })
        .collect();
    let of_cell = |leaf: fn(&CellSample) -> Option<f64>| {
        let values = samples.iter();
        weighted(values.filter_map(|&(time, cell)| Some((time, leaf(cell)?))))
    };
    let profile = |profile: &ProfileSample| {
        let in_direction = |direction: Direction| {
            let at = direction as usize;
            let uses = samples.iter().filter_map(|&(time, cell)| {
                let of = cell.profiles.iter().find(|one| one.name == profile.name)?;
                Some((time, &of.uses[at]))
            });
            let part = |backlogged| if backlogged { 1.0 } else { 0.0 };
            let backlogged = weighted(uses.clone().map(|(time, of)| (time, part(of.backlogged))));
            // What more was sent in counts for more.
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bit/s")]
            let sent = |(time, of): (f64, &PrbUse)| {
                Some((time * of.throughput? as f64, f64::from(of.delay_us?)))
            };
            let delay = weighted(uses.clone().filter_map(sent));
            let p99 = uses.clone().filter_map(|(_, of)| of.delay_p99_us).max();
            let throughput = uses.clone();
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bit/s")]
            let throughput =
                weighted(throughput.filter_map(|(time, of)| Some((time, of.throughput? as f64))));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "means of u64 and u32"
            )]
            PrbUse {
                used: weighted(uses.filter_map(|(time, of)| Some((time, of.used?)))),
                backlogged: backlogged.is_some_and(|part| part >= 0.5),
                throughput: throughput.map(|bps| bps.round() as u64),
                delay_us: delay.map(|us| us.round() as u32),
                delay_p99_us: p99,
                ..profile.uses[at]
            }
        };
        let ours = profile.slice.as_deref();
        let ours = ours.filter(|slice| is_our_profile(&profile.name, slice));
        ProfileReport {
            name: profile.name.as_str().into(),
            slice: ours.map(Into::into),
            ues: profile.ues,
            down: in_direction(Direction::Down),
            up: in_direction(Direction::Up),
        }
    };
    CellReport {
        id: CellId::new(node, &newest.name),
        ended: now,
        sequence,
        bandwidth_prb: newest.bandwidth_prb,
        ues: newest.ues,
        used_down: of_cell(|cell| cell.used_down),
        used_up: of_cell(|cell| cell.used_up),
        profiles: newest.profiles.iter().map(profile).collect(),
    }
}

/// The mean of values, each with its weight; `None` of none.
fn weighted(values: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (weight, sum) = values.fold((0.0, 0.0), |(all, sum), (weight, value)| {
        (all + weight, sum + weight * value)
    });
    (weight > 0.0).then(|| sum / weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(sequence: u64, interval_ms: u64, cells: &str) -> Notification {
        Notification {
            event_time: "2026-01-01T00:00:00Z".into(),
            content: Fragment::from_trusted(format!(
                "<prb-report xmlns='{RAN}'><sequence>{sequence}</sequence><interval>{interval_ms}</interval>{cells}</prb-report>"
            )),
        }
    }

    fn cell(used: &str, backlogged: bool, throughput: u64) -> String {
        format!(
            "<cell><name>c1</name><bandwidth-prb>50</bandwidth-prb><used-down>{used}</used-down><ues>3</ues>\
             <slice-profile><name>a-lte</name><slice>a</slice><oper-state>active</oper-state><ues>2</ues>\
             <down><effective-min-ratio>20.00</effective-min-ratio><effective-max-ratio>100.00</effective-max-ratio>\
             <used-ratio>{used}</used-ratio><backlogged>{backlogged}</backlogged><throughput>{throughput}</throughput>\
             <delay>{}</delay><delay-p99>{}</delay-p99></down>\
             </slice-profile><slice-profile><name>foreign</name></slice-profile></cell>",
            throughput / 4,
            throughput
        )
    }

    fn report(sequence: u64, interval_ms: u64, cells: &str) -> PrbReport {
        let read = PrbReport::read(&notification(sequence, interval_ms, cells));
        read.expect("valid").expect("a report")
    }

    #[test]
    fn reports_of_a_period_are_averaged_over_time() {
        let mut window = Cells::default();
        window.push(report(1, 1000, &cell("80.00", true, 4_000)));
        window.push(report(2, 3000, &cell("40.00", false, 8_000)));
        let found = window.take("n1", Period(7), |_| true);
        let cell = &found[0];
        assert_eq!(
            (cell.id.to_string(), cell.ended, cell.used_down),
            ("n1/c1".into(), Period(7), Some(50.0))
        );
        assert_eq!((cell.ues, cell.bandwidth_prb), (Some(3), Some(50)));
        let [ours, foreign] = &cell.profiles[..] else {
            panic!("{cell:?}")
        };
        assert_eq!((ours.slice.as_deref(), ours.ues), (Some("a"), Some(2)));
        let down = PrbUse {
            used: Some(50.0),
            backlogged: false,
            effective_min: Some(20.0),
            effective_max: Some(100.0),
            throughput: Some(7_000),
            // 1000 us at 4 kbit/s for 1 s, 2000 us at 8 kbit/s for 3 s.
            delay_us: Some(1857),
            delay_p99_us: Some(8_000),
        };
        assert_eq!((ours.down, ours.up), (down, PrbUse::default()));
        assert_eq!((foreign.slice.as_deref(), foreign.down.used), (None, None));
    }

    #[test]
    fn a_cell_that_went_down_keeps_its_time_until_the_node_has_it_no_more() {
        let mut window = Cells::default();
        window.push(report(1, 1000, &cell("80.00", true, 0)));
        window.take("n1", Period(2), |_| true);
        assert_eq!(window.take("n1", Period(3), |_| true)[0].ended, Period(2));
        window.push(report(2, 1000, ""));
        assert_eq!(window.take("n1", Period(4), |_| true)[0].ended, Period(2));
        window.push(report(3, 1000, ""));
        assert!(window.take("n1", Period(5), |_| false).is_empty());
    }

    #[test]
    fn other_notifications_are_passed_over_and_broken_ones_refused() {
        let mut other = notification(1, 1000, "");
        other.content = Fragment::from_trusted("<airtime-report xmlns='urn:x'/>".into());
        assert_eq!(PrbReport::read(&other).expect("well formed"), None);
        let broken = notification(1, 1000, &cell("100.01", true, 0));
        let error = PrbReport::read(&broken).expect_err("past 100");
        assert_eq!(
            error.to_string(),
            "the node's data has the value `100.01` in prb-report/cell/used-down"
        );
    }
}
