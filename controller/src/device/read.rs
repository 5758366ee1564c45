//! What a node has, read from its `get` into types.

use tranche_netconf::message::Filter;
use tranche_netconf::xml::{Element, Fragment, XmlError};

use crate::intent::STEERING;
use crate::intent::{
    AccessPoint, Attachment, BACKHAUL, RAN, Radius, Ratio, Roaming, Secret, Security, SecurityMode,
    VifConfig,
};
use crate::inventory::{Observed, Radio, Vif, VifState};

use super::ran;
use super::steering::steering;
use super::tunnel::tunnels;

pub(super) const WIFI: &str = "urn:tranche:yang:tranche-wifi";

/// Why the data of a node can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not well formed.
    #[error("the node's data is not well formed")]
    Xml(#[from] XmlError),
    /// A leaf that the model makes mandatory is missing.
    #[error("the node's data lacks {0}")]
    Missing(String),
    /// A leaf has a value that the model does not allow.
    #[error("the node's data has the value `{value}` in {leaf}")]
    Value {
        /// Which leaf.
        leaf: String,
        /// The value.
        value: String,
    },
}

/// Selects radios, vifs, cells, cores, slice profiles, tunnels and steering with their configuration, without the lists of stations and neighbours.
pub(super) fn filter() -> Filter {
    Filter::Subtree(Fragment::from_trusted(format!(
        "<wifi xmlns=\"{WIFI}\">\
         <radio><name/><band/><channel/><state><max-vifs/></state></radio>\
         <vif><name/><radio/><enabled/><slice/><access-point/><mesh-point/><attachment/><airtime/>\
         <state><oper-state/><last-error/><bssid/><stations/></state></vif></wifi>\
         <backhaul xmlns=\"{BACKHAUL}\"><tunnel/></backhaul>\
         <steering xmlns=\"{STEERING}\"><port/><chain/><rule/><resolver/></steering>{}",
        ran::filter()
    )))
}

/// Reads the content of `<data>`. A node without Wi-Fi has neither radios nor vifs.
pub(super) fn observed(data: &Fragment) -> Result<Observed, ReadError> {
    let mut observed = Observed::default();
    let tops = data.elements()?;
    for wifi in tops
        .iter()
        .filter(|top| top.name == "wifi" && top.namespace == WIFI)
    {
        for radio in wifi.children("radio") {
            observed
                .radios
                .insert(mandatory(radio, "radio", "name")?, read_radio(radio)?);
        }
        for vif in wifi.children("vif") {
            observed
                .vifs
                .insert(mandatory(vif, "vif", "name")?, read_vif(vif)?);
        }
    }
    for backhaul in tops
        .iter()
        .filter(|top| top.name == "backhaul" && top.namespace == BACKHAUL)
    {
        observed.tunnels = tunnels(backhaul)?;
    }
    for cells in tops
        .iter()
        .filter(|top| top.name == "ran" && top.namespace == RAN)
    {
        ran::take(cells, &mut observed)?;
    }
    let of_steering = |top: &&Element| top.name == "steering" && top.namespace == STEERING;
    if let Some(top) = tops.iter().find(of_steering) {
        observed.steering = steering(top)?;
    }
    Ok(observed)
}

fn read_radio(radio: &Element) -> Result<Radio, ReadError> {
    Ok(Radio {
        band: mandatory(radio, "radio", "band")?,
        channel: parsed(radio, "radio", "channel")?,
        max_vifs: radio
            .child("state")
            .map_or(Ok(None), |state| parsed(state, "radio", "max-vifs"))?,
        hears: Default::default(),
    })
}

fn read_vif(vif: &Element) -> Result<Vif, ReadError> {
    let airtime = vif.child("airtime");
    let ratio = |leaf: &str, default: Ratio| {
        airtime
            .map_or(Ok(None), |airtime| parsed(airtime, "vif/airtime", leaf))
            .map(|ratio| ratio.unwrap_or(default))
    };
    let (min_ratio, max_ratio) = (
        ratio("min-ratio", Ratio::ZERO)?,
        ratio("max-ratio", Ratio::FULL)?,
    );
    let radio = mandatory(vif, "vif", "radio")?;
    let slice = vif.child_text("slice").map(str::to_owned);
    let access_point = vif
        .child("access-point")
        .map(read_access_point)
        .transpose()?
        .flatten();
    let only_known = vif.children.iter().all(|child| {
        matches!(
            &*child.name,
            "name"
                | "radio"
                | "enabled"
                | "slice"
                | "access-point"
                | "attachment"
                | "airtime"
                | "state"
        )
    });
    let attachment = vif.child("attachment").map(read_attachment).transpose()?;
    let config = match (&slice, access_point) {
        (Some(slice), Some(access_point)) if only_known => Some(VifConfig {
            radio: radio.clone(),
            slice: slice.clone(),
            access_point: AccessPoint {
                attachment: attachment.unwrap_or_default(),
                ..access_point
            },
            min_ratio,
            max_ratio,
        }),
        _ => None,
    };
    let state = vif
        .child("state")
        .map_or(Ok(VifState::default()), read_state)?;
    let enabled = parsed(vif, "vif", "enabled")?.unwrap_or(true);
    Ok(Vif {
        radio,
        slice,
        enabled,
        min_ratio,
        max_ratio,
        config,
        state,
    })
}

