//! What the kernel says of radios, interfaces and stations.

use super::super::netlink::NetlinkError;
use super::super::nl80211::{Bss, Interface, InterfaceKind, Station};
use super::super::{
    Neighbour, RadioOperState, RadioState, Role, StationState, VifConfig, VifOperState, VifState,
};
use super::{KernelWifi, check, wanted};
use crate::backend::Refusal;

/// Stands for a signal or rate that the driver does not tell.
const NO_SIGNAL_DBM: i8 = i8::MIN;

/// The radios in hardware or configuration, by name.
pub(super) async fn radios(wifi: &KernelWifi) -> Result<Vec<RadioState>, Refusal> {
    let vifs = vifs(wifi).await?;
    let interfaces = wifi.nl80211.interfaces().await.map_err(failed)?;
    let target = wifi.view().target.wifi.clone();
    let mut states = Vec::new();
    for wiphy in wifi.nl80211.known_wiphys().iter() {
        let oper_state = match target.radio(&wiphy.name) {
            Some(radio) if radio.enabled => {
                let mut enabled = target.vifs_of(&wiphy.name).filter(|vif| vif.enabled);
                let is_up = |vif: &VifConfig| {
                    vifs.iter()
                        .any(|one| one.name == vif.name && one.oper_state == VifOperState::Up)
                };
                match enabled.all(is_up) {
                    true => RadioOperState::Up,
                    false => RadioOperState::Degraded,
                }
            }
            _ => RadioOperState::Down,
        };
        let in_service = interfaces
            .iter()
            .find(|one| one.wiphy == wiphy.index && one.channel.is_some());
        let neighbours = match in_service {
            Some(interface) => neighbours(wifi, interface).await?,
            None => Vec::new(),
        };
        states.push(RadioState {
            name: wiphy.name.clone(),
            oper_state,
            max_vifs: check::max_vifs(wiphy),
            neighbours,
        });
    }
    for radio in &target.radios {
        if !states.iter().any(|state| state.name == radio.name) {
            states.push(RadioState {
                name: radio.name.clone(),
                oper_state: RadioOperState::Down,
                max_vifs: 0,
                neighbours: Vec::new(),
            });
        }
    }
    states.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(states)
}

/// The access points heard on the channel of an interface.
async fn neighbours(wifi: &KernelWifi, interface: &Interface) -> Result<Vec<Neighbour>, Refusal> {
    let Some(channel) = interface.channel else {
        return Ok(Vec::new());
    };
    let heard = wifi
        .nl80211
        .heard(interface.ifindex)
        .await
        .map_err(failed)?;
    let mut neighbours: Vec<Neighbour> = heard
        .into_iter()
        .filter(|bss| bss.frequency_mhz == channel.primary_mhz())
        .map(neighbour)
        .collect();
    neighbours.sort_by_key(|neighbour| neighbour.bssid);
    Ok(neighbours)
}

fn neighbour(bss: Bss) -> Neighbour {
    Neighbour {
        bssid: bss.bssid,
        ssid: bss.ssid,
        signal_dbm: bss.signal_dbm.unwrap_or(NO_SIGNAL_DBM),
        last_seen: bss.last_seen,
    }
}

/// The configured interfaces with their stations, by name.
pub(super) async fn vifs(wifi: &KernelWifi) -> Result<Vec<VifState>, Refusal> {
    let interfaces = wifi.nl80211.interfaces().await.map_err(failed)?;
    let (target, faults, starting) = {
        let view = wifi.view();
        (
            view.target.clone(),
            view.faults.clone(),
            view.starting.clone(),
        )
    };
    let mut states = Vec::new();
    for vif in &target.wifi.vifs {
        let interface = interfaces
            .iter()
            .find(|one| one.name == vif.name && is_in_service(one, vif));
        let is_wanted = vif.enabled
            && target
                .wifi
                .radio(&vif.radio)
                .is_some_and(|radio| radio.enabled);
        let last_error = faults.get(&vif.name).cloned();
        let oper_state = match interface {
            Some(_) => VifOperState::Up,
            None if !is_wanted => VifOperState::Down,
            None if starting.contains(&vif.radio) => VifOperState::Starting,
            None if last_error.is_some() => VifOperState::Failed,
            None => VifOperState::Down,
        };
        let stations = match interface {
            Some(interface) => stations(wifi, interface).await?,
            None => Vec::new(),
        };
        let given = target.addresses.get(&vif.name).copied();
        states.push(VifState {
            name: vif.name.clone(),
            oper_state,
            last_error,
            bssid: interface.map_or(given.unwrap_or(wanted::NO_ADDRESS), |one| one.mac),
            station_count: u16::try_from(stations.len()).unwrap_or(u16::MAX),
            stations,
        });
    }
    states.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(states)
}

fn is_in_service(interface: &Interface, vif: &VifConfig) -> bool {
    let kind = match &vif.role {
        Role::AccessPoint(_) => InterfaceKind::AccessPoint,
        Role::MeshPoint(_) => InterfaceKind::MeshPoint,
    };
    interface.kind == kind && interface.channel.is_some()
}

async fn stations(wifi: &KernelWifi, interface: &Interface) -> Result<Vec<StationState>, Refusal> {
    let mut stations = match wifi.nl80211.stations(interface.ifindex).await {
        // It went away since it was listed.
        Err(error) if error.is_not_found() => Vec::new(),
        found => found.map_err(failed)?,
    };
    stations.sort_by_key(|station| station.mac);
    Ok(stations.into_iter().map(station).collect())
}

fn station(station: Station) -> StationState {
    StationState {
        mac: station.mac,
        signal_dbm: station.signal_dbm.unwrap_or(NO_SIGNAL_DBM),
        tx_bitrate_kbps: station.tx_bitrate_kbps.unwrap_or_default(),
        rx_bitrate_kbps: station.rx_bitrate_kbps.unwrap_or_default(),
        tx_bytes: station.tx_bytes,
        rx_bytes: station.rx_bytes,
        tx_airtime_us: station.tx_duration_us,
        rx_airtime_us: station.rx_duration_us,
        connected_for_s: station.connected_s,
    }
}

fn failed(error: NetlinkError) -> Refusal {
    Refusal::new("/tranche-wifi:wifi", error.to_string())
}
