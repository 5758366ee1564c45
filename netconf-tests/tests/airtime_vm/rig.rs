//! One access point radio with open access points for tenants, a radio and network namespace for each client, and the air
//! between them with its books.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tranche_agent::backend::NodeConfig;

/// Radio of the access points; the clients have the following ones.
const AP_RADIO: usize = 0;
const CHANNEL: u8 = 6;

/// Runs a program; what it prints is in the panic if it fails.
pub(crate) fn sh(line: &str) -> String {
    let out = Command::new("sh").args(["-ec", line]).output().unwrap();
    assert!(
        out.status.success(),
        "{line}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

/// A client: on radio `index + 1`, in a namespace of its own.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) netns: String,
    /// The tenant whose access point it uses.
    pub(crate) tenant: usize,
    pub(crate) mac: String,
    pub(crate) address: String,
}

/// The machines of a test.
pub(crate) struct Rig {
    dir: TempDir,
    medium: Child,
    hostapd: Child,
    pub(crate) clients: Vec<Client>,
    pub(crate) tenants: usize,
    wiphy: String,
}

/// Sums of the medium's books.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    pub(crate) time_s: f64,
    pub(crate) slipped_s: f64,
    pub(crate) busy_s: f64,
    accounts: Vec<Value>,
}

impl Books {
    fn sum(&self, field: &str, from: &str, to: &str) -> u64 {
        let of_pair =
            |account: &&Value| account["transmitter"] == from && account["receiver"] == to;
        self.accounts
            .iter()
            .filter(of_pair)
            .filter_map(|account| account[field].as_u64())
            .sum()
    }
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
    pub(crate) fn new(tenants: usize, clients_of: &[usize]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (medium, _) = start_medium(&dir);
        let wiphys = wiphys();
        let wiphy = wiphys[AP_RADIO].clone();
        sh(&format!(
            "for d in /sys/class/ieee80211/{wiphy}/device/net/*; do iw dev ${{d##*/}} del; done"
        ));
        sh(&format!(
            "iw phy {wiphy} interface add {} type managed addr {}",
            vif(0),
            bssid(0)
        ));
        let hostapd = start_hostapd(&dir, tenants);
        let clients = clients_of.iter().enumerate().map(|(index, tenant)| Client {
            netns: format!("sta{index}"),
            tenant: *tenant,
            mac: String::new(),
            address: format!("10.9.{tenant}.{}", 10 + index),
        });
        let mut rig = Self {
            clients: clients.collect(),
            tenants,
            dir,
            medium,
            hostapd,
            wiphy,
        };
        for tenant in 0..tenants {
            sh(&format!(
                "ip addr add 10.9.{tenant}.1/24 dev {0}; ip link set {0} up",
                vif(tenant)
            ));
        }
        for index in 0..rig.clients.len() {
            rig.clients[index].mac = associate(&rig.clients[index], &wiphys[index + 1]);
        }
        rig
    }

    /// Holds what is sent to a tenant's clients to one rate.
    pub(crate) fn set_rate(&self, tenant: usize, mbps: &str) {
        sh(&format!(
            "iw dev {} set bitrates legacy-2.4 {mbps}",
            vif(tenant)
        ));
    }

    /// Part of the tries between the access point and a client that get lost.
    pub(crate) fn set_loss(&self, client: usize, loss: f64) {
        self.ask(&format!("link {AP_RADIO} {} loss {loss}", client + 1));
    }

    fn ask(&self, line: &str) -> Value {
        let mut stream = UnixStream::connect(self.dir.path().join("medium")).unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["error"].is_null(), "{line}: {answer}");
        answer
    }

    /// The books until now.
    pub(crate) fn books(&self) -> Books {
        let answer = self.ask("ledger");
        let seconds = |value: &Value| value.as_u64().unwrap() as f64 / 1e9;
        let busy = answer["channels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|channel| seconds(&channel["busy-ns"]));
        Books {
            time_s: seconds(&answer["time-ns"]),
            slipped_s: seconds(&answer["slipped-ns"]),
            busy_s: busy.sum(),
            accounts: answer["accounts"].as_array().unwrap().clone(),
        }
    }

    /// What happens on the air in `time`.
    pub(crate) async fn observe(&self, time: Duration) -> Observed {
        let before = self.books();
        tokio::time::sleep(time).await;
        let after = self.books();
        let spent = after.time_s - before.time_s;
        let of = |field: &str, tenant: usize, down: bool| -> f64 {
            let mine = self.clients.iter().filter(|client| client.tenant == tenant);
            let sum = mine.map(|client| {
                let (ap, sta) = (bssid(tenant), client.mac.as_str());
                let (from, to) = if down {
                    (ap.as_str(), sta)
                } else {
                    (sta, ap.as_str())
                };
                after.sum(field, from, to) - before.sum(field, from, to)
            });
            sum.sum::<u64>() as f64
        };
        Observed {
            time_s: spent,
            slipped_s: after.slipped_s - before.slipped_s,
            busy: (after.busy_s - before.busy_s) / spent,
            down: (0..self.tenants)
                .map(|tenant| of("airtime-ns", tenant, true) / 1e9 / spent)
                .collect(),
            up: (0..self.tenants)
                .map(|tenant| of("airtime-ns", tenant, false) / 1e9 / spent)
                .collect(),
            frames: (0..self.tenants)
                .map(|tenant| of("frames", tenant, true) as u64)
                .collect(),
            lost: (0..self.tenants)
                .map(|tenant| {
                    (of("given-up", tenant, true) + of("overflowed", tenant, true)) as u64
                })
                .collect(),
        }
    }

    /// The configuration of the node: what each tenant is owed and its ceiling, in percent.
    pub(crate) fn config(&self, owed: &[(u32, u32)]) -> NodeConfig {
        self.config_with(
            owed,
            &json!({ "enabled": true, "interval": 100, "max-delay": 50 }),
        )
    }

    pub(crate) fn config_with(&self, owed: &[(u32, u32)], scheduler: &Value) -> NodeConfig {
        let vifs: Vec<Value> = owed
            .iter()
            .enumerate()
            .map(|(tenant, (min, max))| {
                json!({
                    "name": vif(tenant),
                    "radio": self.wiphy,
                    "access-point": { "ssid": vif(tenant), "security": { "mode": "open" } },
                    "airtime": { "min-ratio": format!("{min}.0"), "max-ratio": format!("{max}.0") },
                })
            })
            .collect();
        let radio = json!({
            "name": self.wiphy, "band": "2.4GHz", "channel": CHANNEL, "scheduler": scheduler,
        });
        serde_json::from_value(json!({ "tranche-wifi:wifi": { "radio": [radio], "vif": vifs } }))
            .unwrap()
    }
}

