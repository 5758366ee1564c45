//! What it takes to go from one RAN configuration to another, in words and in UEs that lose their link.

use super::config::{CellConfig, ProfileConfig, RanConfig};
use super::{AdminState, cell_path, profile_path};
use crate::backend::{Cost, Step, Warning, WarningKind};

/// How many UEs there are now.
pub(super) trait Attached {
    /// Those of a slice profile.
    fn of_profile(&self, name: &str) -> u32;

    /// Those of a slice profile on one cell.
    fn of_profile_on(&self, name: &str, cell: &str) -> u32;

    /// Those of a cell.
    fn of_cell(&self, name: &str) -> u32;
}

/// The steps, in the order in which they are taken.
pub(super) fn steps(attached: &impl Attached, old: &RanConfig, new: &RanConfig) -> Vec<Step> {
    let mut steps = Vec::new();
    if (&old.node_name, old.gnb_id) != (&new.node_name, new.gnb_id) {
        steps.push(hot("/tranche-ran:ran", "change the identity of the node"));
    }
    if old.failover != new.failover {
        let path = "/tranche-ran:ran/failover";
        steps.push(hot(path, "change how slice profiles move between cores"));
    }
    core_steps(old, new, &mut steps);
    cell_steps(attached, old, new, &mut steps);
    for profile in &old.profiles {
        if new.profile(&profile.name).is_none() {
            steps.push(delete(attached, profile));
        }
    }
    for profile in &new.profiles {
        match old.profile(&profile.name) {
            None => {
                let action = format!("create slice profile {}", profile.name);
                steps.push(hot(&profile_path(&profile.name), &action));
            }
            Some(before) if before == profile => {}
            Some(before) => steps.push(change(attached, before, profile)),
        }
    }
    steps
}

/// What cannot be changed in place: a slice profile of another PLMN or S-NSSAI is another slice to its UEs. `ues` says in words how
/// many it has.
pub(super) fn warnings(
    old: &RanConfig,
    new: &RanConfig,
    ues: impl Fn(&str) -> String,
) -> Vec<Warning> {
    let changed = new.profiles.iter().filter_map(|after| {
        let before = old.profile(&after.name)?;
        (!before.is_same_slice(after)).then_some((before, after))
    });
    let warning = |(before, after): (&ProfileConfig, &ProfileConfig)| {
        let name = &after.name;
        let message = format!(
            "slice profile {name} is deleted and created anew, {} becomes {}: {} lose its service",
            identity(before),
            identity(after),
            ues(name)
        );
        Warning::new(WarningKind::Recreated, profile_path(name), message)
    };
    changed.map(warning).collect()
}

/// What a slice profile is to UEs, as in `PLMN 001-01, SST 1, SD 0a0b0c`.
fn identity(profile: &ProfileConfig) -> String {
    let mut text = format!("PLMN {}-{}", profile.mcc, profile.mnc);
    if let Some(sst) = profile.sst {
        text.push_str(&format!(", SST {sst}"));
    }
    if let Some(sd) = &profile.sd {
        text.push_str(&format!(", SD {sd}"));
    }
    text
}

fn core_steps(old: &RanConfig, new: &RanConfig, steps: &mut Vec<Step>) {
    let path = |name: &str| format!("/tranche-ran:ran/core[name='{name}']");
    for core in &old.cores {
        if new.core(&core.name).is_none() {
            let action = format!("leave core {}", core.name);
            steps.push(hot(&path(&core.name), &action));
        }
    }
    for core in &new.cores {
        let action = match old.core(&core.name) {
            None => format!("set core {} up", core.name),
            Some(before) if before != core => format!("set core {} up again", core.name),
            Some(_) => continue,
        };
        steps.push(hot(&path(&core.name), &action));
    }
}

fn cell_steps(attached: &impl Attached, old: &RanConfig, new: &RanConfig, steps: &mut Vec<Step>) {
    let mut push = |cell: &CellConfig, what: &str, dropped| {
        let action = format!("{what} cell {}", cell.name);
        steps.push(step(&cell_path(&cell.name), &action, dropped));
    };
    for cell in &old.cells {
        if new.cell(&cell.name).is_none() {
            push(cell, "remove", attached.of_cell(&cell.name));
        }
    }
    for cell in &new.cells {
        match old.cell(&cell.name) {
            None => push(cell, "start", 0),
            Some(before) if before == cell => {}
            Some(_) if cell.admin_state == AdminState::Locked => {
                push(cell, "stop", attached.of_cell(&cell.name));
            }
            Some(_) => push(cell, "restart", attached.of_cell(&cell.name)),
        }
    }
}

fn delete(attached: &impl Attached, profile: &ProfileConfig) -> Step {
    let action = format!("delete slice profile {}", profile.name);
    let dropped = attached.of_profile(&profile.name);
    step(&profile_path(&profile.name), &action, dropped)
}

fn change(attached: &impl Attached, before: &ProfileConfig, after: &ProfileConfig) -> Step {
    let name = &after.name;
    let path = profile_path(name);
    if !before.is_same_slice(after) {
        let action =
            format!("delete slice profile {name} and create it anew, with another PLMN or S-NSSAI");
        return step(&path, &action, attached.of_profile(name));
    }
    if after.admin_state == AdminState::Locked && before.admin_state != AdminState::Locked {
        let action = format!("lock slice profile {name}");
        return step(&path, &action, attached.of_profile(name));
    }
    let left = before
        .cells
        .iter()
        .filter(|cell| !after.cells.contains(cell));
    let dropped = left.map(|cell| attached.of_profile_on(name, cell)).sum();
    step(&path, &format!("change slice profile {name}"), dropped)
}

fn hot(path: &str, action: &str) -> Step {
    step(path, action, 0)
}

fn step(path: &str, action: &str, dropped: u32) -> Step {
    let cost = match dropped {
        0 => Cost::Hot,
        stations_dropped => Cost::Restart { stations_dropped },
    };
    Step {
        path: path.to_owned(),
        action: action.to_owned(),
        cost,
    }
}
