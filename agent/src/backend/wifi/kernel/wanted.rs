//! What a radio is wanted to run, in the words of hostapd and the kernel; where it is written down that it does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::super::hostapd::Hostapd;
use super::super::hostapd::render::{self, BandCapabilities, Bss, Change, RenderError};
use super::super::nl80211::{MeshJoin, Wiphy};
use super::super::supplicant::{self, Supplicant};
use super::super::{Channel, MeshPoint, RadioConfig, Role, VifConfig, WifiConfig};
use super::check::refusal;
use super::{KernelSettings, Target};
use crate::backend::wifi::diff::{radio_path, vif_path};
use crate::backend::{MacAddress, Refusal};

/// How the name of an anchor starts; the wiphy's number follows.
pub(super) const ANCHOR: &str = "tr-anchor";

/// For texts whose address does not matter.
pub(super) const NO_ADDRESS: MacAddress = MacAddress([0; 6]);

/// hostapd's default, which a mesh point beside access points has to keep to.
const BEACON_INTERVAL: u32 = 100;

/// What one radio is to run.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// hostapd's text for the radio; none without access points.
    pub(super) radio: Option<String>,
    /// hostapd's text for each access point, in the order of the configuration.
    pub(super) bsses: Vec<(String, String)>,
    /// The mesh points.
    pub(super) meshes: Vec<WantedMesh>,
}

/// A mesh point.
#[derive(Debug)]
pub(super) struct WantedMesh {
    pub(super) name: String,
    pub(super) join: MeshJoin,
    /// What its authentication daemon runs; none in an open mesh.
    pub(super) secured: Option<String>,
}

impl Wanted {
    /// What `target` wants of the radio `wiphy`, without the interfaces that can't be (`faults`); nothing if the radio is
    /// not configured or off.
    pub(super) fn new(
        settings: &KernelSettings,
        wiphy: &Wiphy,
        target: &Target,
        faults: &BTreeMap<String, String>,
    ) -> Result<Self, Refusal> {
        let mut wanted = Self::default();
        let wifi = &target.wifi;
        let Some(radio) = wifi.radio(&wiphy.name).filter(|radio| radio.enabled) else {
            return Ok(wanted);
        };
        let path = radio_path(&radio.name);
        let channel = Channel::new(radio.band, radio.channel, radio.width)
            .map_err(|reason| Refusal::new(format!("{path}/channel"), reason))?;
        let control = hostapd(settings, &wiphy.name).files().control();
        let vifs = wifi.vifs_of(&radio.name);
        for vif in vifs.filter(|vif| vif.enabled && !faults.contains_key(&vif.name)) {
            let address = target.addresses.get(&vif.name).copied();
            match &vif.role {
                Role::AccessPoint(_) => {
                    let address = address.unwrap_or(NO_ADDRESS);
                    let text = bss_text(vif, radio, address, &control)
                        .map_err(|error| refusal(&vif_path(&vif.name), error))?;
                    wanted.bsses.push((vif.name.clone(), text));
                }
                Role::MeshPoint(mesh) => {
                    wanted.meshes.push(mesh_of(&vif.name, mesh, channel)?);
                }
            }
        }
        if !wanted.bsses.is_empty() {
            let text = radio_text(wiphy, radio, &wifi.country, &control);
            wanted.radio = Some(text.map_err(|error| refusal(&path, error))?);
        }
        Ok(wanted)
    }
}

fn mesh_of(name: &str, mesh: &MeshPoint, channel: Channel) -> Result<WantedMesh, Refusal> {
    let join = MeshJoin {
        mesh_id: mesh.mesh_id.clone(),
        channel,
        beacon_interval: BEACON_INTERVAL,
    };
    let secured = mesh
        .passphrase
        .as_ref()
        .map(|secret| supplicant::text(&join, secret));
    let secured = secured.transpose().map_err(|message| {
        Refusal::new(format!("{}/mesh-point/passphrase", vif_path(name)), message)
    })?;
    Ok(WantedMesh {
        name: name.to_owned(),
        join,
        secured,
    })
}

