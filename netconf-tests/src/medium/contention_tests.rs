//! Laws of contention: shares, losses, queues, hidden radios, and that a seed decides everything.

use proptest::prelude::*;

use super::*;
use crate::medium::airtime::{Protection, Rate};

/// Radio `n`, and the one interface on it.
fn hardware(n: u8) -> Mac {
    Mac([0x42, 0, 0, 0, n, 0])
}

fn interface(n: u8) -> Mac {
    Mac([0x02, 0, 0, 0, n, 0])
}

fn frame(from: u8, to: Mac, bytes: usize, kbps: u32) -> Frame {
    let mut data = vec![0; bytes];
    data[0] = 0x08;
    data[4..10].copy_from_slice(&to.0);
    data[10..16].copy_from_slice(&interface(from).0);
    let step = Step {
        index: 0,
        rate: Rate::Ofdm { kbps },
        protection: Protection::None,
        tries: 7,
    };
    Frame {
        cookie: 0,
        flags: 0,
        frequency_mhz: 5180,
        data,
        steps: vec![step],
        no_acknowledgement: false,
    }
}

/// Takes everything, and remembers it.
#[derive(Default)]
struct Everybody {
    delivered: Vec<(Mac, Mac, bool)>,
    done: Vec<(Mac, Status)>,
    entries: Vec<Entry>,
    deaf: Option<Mac>,
}

impl Air for Everybody {
    fn deliver(&mut self, frame: &Frame, _: &Step, at: Mac, _: i8) -> bool {
        let is_retry = frame.data[1] & 0x08 != 0;
        self.delivered
            .push((frame.transmitter().unwrap(), at, is_retry));
        self.deaf != Some(at)
    }

    fn done(&mut self, radio: Mac, _: Frame, status: Status) {
        self.done.push((radio, status));
    }

    fn tried(&mut self, entry: &Entry) {
        self.entries.push(entry.clone());
    }
}

/// A saturated sender: its radio, its receiver, length and rate of its frames.
type Flow = (u8, Mac, usize, u32);

/// Keeps two frames of each flow queued for so long.
fn saturate(medium: &mut Contention, flows: &[Flow], until_ns: u64) -> Everybody {
    let mut air = Everybody::default();
    for &(from, to, bytes, kbps) in flows {
        for _ in 0..2 {
            let frame = frame(from, to, bytes, kbps);
            medium.offer(medium.now_ns(), hardware(from), frame, &mut air);
        }
    }
    let mut seen = 0;
    while medium.step(until_ns, &mut air) {
        while let Some((radio, _)) = air.done.get(seen).copied() {
            seen += 1;
            for &(from, to, bytes, kbps) in flows.iter().filter(|f| hardware(f.0) == radio) {
                let frame = frame(from, to, bytes, kbps);
                medium.offer(medium.now_ns(), radio, frame, &mut air);
            }
        }
    }
    air
}

fn medium(radios: u8, links: Links, seed: u64) -> Contention {
    let mut medium = Contention::new(links, 40, seed);
    for n in 0..radios {
        assert!(medium.add_radio(hardware(n)));
        medium.add_address(hardware(n), interface(n));
    }
    medium
}

const SECOND: u64 = 1_000_000_000;

fn shares(medium: &Contention, radios: &[u8]) -> Vec<f64> {
    let airtime: Vec<f64> = radios
        .iter()
        .map(|n| medium.ledger().airtime_of(interface(*n)) as f64)
        .collect();
    let sum: f64 = airtime.iter().sum();
    airtime.iter().map(|part| part / sum).collect()
}

fn away() -> LinkChange {
    LinkChange {
        in_range: Some(false),
        ..LinkChange::default()
    }
}

