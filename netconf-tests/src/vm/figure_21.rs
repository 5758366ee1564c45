//! Figure 21 of 5GCity D3.1 on the real radio stack: two nodes with a radio each on one channel, each in a network namespace of
//! its own, their controller, and a client of tenant A at the first and of tenant B at the second.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::error::Error;
use crate::figure_21;
use crate::stack::{Hardware, Layout, Setup, Stack};
use crate::vm::air::{Air, Books};
use crate::vm::client::Client;
use crate::vm::radios::{Place, Radios};
use crate::vm::shell::sh;
use crate::vm::table::Row;
use crate::vm::traffic::Flow;
use crate::wait::eventually;

/// All are so far from each other that nothing faster gets through: two saturated senders are about 450 frames a second then,
/// which an emulated machine carries.
const MEDIUM: &str = "seed = 21\n[default]\nmax-rate = 6.0\n";
/// Packets a second for each tenant: more than the channel takes from both.
const FLOOD: f64 = 480.0;
/// Access points take seconds to come up where the processor is emulated.
const SLOW_MACHINE: &str = "[nodes]\nrpc-timeout-ms = 60000\n";
/// Access points are there within this time.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The scene. Dropping it ends all of it.
#[derive(Debug)]
pub struct Scene {
    tenants: Vec<Tenant>,
    /// The nodes and the controller.
    pub stack: Stack,
    /// The medium.
    pub air: Air,
    nodes: Vec<Place>,
    directory: TempDir,
    /// Goes last: the driver is reloaded by the next scene only.
    _radios: Radios,
}

/// The client of a tenant, and the access point that it uses.
#[derive(Debug)]
struct Tenant {
    flow: Option<Flow>,
    client: Client,
    /// MAC address of the access point's interface.
    access_point: String,
}

impl Scene {
    /// Loads the driver and starts medium, agents and controller, which listens at `listen`. Returns once the controller has
    /// a session to both nodes.
    ///
    /// # Errors
    /// When the machine has no such driver, we are not root, or something does not come up.
    pub async fn start(listen: SocketAddr) -> Result<Self, Error> {
        let directory = tempfile::Builder::new()
            .prefix("tranche-")
            .tempdir()
            .map_err(Error::system("temporary directory"))?;
        let radios = Radios::load(4).await?;
        let air = Air::start(MEDIUM, directory.path()).await?;
        let mut nodes = Vec::new();
        let mut setup = Setup::figure_21().layout(Layout::Separate);
        setup.listen = listen;
        SLOW_MACHINE.clone_into(&mut setup.controller_config);
        for (index, template) in figure_21::NODES.iter().enumerate() {
            let (number, phy) = (index + 1, format!("phy{index}"));
            let place = Place::new(&format!("node-{number}"), &phy).await?;
            place.wire(number).await?;
            setup.nodes[index] = on_radio(template, &phy)?;
            let address = [10, 21, u8::try_from(number).unwrap_or(u8::MAX), 2];
            setup.hardware.push(Hardware {
                inside: place.inside(),
                listen: SocketAddr::from((address, 830)),
                radio: Some(phy),
            });
            nodes.push(place);
        }
        let stack = Stack::start(setup).await?;
        stack.connected().await?;
        Ok(Self {
            tenants: Vec::new(),
            stack,
            air,
            nodes,
            directory,
            _radios: radios,
        })
    }

    /// Lets the client of each slice join it, the first slice at the first node and so on; the slices have to be there.
    ///
    /// # Errors
    /// When there is no access point for it, or it does not let the client in.
    pub async fn join(&mut self, slices: &Value) -> Result<(), Error> {
        let slices = slices["tranche-slice:slices"]["slice"].as_array();
        for (index, slice) in slices.into_iter().flatten().enumerate() {
            let access_point = self.access_point(index, &slice["wifi"]["ssid"]).await?;
            let phy = format!("phy{}", index + self.nodes.len());
            let place = Place::new(&format!("client-{}", index + 1), &phy).await?;
            let network = network(&slice["wifi"], &access_point.mac);
            let client = Client::start(place, &network, self.directory.path()).await?;
            self.tenants.push(Tenant {
                flow: None,
                client,
                access_point: access_point.mac,
            });
        }
        for index in 0..self.tenants.len() {
            self.tenants[index].client.joined().await?;
            let slice = slices.and_then(|slices| slices.get(index));
            let ssid = slice.map_or(&Value::Null, |slice| &slice["wifi"]["ssid"]);
            self.connect(index, ssid).await?;
        }
        Ok(())
    }

