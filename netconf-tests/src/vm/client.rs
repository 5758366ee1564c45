//! A client of an access point: a radio in a place of its own, with wpa_supplicant.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::process::Process;
use crate::vm::radios::Place;
use crate::wait::eventually;

/// SAE takes seconds under emulation.
const JOIN_LIMIT: Duration = Duration::from_secs(90);

/// A client.
#[derive(Debug)]
pub struct Client {
    /// Where it is.
    pub place: Place,
    /// Its interface.
    pub interface: String,
    /// MAC address of that.
    pub mac: String,
    control: PathBuf,
    supplicant: Process,
}

impl Client {
    /// Puts a radio into a place and lets it look for a network; `network` is the body of `network={}` of wpa_supplicant.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn start(place: Place, network: &str, directory: &Path) -> Result<Self, Error> {
        let interfaces = place.interfaces().await?;
        let interface = interfaces.first().ok_or_else(|| Error::Answer {
            from: format!("iw dev in {}", place.name),
            what: "no interface".to_owned(),
        })?;
        let file = |name: &str| directory.join(format!("{}.{name}", place.name));
        let (config, control) = (file("conf"), file("control"));
        let text = format!(
            "ctrl_interface={}\nsae_pwe=2\ncountry=ES\nnetwork={{\n{network}\n}}\n",
            control.display()
        );
        std::fs::write(&config, text).map_err(Error::system(config.display().to_string()))?;
        place
            .sh(&format!("ip link set {} up", interface.name))
            .await?;
        let mut arguments = place.inside().split_off(1);
        arguments.extend(
            [
                "wpa_supplicant",
                "-D",
                "nl80211",
                "-i",
                &interface.name,
                "-c",
            ]
            .map(str::to_owned),
        );
        arguments.push(config.display().to_string());
        let supplicant = Process::start(Path::new("/sbin/ip"), &arguments, &file("log"))?;
        Ok(Self {
            interface: interface.name.clone(),
            mac: interface.mac.clone(),
            place,
            control,
            supplicant,
        })
    }

    /// Waits until it is in the network.
    ///
    /// # Errors
    /// When it is not in time; the text has the supplicant's words.
    pub async fn joined(&self) -> Result<(), Error> {
        let what = format!("{} in its network", self.place.name);
        let joined = eventually(&what, JOIN_LIMIT, async || {
            // Fails while the supplicant is not up.
            let status = self.ask("status").await.unwrap_or_default();
            Ok(if status.contains("wpa_state=COMPLETED") {
                Ok(())
            } else {
                Err(format!("{status}{}", self.supplicant.last_words()))
            })
        });
        joined.await
    }

    /// Asks the supplicant something.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ask(&self, command: &str) -> Result<String, Error> {
        let control = self.control.display();
        let line = format!("wpa_cli -p {control} -i {} {command}", self.interface);
        self.place.sh(&line).await
    }
}
