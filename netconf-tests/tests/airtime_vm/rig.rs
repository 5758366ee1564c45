//! One access point radio with open access points for tenants, a radio and network namespace for each client, and the air
//! between them with its books.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tranche_agent::backend::NodeConfig;
use tranche_tests::process::Process;
use tranche_tests::vm::air::{Account, Air};
use tranche_tests::vm::radios::Place;
use tranche_tests::vm::shell::sh;
use tranche_tests::vm::traffic::Flow;
use tranche_tests::wait::eventually;

/// Radio of the access points; the clients have the following ones.
const AP_RADIO: usize = 0;
const CHANNEL: u8 = 6;
const CHANNEL_MHZ: u32 = 2437;
/// The processor is emulated.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A client: on radio `index + 1`, in a namespace of its own.
struct Client {
    /// The tenant whose access point it uses.
    tenant: usize,
    mac: String,
    address: String,
    place: Place,
}

/// The machines of a test. What stands first goes first.
pub(crate) struct Rig {
    _hostapd: Process,
    air: Air,
    clients: Vec<Client>,
    tenants: usize,
    wiphy: String,
    _directory: TempDir,
}

/// The name of a tenant's access point.
pub(crate) fn vif(tenant: usize) -> String {
    format!("t-{}", char::from(b'a' + tenant as u8))
}

fn bssid(tenant: usize) -> String {
    format!("02:11:00:00:00:{tenant:02x}")
}

impl Rig {
    /// An access point for each of `tenants`, and clients of the given tenants.
    pub(crate) async fn new(tenants: usize, clients_of: &[usize]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let air = Air::start("", directory.path()).await.unwrap();
        let wiphys = wiphys();
        let wiphy = wiphys[AP_RADIO].clone();
        sh(&format!(
            "for d in /sys/class/ieee80211/{wiphy}/device/net/*; do iw dev ${{d##*/}} del; done; \
             iw phy {wiphy} interface add {} type managed addr {}",
            vif(0),
            bssid(0)
        ))
        .await
        .unwrap();
        let hostapd = start_hostapd(directory.path(), tenants).await;
        let mut rig = Self {
            _hostapd: hostapd,
            air,
            clients: Vec::new(),
            tenants,
            wiphy,
            _directory: directory,
        };
        for (index, tenant) in clients_of.iter().enumerate() {
            let name = format!("sta{index}");
            let place = Place::new(&name, &wiphys[index + 1]).await.unwrap();
            let address = format!("10.9.{tenant}.{}", 10 + index);
            rig.clients.push(associate(place, *tenant, address).await);
        }
        rig
    }

    /// Packets of a fixed rate to a client.
    pub(crate) fn udp_down(&self, client: usize, per_second: u32) -> Flow {
        let client = &self.clients[client];
        let to = address(&client.address, 5001);
        Flow::udp(None, Some(&client.place.name), to, per_second.into()).unwrap()
    }

    /// Packets of a fixed rate from a client to its access point.
    pub(crate) fn udp_up(&self, client: usize, per_second: u32) -> Flow {
        let client = &self.clients[client];
        let to = address(&format!("10.9.{}.1", client.tenant), 5002);
        Flow::udp(Some(&client.place.name), None, to, per_second.into()).unwrap()
    }

    /// As much to a client as TCP gets through.
    pub(crate) fn tcp_down(&self, client: usize) -> Flow {
        let client = &self.clients[client];
        Flow::tcp(Some(&client.place.name), address(&client.address, 5003)).unwrap()
    }

    /// Holds what is sent to a tenant's clients to one rate.
    pub(crate) async fn set_rate(&self, tenant: usize, mbps: &str) {
        let line = format!("iw dev {} set bitrates legacy-2.4 {mbps}", vif(tenant));
        sh(&line).await.unwrap();
    }

    /// Part of the tries between the access point and a client that get lost.
    pub(crate) async fn set_loss(&self, client: usize, loss: f64) {
        let line = format!("link {AP_RADIO} {} loss {loss}", client + 1);
        self.air.ask(&line).await.unwrap();
    }

    /// What happens on the air in `time`.
    pub(crate) async fn observe(&self, time: Duration) -> Observed {
        let before = self.air.books().await.unwrap();
        tokio::time::sleep(time).await;
        let after = self.air.books().await.unwrap();
        let (spent, late) = after.since(&before);
        let spent = spent.as_secs_f64();
        // The accounts with the clients of each tenant, and how much was added to them.
        let added = |is_down: bool, of: fn(&Account) -> f64| -> Vec<f64> {
            let sum = |tenant: usize| {
                let mine = self.clients.iter().filter(|one| one.tenant == tenant);
                let added = mine.map(|client| {
                    let (ap, sta) = (bssid(tenant), &client.mac);
                    let (from, to) = if is_down { (&ap, sta) } else { (sta, &ap) };
                    let sum = |books: &tranche_tests::vm::air::Books| {
                        books.between(from, to).map(of).sum::<f64>()
                    };
                    sum(&after) - sum(&before)
                });
                added.sum()
            };
            (0..self.tenants).map(sum).collect()
        };
        let airtime = |account: &Account| account.airtime.as_secs_f64();
        let parts = |sums: Vec<f64>| sums.into_iter().map(|sum| sum / spent).collect();
        Observed {
            time_s: spent,
            late,
            busy: (after.busy - before.busy).as_secs_f64() / spent,
            down: parts(added(true, airtime)),
            up: parts(added(false, airtime)),
            frames: added(true, |account| account.frames as f64),
            lost: added(true, |account| account.lost as f64),
        }
    }

