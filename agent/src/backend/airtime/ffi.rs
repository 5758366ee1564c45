//! The only foreign interface of the agent: `bpf/airtime.h` as ordinary functions (`bpf/airtime_native.c`).
//!
//! The C functions are pure but for the struct they are given, keep no pointer, and index arrays only after masking.
//! [`Radio`] and [`Vif`] have the layout of the C structs, which `layout_is_that_of_the_header` checks.
#![expect(unsafe_code, reason = "the law is C, shared with the kernel program")]

use super::law::{Completion, MAX_VIFS};

/// `struct airtime_slot`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slot {
    estimated: i64,
    charged: i64,
}

/// `struct airtime_vif`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Vif {
    pub(super) weight: u32,
    pub(super) ceiling: u32,
    epoch: u32,
    pub(super) share: u32,
    pub(super) used: u32,
    pub(super) inflation: u32,
    pub(super) backlogged: u32,
    unused: u32,
    pub(super) next: u64,
    pub(super) next_ceiling: u64,
    depart: u64,
    burst_left: u64,
    charged: u64,
    debt: i64,
    landed_to: u64,
    wheel: [Slot; 64],
    admitted: u64,
    pub(super) delayed: u64,
    pub(super) dropped: u64,
    completed: u64,
    pub(super) estimated: u64,
    pub(super) measured: u64,
    pub(super) lost: u64,
}

/// `struct airtime_radio`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Radio {
    pub(super) horizon: u64,
    pub(super) interval: u64,
    pub(super) burst: u64,
    epoch: u32,
    pub(super) slots: u32,
    pub(super) congestion: u32,
    capacity: u32,
    bias: i64,
    paced: u32,
    completions: u32,
    measuring: u32,
    silence: u32,
    expired: u32,
    refreshing: u32,
    pub(super) refresh_at: u64,
    usage_since: u64,
    control_since: u64,
    refreshed: u64,
    last_done: u64,
    done: u64,
    idle: u64,
    area: u64,
    lump: u64,
    latency: u64,
    pause_from: u64,
    pause_to: u64,
    pause: u64,
    seen_alone: u64,
    pub(super) outstanding: i64,
    wheel_at: u64,
    wheel_slot: u64,
    all: u64,
    contending: u64,
    light: u64,
    pub(super) vif: [Vif; MAX_VIFS],
}

impl Default for Vif {
    fn default() -> Self {
        Self {
            weight: 0,
            ceiling: 0,
            epoch: 0,
            share: 0,
            used: 0,
            inflation: 0,
            backlogged: 0,
            unused: 0,
            next: 0,
            next_ceiling: 0,
            depart: 0,
            burst_left: 0,
            charged: 0,
            debt: 0,
            landed_to: 0,
            wheel: [Slot::default(); 64],
            admitted: 0,
            delayed: 0,
            dropped: 0,
            completed: 0,
            estimated: 0,
            measured: 0,
            lost: 0,
        }
    }
}

impl Default for Radio {
    fn default() -> Self {
        Self {
            horizon: 0,
            interval: 0,
            burst: 0,
            epoch: 0,
            slots: 0,
            congestion: 0,
            capacity: 0,
            bias: 0,
            paced: 0,
            completions: 0,
            measuring: 0,
            silence: 0,
            expired: 0,
            refreshing: 0,
            refresh_at: 0,
            usage_since: 0,
            control_since: 0,
            refreshed: 0,
            last_done: 0,
            done: 0,
            idle: 0,
            area: 0,
            lump: 0,
            latency: 0,
            pause_from: 0,
            pause_to: 0,
            pause: 0,
            seen_alone: 0,
            outstanding: 0,
            wheel_at: 0,
            wheel_slot: 0,
            all: 0,
            contending: 0,
            light: 0,
            vif: [Vif::default(); MAX_VIFS],
        }
    }
}

impl Radio {
    /// The state of a radio as it lies in memory; none if the length is another.
    #[cfg(feature = "bpf")]
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Box<Self>> {
        if bytes.len() != size_of::<Self>() {
            return None;
        }
        // SAFETY: as many bytes as the type has, which consists of integers without padding between them: every value of
        // the bytes is one of the type's.
        Some(Box::new(unsafe {
            bytes.as_ptr().cast::<Self>().read_unaligned()
        }))
    }

    /// The congestion factor in thousandths.
    pub(super) fn congestion_thousandths(&self) -> u32 {
        (u64::from(self.congestion) * 1000 / 65_536) as u32
    }
}

