//! `airtime-report` notifications, gathered into what the scheduler takes once a period.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tranche_netconf::message::Notification;
use tranche_netconf::xml::Element;

use crate::intent::is_ours;
use crate::inventory::Observed;
use crate::scheduler::{Bssid, Neighbour, Period, RadioId, RadioReport, VifReport};

use super::read::{ReadError, WIFI, mandatory, parsed, ratio};
use super::window::Window;

/// One report of a node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AirtimeReport {
    pub(super) sequence: u64,
    /// Length of the node's period.
    interval: Duration,
    radios: Vec<RadioSample>,
}

#[derive(Debug, Clone, PartialEq)]
struct RadioSample {
    name: String,
    channel: Option<u16>,
    busy: f64,
    heard: Vec<Bssid>,
    vifs: Vec<VifSample>,
}

#[derive(Debug, Clone, PartialEq)]
struct VifSample {
    name: String,
    slice: Option<String>,
    bssid: Option<Bssid>,
    used: f64,
    received: f64,
    backlogged: bool,
    effective_max: Option<f64>,
}

impl AirtimeReport {
    /// Reads a notification; `None` if it is another one.
    ///
    /// # Errors
    /// When it breaks the model.
    pub(super) fn read(notification: &Notification) -> Result<Option<Self>, ReadError> {
        let elements = notification.content.elements()?;
        let Some(report) = elements
            .iter()
            .find(|top| top.name == "airtime-report" && top.namespace == WIFI)
        else {
            return Ok(None);
        };
        let at = "airtime-report";
        let missing = |leaf: &str| ReadError::Missing(format!("{at}/{leaf}"));
        let interval = parsed(report, at, "interval")?.ok_or_else(|| missing("interval"))?;
        Ok(Some(Self {
            sequence: parsed(report, at, "sequence")?.ok_or_else(|| missing("sequence"))?,
            interval: Duration::from_millis(interval),
            radios: report
                .children("radio")
                .map(RadioSample::read)
                .collect::<Result<_, _>>()?,
        }))
    }
}

