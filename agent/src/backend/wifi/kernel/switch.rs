//! A radio that goes to another channel, and takes its stations along (802.11h channel switch announcement).
//!
//! hostapd makes all access points of a radio announce it, or none: the silent first one, the anchor, has to beacon for as
//! long as that takes. It is silenced by taking its interface down, and hostapd lets it beacon again when that comes up.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::Channel;
use super::super::nl80211::Interface;
use super::Target;
use super::access_points::at_radio;
use super::carry_out::Work;
use super::engine::Engine;
use super::found::Found;
use super::wanted;
use crate::backend::Refusal;
use crate::backend::wifi::diff::radio_path;
use crate::backend::wifi::netlink::NetlinkError;

/// An access point beacons within this time after its interface is up.
const BEACONS_WITHIN: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(50);

impl Engine {
    /// Takes the access points of a radio, whose text is `text` then, to another channel.
    pub(super) async fn switch_channel(
        &self,
        found: &mut Found,
        text: &str,
        target: &Target,
        work: &mut Work,
    ) -> Result<(), Refusal> {
        let name = found.wiphy.name.clone();
        let (Some(running), Some(radio)) = (&found.running, target.wifi.radio(&name)) else {
            return Ok(());
        };
        let way = wanted::channel_switch(&found.wiphy, &running.radio, text, radio);
        let (Some((order, channel)), Some(anchor)) =
            (way, found.interface(&wanted::anchor(&found.wiphy)).cloned())
        else {
            return Ok(());
        };
        let failed = |error: NetlinkError| Refusal::new(radio_path(&name), error.to_string());
        self.unsilence(found, &anchor).await?;
        let switched = found
            .hostapd
            .switch_channel(&anchor.name, &order, &channel, text);
        let switched = switched.await.map_err(|error| at_radio(&name, &error));
        self.silence(&anchor, &channel).await.map_err(failed)?;
        switched?;
        if let Some(running) = &mut found.running {
            text.clone_into(&mut running.radio);
        }
        work.done(
            radio_path(&name),
            format!("put radio {name} on {channel}"),
            0,
        );
        Ok(())
    }

    async fn unsilence(&self, found: &Found, anchor: &Interface) -> Result<(), Refusal> {
        let name = &found.wiphy.name;
        let failed = |error: NetlinkError| Refusal::new(radio_path(name), error.to_string());
        let link = self.links.link(&anchor.name).await.map_err(failed)?;
        if link.is_some_and(|link| link.is_up) {
            let unsilenced = found.hostapd.unsilence(&anchor.name).await;
            return unsilenced.map_err(|error| at_radio(name, &error));
        }
        self.links
            .set_up(anchor.ifindex, true)
            .await
            .map_err(failed)?;
        let deadline = Instant::now() + BEACONS_WITHIN;
        while Instant::now() < deadline {
            let now = self.nl80211.interface(&anchor.name).await.map_err(failed)?;
            if now.is_some_and(|now| now.channel.is_some()) {
                return Ok(());
            }
            sleep(POLL).await;
        }
        let message = format!("hostapd does not prepare radio {name} for a change of the channel");
        Err(Refusal::new(radio_path(name), message))
    }

    /// Access points that are added later take their channel from the anchor, which has to have heard of it.
    async fn silence(&self, anchor: &Interface, channel: &Channel) -> Result<(), NetlinkError> {
        self.links.set_up(anchor.ifindex, false).await?;
        self.nl80211.set_channel(anchor.ifindex, channel).await
    }
}
