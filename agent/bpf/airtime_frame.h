/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What frames take on the air: rates of the 802.11 PHYs, what a driver says afterwards, and how a packet carries its
 * estimate to its completion. Integers only and no kernel types, as airtime.h.
 */
#ifndef TRANCHE_AIRTIME_FRAME_H
#define TRANCHE_AIRTIME_FRAME_H

#include "airtime.h"

/* Where the measured airtime of a station comes from; the better the source, the greater. */
enum airtime_source {
	AIRTIME_SOURCE_NONE = 0,       /* nothing was completed yet */
	AIRTIME_SOURCE_ESTIMATE = 1,   /* the driver says nothing: what was estimated */
	AIRTIME_SOURCE_RATES = 2,      /* the rates and tries that it reports */
	AIRTIME_SOURCE_TX_TIME = 3,    /* the time that it reports with a frame, or with some frames for others */
	AIRTIME_SOURCE_AIRTIME = 4,    /* ieee80211_sta_register_airtime(), now and then for many frames */
};

struct airtime_station {
	airtime_u32 rate_kbps;         /* towards it, smoothed; 0: not known */
	airtime_u32 source;            /* enum airtime_source */
	airtime_u32 ratio;             /* measured over estimated, 16.16, where the driver speaks now and then */
	airtime_u32 unused;
	airtime_u64 registered;        /* sent to it as the driver says, not booked yet */
	airtime_u64 received;          /* received from it, as the driver says, since it is known */
	airtime_u64 estimated;         /* of what completed since the driver spoke last */
	airtime_s64 assigned;          /* booked since then */
};

/* The driver says that frames to and from a station took this long. From now on nothing else is believed. */
AIRTIME_FN void airtime_station_register(struct airtime_station *s, airtime_u64 sent, airtime_u64 received)
{
	if (received)
		AIRTIME_ADD(s->received, received);
	if (!sent)
		return;
	s->source = AIRTIME_SOURCE_AIRTIME;
	AIRTIME_ADD(s->registered, sent);
}

/*
 * What a frame that completed is booked with: one source for each station, never a sum. `tx_time` is what the driver
 * reports with it, `rated` follows from its rates and tries; 0 is nothing. Where the driver speaks for many frames at once,
 * they are booked in proportion to what it said last, and the difference with the frame with which it speaks again.
 * 0: it took what frames of its vif take otherwise.
 */
AIRTIME_FN airtime_u64 airtime_station_complete(struct airtime_station *s, airtime_u64 estimated, airtime_u64 tx_time,
						airtime_u64 rated)
{
	airtime_u64 said = 0, booked, ratio;
	airtime_s64 due;

	if (s->source == AIRTIME_SOURCE_AIRTIME) {
		said = AIRTIME_TAKE(s->registered);
	} else if (tx_time || s->source == AIRTIME_SOURCE_TX_TIME) {
		s->source = AIRTIME_SOURCE_TX_TIME;
		said = tx_time;
	} else if (rated) {
		s->source = AIRTIME_SOURCE_RATES;
		return rated;
	} else {
		if (!s->source)
			s->source = AIRTIME_SOURCE_ESTIMATE;
		return 0;
	}
	estimated = airtime_min(estimated, AIRTIME_LONGEST);
	s->estimated = airtime_min(s->estimated + estimated, 8 * AIRTIME_LONGEST);
	if (!said) {
		booked = airtime_max((estimated >> 8) * (s->ratio ? s->ratio : AIRTIME_ONE) >> 8, 1);
		if (s->assigned < (airtime_s64)(8 * AIRTIME_LONGEST))
			s->assigned += booked;
		return booked;
	}
	said = airtime_min(said, 8 * AIRTIME_LONGEST);
	if (s->estimated) {
		ratio = airtime_min(airtime_scale(said, AIRTIME_ONE, s->estimated), AIRTIME_CONGESTION_MAX);
		s->ratio = s->ratio ? (3ULL * s->ratio + ratio) / 4 : ratio;
	}
	due = (airtime_s64)said - s->assigned;
	booked = due > 0 ? due : 1;
	s->assigned = (airtime_s64)booked - due;
	s->estimated = 0;
	return booked;
}

/* The station was sent to at this rate: the next packets probably are, too. */
AIRTIME_FN void airtime_station_rate(airtime_u32 *rate_kbps, airtime_u32 kbps)
{
	airtime_u32 before = *rate_kbps;

	if (kbps && kbps != before)
		*rate_kbps = before ? (3ULL * before + kbps + 2) / 4 : kbps;
}