/// `None`: it has something that this controller does not make.
fn read_access_point(element: &Element) -> Result<Option<AccessPoint>, ReadError> {
    const KNOWN: [&str; 6] = [
        "ssid",
        "hidden",
        "max-stations",
        "station-isolation",
        "security",
        "roaming",
    ];
    let at = "vif/access-point";
    let known = element
        .children
        .iter()
        .all(|child| KNOWN.contains(&&*child.name));
    let security = element
        .child("security")
        .map_or(Ok(Some(Security::default())), read_security)?;
    let roaming = element.child("roaming").map(read_roaming).transpose()?;
    let ssid = mandatory(element, at, "ssid")?;
    let hidden = parsed(element, at, "hidden")?.unwrap_or(false);
    let max_stations = parsed(element, at, "max-stations")?;
    let station_isolation = parsed(element, at, "station-isolation")?.unwrap_or(true);
    Ok(security.filter(|_| known).map(|security| AccessPoint {
        ssid,
        hidden,
        max_stations,
        station_isolation,
        security,
        roaming: roaming.unwrap_or_default(),
        attachment: Attachment::default(),
    }))
}

fn read_roaming(element: &Element) -> Result<Roaming, ReadError> {
    let flag =
        |name| parsed(element, "vif/access-point/roaming", name).map(Option::unwrap_or_default);
    Ok(Roaming {
        mobility_domain: element.child_text("mobility-domain").map(str::to_owned),
        mobility_key: element.child_text("mobility-key").map(Secret::new),
        neighbour_report: flag("neighbour-report")?,
        beacon_report: flag("beacon-report")?,
        bss_transition: flag("bss-transition")?,
    })
}

fn read_attachment(element: &Element) -> Result<Attachment, ReadError> {
    Ok(Attachment {
        bridge: element.child_text("bridge").map(str::to_owned),
        vlan: parsed(element, "vif/attachment", "vlan")?,
    })
}

fn read_security(element: &Element) -> Result<Option<Security>, ReadError> {
    let Some(mode) = element
        .child_text("mode")
        .map_or(Some(SecurityMode::default()), SecurityMode::from_name)
    else {
        return Ok(None);
    };
    let radius = match element.child("radius") {
        None => None,
        Some(radius) => Some(Radius {
            address: mandatory(radius, "vif/access-point/security/radius", "address")?,
            port: parsed(radius, "vif/access-point/security/radius", "port")?.unwrap_or(1812),
            // Hidden from who may not read it.
            secret: Secret::new(radius.child_text("secret").unwrap_or_default()),
        }),
    };
    Ok(Some(Security {
        mode,
        passphrase: element.child_text("passphrase").map(Secret::new),
        radius,
    }))
}

fn read_state(state: &Element) -> Result<VifState, ReadError> {
    let text = |name: &str| {
        state
            .child_text(name)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    Ok(VifState {
        oper_state: text("oper-state"),
        last_error: text("last-error"),
        bssid: text("bssid"),
        stations: parsed(state, "vif/state", "stations")?,
    })
}

pub(super) fn mandatory(element: &Element, at: &str, name: &str) -> Result<String, ReadError> {
    element
        .child_text(name)
        .map(str::to_owned)
        .ok_or_else(|| ReadError::Missing(format!("{at}/{name}")))
}

pub(super) fn parsed<T: std::str::FromStr>(
    element: &Element,
    at: &str,
    name: &str,
) -> Result<Option<T>, ReadError> {
    let Some(text) = element.child_text(name) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| ReadError::Value {
        leaf: format!("{at}/{name}"),
        value: text.to_owned(),
    })
}

