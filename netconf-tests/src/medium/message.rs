//! Messages of the family `MAC80211_HWSIM`, as typed values and as bytes. No I/O.

use netlink_packet_core::{DecodeError, Emitable, Nla, NlasIterator, ParseableParametrized};
use netlink_packet_generic::{GenlFamily, GenlHeader};

use super::airtime::{Band, Protection, Rate};
use super::config::hardware_of;
use super::contention::Status;
use super::frame::{Frame, Mac, Step};

/// Name of the family.
pub(super) const FAMILY: &str = "MAC80211_HWSIM";

const REGISTER: u8 = 1;
const FRAME: u8 = 2;
const TX_INFO_FRAME: u8 = 3;
const NEW_RADIO: u8 = 4;
const DEL_RADIO: u8 = 5;
const GET_RADIO: u8 = 6;
const ADD_MAC_ADDR: u8 = 7;
const DEL_MAC_ADDR: u8 = 8;

const ADDR_RECEIVER: u16 = 1;
const ADDR_TRANSMITTER: u16 = 2;
const ATTR_FRAME: u16 = 3;
const FLAGS: u16 = 4;
const RX_RATE: u16 = 5;
const SIGNAL: u16 = 6;
const TX_INFO: u16 = 7;
const COOKIE: u16 = 8;
const RADIO_ID: u16 = 10;
const FREQ: u16 = 19;
const TX_INFO_FLAGS: u16 = 21;

/// The sender wants no acknowledgement.
const FLAG_NO_ACK: u32 = 1 << 1;
/// The frame was acknowledged.
const FLAG_ACKNOWLEDGED: u32 = 1 << 2;

const RATE_RTS_CTS: u16 = 1 << 0;
const RATE_CTS_PROTECT: u16 = 1 << 1;
const RATE_SHORT_PREAMBLE: u16 = 1 << 2;
const RATE_HT: u16 = 1 << 3;
const RATE_40_MHZ: u16 = 1 << 5;
const RATE_SHORT_GUARD: u16 = 1 << 7;
const RATE_VHT: u16 = 1 << 8;
const RATE_80_MHZ: u16 = 1 << 9;
const RATE_160_MHZ: u16 = 1 << 10;

/// Steps in a series of rates, always so many in a message.
const STEPS: usize = 4;
/// Tries of a frame whose sender names no rate.
const DEFAULT_TRIES: u8 = 7;

/// What the driver says.
#[derive(Debug, Clone)]
pub enum Event {
    /// A radio wants to send.
    Frame(Mac, Frame),
    /// A radio is there.
    RadioAdded(Mac),
    /// A radio is gone.
    RadioRemoved(Mac),
    /// A radio has an interface with this address.
    AddressAdded(Mac, Mac),
    /// It has it no more.
    AddressRemoved(Mac, Mac),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Attribute {
    kind: u16,
    value: Vec<u8>,
}

impl Nla for Attribute {
    fn value_len(&self) -> usize {
        self.value.len()
    }

    fn kind(&self) -> u16 {
        self.kind
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.value);
    }
}

/// A message of the family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    command: u8,
    attributes: Vec<Attribute>,
}

impl Message {
    fn new(command: u8) -> Self {
        Self {
            command,
            attributes: Vec::new(),
        }
    }

    fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let value = value.to_vec();
        self.attributes.push(Attribute { kind, value });
        self
    }

    /// We are the medium.
    pub(super) fn register() -> Self {
        Self::new(REGISTER)
    }

    /// Which radios are there?
    pub(super) fn get_radio() -> Self {
        Self::new(GET_RADIO)
    }

    /// A radio hears a frame.
    pub(super) fn frame(frame: &Frame, step: &Step, at: Mac, signal_dbm: i8) -> Self {
        let index = step.rate.legacy_index(Band::of(frame.frequency_mhz));
        Self::new(FRAME)
            .with(ADDR_RECEIVER, &at.0)
            .with(ATTR_FRAME, &frame.data)
            .with(RX_RATE, &u32::from(index).to_ne_bytes())
            .with(SIGNAL, &i32::from(signal_dbm).to_ne_bytes())
            .with(FREQ, &frame.frequency_mhz.to_ne_bytes())
    }

    /// A radio is done with a frame.
    pub(super) fn status(radio: Mac, frame: &Frame, status: Status) -> Self {
        let acknowledged = if status.acknowledged {
            FLAG_ACKNOWLEDGED
        } else {
            0
        };
        let flags = frame.flags | acknowledged;
        Self::new(TX_INFO_FRAME)
            .with(ADDR_TRANSMITTER, &radio.0)
            .with(FLAGS, &flags.to_ne_bytes())
            .with(SIGNAL, &i32::from(status.signal_dbm).to_ne_bytes())
            .with(TX_INFO, &used(&frame.steps, status.tries))
            .with(COOKIE, &frame.cookie.to_ne_bytes())
    }

    fn get(&self, kind: u16) -> Option<&[u8]> {
        let found = self.attributes.iter().find(|a| a.kind == kind)?;
        Some(&found.value)
    }

    fn u32(&self, kind: u16) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.get(kind)?.first_chunk()?))
    }

    fn mac(&self, kind: u16) -> Option<Mac> {
        Mac::read(self.get(kind)?)
    }
}

