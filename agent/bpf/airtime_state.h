/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the law of airtime.h is told and what it remembers: settings, radios and vifs, how they begin, and how settings come into
 * force. Fractions are 16.16 fixed point unless a name says otherwise; times are nanoseconds.
 */
#ifndef TRANCHE_AIRTIME_STATE_H
#define TRANCHE_AIRTIME_STATE_H

/* A kernel program can't call functions with locks held, and what loops is verified on its own, once, as a global function. */
#ifdef __bpf__
#define AIRTIME_FN static inline __attribute__((always_inline))
#define AIRTIME_PART __attribute__((noinline))
#define AIRTIME_LOOP _Pragma("clang loop unroll(disable)")
#else
#define AIRTIME_FN static inline
#define AIRTIME_PART static inline
#define AIRTIME_LOOP
#endif

typedef unsigned long long airtime_u64;
typedef long long airtime_s64;
typedef unsigned int airtime_u32;

#define AIRTIME_VIFS 32            /* a power of two */
#define AIRTIME_WHEEL 64           /* a power of two */
#define AIRTIME_WHEEL_AHEAD 16     /* slots of a horizon */
#define AIRTIME_WHEEL_BEHIND 46    /* slots until what left expires */
#define AIRTIME_WHEEL_SLOT (8 * AIRTIME_MS)
#define AIRTIME_WHEEL_BRIEF 4      /* slots until what left expires where no completion ever comes */
#define AIRTIME_SILENCE 32         /* turns of the wheel, each with something expired, after which none is expected */
#define AIRTIME_PAUSE_EVERY (4000 * AIRTIME_MS)
#define AIRTIME_PAUSE_LEAST (8 * AIRTIME_MS)
#define AIRTIME_GRAIN 65536ULL     /* a wheel slot is a multiple: departures cut to it stay in their slot */
#define AIRTIME_ONE 65536U
#define AIRTIME_RATIO_FULL 10000U  /* a ceiling, in hundredths of a percent */
#define AIRTIME_MS 1000000ULL
#define AIRTIME_REFRESH (1 * AIRTIME_MS)
#define AIRTIME_FLIGHT_LIMIT (32 * AIRTIME_MS)
#define AIRTIME_COMPLETIONS 8      /* enough to judge by */
#define AIRTIME_CONGESTION_MAX (64U * AIRTIME_ONE)
#define AIRTIME_LONGEST (1000 * AIRTIME_MS)

#define AIRTIME_ADD(field, value) ((void)__sync_fetch_and_add(&(field), (value)))
#define AIRTIME_TAKE(field) __sync_lock_test_and_set(&(field), 0)

enum airtime_verdict { AIRTIME_SEND = 0, AIRTIME_DROP = 1 };

enum airtime_urgency {
	AIRTIME_ORDINARY = 0,
	AIRTIME_VOICE = 1,             /* not held, and not dropped before the clock is two horizons ahead */
	AIRTIME_CONTROL = 2,           /* neither held nor dropped */
};

/* What the agent wants of one vif. */
struct airtime_vif_settings {
	airtime_u32 weight;            /* its part of the sum of weights is what it is owed; 0: not scheduled */
	airtime_u32 ceiling;           /* 1..10000, hundredths of a percent of the time that passes */
	airtime_u32 corrected;         /* the ceiling until `until`; 0: there is none */
	airtime_u32 epoch;             /* another one when another vif has this place */
	airtime_u64 until;
	/* the agent's notes, for when it starts again */
	airtime_u32 min_ratio;         /* as configured, hundredths of a percent */
	airtime_u32 corrected_min;     /* 1 more than that; 0: there is none */
};

/* What the agent wants of a radio. */
struct airtime_settings {
	airtime_u64 horizon;           /* longest that a packet is held */
	airtime_u64 interval;          /* within which a ratio is met */
	airtime_u64 burst;             /* airtime that leaves at once */
	airtime_u64 overhead;          /* what a frame takes beside its bits: preamble, interframe space, acknowledgement */
	airtime_u32 basic_kbps;        /* rate of multicast, and of stations of which nothing is known yet */
	airtime_u32 ofdm_only;         /* the band has no rates of 802.11b */
	airtime_u32 epoch;             /* another one when the radio is to forget what it measured */
	airtime_u32 slots;             /* vif settings in use, the first ones */
	struct airtime_vif_settings vif[AIRTIME_VIFS];
};