/// The authentication daemon of a mesh point.
pub(super) fn supplicant(settings: &KernelSettings, vif: &str) -> Supplicant {
    let directory = settings.runtime_dir.join("sae").join(vif);
    Supplicant::new(vif, &settings.supplicant, directory)
}

/// The hostapd of a radio.
pub(super) fn hostapd(settings: &KernelSettings, radio: &str) -> Hostapd {
    Hostapd::new(radio, &settings.hostapd, &settings.runtime_dir.join(radio))
}

/// The file that says that a mesh point is ours, and in which mesh it is.
pub(super) fn mesh_mark(settings: &KernelSettings, vif: &str) -> PathBuf {
    settings.runtime_dir.join("mesh").join(vif)
}

/// The silent first interface of a radio's hostapd.
pub(super) fn anchor(wiphy: &Wiphy) -> String {
    format!("{ANCHOR}{}", wiphy.index)
}

/// The anchor's address: none of its neighbours' may be the same, so that the choice is not the driver's.
pub(super) fn anchor_address(wiphy: &Wiphy) -> Option<MacAddress> {
    let base = hardware_address(&wiphy.name).filter(|_| wiphy.mac_on_create)?;
    Some(address(base, ANCHOR_SLOT))
}

/// hostapd's text for a radio.
pub(super) fn radio_text(
    wiphy: &Wiphy,
    radio: &RadioConfig,
    country: &str,
    control: &Path,
) -> Result<String, RenderError> {
    let limits = wiphy.band(radio.band);
    let capabilities = limits.map_or(BandCapabilities::default(), |limits| BandCapabilities {
        ht: limits.ht.then_some(limits.ht_info),
        vht: limits.vht.then_some(limits.vht_info),
        // hostapd takes no channel that is wider than what 802.11ax has, though 802.11n may have it.
        has_he: limits.he.is_some_and(|widest| radio.width <= widest),
    });
    render::radio(radio, country, capabilities, &anchor(wiphy), control)
}

/// How a radio goes from its text `from` to `to`, that of `radio`, with its stations: hostapd's order and the channel. None
/// where the driver can't, where radar has to be listened for first, or where more changes than the channel.
pub(super) fn channel_switch(
    wiphy: &Wiphy,
    from: &str,
    to: &str,
    radio: &RadioConfig,
) -> Option<(String, Channel)> {
    let channel = Channel::new(radio.band, radio.channel, radio.width).ok()?;
    let limits = wiphy.band(radio.band)?;
    let has_radar = |mhz| {
        limits
            .channels
            .iter()
            .any(|one| one.mhz == mhz && one.radar)
    };
    if !wiphy.channel_switch || channel.members_mhz().any(has_radar) {
        return None;
    }
    let order = render::channel_switch(from, to, &channel)?;
    Some((order, channel))
}

/// hostapd's text for an access point.
pub(super) fn bss_text(
    vif: &VifConfig,
    radio: &RadioConfig,
    bssid: MacAddress,
    control: &Path,
) -> Result<String, RenderError> {
    let Role::AccessPoint(access_point) = &vif.role else {
        return Ok(String::new());
    };
    let bss = Bss {
        name: &vif.name,
        bssid,
        band: radio.band,
        access_point,
        bridge: vif.attachment.bridge.as_deref(),
    };
    render::access_point(&bss, control)
}

/// Whether an interface goes down and up on its way from one configuration to the other.
pub(super) fn restarts(
    (old_wifi, old): (&WifiConfig, &VifConfig),
    (new_wifi, new): (&WifiConfig, &VifConfig),
) -> bool {
    if old.radio != new.radio || old.enabled != new.enabled {
        return true;
    }
    match (&old.role, &new.role) {
        (Role::AccessPoint(_), Role::AccessPoint(_)) => {
            let text = |wifi: &WifiConfig, vif: &VifConfig| {
                let radio = wifi.radio(&vif.radio)?;
                bss_text(vif, radio, NO_ADDRESS, Path::new("/")).ok()
            };
            match (text(old_wifi, old), text(new_wifi, new)) {
                (Some(old), Some(new)) => render::change(&old, &new) == Change::Restart,
                _ => true,
            }
        }
        (old, new) => old != new,
    }
}

