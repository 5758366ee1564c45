//! What a node on real radios refuses: each with one sentence that says where and why, and the rest goes on.

use tranche_agent::backend::hardware::AirtimeScheduler;

use crate::bench::{Bench, access_point};
use crate::clients::run;

const VIF: &str = "/tranche-wifi:wifi/vif[name=";
const RADIO: &str = "operation-failed /tranche-wifi:wifi/radio[name='phy0']";

/// A mesh point in place of the access point.
fn mesh(name: &str, more: &str) -> String {
    let edit = access_point(name).replace("access-point>", "mesh-point>");
    let start = edit.find("<ssid>").unwrap();
    let end = edit.find("</mesh-point>").unwrap();
    format!(
        "{}<mesh-id>m</mesh-id>{more}{}",
        &edit[..start],
        &edit[end..]
    )
}

/// That an edit is refused, with a text that starts and goes on so, and that it changes nothing.
async fn refuse(bench: &Bench, edit: &str, start: &str, part: &str) {
    let before = run("ip -br link");
    let refusal = bench.refused(edit).await;
    assert!(refusal.starts_with(start), "{refusal}\nis not {start}");
    assert!(refusal.contains(part), "{refusal}\nlacks {part}");
    let names = |links: &str| -> Vec<String> {
        let lines = links
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        lines.map(str::to_owned).collect()
    };
    assert_eq!(names(&run("ip -br link")), names(&before), "after {edit}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn what_the_hardware_cannot_do_is_refused_and_changes_nothing() {
    let bench = Bench::start(|_| ()).await;
    bench.edit(&access_point("t-a")).await.unwrap();
    let up = access_point("t-a");

    let forbidden = up.replace("<channel>1<", "<channel>14<");
    let why =
        "/channel: the regulatory domain lets nobody open a network on 2.4GHz channel 14, 20MHz";
    refuse(&bench, &forbidden, &format!("{RADIO}/channel: "), why).await;

    let wide = up.replace("</channel>", "</channel><width>80MHz</width>");
    let why = "channel 1 of the 2.4GHz band can't be 80MHz wide";
    refuse(&bench, &wide, RADIO, why).await;

    let other_band = up.replace("2.4GHz", "6GHz");
    refuse(&bench, &other_band, RADIO, "").await;

    let many: String = (0..300)
        .map(|number| {
            let one = access_point(&format!("t-{number}"));
            let start = one.find("<vif>").unwrap();
            one[start..one.find("</wifi>").unwrap()].to_owned()
        })
        .collect();
    let many = up.replace("</wifi>", &format!("{many}</wifi>"));
    let no_room = RADIO.replace("operation-failed", "resource-denied");
    refuse(&bench, &many, &no_room, "radio phy0 carries at most ").await;

    run("ip link add t-taken type dummy");
    let why = "/name: there is another network interface named t-taken";
    let at = format!("operation-failed {VIF}'t-taken']");
    refuse(&bench, &access_point("t-taken"), &at, why).await;
    run("ip link del t-taken");

    let radio = access_point("t-b").replace("phy0", "phy9");
    let why = "there is no radio phy9 in the hardware";
    refuse(
        &bench,
        &radio,
        "operation-failed /tranche-wifi:wifi/radio[name='phy9']",
        why,
    )
    .await;

    let country = up.replace("<radio><name>", "<country>XA</country><radio><name>");
    let why = "/tranche-wifi:wifi/country: the kernel does not use regulatory domain XA";
    refuse(&bench, &country, "operation-failed ", why).await;

    let scheduled = up.replace("false", "true");
    let why = "/scheduler/enabled: airtime is not scheduled";
    refuse(&bench, &scheduled, RADIO, why).await;

    let world = "<sim xmlns=\"urn:tranche:yang:tranche-sim\"/>";
    refuse(&bench, world, "unknown-namespace ", "tranche-sim").await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn fast_transition_that_cannot_work_is_refused() {
    let bench = Bench::start(|settings| {
        settings.hardware.radios.push("phy4".to_owned());
    })
    .await;
    let key = "0123456789abcdef".repeat(4);
    let roaming = format!(
        "</security><roaming><mobility-domain>a1b2</mobility-domain><mobility-key>{key}</mobility-key></roaming>"
    );
    let fast = |name| access_point(name).replace("</security>", &roaming);
    bench.edit(&fast("t-a")).await.unwrap();
    let other = fast("t-b").replace("phy0", "phy4");
    let at = "operation-failed /tranche-wifi:wifi/vif[name='t-";
    let why = "keys do not get from one radio of a node to another";
    refuse(&bench, &other, at, why).await;
    // What works without a key is taken.
    let domain = "</security><roaming><mobility-domain>a1b3</mobility-domain></roaming>";
    for (name, radio) in [("t-c", "phy0"), ("t-d", "phy4")] {
        let known = access_point(name).replace("</security>", domain);
        let known = known
            .replace("wpa3-personal", "wpa2-personal")
            .replace("phy0", radio);
        bench.edit(&known).await.unwrap();
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn what_hostapd_refuses_fails_the_commit_with_its_words() {
    let bench = Bench::start(|settings| {
        settings.hardware.radios.push("phy4".to_owned());
    })
    .await;
    let running = access_point("t-a").replace("phy0", "phy4");
    bench.edit(&running).await.unwrap();
    let (pid, before) = (run("pidof hostapd"), run("iw dev t-a info"));
    // Somebody else holds the other radio on another channel, which hostapd finds out when it wants to beacon.
    run(
        "iw phy phy0 interface add t-x type mp && ip link set t-x up && iw dev t-x mesh join x freq 2437",
    );
    let refusal = bench.refused(&access_point("t-b")).await;
    let start = format!(
        "operation-failed {VIF}'t-b']: hostapd refused to add access point t-b: Failed to set beacon parameters"
    );
    assert!(refusal.starts_with(&start), "{refusal}");
    assert!(!refusal.contains("could not be brought back"), "{refusal}");
    run("iw dev t-x del");
    assert_eq!(
        (run("pidof hostapd"), run("iw dev t-a info")),
        (pid, before)
    );
    assert_eq!(
        run("ls -d /sys/class/net/t-b /sys/class/net/tr-anchor0 2>/dev/null || true"),
        ""
    );

    // What the kernel finds out is said with its words, too.
    run("ip link add t-none type dummy");
    let nowhere = access_point("t-b").replace("t-br", "t-none");
    let at = format!("operation-failed {VIF}'t-b']/attachment: ");
    refuse(&bench, &nowhere, &at, "interface t-none is not a bridge").await;
    run("ip link del t-none");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn what_is_missing_is_refused_and_the_rest_goes_on() {
    let bench = Bench::start(|settings| {
        settings.hardware.hostapd = "no-such-hostapd".to_owned();
        settings.hardware.wpa_supplicant = "no-such-supplicant".to_owned();
    })
    .await;
    let at = format!("operation-failed {VIF}'t-a']/access-point: ");
    let why = "access points need hostapd: there is no no-such-hostapd in PATH";
    refuse(&bench, &access_point("t-a"), &at, why).await;
    let secret = "<passphrase>correct horse</passphrase>";
    let at = format!("operation-failed {VIF}'t-s']/mesh-point/passphrase: ");
    let why =
        "a mesh with a passphrase needs wpa_supplicant: there is no no-such-supplicant in PATH";
    refuse(&bench, &mesh("t-s", secret), &at, why).await;
    bench.edit(&mesh("t-m", "")).await.unwrap();
    assert!(run("iw dev t-m info").contains("type mesh point"));
    bench.end().await;
}

/// The kernel's type information is what the scheduler's program is fitted to the kernel with.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn without_btf_access_points_run_unscheduled() {
    run("mount -t tmpfs none /sys/kernel/btf");
    let bench = Bench::start(|settings| {
        settings.hardware.airtime = AirtimeScheduler::Auto;
    })
    .await;
    let scheduled = access_point("t-a").replace("false", "true");
    let refusal = bench.refused(&scheduled).await;
    run("umount /sys/kernel/btf");
    assert!(
        refusal.starts_with(&format!(
            "{RADIO}/scheduler/enabled: airtime cannot be scheduled ("
        )),
        "{refusal}"
    );
    assert!(refusal.contains("BTF"), "{refusal}");
    bench.edit(&access_point("t-a")).await.unwrap();
    bench.end().await;
}