/// Which steps of a series were used and how often, in the driver's form: the index is -1 from the first on that was not.
fn used(steps: &[Step], tries: u32) -> [u8; 2 * STEPS] {
    let mut bytes = [0; 2 * STEPS];
    let mut left = tries;
    for (at, pair) in bytes.chunks_exact_mut(2).enumerate() {
        match steps.get(at) {
            Some(step) if left > 0 => {
                let count = left.min(u32::from(step.tries));
                left -= count;
                pair.copy_from_slice(&[step.index.cast_unsigned(), count as u8]);
            }
            _ => pair.copy_from_slice(&[(-1_i8).cast_unsigned(), 0]),
        }
    }
    bytes
}

/// What a message tells, if it is one of those that tell something.
pub(super) fn event(message: Message) -> Option<Event> {
    match message.command {
        FRAME => {
            let radio = message.mac(ADDR_TRANSMITTER)?;
            Some(Event::Frame(radio, frame(&message)?))
        }
        NEW_RADIO | GET_RADIO => Some(Event::RadioAdded(hardware_of(message.u32(RADIO_ID)?))),
        DEL_RADIO => Some(Event::RadioRemoved(hardware_of(message.u32(RADIO_ID)?))),
        ADD_MAC_ADDR => Some(Event::AddressAdded(
            message.mac(ADDR_TRANSMITTER)?,
            message.mac(ADDR_RECEIVER)?,
        )),
        DEL_MAC_ADDR => Some(Event::AddressRemoved(
            message.mac(ADDR_TRANSMITTER)?,
            message.mac(ADDR_RECEIVER)?,
        )),
        _ => None,
    }
}

fn frame(message: &Message) -> Option<Frame> {
    let frequency_mhz = message.u32(FREQ)?;
    let flags = message.u32(FLAGS)?;
    let rates = message.get(TX_INFO)?;
    let rate_flags = message.get(TX_INFO_FLAGS).unwrap_or_default();
    Some(Frame {
        cookie: u64::from_ne_bytes(*message.get(COOKIE)?.first_chunk()?),
        flags,
        frequency_mhz,
        data: message.get(ATTR_FRAME)?.to_vec(),
        steps: steps(Band::of(frequency_mhz), rates, rate_flags),
        no_acknowledgement: flags & FLAG_NO_ACK != 0,
    })
}

