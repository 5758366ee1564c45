//! What this machine can't do, said before anything is touched.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::super::hostapd::render::RenderError;
use super::super::nl80211::Wiphy;
use super::super::passphrase;
use super::super::{Channel, RadioConfig, Role, VifConfig, WifiConfig};
use super::{KernelSettings, wanted};
use crate::backend::wifi::diff::{radio_path, vif_path};
use crate::backend::{Refusal, Why};

/// Longest address of a Unix socket (unix(7)), without the octet that ends it.
const MAX_SOCKET_PATH: usize = 107;

/// The longest of our socket's addresses below the runtime directory: names have 15 octets at most.
const LONGEST_SOCKET: &str = "/fifteen-octets-/control/fifteen-octets-";

/// What to measure a configuration by.
pub(super) struct Machine<'a> {
    /// The radios that there are.
    pub(super) wiphys: Arc<[Wiphy]>,
    /// The regulatory domain that they are under.
    pub(super) country: String,
    /// What the agent was told.
    pub(super) settings: &'a KernelSettings,
}

/// Whether control sockets have room below a directory.
pub(super) fn runtime_dir(directory: &Path) -> Result<(), Refusal> {
    let most = MAX_SOCKET_PATH - LONGEST_SOCKET.len();
    let length = directory.as_os_str().len();
    if directory.is_absolute() && length <= most {
        return Ok(());
    }
    let message = format!(
        "the runtime directory {} is not an absolute path of at most {most} octets",
        directory.display()
    );
    Err(Refusal::new("/", message))
}

/// Something that this machine cannot do, and the interfaces that can't be because of it.
#[derive(Debug)]
pub(super) struct Fault<'a> {
    /// Where and why.
    pub(super) refusal: Refusal,
    /// Names of interfaces.
    pub(super) vifs: Vec<&'a str>,
}

/// What this machine cannot do, whatever runs on it.
pub(super) fn faults<'a>(machine: &Machine<'_>, wifi: &'a WifiConfig) -> Vec<Fault<'a>> {
    let mut faults = Vec::new();
    for radio in &wifi.radios {
        if let Err(refusal) = check_radio(machine, radio, wifi) {
            let vifs = wifi.vifs_of(&radio.name).map(|vif| vif.name.as_str());
            faults.push(Fault {
                refusal,
                vifs: vifs.collect(),
            });
        }
    }
    let mut taken: BTreeSet<&str> = wifi
        .vifs
        .iter()
        .filter_map(|vif| vif.attachment.bridge.as_deref())
        .collect();
    for vif in &wifi.vifs {
        let is_unique = taken.insert(&vif.name);
        if let Err(refusal) = check_vif(machine, vif, wifi, is_unique) {
            faults.push(Fault {
                refusal,
                vifs: vec![&vif.name],
            });
        }
    }
    faults
}

fn check_radio(
    machine: &Machine<'_>,
    radio: &RadioConfig,
    wifi: &WifiConfig,
) -> Result<(), Refusal> {
    let path = radio_path(&radio.name);
    let Some(wiphy) = machine.wiphys.iter().find(|one| one.name == radio.name) else {
        let message = format!("there is no radio {} in the hardware", radio.name);
        return Err(Refusal::new(path, message));
    };
    // hostapd is told the name as part of a path and of a command.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if radio.name.starts_with('.') || !radio.name.chars().all(is_plain) {
        let message = format!("hostapd can't be told a radio named '{}'", radio.name);
        return Err(Refusal::new(format!("{path}/name"), message));
    }
    let channel = Channel::new(radio.band, radio.channel, radio.width)
        .map_err(|reason| Refusal::new(format!("{path}/channel"), reason))?;
    // What another country allows the kernel only says when it is in force.
    if wifi.country == machine.country {
        allowed(wiphy, radio, &channel)?;
    }
    wanted::radio_text(wiphy, radio, &wifi.country, Path::new("/"))
        .map_err(|error| refusal(&path, error))?;
    let count = |is_one: fn(&Role) -> bool| -> u32 {
        let vifs = wifi.vifs_of(&radio.name);
        u32::try_from(vifs.filter(|vif| is_one(&vif.role)).count()).unwrap_or(u32::MAX)
    };
    let access_points = count(|role| matches!(role, Role::AccessPoint(_)));
    let mesh_points = count(|role| matches!(role, Role::MeshPoint(_)));
    let most = max_vifs(wiphy);
    if access_points + mesh_points > u32::from(most) {
        let message = format!(
            "radio {} carries at most {most} interfaces, not {} (one more is taken by hostapd itself)",
            radio.name,
            access_points + mesh_points
        );
        return Err(Refusal::new(path, message).because(Why::NoRoom));
    }
    let anchors = u32::from(access_points > 0);
    wiphy
        .check_vifs(access_points + anchors, mesh_points)
        .map_err(|reason| Refusal::new(path, reason))
}

/// How many interfaces a configuration can have: one of the hardware's is the anchor.
pub(super) fn max_vifs(wiphy: &Wiphy) -> u8 {
    wiphy.max_vifs().saturating_sub(1)
}