#[test]
fn equal_rates_share_the_air_equally() {
    let mut medium = medium(4, Links::default(), 1);
    let flows = [
        (0, interface(2), 1500, 24_000),
        (1, interface(3), 1500, 24_000),
    ];
    saturate(&mut medium, &flows, 20 * SECOND);
    let shares = shares(&medium, &[0, 1]);
    assert!((shares[0] - 0.5).abs() < 0.01, "{shares:?}");
    let busy = medium.ledger().channels().next().unwrap().1;
    let utilisation = busy as f64 / (20 * SECOND) as f64;
    // 568 us of exchange, 43 us of AIFS, and about four slots, as Bianchi's model has them for two.
    assert!((0.86..0.89).contains(&utilisation), "{utilisation}");
}

#[test]
fn unequal_rates_get_equal_numbers_of_frames_and_unequal_airtime() {
    let mut medium = medium(4, Links::default(), 2);
    let flows = [
        (0, interface(2), 1500, 6000),
        (1, interface(3), 1500, 54_000),
    ];
    saturate(&mut medium, &flows, 20 * SECOND);
    let frames: Vec<u64> = (medium.ledger().accounts())
        .map(|(_, account)| account.frames)
        .collect();
    let ratio = frames[0] as f64 / frames[1] as f64;
    assert!(
        (ratio - 1.0).abs() < 0.08,
        "the anomaly of 802.11: {frames:?}"
    );
    let shares = shares(&medium, &[0, 1]);
    // 2088 against 288 us for one exchange.
    assert!((shares[0] - 2088.0 / 2376.0).abs() < 0.02, "{shares:?}");
}

#[test]
fn a_lone_sender_waits_for_nobody_but_its_backoff() {
    let mut medium = medium(2, Links::default(), 3);
    let air = saturate(&mut medium, &[(0, interface(1), 1500, 54_000)], SECOND);
    assert!(
        air.entries
            .iter()
            .all(|e| e.outcome == Outcome::Acknowledged)
    );
    let gaps = air
        .entries
        .windows(2)
        .map(|two| two[1].start_ns - two[0].start_ns - two[0].airtime_ns);
    let gaps: Vec<u64> = gaps.collect();
    assert!(
        gaps.iter()
            .all(|gap| (43_000..=43_000 + 15 * 9000).contains(gap)),
        "{gaps:?}"
    );
    let mean = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
    assert!((mean - 43_000.0 - 7.5 * 9000.0).abs() < 3000.0, "{mean}");
}

#[test]
fn an_idle_medium_is_taken_at_once() {
    let mut medium = medium(2, Links::default(), 4);
    let mut air = Everybody::default();
    medium.offer(0, hardware(0), frame(0, interface(1), 100, 6000), &mut air);
    while medium.step(SECOND, &mut air) {}
    medium.offer(
        SECOND,
        hardware(0),
        frame(0, interface(1), 100, 6000),
        &mut air,
    );
    while medium.step(2 * SECOND, &mut air) {}
    let wait = air.entries[1].start_ns - SECOND;
    assert!(wait < SLOT_NS, "at the next slot: {wait} ns");
}

#[test]
fn a_loss_costs_airtime_and_is_tried_again() {
    let mut links = Links::default();
    links.default.loss = 0.3;
    let mut medium = medium(2, links, 5);
    let air = saturate(&mut medium, &[(0, interface(1), 1500, 54_000)], 10 * SECOND);
    let (_, account) = medium.ledger().accounts().next().unwrap();
    let lost = account.failed_ns as f64 / account.airtime_ns as f64;
    assert!((lost - 0.3).abs() < 0.02, "{lost}");
    // 0.3 to the seventh.
    let given_up = account.given_up as f64 / account.frames as f64;
    assert!(given_up < 0.002, "{given_up}");
    let tries: u64 = air
        .done
        .iter()
        .map(|(_, status)| u64::from(status.tries))
        .sum();
    assert!(
        account.tries - tries <= 7,
        "all but the last frame are reported: {account:?} {tries}"
    );
    assert!(air.delivered.iter().any(|(.., is_retry)| *is_retry));
}

