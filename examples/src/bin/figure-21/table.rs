//! The table on the terminal.

use std::time::Duration;

use serde_json::Value;

use crate::ledger::{Got, Promise};

/// What the controller said at the end of its last period.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    /// Whether its global scheduler was on.
    pub(crate) scheduler: Option<bool>,
    /// State of the promise by slice.
    states: Vec<(String, String)>,
    /// Corrections since the last line.
    corrections: Vec<String>,
}

impl Said {
    /// Takes in a notification of `tranche-sla`; others change nothing.
    pub(crate) fn hear(&mut self, notification: &Value) {
        let period = &notification["tranche-sla:sla-period"];
        if period.is_null() {
            return;
        }
        self.scheduler = period["scheduler-enabled"].as_bool();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |name: &str| period[name].as_array().cloned().unwrap_or_default();
        self.states = list("measure")
            .iter()
            .map(|m| (text(&m["slice"]), text(&m["state"])))
            .collect();
        for c in list("correction") {
            let (min, max) = (text(&c["min-ratio"]), text(&c["max-ratio"]));
            self.corrections.push(format!(
                "{}/{} {min}..{max}",
                text(&c["node"]),
                text(&c["slice"])
            ));
        }
    }

    fn state(&self, slice: &str) -> &str {
        self.states
            .iter()
            .find(|(id, _)| id == slice)
            .map_or("-", |(_, state)| state)
    }
}

/// The head of the table.
pub(crate) fn head(promises: &[Promise]) -> String {
    let tenants: String = promises
        .iter()
        .map(|p| format!(" | {:<1} owed    got   wall  state   ", p.tenant))
        .collect();
    let head = format!("  time  scheduler{tenants} | correction (node/slice min..max)");
    format!("{head}\n{}", "-".repeat(head.len()))
}

/// One line of the table. What it shows of corrections is forgotten.
pub(crate) fn line(
    time: Duration,
    promises: &[Promise],
    got: Option<&[Got]>,
    said: &mut Said,
) -> String {
    let scheduler = match said.scheduler {
        None => "-",
        Some(true) => "on",
        Some(false) => "off",
    };
    let tenants: String = promises
        .iter()
        .enumerate()
        .map(|(i, promise)| {
            let numbers = got.and_then(|got| got.get(i)).map_or_else(
                || format!("{:>6} {:>6}", "-", "-"),
                |got| format!("{:>6.1} {:>6.1}", got.share, got.wall),
            );
            format!(
                " | {:>6.1} {numbers}  {:<8}",
                promise.owed,
                said.state(&promise.slice)
            )
        })
        .collect();
    let corrections = std::mem::take(&mut said.corrections).join(", ");
    format!(
        "{:>5.0}s  {scheduler:<9}{tenants} | {corrections}",
        time.as_secs_f64()
    )
    .trim_end()
    .to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_shows_what_was_said_once() {
        let promises = crate::ledger::promises(&tranche_tests::figure_21::slices()).unwrap();
        let mut said = Said::default();
        said.hear(&json!({"eventTime": "2026-11-21T04:00:00Z", "tranche-sla:sla-period": {
            "sequence": "4", "scheduler-enabled": true,
            "measure": [{"slice": "tenant-a", "domain": "node-1/phy0", "state": "met"},
                        {"slice": "tenant-b", "domain": "node-1/phy0", "state": "violated"}],
            "correction": [{"node": "node-1", "vif": "v1", "slice": "tenant-a", "min-ratio": "29.70", "max-ratio": "30.60"}]}}));
        let got = [
            Got {
                share: 49.9,
                wall: 44.5,
            },
            Got {
                share: 50.1,
                wall: 44.6,
            },
        ];
        let first = line(Duration::from_secs(16), &promises, Some(&got), &mut said);
        assert_eq!(
            first,
            "   16s  on        |   30.0   49.9   44.5  met      |   70.0   50.1   44.6  violated | node-1/tenant-a 29.70..30.60"
        );
        let second = line(Duration::from_secs(18), &promises, None, &mut said);
        assert!(second.ends_with("violated |"), "{second}");
        let head = head(&promises);
        let bars = |text: &str| text.match_indices('|').map(|(i, _)| i).collect::<Vec<_>>();
        assert_eq!(bars(head.lines().next().unwrap()), bars(&first));
    }
}
