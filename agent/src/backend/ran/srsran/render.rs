//! The configuration of a gNB of the srsRAN project: the part that the slices and their cell make, as YAML.
//!
//! It goes beside a file of the operator's with the radio unit (`gnb -c radio.yml -c tranche.yml`). Keys are those of the
//! project's configuration reference; a slice stands under its S-NSSAI there, whichever PLMN it is of.

use super::SrsRanSettings;
use super::check::channel;
use crate::backend::ran::{
    AdminState, CellConfig, CoreConfig, Direction, ProfileConfig, RanConfig,
};

/// The slice profiles in service on a cell that is in service; nothing if there is none.
pub(super) fn in_service(ran: &RanConfig) -> Option<(&CellConfig, Vec<&ProfileConfig>)> {
    let cell = ran.cells.first()?;
    let profiles = ran.profiles_of(&cell.name);
    let profiles: Vec<_> = profiles
        .filter(|profile| profile.admin_state != AdminState::Locked)
        .collect();
    let serves = cell.admin_state == AdminState::Unlocked && !profiles.is_empty();
    serves.then_some((cell, profiles))
}

/// The file of a configuration that [`super::check::check`] has accepted; none if there is nothing to serve.
pub(super) fn render(ran: &RanConfig, settings: &SrsRanSettings) -> Option<String> {
    let (cell, profiles) = in_service(ran)?;
    let mut text = String::from("# Written by tranche-agent, and overwritten by it.\n");
    let out = &mut text;
    if let Some(name) = &ran.node_name {
        line(out, 0, &format!("ran_node_name: \"{name}\""));
    }
    if let Some(id) = ran.gnb_id {
        line(out, 0, &format!("gnb_id: {id}"));
    }
    line(out, 0, "cu_cp:");
    let served = |core: &CoreConfig| {
        profiles
            .iter()
            .any(|one| one.cores.first() == Some(&core.name))
    };
    let mut is_first = true;
    for core in ran.cores.iter().filter(|core| served(core)) {
        let of_core = profiles.iter().copied();
        let of_core = of_core.filter(|profile| profile.cores.first() == Some(&core.name));
        let of_core: Vec<_> = of_core.collect();
        amf(out, (core, &of_core), (cell, settings), is_first);
        is_first = false;
    }
    cell_cfg(out, cell, &profiles);
    let control = settings.control;
    line(out, 0, "remote_control:");
    line(out, 1, "enabled: true");
    line(out, 1, &format!("bind_addr: \"{}\"", control.ip()));
    line(out, 1, &format!("port: {}", control.port()));
    line(out, 0, "metrics:");
    line(out, 1, "enable_json: true");
    Some(text)
}

fn amf(
    out: &mut String,
    (core, profiles): (&CoreConfig, &[&ProfileConfig]),
    (cell, settings): (&CellConfig, &SrsRanSettings),
    is_first: bool,
) {
    // The first stands alone, the others in a list of their own.
    let depth = if is_first {
        line(out, 1, "amf:");
        2
    } else {
        if !out.contains("  extra_amfs:\n") {
            line(out, 1, "extra_amfs:");
        }
        3
    };
    let lead = if is_first { "" } else { "- " };
    let first_depth = depth - lead.len() / 2;
    line(
        out,
        first_depth,
        &format!("{lead}addr: \"{}\"", core.address),
    );
    if let Some(port) = core.port {
        line(out, depth, &format!("port: {port}"));
    }
    line(
        out,
        depth,
        &format!("bind_addr: \"{}\"", settings.bind_addr),
    );
    line(out, depth, "supported_tracking_areas:");
    line(out, depth + 1, &format!("- tac: {}", cell.tac));
    line(out, depth + 2, "plmn_list:");
    for plmn in plmns(profiles) {
        line(out, depth + 3, &format!("- plmn: \"{plmn}\""));
        line(out, depth + 4, "tai_slice_support_list:");
        for profile in profiles.iter().filter(|profile| profile.plmn() == plmn) {
            snssai(out, depth + 5, profile);
        }
    }
}

fn cell_cfg(out: &mut String, cell: &CellConfig, profiles: &[&ProfileConfig]) {
    line(out, 0, "cell_cfg:");
    line(out, 1, &format!("dl_arfcn: {}", cell.arfcn));
    if let (Some(band), Some((mhz, scs_khz))) = (cell.band, channel(cell)) {
        line(out, 1, &format!("band: {band}"));
        line(out, 1, &format!("channel_bandwidth_MHz: {mhz}"));
        line(out, 1, &format!("common_scs: {scs_khz}"));
    }
    line(out, 1, &format!("pci: {}", cell.pci));
    line(out, 1, &format!("tac: {}", cell.tac));
    let plmns = plmns(profiles);
    if let Some((first, others)) = plmns.split_first() {
        line(out, 1, &format!("plmn: \"{first}\""));
        if !others.is_empty() {
            line(out, 1, "additional_plmns:");
        }
        for plmn in others {
            line(out, 2, &format!("- \"{plmn}\""));
        }
    }
    line(out, 1, "slicing:");
    let mut seen = Vec::new();
    for profile in profiles {
        let slice = (profile.sst, &profile.sd);
        if seen.contains(&slice) {
            continue;
        }
        seen.push(slice);
        snssai(out, 2, profile);
        let share = profile.share(Direction::Down);
        line(out, 3, "sched_cfg:");
        for (key, ratio) in [
            ("min_prb_policy_ratio", share.min),
            ("max_prb_policy_ratio", share.max),
            ("ded_prb_policy_ratio", share.dedicated),
        ] {
            line(out, 4, &format!("{key}: {}", ratio.hundredths() / 100));
        }
    }
}

/// An entry of a list that begins with an S-NSSAI.
fn snssai(out: &mut String, depth: usize, profile: &ProfileConfig) {
    line(out, depth, &format!("- sst: {}", profile.sst.unwrap_or(1)));
    if let Some(sd) = sd(profile) {
        line(out, depth + 1, &format!("sd: {sd}"));
    }
}

/// The slice differentiator as a number, as the project has it.
pub(super) fn sd(profile: &ProfileConfig) -> Option<u32> {
    let sd = profile.sd.as_ref()?;
    u32::from_str_radix(sd, 16).ok()
}

/// The distinct PLMNs, in order.
fn plmns(profiles: &[&ProfileConfig]) -> Vec<String> {
    let mut plmns: Vec<String> = Vec::new();
    for profile in profiles {
        let plmn = profile.plmn();
        if !plmns.contains(&plmn) {
            plmns.push(plmn);
        }
    }
    plmns
}

fn line(out: &mut String, depth: usize, text: &str) {
    let width = depth * 2;
    out.extend(std::iter::repeat_n(' ', width));
    out.push_str(text);
    out.push('\n');
}