#[test]
fn too_fast_a_rate_does_not_get_through_and_the_next_of_the_series_does() {
    let mut links = Links::default();
    links.default.max_rate_kbps = Some(6000);
    let mut medium = medium(2, links, 6);
    let mut air = Everybody::default();
    let mut frame = frame(0, interface(1), 500, 54_000);
    frame.steps[0].tries = 2;
    frame.steps.push(Step {
        index: 1,
        rate: Rate::Ofdm { kbps: 6000 },
        ..frame.steps[0]
    });
    medium.offer(0, hardware(0), frame, &mut air);
    while medium.step(SECOND, &mut air) {}
    assert_eq!(
        air.done[0].1,
        Status {
            acknowledged: true,
            tries: 3,
            signal_dbm: -50
        }
    );
    let rates: Vec<u32> = air.entries.iter().map(|entry| entry.rate_kbps).collect();
    assert_eq!(rates, [54_000, 54_000, 6000]);
}

#[test]
fn a_full_queue_answers_at_once() {
    let mut medium = medium(2, Links::default(), 7);
    let mut air = Everybody::default();
    for _ in 0..45 {
        medium.offer(0, hardware(0), frame(0, interface(1), 1500, 6000), &mut air);
    }
    let refused = Status {
        acknowledged: false,
        tries: 0,
        signal_dbm: 0,
    };
    assert_eq!(air.done, [(hardware(0), refused); 5]);
    let (_, account) = medium.ledger().accounts().next().unwrap();
    assert_eq!((account.overflowed, account.airtime_ns), (5, 0));
    // Another access category has its own.
    let mut voice = frame(0, interface(1), 1500, 6000);
    voice.data[0] = 0xb0;
    medium.offer(0, hardware(0), voice, &mut air);
    assert_eq!(air.done.len(), 5);
    while medium.step(SECOND, &mut air) {}
    assert_eq!(air.done.len(), 5 + 41);
    assert!(air.entries[0].bytes == 1504 && air.done[5].1.acknowledged);
}

#[test]
fn a_group_hears_once_and_nobody_acknowledges() {
    let mut links = Links::default();
    links.change(hardware(0), hardware(3), away());
    let mut medium = medium(4, links, 8);
    let mut air = Everybody::default();
    medium.offer(
        0,
        hardware(0),
        frame(0, Mac([0xff; 6]), 200, 6000),
        &mut air,
    );
    while medium.step(SECOND, &mut air) {}
    let heard: Vec<Mac> = air.delivered.iter().map(|(_, at, _)| *at).collect();
    assert_eq!(heard, [hardware(1), hardware(2)]);
    assert_eq!(air.entries[0].outcome, Outcome::Sent);
    assert_eq!(
        (air.done[0].1.acknowledged, air.done[0].1.tries),
        (false, 1)
    );
}

#[test]
fn who_does_not_listen_does_not_acknowledge() {
    let mut medium = medium(2, Links::default(), 9);
    let mut air = Everybody {
        deaf: Some(hardware(1)),
        ..Everybody::default()
    };
    medium.offer(0, hardware(0), frame(0, interface(1), 200, 6000), &mut air);
    medium.offer(0, hardware(0), frame(0, interface(77), 200, 6000), &mut air);
    while medium.step(SECOND, &mut air) {}
    assert!(
        air.entries
            .iter()
            .all(|entry| entry.outcome == Outcome::Unheard)
    );
    let statuses: Vec<_> = air
        .done
        .iter()
        .map(|(_, s)| (s.acknowledged, s.tries))
        .collect();
    assert_eq!(statuses, [(false, 7), (false, 7)]);
}

#[test]
fn radios_that_do_not_hear_each_other_collide_at_one_that_hears_both() {
    let mut links = Links::default();
    links.change(hardware(0), hardware(1), away());
    let mut medium = medium(3, links.clone(), 10);
    let flows = [(0, interface(2), 1500, 6000), (1, interface(2), 1500, 6000)];
    saturate(&mut medium, &flows, 5 * SECOND);
    let (tries, collisions) = sums(&medium);
    assert!(collisions * 2 > tries, "hidden: {collisions} of {tries}");

    let mut medium = self::medium(3, Links::default(), 10);
    saturate(&mut medium, &flows, 5 * SECOND);
    let (tries, collisions) = sums(&medium);
    assert!(collisions * 6 < tries, "in range: {collisions} of {tries}");
}