    /// Turns the traffic of a tenant on or off: from its node to its client, more than the channel carries.
    ///
    /// # Errors
    /// When there is no way from the node to the client.
    pub fn traffic(&mut self, tenant: usize, on: bool) -> Result<(), Error> {
        let to = SocketAddr::from((client_address(tenant), 5001));
        let (node, tenant) = (&self.nodes[tenant].name, &mut self.tenants[tenant]);
        tenant.flow = if on {
            let client = &tenant.client.place.name;
            Some(Flow::udp(Some(node), Some(client), to, FLOOD)?)
        } else {
            None
        };
        Ok(())
    }

    /// What each tenant got of what all got between two looks at the books, in percent.
    #[must_use]
    pub fn shares(&self, before: &Books, after: &Books) -> Vec<f64> {
        let got = self.tenants.iter().map(|tenant| {
            let (from, to) = (&tenant.access_point, &tenant.client.mac);
            after
                .airtime(from, to)
                .saturating_sub(before.airtime(from, to))
        });
        let got: Vec<f64> = got.map(|time| time.as_secs_f64()).collect();
        let all: f64 = got.iter().sum();
        got.iter()
            .map(|one| 100.0 * one / all.max(f64::EPSILON))
            .collect()
    }

    /// What each tenant gets in some time from now on, as a row without name.
    ///
    /// # Errors
    /// When the medium does not answer.
    pub async fn measure(&self, time: Duration) -> Result<Row, Error> {
        let before = self.air.books().await?;
        tokio::time::sleep(time).await;
        let after = self.air.books().await?;
        let (spent, late) = after.since(&before);
        Ok(Row {
            case: String::new(),
            owed: None,
            got: self.shares(&before, &after),
            busy: (after.busy - before.busy).as_secs_f64() / spent.as_secs_f64(),
            late,
        })
    }

    /// What the controller measured and did in the last periods, one line each, for who has to find out why something is not
    /// as it should be. Empty where the controller does not answer.
    pub async fn history(&self) -> String {
        let restconf = self.stack.restconf();
        let sla = restconf
            .get("/data/tranche-sla:sla?content=nonconfig")
            .await;
        let sla = sla.unwrap_or_default();
        let periods = sla["tranche-sla:sla"]["history"]["period"].as_array();
        let periods = periods.map_or(&[][..], Vec::as_slice);
        let last = &periods[periods.len().saturating_sub(12)..];
        let slices = &sla["tranche-sla:sla"]["slice"];
        let mut lines: Vec<String> = last.iter().map(Value::to_string).collect();
        lines.push(slices.to_string());
        lines.join("\n")
    }

    /// The same over some time from now on.
    ///
    /// # Errors
    /// When the medium does not answer.
    pub async fn shares_during(&self, time: Duration) -> Result<Vec<f64>, Error> {
        let before = self.air.books().await?;
        tokio::time::sleep(time).await;
        Ok(self.shares(&before, &self.air.books().await?))
    }

    /// The access point of a network at a node, once it is there.
    async fn access_point(
        &self,
        node: usize,
        ssid: &Value,
    ) -> Result<crate::vm::radios::Interface, Error> {
        let place = &self.nodes[node];
        let what = format!("an access point for {ssid} at {}", place.name);
        eventually(&what, START_LIMIT, async || {
            let all = place.interfaces().await?;
            let found = all.iter().find(|one| one.ssid.as_deref() == ssid.as_str());
            Ok(found.cloned().ok_or_else(|| format!("{all:?}")))
        })
        .await
    }