/// Gives each interface of a configuration an address: the one it has (`known`), else one of its own.
///
/// It is the radio's address made local (IEEE Std 802-2014 8.4) with a number in the bits that drivers can tell apart
/// cheaply. The number comes from the name, so that an interface mostly has the same address again after a restart of the
/// machine.
pub(super) fn addresses(
    wifi: &WifiConfig,
    known: &BTreeMap<String, (String, MacAddress)>,
) -> BTreeMap<String, MacAddress> {
    let mut given = BTreeMap::new();
    let mut taken: BTreeSet<MacAddress> = BTreeSet::new();
    for vif in &wifi.vifs {
        if let Some((radio, address)) = known.get(&vif.name)
            && *radio == vif.radio
            && taken.insert(*address)
        {
            given.insert(vif.name.clone(), *address);
        }
    }
    for vif in &wifi.vifs {
        if given.contains_key(&vif.name) {
            continue;
        }
        let base = hardware_address(&vif.radio).unwrap_or(NO_ADDRESS);
        let first = slot(&vif.name);
        let free = (0..SLOTS)
            .map(|step| address(base, 1 + (first + step) % SLOTS))
            .find(|address| taken.insert(*address));
        if let Some(free) = free {
            given.insert(vif.name.clone(), free);
        }
    }
    given
}

/// Numbers that an interface can have besides 0, the radio's own, and the anchor's.
const SLOTS: u16 = 254;

/// The anchor's number.
const ANCHOR_SLOT: u16 = 255;

/// The number that a name asks for first (FNV-1a).
fn slot(name: &str) -> u16 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    // Few interfaces share a radio: numbers that fit into the first octet come first.
    (hash % 63) as u16
}

/// Address number `slot` of a radio: six bits of it in the first octet beside the local bit, the rest in the second.
fn address(base: MacAddress, slot: u16) -> MacAddress {
    let MacAddress([first, second, rest @ ..]) = base;
    let low = ((slot & 0x3f) << 2) as u8;
    let high = (slot >> 6) as u8;
    let [a, b, c, d] = rest;
    MacAddress([(first | 0b10) ^ low, second ^ high, a, b, c, d])
}

/// The address that a radio was made with.
fn hardware_address(radio: &str) -> Option<MacAddress> {
    let path = Path::new("/sys/class/ieee80211")
        .join(radio)
        .join("macaddress");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::sim::scenario::vif;

    #[test]
    fn addresses_are_local_different_and_kept() {
        let base = MacAddress([0x00, 0x11, 0x22, 0x33, 0x44, 0x55]);
        let all: BTreeSet<MacAddress> = (0..=ANCHOR_SLOT).map(|slot| address(base, slot)).collect();
        assert_eq!(all.len(), usize::from(SLOTS) + 2);
        assert!(all.iter().all(|address| address.0[0] & 0b11 == 0b10));

        let wifi = |names: &[&str]| WifiConfig {
            vifs: names
                .iter()
                .map(|name| vif(name, "none", 0.0, 100.0))
                .collect(),
            ..WifiConfig::default()
        };
        let names: Vec<String> = (0..70).map(|number| format!("t-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let first = addresses(&wifi(&names), &BTreeMap::new());
        let different: BTreeSet<&MacAddress> = first.values().collect();
        assert_eq!((first.len(), different.len()), (70, 70));
        let known = first
            .iter()
            .map(|(name, address)| (name.clone(), ("none".to_owned(), *address)))
            .collect();
        let second = addresses(&wifi(&["t-69", "new", "t-3"]), &known);
        assert_eq!(
            (second["t-69"], second["t-3"]),
            (first["t-69"], first["t-3"])
        );
    }
}