#[test]
fn what_is_out_of_range_is_another_world() {
    let mut links = Links::default();
    for (a, b) in [(0, 1), (0, 3), (2, 1), (2, 3)] {
        links.change(hardware(a), hardware(b), away());
    }
    let mut medium = medium(4, links, 11);
    let flows = [
        (0, interface(2), 1500, 24_000),
        (1, interface(3), 1500, 24_000),
    ];
    saturate(&mut medium, &flows, SECOND);
    for n in [0, 1] {
        let alone = medium.ledger().airtime_of(interface(n)) as f64 / SECOND as f64;
        assert!(alone > 0.8, "{alone}");
    }
    assert_eq!(sums(&medium).1, 0);
}

#[test]
fn a_radio_that_goes_takes_its_frames_along() {
    let mut medium = medium(2, Links::default(), 12);
    let mut air = Everybody::default();
    for _ in 0..3 {
        medium.offer(0, hardware(0), frame(0, interface(1), 1500, 6000), &mut air);
    }
    medium.remove_radio(hardware(0));
    while medium.step(SECOND, &mut air) {}
    assert!(air.entries.is_empty());
    assert_eq!(medium.radios().collect::<Vec<_>>(), [hardware(1)]);
    medium.offer(
        SECOND,
        hardware(0),
        frame(0, interface(1), 1500, 6000),
        &mut air,
    );
    while medium.step(2 * SECOND, &mut air) {}
    assert_eq!(air.done.len(), 1, "and may come back");
}

fn sums(medium: &Contention) -> (u64, u64) {
    let accounts = medium.ledger().accounts();
    accounts.fold((0, 0), |(tries, collisions), (_, account)| {
        (tries + account.tries, collisions + account.collisions)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_seed_gives_the_same_history_and_time_adds_up(
        seed: u64,
        kbps in prop::sample::select(vec![6000_u32, 12_000, 24_000, 54_000]),
        senders in 1_u8..6,
        bytes in 60_usize..1500,
        loss in 0.0_f64..0.6,
    ) {
        let run = || {
            let mut links = Links::default();
            links.default.loss = loss;
            let mut medium = medium(7, links, seed);
            let flows: Vec<Flow> = (0..senders).map(|n| (n, interface(6), bytes, kbps)).collect();
            let air = saturate(&mut medium, &flows, SECOND / 2);
            (air.entries, medium)
        };
        let (entries, medium) = run();
        prop_assert_eq!(&entries, &run().0);
        // All hear each other: nothing but collisions overlaps, and nothing is on the air for longer than there was time.
        for two in entries.windows(2) {
            let overlap = two[1].start_ns < two[0].start_ns + two[0].airtime_ns;
            prop_assert!(!overlap || two.iter().all(|entry| entry.outcome == Outcome::Collided), "{two:?}");
        }
        let busy = medium.ledger().channels().next().unwrap().1;
        prop_assert!(busy <= SECOND / 2);
        let charged: u64 = medium.ledger().accounts().map(|(_, account)| account.airtime_ns).sum();
        let told: u64 = entries.iter().map(|entry| entry.airtime_ns).sum();
        prop_assert_eq!(charged, told);
        prop_assert!(charged >= busy);
    }

    #[test]
    fn equal_senders_get_equal_shares(seed: u64, senders in 2_u8..6) {
        let mut medium = medium(7, Links::default(), seed);
        let flows: Vec<Flow> = (0..senders).map(|n| (n, interface(6), 700, 54_000)).collect();
        // Who has collided waits longer and meets fewer: luck lasts, and evens out over many thousands of frames only.
        saturate(&mut medium, &flows, 40 * SECOND);
        let all: Vec<u8> = (0..senders).collect();
        for share in shares(&medium, &all) {
            prop_assert!((share * f64::from(senders) - 1.0).abs() < 0.08, "{share} of {senders}");
        }
    }
}