/// What happened on the air in some time. Parts are of the medium's time.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub(crate) time_s: f64,
    pub(crate) slipped_s: f64,
    /// Somebody sent.
    pub(crate) busy: f64,
    /// Sent to the clients of each tenant.
    pub(crate) down: Vec<f64>,
    /// Sent by the clients of each tenant.
    pub(crate) up: Vec<f64>,
    /// Frames that arrived at the clients of each tenant.
    pub(crate) frames: Vec<u64>,
    /// Frames to them that were given up or refused.
    pub(crate) lost: Vec<u64>,
}

impl Observed {
    /// The part that each tenant has of what was sent to all clients, in percent.
    pub(crate) fn shares(&self) -> Vec<f64> {
        let all: f64 = self.down.iter().sum();
        self.down
            .iter()
            .map(|down| 100.0 * down / all.max(1e-9))
            .collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for child in [&mut self.hostapd, &mut self.medium] {
            drop(child.kill());
            drop(child.wait());
        }
        for client in &self.clients {
            drop(
                Command::new("ip")
                    .args(["netns", "del", &client.netns])
                    .status(),
            );
        }
        // The radios of the clients come back when their namespace goes, in their own time.
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn wiphys() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir("/sys/class/ieee80211")
        .expect("mac80211_hwsim is loaded")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names
}

fn start_medium(dir: &TempDir) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tranche-medium"))
        .arg("--control")
        .arg(dir.path().join("medium"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();
    assert!(ready.starts_with("ready"), "{ready}");
    (child, ready)
}

fn start_hostapd(dir: &TempDir, tenants: usize) -> Child {
    let mut text = String::new();
    for tenant in 0..tenants {
        let name = vif(tenant);
        let first = if tenant == 0 { "interface" } else { "bss" };
        writeln!(
            text,
            "{first}={name}\nctrl_interface={}\nssid={name}\nauth_algs=1\nwmm_enabled=1",
            dir.path().join("hostapd").display()
        )
        .unwrap();
        writeln!(text, "bssid={}", bssid(tenant)).unwrap();
        if tenant == 0 {
            writeln!(
                text,
                "driver=nl80211\nhw_mode=g\nchannel={CHANNEL}\nbasic_rates=60 120 240"
            )
            .unwrap();
        }
    }
    let path = dir.path().join("hostapd.conf");
    std::fs::write(&path, text).unwrap();
    let child = Command::new("hostapd")
        .arg(&path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("all access points", || {
        (0..tenants).all(|tenant| {
            let state =
                std::fs::read_to_string(format!("/sys/class/net/{}/operstate", vif(tenant)));
            state.is_ok_and(|state| state.trim() == "up")
        })
    });
    child
}

fn associate(client: &Client, wiphy: &str) -> String {
    let Client { netns, address, .. } = client;
    let interface = sh(&format!("ls /sys/class/ieee80211/{wiphy}/device/net"))
        .trim()
        .to_owned();
    let mac = sh(&format!("cat /sys/class/net/{interface}/address"))
        .trim()
        .to_owned();
    sh(&format!(
        "ip netns add {netns}; iw phy {wiphy} set netns name {netns}; ip -n {netns} link set lo up"
    ));
    sh(&format!(
        "ip -n {netns} link set {interface} up; ip -n {netns} addr add {address}/24 dev {interface}"
    ));
    sh(&format!(
        "ip netns exec {netns} iw dev {interface} connect {}",
        vif(client.tenant)
    ));
    wait_for("association", || {
        sh(&format!("ip netns exec {netns} iw dev {interface} link")).contains("Connected")
    });
    // So that nobody has to ask while the air is full.
    sh(&format!(
        "ip -n {netns} neigh replace 10.9.{0}.1 lladdr {1} dev {interface}",
        client.tenant,
        bssid(client.tenant)
    ));
    sh(&format!(
        "ip neigh replace {address} lladdr {mac} dev {}",
        vif(client.tenant)
    ));
    mac
}

/// Waits until something is so, for 30 s at most.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "no {what} in 30 s");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether a path in bpffs or elsewhere is there.
pub(crate) fn exists(path: &str) -> bool {
    Path::new(path).exists()
}
