//! The radios of the machine, and the network namespaces that they are in.

use crate::error::Error;
use crate::vm::shell::{sh, sh_at_the_end};

/// The driver with fresh radios `phy0`, `phy1` ...; what was there before is gone.
#[derive(Debug)]
pub struct Radios(());

impl Radios {
    /// Loads the driver.
    ///
    /// # Errors
    /// When there is no such driver, or it is in use.
    pub async fn load(count: usize) -> Result<Self, Error> {
        sh(&format!(
            "modprobe -r mac80211_hwsim mac80211 cfg80211; modprobe mac80211_hwsim radios={count}"
        ))
        .await?;
        Ok(Self(()))
    }
}

/// A network namespace with one radio, and with a wire to this one where it has an address. All processes in it are ended, and
/// it is deleted, when this is dropped.
#[derive(Debug)]
pub struct Place {
    /// Name of the namespace.
    pub name: String,
    /// Name of the radio.
    pub phy: String,
}

impl Place {
    /// Makes it, and moves a radio into it.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn new(name: &str, phy: &str) -> Result<Self, Error> {
        let place = Self {
            name: name.to_owned(),
            phy: phy.to_owned(),
        };
        sh(&format!(
            "ip netns add {name}; ip -n {name} link set lo up; iw phy {phy} set netns name {name}; \
             mkdir -p /run/bpf-{name}; mount -t bpf none /run/bpf-{name}"
        ))
        .await?;
        Ok(place)
    }

    /// Lays a wire: `10.21.N.1` on this side, `10.21.N.2` in the namespace.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn wire(&self, number: usize) -> Result<(), Error> {
        let name = &self.name;
        sh(&format!(
            "ip link add wire{number} type veth peer name wire netns {name}; \
             ip addr add 10.21.{number}.1/24 dev wire{number}; ip link set wire{number} up; \
             ip -n {name} addr add 10.21.{number}.2/24 dev wire; ip -n {name} link set wire up"
        ))
        .await?;
        Ok(())
    }

    /// How to run a command there: the words that stand before it. The file system of pinned BPF objects is that of the place
    /// and outlives the command.
    #[must_use]
    pub fn inside(&self) -> Vec<String> {
        let pinned = format!(
            "mount --bind /run/bpf-{} /sys/fs/bpf && exec \"$@\"",
            self.name
        );
        [
            "ip", "netns", "exec", &self.name, "/bin/sh", "-c", &pinned, "sh",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Runs a line of shell there.
    ///
    /// # Errors
    /// When it fails.
    pub async fn sh(&self, line: &str) -> Result<String, Error> {
        sh(&format!("ip netns exec {} {line}", self.name)).await
    }

    /// The access points and other interfaces of the radio.
    ///
    /// # Errors
    /// When `iw` fails.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, Error> {
        Ok(interfaces(&self.sh("iw dev").await?))
    }

    /// Ends every process that runs there.
    pub fn end_processes(&self) {
        sh_at_the_end(&format!("kill -9 $(ip netns pids {})", self.name));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.end_processes();
        // The radio comes back when the namespace is gone, in its own time.
        sh_at_the_end(&format!(
            "umount /run/bpf-{0}; ip netns del {0}; \
             for i in $(seq 100); do test -e /sys/class/ieee80211/{1} && break; sleep 0.1; done",
            self.name, self.phy
        ));
    }
}

/// An interface as `iw dev` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac: String,
    /// The network that it carries or is in.
    pub ssid: Option<String>,
}

fn interfaces(text: &str) -> Vec<Interface> {
    let mut found: Vec<Interface> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("Interface ") {
            found.push(Interface {
                name: name.to_owned(),
                mac: String::new(),
                ssid: None,
            });
        } else if let (Some(last), Some((key, value))) = (found.last_mut(), line.split_once(' ')) {
            match key {
                "addr" => value.clone_into(&mut last.mac),
                "ssid" => last.ssid = Some(value.to_owned()),
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_iw_prints_is_read() {
        let text = "phy#0\n\tInterface tenant-a\n\t\tifindex 7\n\t\taddr 02:00:00:00:00:01\n\t\tssid tenant a\n\
                    \t\ttype AP\n\tInterface wlan0\n\t\taddr 02:00:00:00:00:00\n\t\ttype managed\n";
        let expected = [
            Interface {
                name: "tenant-a".to_owned(),
                mac: "02:00:00:00:00:01".to_owned(),
                ssid: Some("tenant a".to_owned()),
            },
            Interface {
                name: "wlan0".to_owned(),
                mac: "02:00:00:00:00:00".to_owned(),
                ssid: None,
            },
        ];
        assert_eq!(interfaces(text), expected);
    }
}