/* What of a vif left in one slot of time and was not answered for yet. */
struct airtime_slot {
	airtime_s64 estimated;
	airtime_s64 charged;
};

struct airtime_vif {
	/* settings in force */
	airtime_u32 weight;
	airtime_u32 ceiling;
	airtime_u32 epoch;
	/* the law's own */
	airtime_u32 share;             /* of what is available, now */
	airtime_u32 used;              /* of what is available, smoothed */
	airtime_u32 inflation;         /* measured over estimated, smoothed */
	airtime_u32 backlogged;        /* packets that had to wait long, or in vain */
	airtime_u32 unused;
	airtime_u64 next;              /* share clock */
	airtime_u64 next_ceiling;      /* ceiling clock */
	airtime_u64 depart;            /* when the current burst leaves */
	airtime_u64 burst_left;        /* airtime that still fits into it */
	airtime_u64 charged;           /* since usage was last smoothed */
	airtime_s64 debt;              /* measured less charged, not charged yet */
	airtime_u64 landed_to;         /* wheel slot before which nothing is in flight */
	struct airtime_slot wheel[AIRTIME_WHEEL]; /* by departure */
	/* counters */
	airtime_u64 admitted;          /* packets */
	airtime_u64 delayed;           /* packets */
	airtime_u64 dropped;           /* packets */
	airtime_u64 completed;         /* packets */
	airtime_u64 estimated;         /* airtime */
	airtime_u64 measured;          /* airtime */
	airtime_u64 lost;              /* estimated airtime whose completion never came */
};

struct airtime_radio {
	/* settings in force */
	airtime_u64 horizon;
	airtime_u64 interval;
	airtime_u64 burst;
	airtime_u32 epoch;
	airtime_u32 slots;
	/* the law's own */
	airtime_u32 congestion;        /* time that an amount of airtime takes, over that airtime */
	airtime_u32 capacity;          /* airtime that the medium gives us while we want it */
	airtime_s64 bias;              /* integral part of the congestion */
	airtime_u32 paced;             /* the share clock held something back since the last control step */
	airtime_u32 completions;       /* since the last control step */
	airtime_u32 measuring;         /* the capacity was measured at least once */
	airtime_u32 silence;           /* turns of the wheel in which something expired, since the last completion */
	airtime_u32 expired;           /* something did in this turn of the wheel */
	airtime_u32 refreshing;        /* the caller's: somebody is in airtime_refresh() */
	airtime_u64 refresh_at;
	airtime_u64 usage_since;
	airtime_u64 control_since;
	airtime_u64 refreshed;
	airtime_u64 last_done;         /* time of the last completion */
	airtime_u64 done;              /* airtime completed since the last control step */
	airtime_u64 idle;              /* time without anything in flight since then */
	airtime_u64 area;              /* airtime in flight, integrated since then, square microseconds */
	airtime_u64 lump;              /* airtime that leaves at once, smoothed; a burst at least */
	airtime_u64 latency;           /* of a packet and its completion where nothing is before it */
	airtime_u64 pause_from;        /* nothing leaves from here... */
	airtime_u64 pause_to;          /* ...to here, so that the latency shows */
	airtime_u64 pause;             /* length of such a pause */
	airtime_u64 seen_alone;        /* a packet with nothing before it completed since the last one */
	airtime_s64 outstanding;       /* airtime that left and was not completed */
	airtime_u64 wheel_at;          /* wheel slot before which everything has left */
	airtime_u64 wheel_slot;        /* length of a wheel slot */
	/* Sums over the vifs. In memory, or the verifier tells each of their possible values from the others. */
	volatile airtime_u64 all;      /* weights */
	volatile airtime_u64 contending; /* weights of those that the share clock holds back */
	volatile airtime_u64 light;    /* used by the others */
	struct airtime_vif vif[AIRTIME_VIFS];
};

AIRTIME_FN airtime_u64 airtime_max(airtime_u64 a, airtime_u64 b) { return a > b ? a : b; }
AIRTIME_FN airtime_u64 airtime_min(airtime_u64 a, airtime_u64 b) { return a < b ? a : b; }

/* a * b / c for operands whose product fits; 0 for c = 0 */
AIRTIME_FN airtime_u64 airtime_scale(airtime_u64 a, airtime_u64 b, airtime_u64 c)
{
	return c ? a * b / c : 0;
}