/// A share in percent.
pub(super) fn ratio(element: &Element, at: &str, leaf: &str) -> Result<Option<f64>, ReadError> {
    Ok(parsed::<Ratio>(element, at, leaf)?.map(Ratio::percent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::NodePlan;

    fn read(content: &str) -> Result<Observed, ReadError> {
        observed(&Fragment::from_trusted(format!(
            "<wifi xmlns='{WIFI}'>{content}</wifi>"
        )))
    }

    const RADIO: &str = "<radio><name>radio0</name><band>5GHz</band><channel>36</channel>\
                         <state><max-vifs>8</max-vifs></state></radio>";

    #[test]
    fn radios_and_vifs_are_read_with_their_defaults() {
        let found = read(&format!(
            "{RADIO}<vif><name>a-radio0</name><radio>radio0</radio><slice>a</slice>\
             <access-point><ssid>a&amp;b</ssid><security><mode>open</mode></security></access-point>\
             <airtime><min-ratio>30.0</min-ratio></airtime>\
             <state><oper-state>up</oper-state><bssid>02:00:00:00:00:01</bssid><stations>2</stations></state></vif>\
             <vif><name>mesh0</name><radio>radio0</radio><mesh-point><mesh-id>m</mesh-id></mesh-point></vif>"
        ))
        .expect("valid");
        let radio = &found.radios["radio0"];
        assert_eq!(
            (&*radio.band, radio.channel, radio.max_vifs),
            ("5GHz", Some(36), Some(8))
        );
        let vif = &found.vifs["a-radio0"];
        let config = vif.config.as_ref().expect("of our kind");
        assert_eq!(
            (
                &*config.access_point.ssid,
                config.access_point.security.mode
            ),
            ("a&b", SecurityMode::Open)
        );
        assert_eq!(
            (
                vif.min_ratio.percent(),
                vif.max_ratio.percent(),
                vif.enabled
            ),
            (30.0, 100.0, true)
        );
        assert_eq!(
            (vif.state.oper_state.as_deref(), vif.state.stations),
            (Some("up"), Some(2))
        );
        assert!(found.vifs["mesh0"].config.is_none());
        assert_eq!(
            found
                .ours()
                .map(|(name, _)| name.as_str())
                .collect::<Vec<_>>(),
            ["a-radio0"]
        );
    }

    #[test]
    fn what_this_controller_never_makes_is_no_configuration_of_ours() {
        let found = read(&format!(
            "{RADIO}<vif><name>a-radio0</name><radio>radio0</radio><slice>a</slice>\
             <access-point><ssid>a</ssid></access-point><vendor-leaf>1</vendor-leaf></vif>"
        ));
        assert!(found.expect("valid").vifs["a-radio0"].config.is_none());
    }

    #[test]
    fn roaming_and_attachment_are_read_back_as_they_were_written() {
        let config = VifConfig {
            radio: "radio0".to_owned(),
            slice: "a".to_owned(),
            access_point: AccessPoint {
                ssid: "a".to_owned(),
                hidden: true,
                max_stations: Some(9),
                station_isolation: false,
                security: Security::default(),
                roaming: Roaming {
                    mobility_domain: Some("a1b2".to_owned()),
                    mobility_key: Some(Secret::new("0f".repeat(32))),
                    neighbour_report: true,
                    beacon_report: false,
                    bss_transition: true,
                },
                attachment: Attachment {
                    bridge: Some("br0".to_owned()),
                    vlan: Some(7),
                },
            },
            min_ratio: Ratio::ZERO,
            max_ratio: Ratio::FULL,
        };
        let plan = NodePlan {
            vifs: [("a-radio0".to_owned(), config.clone())].into(),
            ..NodePlan::default()
        };
        let edit = plan
            .edit(None, &Observed::default())
            .expect("not there yet");
        let found = observed(&edit).expect("valid");
        assert_eq!(found.vifs["a-radio0"].config.as_ref(), Some(&config));
    }

    #[test]
    fn data_that_breaks_the_model_says_where() {
        let error = read("<radio><name>r</name></radio>").expect_err("no band");
        assert_eq!(error.to_string(), "the node's data lacks radio/band");
        let error = read("<radio><name>r</name><band>5GHz</band><channel>many</channel></radio>")
            .expect_err("text");
        assert_eq!(
            error.to_string(),
            "the node's data has the value `many` in radio/channel"
        );
        assert!(observed(&Fragment::from_trusted("<wifi".into())).is_err());
    }
}