    /// The configuration of the node: what each tenant is owed and its ceiling, in percent.
    pub(crate) fn config(&self, owed: &[(u32, u32)]) -> NodeConfig {
        let vifs = owed.iter().enumerate().map(|(tenant, (min, max))| {
            let airtime =
                json!({ "min-ratio": format!("{min}.0"), "max-ratio": format!("{max}.0") });
            open_access_point(&self.wiphy, &vif(tenant), airtime)
        });
        on_radio(&self.wiphy, vifs.collect())
    }
}

/// A node with open access points of these names on a radio.
pub(crate) fn node(wiphy: &str, names: &[&str]) -> NodeConfig {
    let airtime = json!({ "min-ratio": "10.0", "max-ratio": "100.0" });
    let vifs = names
        .iter()
        .map(|name| open_access_point(wiphy, name, airtime.clone()));
    on_radio(wiphy, vifs.collect())
}

fn open_access_point(wiphy: &str, name: &str, airtime: Value) -> Value {
    json!({
        "name": name,
        "radio": wiphy,
        "access-point": { "ssid": name, "security": { "mode": "open" } },
        "airtime": airtime,
    })
}

fn on_radio(wiphy: &str, vifs: Vec<Value>) -> NodeConfig {
    let scheduler = json!({ "enabled": true, "interval": 100, "max-delay": 50 });
    let radio =
        json!({ "name": wiphy, "band": "2.4GHz", "channel": CHANNEL, "scheduler": scheduler });
    serde_json::from_value(json!({ "tranche-wifi:wifi": { "radio": [radio], "vif": vifs } }))
        .unwrap()
}

/// What happened on the air in some time. Parts are of the medium's time; lists are by tenant.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub(crate) time_s: f64,
    /// The part of the time in which the medium was late.
    pub(crate) late: f64,
    /// Somebody sent.
    pub(crate) busy: f64,
    /// Sent to the clients.
    pub(crate) down: Vec<f64>,
    /// Sent by the clients.
    pub(crate) up: Vec<f64>,
    /// Frames that arrived at the clients.
    pub(crate) frames: Vec<f64>,
    /// Frames to them that were given up or refused.
    pub(crate) lost: Vec<f64>,
}

impl Observed {
    /// The part that each tenant has of what was sent to all clients, in percent.
    pub(crate) fn shares(&self) -> Vec<f64> {
        let all: f64 = self.down.iter().sum();
        let part = |down: &f64| 100.0 * down / all.max(1e-9);
        self.down.iter().map(part).collect()
    }
}

/// The radios of the machine.
pub(crate) fn wiphys() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir("/sys/class/ieee80211")
        .expect("mac80211_hwsim is loaded")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names
}

async fn start_hostapd(directory: &Path, tenants: usize) -> Process {
    let mut text = String::new();
    for tenant in 0..tenants {
        let name = vif(tenant);
        let first = if tenant == 0 { "interface" } else { "bss" };
        writeln!(
            text,
            "{first}={name}\nctrl_interface={}\nssid={name}\nauth_algs=1\nwmm_enabled=1\nbssid={}",
            directory.join("hostapd").display(),
            bssid(tenant)
        )
        .unwrap();
        if tenant == 0 {
            // A rate that clients are held to has to be a basic one.
            writeln!(
                text,
                "driver=nl80211\nhw_mode=g\nchannel={CHANNEL}\nbasic_rates=60 120 240 540"
            )
            .unwrap();
        }
    }
    let path = directory.join("hostapd.conf");
    std::fs::write(&path, text).unwrap();
    let (program, log) = (
        Path::new("/usr/sbin/hostapd"),
        directory.join("hostapd.log"),
    );
    let hostapd = Process::start(program, &[path.display().to_string()], &log).unwrap();
    for tenant in 0..tenants {
        let name = vif(tenant);
        let state = format!("/sys/class/net/{name}/operstate");
        eventually(&name, START_LIMIT, async || {
            let state = std::fs::read_to_string(&state).unwrap_or_default();
            Ok(if state.trim() == "up" {
                Ok(())
            } else {
                Err(state)
            })
        })
        .await
        .unwrap();
        sh(&format!(
            "ip addr add 10.9.{tenant}.1/24 dev {name}; ip link set {name} up"
        ))
        .await
        .unwrap();
    }
    hostapd
}

async fn associate(place: Place, tenant: usize, address: String) -> Client {
    let interface = place.interfaces().await.unwrap().remove(0);
    let (netns, name, mac, ap) = (&place.name, &interface.name, &interface.mac, vif(tenant));
    sh(&format!(
        "ip -n {netns} link set {name} up; ip -n {netns} addr add {address}/24 dev {name}"
    ))
    .await
    .unwrap();
    let mut left = 6;
    loop {
        // Tried once only by the kernel; one that is at it already says so with an error.
        let line = format!("iw dev {name} connect {ap} {CHANNEL_MHZ}");
        drop(place.sh(&line).await);
        let joined = eventually("association", START_LIMIT / 6, async || {
            let link = place.sh(&format!("iw dev {name} link")).await?;
            let is_there = link.contains("Connected");
            Ok(if is_there { Ok(()) } else { Err(link) })
        })
        .await;
        left -= 1;
        match joined {
            Ok(()) => break,
            Err(error) => assert!(left > 0, "{}: {error}", place.name),
        }
    }
    // So that nobody has to ask while the air is full.
    sh(&format!(
        "ip -n {netns} neigh replace 10.9.{tenant}.1 lladdr {} dev {name}; \
         ip neigh replace {address} lladdr {mac} dev {ap}",
        bssid(tenant)
    ))
    .await
    .unwrap();
    Client {
        tenant,
        mac: mac.clone(),
        address,
        place,
    }
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}
