//! What hostapd is given for each kind of radio and access point, and what it is never given.
//!
//! `UPDATE_GOLDEN=1` writes `agent/tests/golden/hostapd` anew; review the difference.

use proptest::prelude::*;

use super::*;
use crate::backend::sim::scenario::{radio as radio_config, vif};
use crate::backend::wifi::{RadioConfig, Role, Width};

const CONTROL: &str = "/run/tranche/phy0/control";

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/hostapd")
        .join(format!("{name}.conf"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{}", path.display());
}

fn open(ssid: &str) -> AccessPoint {
    let Role::AccessPoint(mut access_point) = vif("t-a", "phy0", 0.0, 100.0).role else {
        panic!("not an access point")
    };
    access_point.ssid = ssid.to_owned();
    access_point
}

fn with(mode: SecurityMode, change: impl FnOnce(&mut AccessPoint)) -> AccessPoint {
    let mut access_point = open("blue");
    let security = &mut access_point.security;
    security.mode = mode;
    security.passphrase = mode
        .is_personal()
        .then(|| Secret::new("correct horse #1=\"2\""));
    if matches!(
        mode,
        SecurityMode::Wpa2Enterprise | SecurityMode::Wpa3Enterprise
    ) {
        security.radius = Some(Radius {
            address: "192.0.2.1".to_owned(),
            port: 1812,
            secret: Secret::new("radius secret"),
        });
    }
    change(&mut access_point);
    access_point
}

fn render(access_point: &AccessPoint, band: Band) -> Result<String, RenderError> {
    let bss = Bss {
        name: "t-a",
        bssid: MacAddress([6, 0, 0, 0, 0, 1]),
        band,
        access_point,
        bridge: Some("br-blue"),
    };
    super::access_point(&bss, Path::new(CONTROL))
}

#[test]
fn every_security_mode_has_its_text() {
    for (name, mode) in [
        ("open", SecurityMode::Open),
        ("owe", SecurityMode::Owe),
        ("wpa2-personal", SecurityMode::Wpa2Personal),
        ("wpa2-wpa3-personal", SecurityMode::Wpa2Wpa3Personal),
        ("wpa3-personal", SecurityMode::Wpa3Personal),
        ("wpa2-enterprise", SecurityMode::Wpa2Enterprise),
        ("wpa3-enterprise", SecurityMode::Wpa3Enterprise),
    ] {
        compare(name, &render(&with(mode, |_| {}), Band::Ghz2).unwrap());
    }
}

#[test]
fn options_of_an_access_point_have_their_text() {
    let hidden = with(SecurityMode::Open, |access_point| {
        access_point.hidden = true;
        access_point.max_stations = Some(3);
        access_point.station_isolation = false;
        access_point.ssid = "café\nssid2=00".to_owned();
    });
    compare("hidden", &render(&hidden, Band::Ghz5).unwrap());
    let roaming = |key: Option<&str>| Roaming {
        mobility_domain: Some("a1b2".to_owned()),
        mobility_key: key.map(Secret::new),
        neighbour_report: true,
        beacon_report: true,
        bss_transition: true,
    };
    let local = with(SecurityMode::Wpa2Personal, |ap| ap.roaming = roaming(None));
    compare(
        "roaming-wpa2-personal",
        &render(&local, Band::Ghz5).unwrap(),
    );
    let key = "0f".repeat(32);
    let keyed = with(SecurityMode::Wpa3Personal, |access_point| {
        access_point.roaming = roaming(Some(&key));
    });
    compare(
        "roaming-wpa3-personal",
        &render(&keyed, Band::Ghz6).unwrap(),
    );
}

#[test]
fn every_band_and_width_has_its_text() {
    let all = BandCapabilities {
        ht: Some(0x107e),
        vht: Some(0x0380_04fa),
        has_he: true,
    };
    let no_he = BandCapabilities {
        has_he: false,
        ..all
    };
    for (name, band, channel, width, country, capabilities) in [
        (
            "radio-2.4GHz-20MHz",
            Band::Ghz2,
            1,
            Width::Mhz20,
            "00",
            no_he,
        ),
        (
            "radio-2.4GHz-40MHz",
            Band::Ghz2,
            11,
            Width::Mhz40,
            "DE",
            all,
        ),
        (
            "radio-5GHz-40MHz",
            Band::Ghz5,
            40,
            Width::Mhz40,
            "DE",
            no_he,
        ),
        ("radio-5GHz-80MHz", Band::Ghz5, 36, Width::Mhz80, "DE", all),
        (
            "radio-5GHz-160MHz",
            Band::Ghz5,
            52,
            Width::Mhz160,
            "DE",
            all,
        ),
        ("radio-6GHz-80MHz", Band::Ghz6, 5, Width::Mhz80, "US", all),
        (
            "radio-legacy",
            Band::Ghz5,
            36,
            Width::Mhz20,
            "00",
            BandCapabilities::default(),
        ),
    ] {
        let config = RadioConfig {
            band,
            channel,
            width,
            ..radio_config("phy0")
        };
        let text = radio(
            &config,
            country,
            capabilities,
            "anchor0",
            Path::new(CONTROL),
        );
        compare(name, &text.unwrap());
    }
}

#[test]
fn what_a_radio_cannot_do_is_refused() {
    let ht = BandCapabilities {
        ht: Some(0x0c),
        ..BandCapabilities::default()
    };
    let vht = BandCapabilities {
        ht: Some(0x107e),
        vht: Some(0),
        has_he: false,
    };
    for (band, channel, width, capabilities, leaf, reason) in [
        (
            Band::Ghz5,
            37,
            Width::Mhz20,
            vht,
            "channel",
            "channel 37 is not in the 5GHz band",
        ),
        (
            Band::Ghz5,
            36,
            Width::Mhz40,
            BandCapabilities::default(),
            "width",
            "radio phy0 can't do 40MHz: it has no HT (802.11n)",
        ),
        (
            Band::Ghz2,
            6,
            Width::Mhz40,
            ht,
            "width",
            "radio phy0 can't do 40MHz: it has no 40MHz channels in this band",
        ),
        (
            Band::Ghz5,
            36,
            Width::Mhz160,
            vht,
            "width",
            "radio phy0 can't do 160MHz: it has no 160MHz channels",
        ),
        (
            Band::Ghz6,
            5,
            Width::Mhz20,
            vht,
            "width",
            "radio phy0 can't do 20MHz: it has no HE (802.11ax), which the 6GHz band needs",
        ),
    ] {
        let config = RadioConfig {
            band,
            channel,
            width,
            ..radio_config("phy0")
        };
        let refused = radio(&config, "00", capabilities, "anchor0", Path::new(CONTROL));
        assert_eq!(refused, Err(RenderError::new(leaf, reason)));
    }
}

#[test]
fn what_hostapd_cannot_be_given_is_refused() {
    let passphrase = |mode, text: &str| {
        with(mode, |access_point| {
            access_point.security.passphrase = Some(Secret::new(text));
        })
    };
    let radius = |address: &str, secret: &str| {
        with(SecurityMode::Wpa2Enterprise, |access_point| {
            access_point.security.radius = Some(Radius {
                address: address.to_owned(),
                port: 1812,
                secret: Secret::new(secret),
            });
        })
    };
    for (access_point, band, leaf) in [
        (open(&"é".repeat(17)), Band::Ghz5, "access-point/ssid"),
        (
            passphrase(SecurityMode::Wpa2Personal, "12345678\nwpa=0"),
            Band::Ghz5,
            "access-point/security/passphrase",
        ),
        (
            passphrase(SecurityMode::Wpa2Personal, "pässword"),
            Band::Ghz5,
            "access-point/security/passphrase",
        ),
        (
            passphrase(SecurityMode::Wpa3Personal, "12345678|id=x"),
            Band::Ghz5,
            "access-point/security/passphrase",
        ),
        (
            radius("radius.example", "secret"),
            Band::Ghz5,
            "access-point/security/radius/address",
        ),
        (
            radius("192.0.2.1", "a\nb"),
            Band::Ghz5,
            "access-point/security/radius/secret",
        ),
        (open("blue"), Band::Ghz6, "access-point/security/mode"),
    ] {
        let refused = render(&access_point, band).unwrap_err();
        assert_eq!(refused.leaf, leaf, "{refused}");
    }
}

#[test]
fn a_change_is_as_gentle_as_it_can_be() {
    let text = |change: &dyn Fn(&mut AccessPoint)| {
        let mut access_point = with(SecurityMode::Wpa2Personal, |_| {});
        change(&mut access_point);
        render(&access_point, Band::Ghz5).unwrap()
    };
    let before = text(&|_| {});
    assert_eq!(change(&before, &before), Change::None);
    let setting = |key: &str, value: &str| Change::Hot(vec![(key.to_owned(), value.to_owned())]);
    assert_eq!(
        change(&before, &text(&|ap| ap.hidden = true)),
        setting("ignore_broadcast_ssid", "1")
    );
    assert_eq!(
        change(&before, &text(&|ap| ap.max_stations = Some(7))),
        setting("max_num_sta", "7")
    );
    assert_eq!(
        change(&before, &text(&|ap| ap.ssid = "green".to_owned())),
        Change::Restart
    );
    let moves = |ap: &mut AccessPoint| ap.roaming.mobility_domain = Some("0001".to_owned());
    assert_eq!(change(&before, &text(&moves)), Change::Restart);
    assert_eq!(change("", &before), Change::Restart);
}

proptest! {
    #[test]
    fn no_value_becomes_a_line(ssid in ".{1,10}", passphrase in ".{8,20}", secret in ".{1,20}") {
        let shape = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.split_once('=').unwrap().0.to_owned()).collect()
        };
        let mut personal = with(SecurityMode::Wpa2Wpa3Personal, |_| {});
        let expected = shape(&render(&personal, Band::Ghz5).unwrap());
        personal.ssid = ssid;
        personal.security.passphrase = Some(Secret::new(passphrase));
        if let Ok(text) = render(&personal, Band::Ghz5) {
            prop_assert_eq!(shape(&text), expected);
        }
        let mut enterprise = with(SecurityMode::Wpa3Enterprise, |_| {});
        let expected = shape(&render(&enterprise, Band::Ghz5).unwrap());
        if let Some(radius) = &mut enterprise.security.radius {
            radius.secret = Secret::new(secret);
        }
        if let Ok(text) = render(&enterprise, Band::Ghz5) {
            prop_assert_eq!(shape(&text), expected);
        }
    }
}