/// Whether the regulatory domain in force and the hardware allow a channel, and the power on it.
pub(super) fn allowed(
    wiphy: &Wiphy,
    radio: &RadioConfig,
    channel: &Channel,
) -> Result<(), Refusal> {
    let path = radio_path(&radio.name);
    let limits = wiphy.band(radio.band);
    let leaf = match limits {
        None => "band",
        Some(limits) if radio.width > limits.max_width => "width",
        Some(_) => "channel",
    };
    wiphy
        .check_channel(channel)
        .map_err(|reason| Refusal::new(format!("{path}/{leaf}"), reason))?;
    let member = limits
        .iter()
        .flat_map(|limits| &limits.channels)
        .find(|one| one.number == radio.channel);
    match (radio.tx_power_dbm, member) {
        (Some(power), Some(member)) if power > member.max_tx_power_dbm => {
            let message = format!(
                "at most {} dBm are allowed on {channel}, not {power}",
                member.max_tx_power_dbm
            );
            Err(Refusal::new(format!("{path}/tx-power"), message))
        }
        _ => Ok(()),
    }
}

fn check_vif(
    machine: &Machine<'_>,
    vif: &VifConfig,
    wifi: &WifiConfig,
    is_unique: bool,
) -> Result<(), Refusal> {
    let path = vif_path(&vif.name);
    let radio = wifi.radio(&vif.radio).ok_or_else(|| {
        let message = format!("there is no radio {}", vif.radio);
        Refusal::new(format!("{path}/radio"), message)
    })?;
    if !is_unique || is_taken(machine, &vif.name) {
        let message = format!("there is another network interface named {}", vif.name);
        return Err(Refusal::new(format!("{path}/name"), message));
    }
    match &vif.role {
        Role::AccessPoint(_) => {
            wanted::bss_text(vif, radio, wanted::NO_ADDRESS, Path::new("/"))
                .map_err(|error| refusal(&path, error))?;
            if !is_installed(&machine.settings.hostapd) {
                let message = format!(
                    "access points need hostapd: there is no {} in PATH",
                    machine.settings.hostapd
                );
                return Err(Refusal::new(format!("{path}/access-point"), message));
            }
            check_mobility(vif, wifi)
        }
        Role::MeshPoint(mesh) => {
            let octets = mesh.mesh_id.len();
            if octets > 32 {
                let message = format!("the mesh identifier has {octets} octets, more than 32");
                return Err(Refusal::new(format!("{path}/mesh-point/mesh-id"), message));
            }
            let Some(passphrase) = &mesh.passphrase else {
                return Ok(());
            };
            let path = format!("{path}/mesh-point/passphrase");
            if !is_installed(&machine.settings.supplicant) {
                let message = format!(
                    "a mesh with a passphrase needs wpa_supplicant: there is no {} in PATH",
                    machine.settings.supplicant
                );
                return Err(Refusal::new(path, message));
            }
            passphrase::check(passphrase).map_err(|message| Refusal::new(path, message))
        }
    }
}

/// Keys of SAE and 802.1X travel over the bridge, and a bridge does not loop frames back to another process of the same
/// machine: from node to node fast transition works, between the radios of one node it would fail each time.
fn check_mobility(vif: &VifConfig, wifi: &WifiConfig) -> Result<(), Refusal> {
    let key_domain = |vif: &VifConfig| match &vif.role {
        Role::AccessPoint(one) if vif.enabled && one.roaming.mobility_key.is_some() => {
            one.roaming.mobility_domain.clone()
        }
        _ => None,
    };
    let Some(domain) = key_domain(vif) else {
        return Ok(());
    };
    let is_other =
        |one: &&VifConfig| one.radio != vif.radio && key_domain(one).as_ref() == Some(&domain);
    match wifi.vifs.iter().find(is_other) {
        None => Ok(()),
        Some(other) => {
            let message = format!(
                "{} on radio {} is in mobility domain {domain} too: keys do not get from one radio of a node to another \
                 (fast transition with a mobility-key works from node to node; wpa2-personal without one works here too)",
                other.name, other.radio
            );
            let path = format!("{}/access-point/roaming/mobility-key", vif_path(&vif.name));
            Err(Refusal::new(path, message))
        }
    }
}

/// Whether a network interface of this name is there that is none of ours, or could never be.
fn is_taken(machine: &Machine<'_>, name: &str) -> bool {
    let is_there = Path::new("/sys/class/net").join(name).exists();
    let is_ours = || {
        wanted::mesh_mark(machine.settings, name).exists()
            || machine.wiphys.iter().any(|wiphy| {
                let hostapd = wanted::hostapd(machine.settings, &wiphy.name);
                hostapd.files().bss(name).exists()
            })
    };
    name.starts_with(wanted::ANCHOR) || (is_there && !is_ours())
}

pub(super) fn is_installed(program: &str) -> bool {
    if program.contains('/') {
        return fs::metadata(program).is_ok_and(|file| file.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// A text that could not be made, as a refusal below the list entry at `path`.
pub(super) fn refusal(path: &str, error: RenderError) -> Refusal {
    Refusal::new(format!("{path}/{}", error.leaf), error.message)
}
