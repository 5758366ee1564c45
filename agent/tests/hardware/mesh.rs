//! Meshes with a passphrase: wpa_supplicant beside hostapd, supervised and adopted.
//!
//! Needs the radios `phy0` to `phy2`.

use std::time::Duration;

use tranche_agent::backend::Secret;
use tranche_agent::backend::wifi::{Role, SecurityMode, VifConfig, VifOperState};
use tranche_agent::backend::{Backend as _, Cost};

use crate::clients::{Client, run, wait_for};
use crate::rig::{Node, RUNTIME_DIR, access_point, config, mesh_point, network};

const SOON: Duration = Duration::from_secs(60);

fn secured(passphrase: &str) -> VifConfig {
    let mut vif = mesh_point("mesh0", "backhaul");
    if let Role::MeshPoint(mesh) = &mut vif.role {
        mesh.passphrase = Some(Secret::new(passphrase));
    }
    vif
}

/// wpa_supplicant's view of the same mesh.
fn peer(passphrase: &str) -> String {
    format!(
        "ssid=\"backhaul\"\nmode=5\nfrequency=2412\nkey_mgmt=SAE\nieee80211w=2\ndisable_ht40=1\ndisable_vht=1\n\
         sae_password=\"{passphrase}\""
    )
}

fn supplicant() -> String {
    run(&format!(
        "pgrep -f -- '[-]c {RUNTIME_DIR}/sae/mesh0/conf' || true"
    ))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs mac80211_hwsim: run by make test-vm"]
async fn a_mesh_with_a_passphrase_lets_in_who_knows_it() {
    let a = access_point("a", SecurityMode::Wpa2Personal);
    let vifs = [a.clone(), secured("correct horse")];
    let mut node = Node::start().await;
    node.apply(&vifs).await.unwrap();
    run("ip addr add 10.1.1.1/24 dev br-a");
    run("ip addr add 10.2.0.1/24 dev mesh0");
    let client = Client::join("phy2", "10.1.1.2/24", &network(&a));
    let reaches = |peer: &Client| {
        wait_for("the mesh peers", SOON, || {
            peer.station.ping("10.2.0.1", 1) == 1
        });
    };
    let stranger = Client::start("phy1", "10.2.0.3/24", &peer("wrong horse"));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(run("iw dev mesh0 station dump | grep -c ESTAB || true").starts_with('0'));
    assert_eq!(stranger.station.ping("10.2.0.1", 3), 0);
    drop(stranger);
    let friend = Client::start("phy1", "10.2.0.2/24", &peer("correct horse"));
    reaches(&friend);

    // Another agent adopts it.
    let (pid, pinging) = (supplicant(), friend.station.keep_pinging("10.2.0.1"));
    drop(node);
    let mut node = Node::start().await;
    let wanted = config(&vifs);
    assert_eq!(node.wifi.reconcile(&wanted).await.unwrap().repaired, []);
    node.config = wanted;
    assert_eq!(supplicant(), pid);
    let (sent, answered) = pinging.stop();
    assert_eq!(answered, sent);

    // One that is killed comes back, with the mesh, and the access point notices nothing.
    let pinging = client.station.keep_pinging("10.1.1.1");
    run(&format!("kill -9 {pid}"));
    wait_for("another one", SOON, || {
        !supplicant().is_empty() && supplicant() != pid
    });
    wait_for("the mesh point", SOON, || {
        run("iw dev mesh0 info || true").contains("channel")
    });
    run("ip addr replace 10.2.0.1/24 dev mesh0");
    reaches(&friend);
    assert_eq!(node.vif("mesh0").await.oper_state, VifOperState::Up);
    let (sent, answered) = pinging.stop();
    assert_eq!(answered, sent);

    // Another passphrase is another mesh.
    let plan = node.apply(&[a, secured("another horse")]).await.unwrap();
    assert_eq!(plan.steps()[0].action, "restart vif mesh0");
    assert_eq!(
        plan.steps()[0].cost,
        Cost::Hot,
        "no station of ours is lost"
    );
    assert_ne!(supplicant(), pid);
    drop((client, friend));
    node.end().await;
    assert_eq!(supplicant(), "");
}
