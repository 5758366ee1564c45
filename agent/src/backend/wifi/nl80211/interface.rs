//! Virtual interfaces: listing, making, removing, channel, power, and 802.11s meshes.

use std::{fmt, io};

use wl_nl80211::{
    Nl80211Attr, Nl80211ChannelWidth, Nl80211Command, Nl80211InterfaceType, Nl80211Message,
};

use super::{NetlinkError, Nl80211, missing};
use crate::backend::MacAddress;
use crate::backend::wifi::{Channel, Width};

/// Kind of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterfaceKind {
    /// A client.
    Station,
    /// An access point.
    AccessPoint,
    /// A 4-address part of an access point.
    AccessPointVlan,
    /// A listener.
    Monitor,
    /// An 802.11s mesh point.
    MeshPoint,
    /// Anything else, by the kernel's number (`NL80211_IFTYPE_*`).
    Other(u32),
}

impl InterfaceKind {
    const NUMBERS: [(Self, u32); 5] = [
        (Self::Station, 2),
        (Self::AccessPoint, 3),
        (Self::AccessPointVlan, 4),
        (Self::Monitor, 6),
        (Self::MeshPoint, 7),
    ];

    pub(super) fn from_number(number: u32) -> Self {
        let mut known = Self::NUMBERS.into_iter();
        let found = known.find(|(_, of_kind)| *of_kind == number);
        found.map_or(Self::Other(number), |(kind, _)| kind)
    }

    fn number(self) -> u32 {
        match self {
            Self::Other(number) => number,
            known => Self::NUMBERS
                .into_iter()
                .find(|(kind, _)| *kind == known)
                .map_or(0, |(_, number)| number),
        }
    }
}

impl fmt::Display for InterfaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Station => f.write_str("station"),
            Self::AccessPoint => f.write_str("access point"),
            Self::AccessPointVlan => f.write_str("access point VLAN"),
            Self::Monitor => f.write_str("monitor"),
            Self::MeshPoint => f.write_str("mesh point"),
            Self::Other(number) => write!(f, "interface of type {number}"),
        }
    }
}

/// A wireless network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: InterfaceKind,
    /// Index of its wiphy.
    pub wiphy: u32,
    /// Address; an access point's BSSID.
    pub mac: MacAddress,
    /// SSID, while in service: octets, not always text. The kernel does not tell which mesh a mesh point is in.
    pub ssid: Option<Vec<u8>>,
    /// Channel, while in service and one of ours (20 to 160 MHz).
    pub channel: Option<Channel>,
    /// Power it sends with, in whole dBm, rounded down.
    pub tx_power_dbm: Option<i8>,
}

/// An interface to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInterface {
    /// Index of the wiphy.
    pub wiphy: u32,
    /// Name, 1 to 15 octets.
    pub name: String,
    /// Kind.
    pub kind: InterfaceKind,
    /// Address; the driver's choice where absent, which for a second interface is often the address of the first.
    pub mac: Option<MacAddress>,
}

/// An open 802.11s mesh to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshJoin {
    /// Mesh identifier, 1 to 32 octets.
    pub mesh_id: String,
    /// Where it is.
    pub channel: Channel,
    /// Time between beacons in time units of 1.024 ms. Beside access points it must be theirs: hostapd's default is 100.
    pub beacon_interval: u32,
}

/// Power to send with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxPower {
    /// The most that driver and regulatory domain allow.
    Automatic,
    /// So many dBm; the driver may round it down.
    Fixed(i8),
}

impl Nl80211 {
    /// All wireless interfaces of this network namespace, by index.
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, NetlinkError> {
        let messages = self
            .dump("list interfaces", Nl80211Command::GetInterface, Vec::new())
            .await?;
        let mut found: Vec<Interface> = messages.iter().filter_map(interface).collect();
        if !self.only.is_empty() {
            let ours = self.wiphys().await?;
            found.retain(|one| ours.iter().any(|wiphy| wiphy.index == one.wiphy));
        }
        found.sort_by_key(|interface| interface.ifindex);
        Ok(found)
    }

