//! What the simulated medium is made of: the timing of IEEE 802.11 OFDM and the habits of transmitters.

/// Timing and limits of a [`super::Medium`]. The default is the OFDM PHY at 20 MHz with aggregates of up to 1.5 ms, on which
/// a saturated channel is busy about 0.93 of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediumParams {
    /// Backoff slot.
    pub slot_ns: u64,
    /// Time between a frame and its acknowledgement.
    pub sifs_ns: u64,
    /// Silence before contention (SIFS and two slots).
    pub difs_ns: u64,
    /// Preamble and PLCP header of a data frame.
    pub preamble_ns: u64,
    /// An acknowledgement, preamble included.
    pub ack_ns: u64,
    /// How early another transmission must begin to be sensed.
    pub cca_ns: u64,
    /// Smallest contention window, in slots less one.
    pub cw_min: u16,
    /// Largest contention window, in slots less one.
    pub cw_max: u16,
    /// Longest aggregate; one frame is always sent, whatever it takes.
    pub txop_limit_ns: u64,
    /// Most frames in an aggregate.
    pub max_aggregate: usize,
    /// Bytes that MAC, LLC and cipher add to a packet.
    pub header_bytes: u32,
    /// Tries of a frame before it is given up.
    pub max_tries: u8,
    /// Packets that the driver holds for one station.
    pub queue_packets: usize,
    /// Length of one transmission of a network that is not ours.
    pub external_burst_ns: u64,
    /// What the scheduler takes as overhead of a packet before it has measured any.
    pub estimated_overhead_ns: u64,
    /// Part of the completions of sent frames that the driver never reports, in millionths: a fault to test with.
    pub lost_completions_ppm: u32,
}

impl Default for MediumParams {
    fn default() -> Self {
        Self {
            slot_ns: 9_000,
            sifs_ns: 16_000,
            difs_ns: 34_000,
            preamble_ns: 40_000,
            ack_ns: 32_000,
            cca_ns: 4_000,
            cw_min: 15,
            cw_max: 1023,
            txop_limit_ns: 1_500_000,
            max_aggregate: 64,
            header_bytes: 46,
            max_tries: 8,
            queue_packets: 512,
            external_burst_ns: 1_000_000,
            estimated_overhead_ns: 20_000,
            lost_completions_ppm: 0,
        }
    }
}

impl MediumParams {
    /// Time that `frames` packets with `bytes` of payload in sum occupy the medium at `rate_kbps`, from the preamble to the
    /// end of the acknowledgement.
    #[must_use]
    pub fn exchange_ns(&self, frames: u64, bytes: u64, rate_kbps: u32) -> u64 {
        self.preamble_ns + self.frame_ns(frames, bytes, rate_kbps) + self.sifs_ns + self.ack_ns
    }

    /// The part of an exchange that the frames themselves take.
    #[must_use]
    pub(crate) fn frame_ns(&self, frames: u64, bytes: u64, rate_kbps: u32) -> u64 {
        let on_air = bytes + frames * u64::from(self.header_bytes);
        on_air * 8_000_000 / u64::from(rate_kbps.max(1))
    }
}
