//! The table on the terminal.

use std::time::Duration;

use serde_json::Value;

use super::ledger::{Got, Promise};

/// Places in the order of the columns.
const PLACES: [&str; 4] = ["wi-fi 1", "wi-fi 2", "lte", "nr"];

/// What the controller said at the end of its last period.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    /// By slice: the state of its aggregate promise, or the worst of the others.
    states: Vec<(String, String)>,
    /// Corrections of cells since the last line.
    cells: Vec<String>,
    /// How many interfaces were corrected since.
    vifs: usize,
}

impl Said {
    /// Takes in a notification of `tranche-sla`; others change nothing.
    pub(super) fn hear(&mut self, notification: &Value) {
        let period = &notification["tranche-sla:sla-period"];
        if period.is_null() {
            return;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |name: &str| period[name].as_array().cloned().unwrap_or_default();
        let rank = |state: &str| match state {
            "idle" => 0,
            "met" => 1,
            "unknown" => 2,
            _ => 3,
        };
        self.states.clear();
        for measure in list("measure") {
            let (slice, state) = (text(&measure["slice"]), text(&measure["state"]));
            match self.states.iter_mut().find(|(id, _)| *id == slice) {
                Some((_, worst)) if rank(&state) > rank(worst) => *worst = state,
                Some(_) => {}
                None => self.states.push((slice, state)),
            }
        }
        for one in list("prb-correction") {
            let (cell, slice) = (text(&one["cell"]), text(&one["slice"]));
            self.cells
                .push(format!("{cell}/{slice} {}", text(&one["min-ratio"])));
        }
        self.vifs += list("correction").len();
    }

    fn state(&self, slice: &str) -> &str {
        let found = self.states.iter().find(|(id, _)| id == slice);
        found.map_or("-", |(_, state)| state)
    }
}

/// The head of the table, and what is owed.
pub(super) fn head(promises: &[Promise]) -> String {
    let (mut head, mut owed) = ("   time".to_owned(), "   owed".to_owned());
    for promise in promises {
        head += &format!(
            " | {} wi-fi 1  wi-fi 2    lte     nr   mean  state   ",
            promise.tenant
        );
        let cells = format!("{0:>6.1} {0:>6.1}", promise.prb);
        let mean = match promise.aggregate > 0.0 {
            true => format!("{:.1}", promise.aggregate),
            false => "-".to_owned(),
        };
        let air = format!("{0:>9.1} {0:>8.1}", promise.airtime);
        owed += &format!(" | {air} {cells} {mean:>6}  {:<8}", "");
    }
    head += " | corrected (cell/slice minimum; interfaces)";
    format!("{head}\n{}\n{}", "-".repeat(head.len()), owed.trim_end())
}

/// One line of the table. What it shows of corrections is forgotten.
pub(super) fn line(
    time: Duration,
    promises: &[Promise],
    got: Option<&[Got]>,
    said: &mut Said,
) -> String {
    let mut line = format!("{:>6.1}s", time.as_secs_f64());
    for (at, promise) in promises.iter().enumerate() {
        let got = got.and_then(|got| got.get(at));
        let share = |place: &str| {
            let shares = got.into_iter().flat_map(|got| &got.share);
            let mut of = shares.filter(|(name, _)| name == place);
            of.next()
                .map_or_else(|| "-".to_owned(), |(_, share)| format!("{share:.1}"))
        };
        let [one, two, lte, nr] = PLACES.map(share);
        let mean = got.map_or_else(|| "-".to_owned(), |got| format!("{:.1}", got.mean));
        let state = said.state(&promise.slice);
        line += &format!(" | {one:>9} {two:>8} {lte:>6} {nr:>6} {mean:>6}  {state:<8}");
    }
    let mut corrections = std::mem::take(&mut said.cells);
    match std::mem::take(&mut said.vifs) {
        0 => {}
        vifs => corrections.push(format!("{vifs} on wi-fi")),
    }
    line += &format!(" | {}", corrections.join(", "));
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_shows_the_worst_state_and_what_was_corrected_once() {
        let promises = super::super::ledger::promises(&tranche_tests::ran::slices()).unwrap();
        let mut said = Said::default();
        said.hear(&json!({"tranche-sla:sla-period": {
            "measure": [{"slice": "tenant-a", "technology": "airtime", "state": "met"},
                        {"slice": "tenant-a", "technology": "aggregate", "state": "violated"},
                        {"slice": "tenant-b", "technology": "prb-up", "state": "idle"}],
            "prb-correction": [{"cell": "nr", "slice": "tenant-a", "min-ratio": "42.00"}],
            "correction": [{"node": "node-1"}]}}));
        let got = ["tenant-a", "tenant-b"].map(|_| Got {
            share: vec![
                ("wi-fi 1".to_owned(), 40.0),
                ("wi-fi 2".to_owned(), 41.0),
                ("lte".to_owned(), 45.0),
                ("nr".to_owned(), 44.9),
            ],
            mean: 41.25,
        });
        let first = line(Duration::from_secs(16), &promises, Some(&got), &mut said);
        assert_eq!(
            first,
            "  16.0s |      40.0     41.0   45.0   44.9   41.2  violated |      40.0     41.0   45.0   44.9   41.2  idle     | nr/tenant-a 42.00, 1 on wi-fi"
        );
        let second = line(Duration::from_secs(18), &promises, None, &mut said);
        assert!(second.ends_with("idle     |"), "{second}");
        let head = head(&promises);
        let bars = |text: &str| text.match_indices('|').map(|(i, _)| i).collect::<Vec<_>>();
        assert_eq!(bars(head.lines().next().unwrap()), bars(&first));
    }
}