impl RadioSample {
    fn read(radio: &Element) -> Result<Self, ReadError> {
        let at = "airtime-report/radio";
        let bad = |value: &str| ReadError::Value {
            leaf: format!("{at}/heard"),
            value: value.to_owned(),
        };
        Ok(Self {
            name: mandatory(radio, at, "name")?,
            channel: parsed(radio, at, "channel")?,
            busy: ratio(radio, at, "busy")?.unwrap_or(0.0),
            heard: radio
                .children("heard")
                .map(|heard| heard.text.parse().map_err(|_| bad(&heard.text)))
                .collect::<Result<_, _>>()?,
            vifs: radio
                .children("vif")
                .map(VifSample::read)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl VifSample {
    fn read(vif: &Element) -> Result<Self, ReadError> {
        let at = "airtime-report/radio/vif";
        Ok(Self {
            name: mandatory(vif, at, "name")?,
            slice: vif.child_text("slice").map(str::to_owned),
            bssid: parsed(vif, at, "bssid")?,
            used: ratio(vif, at, "used-ratio")?.unwrap_or(0.0),
            received: ratio(vif, at, "received-ratio")?.unwrap_or(0.0),
            backlogged: parsed(vif, at, "backlogged")?.unwrap_or(false),
            effective_max: ratio(vif, at, "effective-max-ratio")?,
        })
    }
}

/// What a node reported of its radios.
pub(super) type Radios = Window<AirtimeReport, RadioReport>;

impl Radios {
    /// The mean of the reports since the last call, as of `now`; the last ones again, with their old time, if there are none.
    pub(super) fn take(
        &mut self,
        node: &str,
        now: Period,
        has: Option<&Observed>,
    ) -> Vec<Arc<RadioReport>> {
        let fresh = std::mem::take(&mut self.fresh);
        if let Some(newest) = fresh.last() {
            self.last = newest
                .radios
                .iter()
                .map(|radio| {
                    let is_it = |last: &&Arc<RadioReport>| *last.id.radio == *radio.name;
                    let last = self.last.iter().find(is_it).map(|last| &**last);
                    Arc::new(mean(node, now, (radio, last), &fresh, has))
                })
                .collect();
        }
        self.last.clone()
    }
}

/// Airtime is averaged over time; the rest is as the newest report says. Names and neighbours that are as they were are those
/// of the last report itself: it saves their copies, and whoever compares them need not read them.
fn mean(
    node: &str,
    now: Period,
    (newest, last): (&RadioSample, Option<&RadioReport>),
    all: &[AirtimeReport],
    has: Option<&Observed>,
) -> RadioReport {
    let samples = || {
        all.iter().filter_map(|report| {
            let radio = report
                .radios
                .iter()
                .find(|radio| radio.name == newest.name)?;
            Some((report.interval.as_secs_f64(), radio))
        })
    };
    let time: f64 = samples().map(|(time, _)| time).sum();
    let mut shares: BTreeMap<&str, (f64, f64, f64)> = BTreeMap::new();
    let mut busy = 0.0;
    for (interval, radio) in samples() {
        let part = if time > 0.0 { interval / time } else { 0.0 };
        busy += part * radio.busy;
        for vif in &radio.vifs {
            let (used, received, backlogged) = shares.entry(&vif.name).or_default();
            *used += part * vif.used;
            *received += part * vif.received;
            *backlogged += if vif.backlogged { part } else { 0.0 };
        }
    }
    let vif = |vif: &VifSample| {
        let (used, received, backlogged) = shares.get(&*vif.name).copied().unwrap_or_default();
        let config = has.and_then(|has| has.vifs.get(&vif.name));
        let ours = is_ours(&vif.name, vif.slice.as_deref(), &newest.name);
        let last = last.and_then(|last| last.vifs.iter().find(|last| *last.name == *vif.name));
        let slice = vif.slice.as_deref().filter(|_| ours);
        VifReport {
            name: carried(last.map(|last| &last.name), &vif.name),
            slice: slice.map(|slice| carried(last.and_then(|last| last.slice.as_ref()), slice)),
            bssid: vif.bssid,
            used,
            received,
            backlogged: backlogged >= 0.5,
            configured_min: config.map_or(0.0, |vif| vif.min_ratio.percent()),
            configured_max: config.map_or(100.0, |vif| vif.max_ratio.percent()),
            effective_max: vif.effective_max,
        }
    };
    let neighbours: Vec<Neighbour> = newest
        .heard
        .iter()
        .map(|&bssid| Neighbour {
            bssid,
            signal_dbm: None,
            age_ms: 0,
        })
        .collect();
    RadioReport {
        id: last.map_or_else(|| RadioId::new(node, &newest.name), |last| last.id.clone()),
        ended: now,
        channel: newest.channel,
        busy,
        vifs: newest.vifs.iter().map(vif).collect(),
        neighbours: carried(last.map(|last| &last.neighbours), &neighbours[..]),
    }
}

/// What is equal to the former is the former itself.
fn carried<T: ?Sized + PartialEq>(former: Option<&Arc<T>>, new: &T) -> Arc<T>
where
    for<'a> Arc<T>: From<&'a T>,
{
    match former {
        Some(former) if **former == *new => Arc::clone(former),
        Some(_) | None => new.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tranche_netconf::xml::Fragment;

    fn notification(interval_ms: u64, busy: &str, used: &str, backlogged: bool) -> Notification {
        Notification {
            event_time: "2026-01-01T00:00:00Z".into(),
            content: Fragment::from_trusted(format!(
                "<airtime-report xmlns='{WIFI}'><sequence>1</sequence><interval>{interval_ms}</interval>\
                 <radio><name>radio0</name><channel>36</channel><busy>{busy}</busy><heard>02:00:00:00:01:00</heard>\
                 <vif><name>a-radio0</name><slice>a</slice><bssid>02:00:00:00:00:00</bssid>\
                 <used-ratio>{used}</used-ratio><backlogged>{backlogged}</backlogged>\
                 <effective-max-ratio>30.90</effective-max-ratio></vif>\
                 <vif><name>guest</name><used-ratio>1.0</used-ratio></vif></radio></airtime-report>"
            )),
        }
    }

    fn report(interval_ms: u64, busy: &str, used: &str, backlogged: bool) -> AirtimeReport {
        AirtimeReport::read(&notification(interval_ms, busy, used, backlogged))
            .expect("valid")
            .expect("a report")
    }

    #[test]
    fn reports_of_a_period_are_averaged_over_time() {
        let mut window = Radios::default();
        window.push(report(1000, "80.0", "30.0", true));
        window.push(report(3000, "60.0", "10.0", false));
        let found = window.take("n1", Period(7), None);
        let radio = &found[0];
        assert_eq!(
            (radio.id.to_string(), radio.ended, radio.busy),
            ("n1/radio0".into(), Period(7), 65.0)
        );
        assert_eq!(radio.neighbours[0].bssid.to_string(), "02:00:00:00:01:00");
        let vif = &radio.vifs[0];
        assert_eq!(
            (vif.slice.as_deref(), vif.used, vif.backlogged),
            (Some("a"), 15.0, false)
        );
        assert_eq!(vif.effective_max, Some(30.9));
        assert_eq!(radio.vifs[1].slice, None, "not ours");
    }

    #[test]
    fn without_a_new_report_the_last_one_keeps_its_time() {
        let mut window = Radios::default();
        assert!(window.take("n1", Period(1), None).is_empty());
        window.push(report(1000, "80.0", "30.0", true));
        window.take("n1", Period(2), None);
        assert_eq!(window.take("n1", Period(5), None)[0].ended, Period(2));
    }

    #[test]
    fn other_notifications_are_passed_over_and_broken_ones_refused() {
        let mut other = notification(1000, "1.0", "1.0", false);
        other.content = Fragment::from_trusted("<netconf-config-change xmlns='urn:x'/>".into());
        assert_eq!(AirtimeReport::read(&other).expect("well formed"), None);
        let broken = notification(1000, "101.0", "1.0", false);
        let error = AirtimeReport::read(&broken).expect_err("busy past 100");
        assert_eq!(
            error.to_string(),
            "the node's data has the value `101.0` in airtime-report/radio/busy"
        );
    }
}
