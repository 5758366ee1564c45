//! OpenVPN between two nodes as the thing to compare with: AES-256-GCM over UDP, certificates of its own, in userspace.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::rig::{EDGE, Network, SPOKE, sh};

/// Address of the edge in it.
pub(crate) const EDGE_ADDRESS: &str = "10.99.0.1";
const SPOKE_ADDRESS: &str = "10.99.0.9";

/// A tunnel of OpenVPN from spoke to edge; it ends when this is dropped.
pub(crate) struct OpenVpn {
    ends: Vec<Child>,
}

/// Why there is none, in a sentence.
pub(crate) fn missing() -> Option<&'static str> {
    let has = |program: &str| {
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        path.split(':')
            .any(|dir| Path::new(dir).join(program).exists())
    };
    match (has("openvpn"), has("openssl")) {
        (true, true) => None,
        _ => Some("openvpn or openssl is not installed (packages of the same names)"),
    }
}

struct Certificate {
    file: PathBuf,
    key: PathBuf,
    fingerprint: String,
}

fn certificate(directory: &Path, name: &str) -> Certificate {
    let (file, key) = (
        directory.join(format!("{name}.crt")),
        directory.join(format!("{name}.pem")),
    );
    let (shown, shown_key) = (file.display(), key.display());
    sh(&format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} -keyout {shown_key} -out {shown} 2>&1"
    ));
    let fingerprint = sh(&format!(
        "openssl x509 -in {shown} -noout -fingerprint -sha256"
    ));
    let (_, fingerprint) = fingerprint.trim().split_once('=').unwrap();
    Certificate {
        file,
        key,
        fingerprint: fingerprint.to_owned(),
    }
}

impl OpenVpn {
    pub(crate) fn between(network: &Network) -> Self {
        let directory = network.directory();
        let (edge, spoke) = (
            certificate(directory, "edge"),
            certificate(directory, "spoke"),
        );
        let start = |index, own: &Certificate, other: &Certificate, more: &str| {
            let options = format!(
                "--dev ovpn0 --dev-type tun --proto udp --port 1194 --cert {} --key {} --peer-fingerprint {} \
                 --data-ciphers AES-256-GCM --cipher AES-256-GCM --disable-dco --verb 1 {more}",
                own.file.display(),
                own.key.display(),
                other.fingerprint,
            );
            let program = Command::new("nsenter")
                .arg(format!("--net=/run/netns/{}", network.machine(index)))
                .arg("openvpn")
                .args(options.split_whitespace())
                .env(
                    "PATH",
                    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                )
                .stdout(Stdio::null())
                .spawn();
            program.unwrap()
        };
        let server = format!(
            "--tls-server --dh none --local 192.0.2.1 --ifconfig {EDGE_ADDRESS} {SPOKE_ADDRESS}"
        );
        let client =
            format!("--tls-client --remote 192.0.2.1 --ifconfig {SPOKE_ADDRESS} {EDGE_ADDRESS}");
        let made = Self {
            ends: vec![
                start(EDGE, &edge, &spoke, &server),
                start(SPOKE, &spoke, &edge, &client),
            ],
        };
        let (machine, end) = (
            network.machine(SPOKE),
            Instant::now() + Duration::from_secs(60),
        );
        let ping = format!("ip netns exec {machine} ping -c 1 -W 1 {EDGE_ADDRESS} || echo no");
        while sh(&ping).contains("no\n") {
            assert!(Instant::now() < end, "OpenVPN does not come up");
            std::thread::park_timeout(Duration::from_millis(200));
        }
        made
    }
}

impl Drop for OpenVpn {
    fn drop(&mut self) {
        for end in &mut self.ends {
            end.kill().unwrap();
            end.wait().unwrap();
        }
    }
}