    /// Gives access point and client addresses, and tells each the other's, so that nobody has to ask while the air is full.
    async fn connect(&self, index: usize, ssid: &Value) -> Result<(), Error> {
        let access_point = self.access_point(index, ssid).await?;
        let (node, client) = (&self.nodes[index], &self.tenants[index].client);
        let ends = [
            (&node.name, &access_point.name, node_address(index)),
            (&client.place.name, &client.interface, client_address(index)),
        ];
        for (place, interface, [a, b, c, d]) in ends {
            sh(&format!(
                "ip -n {place} addr replace {a}.{b}.{c}.{d}/24 dev {interface}"
            ))
            .await?;
        }
        let [a, b, c, d] = client_address(index);
        sh(&format!(
            "ip -n {} neigh replace {a}.{b}.{c}.{d} lladdr {} dev {}",
            node.name, client.mac, access_point.name
        ))
        .await?;
        Ok(())
    }
}

/// The template of a node with a real radio in the place of the simulated one. Without country: not every machine has the
/// regulatory database, and the channel is allowed everywhere.
fn on_radio(template: &str, radio: &str) -> Result<String, Error> {
    let mut value: Value = serde_json::from_str(template).map_err(|error| Error::Answer {
        from: "the template of a node".to_owned(),
        what: error.to_string(),
    })?;
    if let Some(top) = value.as_object_mut() {
        top.remove("tranche-sim:sim");
    }
    if let Some(wifi) = value["tranche-wifi:wifi"].as_object_mut() {
        wifi.remove("country");
    }
    value["tranche-wifi:wifi"]["radio"][0]["name"] = json!(radio);
    Ok(value.to_string())
}

/// How wpa_supplicant finds the network of a slice at one access point. Without HT: its rates are those that a medium of
/// 6 Mbit/s has, and the driver reports nothing of what it sent in aggregates.
fn network(wifi: &Value, bssid: &str) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let security = &wifi["security"];
    let passphrase = text(&security["passphrase"]);
    let keys = match text(&security["mode"]).as_str() {
        "wpa3-personal" | "wpa2-wpa3-personal" => {
            format!("key_mgmt=SAE\nieee80211w=2\nsae_password=\"{passphrase}\"")
        }
        "wpa2-personal" => format!("key_mgmt=WPA-PSK\npsk=\"{passphrase}\""),
        _ => "key_mgmt=NONE".to_owned(),
    };
    let ssid = text(&wifi["ssid"]);
    format!("ssid=\"{ssid}\"\nbssid={bssid}\n{keys}\nscan_freq=2437\ndisable_ht=1")
}

fn node_address(tenant: usize) -> [u8; 4] {
    [10, 31, u8::try_from(tenant).unwrap_or(u8::MAX), 1]
}

fn client_address(tenant: usize) -> [u8; 4] {
    [10, 31, u8::try_from(tenant).unwrap_or(u8::MAX), 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_the_example_is_put_on_a_real_radio() {
        let node: Value =
            serde_json::from_str(&on_radio(figure_21::NODES[1], "phy7").unwrap()).unwrap();
        assert_eq!(node["tranche-wifi:wifi"]["radio"][0]["name"], "phy7");
        assert_eq!(node["tranche-wifi:wifi"]["radio"][0]["channel"], 6);
        assert!(node["tranche-sim:sim"].is_null());
        assert!(node["ietf-system:system"].is_object());
    }

    #[test]
    fn a_client_finds_its_network() {
        let slices = figure_21::slices();
        let wifi = &slices["tranche-slice:slices"]["slice"][0]["wifi"];
        let network = network(wifi, "02:00:00:00:00:01");
        assert!(network.starts_with("ssid=\"tenant-a\"\nbssid=02:00:00:00:00:01\nkey_mgmt=SAE"));
        assert!(network.contains("sae_password=\"correct horse battery\""));
    }
}