unsafe extern "C" {
    fn tranche_airtime_estimate(overhead: u64, segments: u32, bytes: u32, kbps: u32) -> u64;
    fn tranche_airtime_radio_reset(radio: *mut Radio, now: u64);
    fn tranche_airtime_refresh(radio: *mut Radio, now: u64);
    fn tranche_airtime_admit(
        radio: *mut Radio,
        vif: u32,
        now: u64,
        airtime: u64,
        earliest: u64,
        departure: *mut u64,
    ) -> i32;
    fn tranche_airtime_complete(
        radio: *mut Radio,
        vif: u32,
        now: u64,
        departure: u64,
        estimated: u64,
        measured: u64,
    );
    fn tranche_airtime_cancel(radio: *mut Radio, vif: u32, departure: u64, estimated: u64);
    #[cfg(all(test, feature = "bpf"))]
    fn tranche_airtime_settings_size() -> usize;
    #[cfg(all(test, feature = "bpf"))]
    fn tranche_airtime_egress(
        radio: *mut Radio,
        settings: *const u8,
        vif: u32,
        now: u64,
        bytes: u32,
        segments: u32,
        mark: *mut u64,
    ) -> i32;
    #[cfg(test)]
    fn tranche_airtime_radio_size() -> usize;
    #[cfg(test)]
    fn tranche_airtime_vif_size() -> usize;
    #[cfg(test)]
    fn tranche_airtime_vif_offset() -> usize;
}

pub(super) fn estimate(overhead: u64, segments: u32, bytes: u32, kbps: u32) -> u64 {
    // SAFETY: takes and returns integers.
    unsafe { tranche_airtime_estimate(overhead, segments, bytes, kbps) }
}

pub(super) fn reset(radio: &mut Radio, now: u64) {
    // SAFETY: `radio` is valid and exclusive for the call.
    unsafe { tranche_airtime_radio_reset(radio, now) }
}

pub(super) fn refresh(radio: &mut Radio, now: u64) {
    // SAFETY: `radio` is valid and exclusive for the call.
    unsafe { tranche_airtime_refresh(radio, now) }
}

pub(super) fn admit(
    radio: &mut Radio,
    vif: u32,
    now: u64,
    airtime: u64,
    earliest: u64,
) -> Option<u64> {
    let mut departure = now;
    // SAFETY: `radio` and `departure` are valid and exclusive for the call.
    let verdict =
        unsafe { tranche_airtime_admit(radio, vif, now, airtime, earliest, &mut departure) };
    (verdict == 0).then_some(departure)
}

pub(super) fn complete(radio: &mut Radio, vif: u32, now: u64, done: Completion) {
    let Completion {
        departure_ns,
        estimated_ns,
        measured_ns,
    } = done;
    // SAFETY: `radio` is valid and exclusive for the call.
    unsafe {
        tranche_airtime_complete(radio, vif, now, departure_ns, estimated_ns, measured_ns);
    }
}

pub(super) fn cancel(radio: &mut Radio, vif: u32, departure: u64, estimated: u64) {
    // SAFETY: `radio` is valid and exclusive for the call.
    unsafe { tranche_airtime_cancel(radio, vif, departure, estimated) }
}

/// A packet of a test's trace at the native twin of the kernel program: what it is marked with, or nothing if it is dropped.
/// `settings` is `struct airtime_settings` as bytes.
#[cfg(all(test, feature = "bpf"))]
pub(super) fn egress(
    radio: &mut Radio,
    settings: &[u8],
    vif: u32,
    now: u64,
    (bytes, segments): (u32, u32),
) -> Option<u64> {
    // SAFETY: takes nothing and returns a size.
    assert_eq!(settings.len(), unsafe { tranche_airtime_settings_size() });
    let aligned: Vec<u64> = settings
        .chunks_exact(8)
        .map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap_or_default()))
        .collect();
    let mut mark = 0;
    // SAFETY: `radio` and `mark` are valid and exclusive for the call, `aligned` is as long as the struct and aligned as it.
    let verdict = unsafe {
        let settings = aligned.as_ptr().cast();
        tranche_airtime_egress(radio, settings, vif, now, bytes, segments, &mut mark)
    };
    (verdict == 0).then_some(mark)
}

/// The state of a radio as it lies in memory.
#[cfg(all(test, feature = "bpf"))]
pub(super) fn bytes_of(radio: &Radio) -> Vec<u8> {
    let start = std::ptr::from_ref(radio).cast::<u8>();
    // SAFETY: as many bytes as the type has, all of them initialised: it consists of integers without padding between them.
    unsafe { std::slice::from_raw_parts(start, size_of::<Radio>()) }.to_vec()
}

#[cfg(test)]
#[test]
fn layout_is_that_of_the_header() {
    // SAFETY: take nothing and return sizes.
    let (radio, vif, offset) = unsafe {
        (
            tranche_airtime_radio_size(),
            tranche_airtime_vif_size(),
            tranche_airtime_vif_offset(),
        )
    };
    assert_eq!(radio, size_of::<Radio>());
    assert_eq!(vif, size_of::<Vif>());
    assert_eq!(offset, std::mem::offset_of!(Radio, vif));
}