/// The series of rates: pairs of index and count, and triples of index and flags. The first negative index ends it.
fn steps(band: Band, rates: &[u8], rate_flags: &[u8]) -> Vec<Step> {
    let mut steps: Vec<Step> = rates
        .chunks_exact(2)
        .take(STEPS)
        .enumerate()
        .map_while(|(at, pair)| {
            let index = pair[0].cast_signed();
            let flags = rate_flags.get(3 * at + 1..3 * at + 3);
            let flags = flags.map_or(0, |bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
            (index >= 0).then(|| Step {
                index,
                rate: rate(band, pair[0], flags).unwrap_or(Rate::lowest(band)),
                protection: if flags & RATE_RTS_CTS != 0 {
                    Protection::RtsCts
                } else if flags & RATE_CTS_PROTECT != 0 {
                    Protection::CtsToSelf
                } else {
                    Protection::None
                },
                tries: pair[1].max(1),
            })
        })
        .collect();
    if steps.is_empty() {
        steps.push(Step {
            index: 0,
            rate: Rate::lowest(band),
            protection: Protection::None,
            tries: DEFAULT_TRIES,
        });
    }
    steps
}

fn rate(band: Band, index: u8, flags: u16) -> Option<Rate> {
    let is_short = flags & RATE_SHORT_GUARD != 0;
    let width_mhz = match flags {
        f if f & RATE_160_MHZ != 0 => 160,
        f if f & RATE_80_MHZ != 0 => 80,
        f if f & RATE_40_MHZ != 0 => 40,
        _ => 20,
    };
    if flags & RATE_VHT != 0 {
        // Streams less one in the upper half.
        Rate::vht((index >> 4) + 1, index & 0x0f, width_mhz, is_short)
    } else if flags & RATE_HT != 0 {
        Rate::ht(index, width_mhz, is_short)
    } else {
        Rate::legacy(band, index, flags & RATE_SHORT_PREAMBLE != 0)
    }
}

impl GenlFamily for Message {
    fn family_name() -> &'static str {
        FAMILY
    }

    fn command(&self) -> u8 {
        self.command
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for Message {
    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Message {
    fn parse_with_param(buffer: &[u8], header: GenlHeader) -> Result<Self, DecodeError> {
        let mut message = Self::new(header.cmd);
        for attribute in NlasIterator::new(buffer) {
            let attribute = attribute?;
            message = message.with(attribute.kind(), attribute.value());
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_driver() -> Message {
        Message::new(FRAME)
            .with(ADDR_TRANSMITTER, &[0x42, 0, 0, 0, 3, 0])
            .with(ATTR_FRAME, &[0x88; 30])
            .with(FLAGS, &1_u32.to_ne_bytes())
            .with(FREQ, &2437_u32.to_ne_bytes())
            .with(TX_INFO, &[11, 2, 7, 1, 255, 0, 255, 0])
            .with(
                TX_INFO_FLAGS,
                &[
                    11,
                    0,
                    0,
                    7,
                    RATE_HT as u8 | RATE_RTS_CTS as u8,
                    0,
                    255,
                    0,
                    0,
                    255,
                    0,
                    0,
                ],
            )
            .with(COOKIE, &77_u64.to_ne_bytes())
    }

    #[test]
    fn a_frame_survives_the_way_through_bytes() {
        let message = from_driver();
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        let header = GenlHeader {
            cmd: FRAME,
            version: 1,
        };
        let read = Message::parse_with_param(&bytes[..], header).unwrap();
        assert_eq!(read, message);
        let Some(Event::Frame(radio, frame)) = event(read) else {
            panic!("a frame");
        };
        assert_eq!((radio, frame.cookie), (hardware_of(3), 77));
        let expected = [
            Step {
                index: 11,
                rate: Rate::Ofdm { kbps: 54_000 },
                protection: Protection::None,
                tries: 2,
            },
            Step {
                index: 7,
                rate: Rate::ht(7, 20, false).unwrap(),
                protection: Protection::RtsCts,
                tries: 1,
            },
        ];
        assert_eq!(frame.steps, expected);
        assert!(frame.wants_acknowledgement());
    }

    #[test]
    fn a_status_says_which_rates_were_used() {
        let Some(Event::Frame(radio, frame)) = event(from_driver()) else {
            panic!("a frame");
        };
        for (tries, expect) in [
            (0, [255, 0, 255, 0]),
            (1, [11, 1, 255, 0]),
            (2, [11, 2, 255, 0]),
            (3, [11, 2, 7, 1]),
        ] {
            let status = Status {
                acknowledged: tries == 3,
                tries,
                signal_dbm: -60,
            };
            let message = Message::status(radio, &frame, status);
            assert_eq!(message.get(TX_INFO).unwrap()[..4], expect, "{tries}");
            assert_eq!(
                message.u32(FLAGS).unwrap() & FLAG_ACKNOWLEDGED != 0,
                tries == 3
            );
            assert_eq!(message.u32(SIGNAL), Some((-60_i32).cast_unsigned()));
        }
    }

    #[test]
    fn a_frame_without_rate_goes_at_the_lowest() {
        let steps = steps(Band::Ghz5, &[255, 0, 255, 0, 255, 0, 255, 0], &[]);
        assert_eq!(steps[0].rate, Rate::Ofdm { kbps: 6000 });
        assert_eq!((steps.len(), steps[0].tries), (1, DEFAULT_TRIES));
    }

    #[test]
    fn a_message_that_lacks_something_tells_nothing() {
        let mut message = from_driver();
        message.attributes.remove(6);
        assert!(event(message).is_none());
        assert!(event(Message::register()).is_none());
    }
}