/* Rate number `index` of a band, IEEE Std 802.11-2020 tables 15-4, 16-2 and 17-4; 0 if there is none. */
AIRTIME_FN airtime_u32 airtime_rate_legacy(int ofdm_only, airtime_u32 index)
{
	if (!ofdm_only) {
		/* in units of 500 kbit/s: 2 4 11 22 */
		if (index < 4)
			return (0x160b0402U >> (8 * index) & 0xff) * 500;
		index -= 4;
	}
	/* 12 18 24 36 48 72 96 108 */
	return index < 8 ? (airtime_u32)(0x6c6048302418120cULL >> (8 * index) & 0xff) * 500 : 0;
}

/* Data bits of a subcarrier and symbol for a modulation and coding scheme, in twelfths; 0 if there is none. */
AIRTIME_FN airtime_u32 airtime_mcs_twelfths(airtime_u32 mcs)
{
	/* 6 12 18 24 36 48 54 60, 72 80 90 100 108 120 */
	if (mcs < 8)
		return 0x3c36302418120c06ULL >> (8 * mcs) & 0xff;
	return mcs < 14 ? 0x786c645a5048ULL >> (8 * (mcs - 8)) & 0xff : 0;
}

/* Rate of HT and VHT: `streams` of 20 << width_log2 MHz, IEEE Std 802.11-2020 19.5 and 21.5. */
AIRTIME_FN airtime_u32 airtime_rate_vht(airtime_u32 mcs, airtime_u32 streams, airtime_u32 width_log2, int short_guard)
{
	airtime_u64 tones = width_log2 == 0 ? 52 : width_log2 == 1 ? 108 : width_log2 == 2 ? 234 : 468;
	airtime_u64 kbps = streams * tones * airtime_mcs_twelfths(mcs) * 1000 / 48;

	return short_guard ? kbps * 10 / 9 : kbps;
}

/* Rate of HE and EHT with the whole width; `guard` 0, 1, 2 for 0.8, 1.6, 3.2 us, IEEE Std 802.11ax-2021 27.5. */
AIRTIME_FN airtime_u32 airtime_rate_he(airtime_u32 mcs, airtime_u32 streams, airtime_u32 width_log2, airtime_u32 guard)
{
	airtime_u64 tones = width_log2 == 0 ? 234 : width_log2 == 1 ? 468 : width_log2 == 2 ? 980 :
			    width_log2 == 3 ? 1960 : 3920;
	airtime_u64 symbol_ns = guard == 0 ? 13600 : guard == 1 ? 14400 : 16000;

	return streams * tones * airtime_mcs_twelfths(mcs) * 1000000ULL / 12 / symbol_ns;
}

/*
 * A packet carries when it was to leave and what each of its frames was charged in one number of nanoseconds: the departure,
 * whose last 16 bits are the charge in units of 2 us. Cut to AIRTIME_GRAIN a departure stays in its wheel slot.
 */
#define AIRTIME_MARK_UNIT 2048ULL

/* The estimate of a frame as a mark can say it: not nothing, and 134 ms at most. */
AIRTIME_FN airtime_u64 airtime_markable(airtime_u64 estimated)
{
	return airtime_min(airtime_max(estimated / AIRTIME_MARK_UNIT, 1), AIRTIME_GRAIN - 1) * AIRTIME_MARK_UNIT;
}

AIRTIME_FN airtime_u64 airtime_mark(airtime_u64 departure, airtime_u64 markable)
{
	return (departure & ~(AIRTIME_GRAIN - 1)) | markable / AIRTIME_MARK_UNIT;
}

AIRTIME_FN airtime_u64 airtime_mark_departure(airtime_u64 mark) { return mark & ~(AIRTIME_GRAIN - 1); }

AIRTIME_FN airtime_u64 airtime_mark_estimated(airtime_u64 mark) { return (mark & (AIRTIME_GRAIN - 1)) * AIRTIME_MARK_UNIT; }

/* The step of a histogram of times: microseconds below 8, then eight to an octave. */
#define AIRTIME_DELAY_STEPS 256

AIRTIME_FN airtime_u32 airtime_delay_step(airtime_u64 ns)
{
	airtime_u64 us = airtime_min(ns / 1000, 0xffffffffULL), rest = us;
	airtime_u32 octave = 0, step;

	if (us < 8)
		return us;
	AIRTIME_LOOP
	for (airtime_u32 bit = 16; bit; bit >>= 1)
		if (rest >> bit) {
			rest >>= bit;
			octave += bit;
		}
	step = (octave - 2) * 8 + ((us >> (octave - 3)) & 7);
	return step < AIRTIME_DELAY_STEPS ? step : AIRTIME_DELAY_STEPS - 1;
}

#endif