    /// The interface of this name, if it is there and wireless.
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub async fn interface(&self, name: &str) -> Result<Option<Interface>, NetlinkError> {
        let mut all = self.interfaces().await?.into_iter();
        Ok(all.find(|interface| interface.name == name))
    }

    /// Makes an interface (down at first) and reads it back. Needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// The kernel refuses: the name is taken, or the wiphy carries no more.
    pub async fn create_interface(&self, new: &NewInterface) -> Result<Interface, NetlinkError> {
        let action = format!("create interface {}", new.name);
        let mut attributes = vec![
            Nl80211Attr::Wiphy(new.wiphy),
            Nl80211Attr::IfName(new.name.clone()),
            Nl80211Attr::IfType(Nl80211InterfaceType::from(new.kind.number())),
        ];
        attributes.extend(new.mac.map(|mac| Nl80211Attr::Mac(mac.0)));
        let order = self.order(&action, Nl80211Command::NewInterface, attributes);
        order.await.map_err(name_is_taken)?;
        let made = self.interface(&new.name).await?.filter(|made| {
            made.kind == new.kind
                && made.wiphy == new.wiphy
                && new.mac.is_none_or(|mac| made.mac == mac)
        });
        made.ok_or_else(|| {
            let name = &new.name;
            NetlinkError::NotInForce(format!("interface {name} did not come up as asked for"))
        })
    }

    /// Removes an interface. Needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// The kernel refuses; [`NetlinkError::is_not_found`] if it is gone already.
    pub async fn delete_interface(&self, ifindex: u32) -> Result<(), NetlinkError> {
        let action = format!("remove interface {ifindex}");
        let attributes = vec![Nl80211Attr::IfIndex(ifindex)];
        self.order(&action, Nl80211Command::DelInterface, attributes)
            .await
    }

    /// Joins an open mesh with a mesh point that is up (a mesh with a passphrase needs an authentication daemon). The
    /// kernel answers when the mesh point beacons.
    ///
    /// # Errors
    /// The kernel refuses: the interface is down or in a mesh already, or the channel is not allowed.
    pub async fn join_mesh(&self, ifindex: u32, mesh: &MeshJoin) -> Result<(), NetlinkError> {
        let action = format!("join the mesh {}", mesh.mesh_id);
        let mut attributes = vec![
            Nl80211Attr::IfIndex(ifindex),
            missing::mesh_id(&mesh.mesh_id),
            missing::beacon_interval(mesh.beacon_interval),
        ];
        attributes.extend(channel_attributes(&mesh.channel));
        self.order(&action, Nl80211Command::JoinMesh, attributes)
            .await
    }

    /// Leaves the mesh.
    ///
    /// # Errors
    /// The kernel refuses: it is in none.
    pub async fn leave_mesh(&self, ifindex: u32) -> Result<(), NetlinkError> {
        let attributes = vec![Nl80211Attr::IfIndex(ifindex)];
        self.order("leave the mesh", Nl80211Command::LeaveMesh, attributes)
            .await
    }

    /// Sets the channel that an access point which does not beacon would have, and with it the one of each that is started
    /// beside it without saying which.
    ///
    /// # Errors
    /// The kernel refuses: it beacons, or the channel is not allowed.
    pub async fn set_channel(&self, ifindex: u32, channel: &Channel) -> Result<(), NetlinkError> {
        let mut attributes = vec![Nl80211Attr::IfIndex(ifindex)];
        attributes.extend(channel_attributes(channel));
        let action = format!("go to {channel}");
        self.order(&action, Nl80211Command::SetWiphy, attributes)
            .await
    }