/* Airtime of `segments` frames with `bytes` in sum, at `kbps`; a rate of 0 is taken as 1 Mbit/s. */
AIRTIME_FN airtime_u64 airtime_estimate(airtime_u64 overhead, airtime_u32 segments, airtime_u32 bytes,
					   airtime_u32 kbps)
{
	return overhead * segments + (airtime_u64)bytes * 8000000ULL / (kbps ? kbps : 1000);
}

/* Forgets what vif `k` has in flight and what it owes. */
AIRTIME_PART int airtime_vif_reset(struct airtime_radio *r, airtime_u32 k, airtime_u64 wheel_at)
{
	struct airtime_vif *v;

	if (!r)
		return 0;
	v = &r->vif[k & (AIRTIME_VIFS - 1)];
	v->landed_to = wheel_at;
	v->debt = 0;
	v->next = 0;
	v->next_ceiling = 0;
	v->depart = 0;
	v->burst_left = 0;
	AIRTIME_LOOP
	for (int i = 0; i < AIRTIME_WHEEL; i++) {
		v->wheel[i].estimated = 0;
		v->wheel[i].charged = 0;
	}
	return 0;
}

/* Vif `k` never sent anything. */
AIRTIME_FN void airtime_vif_clear(struct airtime_radio *r, airtime_u32 k, airtime_u64 wheel_at)
{
	struct airtime_vif *v = &r->vif[k & (AIRTIME_VIFS - 1)];

	airtime_vif_reset(r, k, wheel_at);
	v->weight = 0;
	v->ceiling = 0;
	v->share = 0;
	v->used = 0;
	v->inflation = 0;
	v->backlogged = 0;
	v->charged = 0;
	v->admitted = 0;
	v->delayed = 0;
	v->dropped = 0;
	v->completed = 0;
	v->estimated = 0;
	v->measured = 0;
	v->lost = 0;
}

/*
 * A radio on which nothing has been sent yet; to be called after the horizon was changed, too. Keeps the vifs with their
 * counters, and forgets what they have in flight.
 */
AIRTIME_FN void airtime_radio_reset(struct airtime_radio *r, airtime_u64 now)
{
	/* Cautious until something was measured. */
	r->congestion = 2 * AIRTIME_ONE;
	r->capacity = AIRTIME_ONE / 2;
	r->measuring = 0;
	r->silence = 0;
	r->bias = 0;
	r->paced = 0;
	r->completions = 0;
	r->refresh_at = now;
	r->usage_since = now;
	r->control_since = now;
	r->refreshed = now;
	r->last_done = now;
	r->done = 0;
	r->idle = 0;
	r->area = 0;
	r->lump = 0;
	r->latency = 0;
	r->pause_from = now;
	r->pause_to = now;
	r->pause = AIRTIME_PAUSE_LEAST;
	r->seen_alone = 0;
	r->outstanding = 0;
	r->wheel_slot = airtime_max(r->horizon / AIRTIME_WHEEL_AHEAD + 1, AIRTIME_WHEEL_SLOT);
	r->wheel_slot = (r->wheel_slot + AIRTIME_GRAIN - 1) & ~(AIRTIME_GRAIN - 1);
	r->wheel_at = now / r->wheel_slot;
	AIRTIME_LOOP
	for (airtime_u32 i = 0; i < AIRTIME_VIFS; i++) {
		if (i >= r->slots)
			break;
		airtime_vif_reset(r, i, r->wheel_at);
	}
}

/* Puts settings in force. A vif that is new to its place begins with nothing. */
AIRTIME_FN void airtime_configure(struct airtime_radio *r, const struct airtime_settings *s, airtime_u64 now)
{
	airtime_u64 horizon = s->horizon;
	airtime_u32 slots = s->slots;

	r->slots = slots < AIRTIME_VIFS ? slots : AIRTIME_VIFS;
	r->interval = s->interval;
	r->burst = s->burst;
	if (r->horizon != horizon || r->epoch != s->epoch || !r->wheel_slot) {
		r->horizon = horizon;
		r->epoch = s->epoch;
		airtime_radio_reset(r, now);
	}
	AIRTIME_LOOP
	for (airtime_u32 i = 0; i < AIRTIME_VIFS; i++) {
		const struct airtime_vif_settings *want = &s->vif[i];
		struct airtime_vif *v = &r->vif[i];

		if (i >= r->slots)
			break;
		if (v->epoch != want->epoch) {
			airtime_vif_clear(r, i, r->wheel_at);
			v->epoch = want->epoch;
		}
		v->weight = want->weight;
		v->ceiling = want->corrected && now < want->until ? want->corrected : want->ceiling;
	}
}

#endif
