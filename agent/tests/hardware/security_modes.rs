//! Every security mode, with a client of it, on one radio; the enterprise modes with a RADIUS server.

use std::fs;

use tranche_agent::backend::wifi::SecurityMode;

use crate::clients::{Client, run};
use crate::rig::{Node, access_point, network};

/// hostapd as a RADIUS server.
struct RadiusServer(String);

impl RadiusServer {
    fn start() -> Self {
        let directory = "/tmp/radius";
        fs::create_dir_all(directory).unwrap();
        let write = |name: &str, text: &str| fs::write(format!("{directory}/{name}"), text);
        write("users", "\"user\" PWD \"password of user\"\n").unwrap();
        write("clients", "127.0.0.1/32 shared secret\n").unwrap();
        let config = format!(
            "interface=radius0\ndriver=none\neap_server=1\neap_user_file={directory}/users\n\
             radius_server_clients={directory}/clients\nradius_server_auth_port=1812\n"
        );
        write("conf", &config).unwrap();
        run("ip link set lo up");
        run(&format!(
            "hostapd -B -P {directory}/pid -f {directory}/log {directory}/conf"
        ));
        Self(directory.to_owned())
    }
}

impl Drop for RadiusServer {
    fn drop(&mut self) {
        let directory = &self.0;
        run(&format!(
            "kill $(cat {directory}/pid); sleep 1; rm -r {directory}"
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn every_security_mode_lets_its_clients_in() {
    let radius = RadiusServer::start();
    let mut node = Node::start().await;
    let vifs = [
        ("open", SecurityMode::Open),
        ("owe", SecurityMode::Owe),
        ("psk", SecurityMode::Wpa2Personal),
        ("both", SecurityMode::Wpa2Wpa3Personal),
        ("sae", SecurityMode::Wpa3Personal),
        ("eap2", SecurityMode::Wpa2Enterprise),
        ("eap3", SecurityMode::Wpa3Enterprise),
    ]
    .map(|(name, mode)| access_point(name, mode));
    node.apply(&vifs).await.unwrap();
    for (vif, key_management) in vifs.iter().zip([
        "NONE",
        "OWE",
        "WPA2-PSK",
        "SAE",
        "SAE",
        "WPA2/IEEE 802.1X/EAP",
        "WPA2-EAP-SHA256",
    ]) {
        let client = Client::join("phy1", "10.1.1.2/24", &network(vif));
        run(&format!("ip addr add 10.1.1.1/24 dev br-{}", vif.name));
        assert_eq!(client.station.ping("10.1.1.1", 3), 3, "{}", vif.name);
        run(&format!("ip addr del 10.1.1.1/24 dev br-{}", vif.name));
        let status = client.status();
        assert!(
            status.contains(&format!("key_mgmt={key_management}\n")),
            "{}: {status}",
            vif.name
        );
    }
    // WPA2 clients are let in beside WPA3's.
    let mut legacy = vifs[3].clone();
    if let tranche_agent::backend::wifi::Role::AccessPoint(both) = &mut legacy.role {
        both.security.mode = SecurityMode::Wpa2Personal;
    }
    let client = Client::join("phy1", "10.1.1.2/24", &network(&legacy));
    assert!(client.status().contains("key_mgmt=WPA2-PSK\n"));
    drop((client, radius));
    node.end().await;
}