    /// Sets the power that all interfaces of a wiphy send with. What is really sent with is read by
    /// [`Nl80211::interfaces`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn set_tx_power(&self, wiphy: u32, power: TxPower) -> Result<(), NetlinkError> {
        let mut attributes = vec![Nl80211Attr::Wiphy(wiphy)];
        let action = match power {
            TxPower::Automatic => {
                attributes.push(missing::tx_power_setting(missing::TX_POWER_AUTOMATIC));
                "choose the transmit power".to_owned()
            }
            TxPower::Fixed(dbm) => {
                attributes.push(missing::tx_power_setting(missing::TX_POWER_FIXED));
                let mbm = i32::from(dbm) * 100;
                attributes.push(Nl80211Attr::WiphyTxPowerLevel(mbm.cast_unsigned()));
                format!("send with {dbm} dBm")
            }
        };
        self.order(&action, Nl80211Command::SetWiphy, attributes)
            .await
    }
}

/// mac80211 answers `ENFILE` for a name that is taken, whose usual meaning ("too many open files") misleads.
fn name_is_taken(error: NetlinkError) -> NetlinkError {
    const ENFILE: i32 = 23;
    const EEXIST: i32 = 17;
    match error {
        NetlinkError::Refused { action, source, .. } if source.raw_os_error() == Some(ENFILE) => {
            NetlinkError::Refused {
                action,
                message: Some("there is a network interface of that name".to_owned()),
                source: io::Error::from_raw_os_error(EEXIST),
            }
        }
        other => other,
    }
}

/// The attributes of a channel: 20 MHz are 802.11n's, so that a mesh is not held to the old rates.
fn channel_attributes(channel: &Channel) -> [Nl80211Attr; 3] {
    [
        Nl80211Attr::WiphyFreq(channel.primary_mhz()),
        Nl80211Attr::ChannelWidth(Nl80211ChannelWidth::Mhz(channel.width().mhz())),
        Nl80211Attr::CenterFreq1(channel.centre_mhz()),
    ]
}

/// The channel in a message.
pub(super) fn channel_of(attributes: &[Nl80211Attr]) -> Option<Channel> {
    let (mut primary, mut width, mut centre) = (None, Width::Mhz20, None);
    for attribute in attributes {
        match attribute {
            Nl80211Attr::WiphyFreq(mhz) => primary = Some(*mhz),
            Nl80211Attr::CenterFreq1(mhz) => centre = Some(*mhz),
            Nl80211Attr::ChannelWidth(of_kernel) => {
                width = match of_kernel {
                    Nl80211ChannelWidth::NoHt20 | Nl80211ChannelWidth::Mhz(20) => Width::Mhz20,
                    Nl80211ChannelWidth::Mhz(40) => Width::Mhz40,
                    Nl80211ChannelWidth::Mhz(80) => Width::Mhz80,
                    Nl80211ChannelWidth::Mhz(160) => Width::Mhz160,
                    _ => return None,
                }
            }
            _ => {}
        }
    }
    let primary = primary?;
    Channel::at(primary, width, centre.unwrap_or(primary))
}

/// The interface in a message; one without a network device (a P2P device) is none of ours.
fn interface(message: &Nl80211Message) -> Option<Interface> {
    let (mut ifindex, mut name, mut mac) = (None, None, None);
    let mut found = Interface {
        ifindex: 0,
        name: String::new(),
        kind: InterfaceKind::Other(0),
        wiphy: 0,
        mac: MacAddress([0; 6]),
        ssid: None,
        channel: channel_of(&message.attributes),
        tx_power_dbm: None,
    };
    for attribute in &message.attributes {
        match attribute {
            Nl80211Attr::IfIndex(index) => ifindex = Some(*index),
            Nl80211Attr::IfName(text) => name = Some(text.clone()),
            Nl80211Attr::Mac(octets) => mac = Some(MacAddress(*octets)),
            Nl80211Attr::IfType(kind) => {
                found.kind = InterfaceKind::from_number(u32::from(*kind));
            }
            Nl80211Attr::Wiphy(index) => found.wiphy = *index,
            Nl80211Attr::SsidRaw(octets) => found.ssid = Some(octets.clone()),
            Nl80211Attr::WiphyTxPowerLevel(mbm) => {
                found.tx_power_dbm = i8::try_from(mbm.cast_signed().div_euclid(100)).ok();
            }
            _ => {}
        }
    }
    Some(Interface {
        ifindex: ifindex?,
        name: name?,
        mac: mac?,
        ..found
    })
}
