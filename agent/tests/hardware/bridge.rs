//! Attachment to Linux bridges: no wireless device is needed, so these run in any network namespace too
//! (`unshare --user --map-root-user --net`).

use tranche_agent::backend::wifi::Attachment;
use tranche_agent::backend::wifi::bridge::AttachError;
use tranche_agent::backend::wifi::link::{LinkEvent, Links};

use crate::clients::run;

fn to(bridge: &str, vlan: Option<u16>) -> Attachment {
    Attachment {
        bridge: Some(bridge.to_owned()),
        vlan,
    }
}

/// What `bridge vlan` prints of a port.
fn vlans(port: &str) -> String {
    let output = std::process::Command::new("bridge")
        .args(["vlan", "show", "dev", port])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
#[ignore = "needs root in a network namespace of its own: run by make test-vm"]
async fn a_bridge_lives_as_long_as_it_has_ports() {
    run("ip link add t-p1 type veth peer t-p1x && ip link add t-p2 type veth peer t-p2x");
    let links = Links::connect().unwrap();
    links.attach("t-p1", &to("t-br", Some(10))).await.unwrap();
    links.attach("t-p2", &to("t-br", None)).await.unwrap();
    assert_eq!(
        links.attachment("t-p1").await.unwrap(),
        to("t-br", Some(10))
    );
    assert_eq!(links.attachment("t-p2").await.unwrap(), to("t-br", None));
    assert!(
        vlans("t-p1").ends_with("t-p1 10 PVID Egress Untagged"),
        "{}",
        vlans("t-p1")
    );
    assert!(
        vlans("t-p2").ends_with("t-p2 1 PVID Egress Untagged"),
        "{}",
        vlans("t-p2")
    );
    let bridge = links.link("t-br").await.unwrap().unwrap();
    assert!(bridge.is_up && bridge.filters_vlans);

    links.attach("t-p1", &to("t-br", Some(20))).await.unwrap();
    assert!(
        vlans("t-p1").ends_with("t-p1 20 PVID Egress Untagged"),
        "{}",
        vlans("t-p1")
    );
    links.attach("t-p1", &to("t-br", None)).await.unwrap();
    assert_eq!(links.attachment("t-p1").await.unwrap(), to("t-br", None));

    links.detach("t-p1").await.unwrap();
    assert_eq!(
        links.attachment("t-p1").await.unwrap(),
        Attachment::default()
    );
    assert!(links.link("t-br").await.unwrap().is_some());
    run("ip link del t-p2");
    assert!(links.link("t-br").await.unwrap().is_some());
    links.remove_unused_bridges().await.unwrap();
    assert_eq!(links.link("t-br").await.unwrap(), None);
    run("ip link del t-p1");
}

#[tokio::test]
#[ignore = "needs root in a network namespace of its own: run by make test-vm"]
async fn a_port_moves_and_its_old_bridge_goes() {
    run("ip link add t-p1 type veth peer t-p1x");
    let links = Links::connect().unwrap();
    links.attach("t-p1", &to("t-br1", None)).await.unwrap();
    links
        .attach("t-p1", &to("t-br2", Some(4094)))
        .await
        .unwrap();
    assert_eq!(
        links.attachment("t-p1").await.unwrap(),
        to("t-br2", Some(4094))
    );
    assert_eq!(links.link("t-br1").await.unwrap(), None);
    links.attach("t-p1", &Attachment::default()).await.unwrap();
    assert_eq!(links.link("t-br2").await.unwrap(), None);
    run("ip link del t-p1");
}

#[tokio::test]
#[ignore = "needs root in a network namespace of its own: run by make test-vm"]
async fn somebody_elses_bridge_is_used_and_left_as_it_is() {
    run(
        "ip link add t-p1 type veth peer t-p1x && ip link add t-br address 02:00:00:00:00:b0 type bridge && ip link add t-d type veth peer t-dx",
    );
    let links = Links::connect().unwrap();
    let before = links.link("t-br").await.unwrap();
    let refusal = links
        .attach("t-p1", &to("t-br", Some(7)))
        .await
        .unwrap_err();
    assert!(matches!(&refusal, AttachError::NoVlanFiltering(name) if name == "t-br"));
    links.attach("t-p1", &to("t-br", None)).await.unwrap();
    assert_eq!(links.attachment("t-p1").await.unwrap(), to("t-br", None));
    links.detach("t-p1").await.unwrap();
    assert_eq!(links.link("t-br").await.unwrap(), before);

    run("ip link set t-br type bridge vlan_filtering 1");
    links.attach("t-p1", &to("t-br", Some(7))).await.unwrap();
    assert!(
        vlans("t-p1").ends_with("t-p1 7 PVID Egress Untagged"),
        "{}",
        vlans("t-p1")
    );
    links.detach("t-p1").await.unwrap();
    assert!(links.link("t-br").await.unwrap().is_some());

    let refusal = links.attach("t-p1", &to("t-d", None)).await.unwrap_err();
    assert_eq!(refusal.to_string(), "interface t-d is not a bridge");
    let refusal = links.attach("t-no", &to("t-br", None)).await.unwrap_err();
    assert_eq!(refusal.to_string(), "there is no interface t-no");
    assert_eq!(links.link("t-no").await.unwrap(), None);
    links.detach("t-no").await.unwrap();
    run("ip link del t-p1 && ip link del t-br && ip link del t-d");
}

/// Skipped, and said so, where Open vSwitch is not installed (Debian: `openvswitch-switch`).
#[tokio::test]
#[ignore = "needs root in a network namespace of its own: run by make test-vm"]
async fn an_open_vswitch_bridge_gets_ports_with_their_vlan() {
    let daemons = "/usr/share/openvswitch/scripts/ovs-ctl";
    if !std::path::Path::new(daemons).exists() {
        eprintln!("skipped: Open vSwitch is not installed");
        return;
    }
    run(&format!("{daemons} start --system-id=test"));
    run("ovs-vsctl add-br t-ovs && ip link add t-p1 type veth peer t-p1x");
    let links = Links::connect().unwrap();
    links.attach("t-p1", &to("t-ovs", Some(5))).await.unwrap();
    assert_eq!(
        links.attachment("t-p1").await.unwrap(),
        to("t-ovs", Some(5))
    );
    assert_eq!(run("ovs-vsctl get port t-p1 tag").trim(), "5");
    links.attach("t-p1", &to("t-ovs", None)).await.unwrap();
    assert_eq!(run("ovs-vsctl get port t-p1 tag").trim(), "[]");
    links.attach("t-p1", &to("t-br", None)).await.unwrap();
    assert_eq!(links.attachment("t-p1").await.unwrap(), to("t-br", None));
    assert_eq!(run("ovs-vsctl list-ports t-ovs").trim(), "");
    links.attach("t-p1", &to("t-ovs", Some(6))).await.unwrap();
    assert_eq!(links.link("t-br").await.unwrap(), None);
    run("ip link del t-p1");
    links.detach("t-p1").await.unwrap();
    assert_eq!(run("ovs-vsctl list-ports t-ovs").trim(), "");
    assert_eq!(run("ovs-vsctl list-br").trim(), "t-ovs");
    run(&format!("ovs-vsctl del-br t-ovs && {daemons} stop"));
}

#[tokio::test]
#[ignore = "needs root in a network namespace of its own: run by make test-vm"]
async fn links_tell_what_happens_to_them() {
    let links = Links::connect().unwrap();
    run("ip link add t-p1 type veth peer t-p1x");
    let made = links.link("t-p1").await.unwrap().unwrap();
    let mut events = links.events();
    links.set_up(made.ifindex, true).await.unwrap();
    assert!(links.link("t-p1").await.unwrap().unwrap().is_up);
    links.attach("t-p1", &to("t-br", None)).await.unwrap();
    run("ip link set t-p1 nomaster && ip link del t-p1");
    let (mut was_up, mut left, name) = (false, false, "t-p1".to_owned());
    loop {
        match events.recv().await.unwrap() {
            LinkEvent::Changed(link) => was_up |= link.name == name && link.is_up,
            LinkEvent::LeftBridge { name: of, .. } => left |= of == name,
            LinkEvent::Removed { ifindex, name: of } if of == name => {
                assert_eq!(ifindex, made.ifindex);
                break;
            }
            _ => {}
        }
    }
    assert!(was_up && left);
    links.remove_unused_bridges().await.unwrap();
    assert_eq!(links.link("t-br").await.unwrap(), None);
}
