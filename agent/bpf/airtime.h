/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The arithmetic of the airtime scheduler: integers only, no kernel types, no allocation, no division by zero. The kernel
 * program includes it as it is, and so does the simulator, so that what is tested is what runs.
 *
 * Each vif of a radio is owed a share of the airtime that is really available, as a minimum. A packet is given the
 * earliest time at which it may leave; whoever queues it (fq in the kernel) holds it until then.
 *
 *   share clock    next += airtime * congestion / share     keeps the ratio between vifs that want more than they get
 *   ceiling clock  next += airtime / ceiling                keeps a vif under its ceiling of the time that passes
 *   departure      the later of the two, in bursts so that the driver can aggregate
 *
 * What was charged before sending is an estimate, scaled by what the vif's frames took of late. The completion of a frame
 * brings what it really took: the difference is the vif's debt and is charged to its next packet. From completions come
 * also the capacity (airtime served while the driver had work, over that time) and the airtime in flight; both steer the
 * congestion factor, which makes the clocks run as fast as the medium lets us send, whatever our neighbours do.
 *
 * Completions get lost. Airtime that left is kept by vif and departure: a completion answers for all that its vif sent well
 * before it, and what nothing answers for expires. Either way it counts as sent, at what the vif's frames take otherwise.
 *
 * One caller at a time admits, and one refreshes. airtime_complete() and airtime_cancel() run where no lock can be had, and
 * in the kernel a refresh runs beside an admission: what both change changes by atomic operations only, and a lost update of
 * the rest (a smoothed value, the time of the last completion) does no harm.
 *
 * Fractions are 16.16 fixed point unless a name says otherwise; times are nanoseconds.
 */
#ifndef TRANCHE_AIRTIME_H
#define TRANCHE_AIRTIME_H

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

/* What frames of this vif really take when `estimated` was expected. */
AIRTIME_FN airtime_u64 airtime_inflated(const struct airtime_vif *v, airtime_u64 estimated)
{
	return (estimated >> 8) * (v->inflation ? v->inflation : AIRTIME_ONE) >> 8;
}

/* Takes what a vif has in flight in a wheel slot as sent, without having been told what it took. What it did take then. */
AIRTIME_FN airtime_u64 airtime_lose(struct airtime_radio *r, struct airtime_vif *v, airtime_u64 slot)
{
	struct airtime_slot *in = &v->wheel[slot & (AIRTIME_WHEEL - 1)];
	airtime_s64 lost = AIRTIME_TAKE(in->estimated), charged = AIRTIME_TAKE(in->charged);
	airtime_u64 took;

	if (lost <= 0)
		return 0;
	took = airtime_inflated(v, lost);
	AIRTIME_ADD(v->lost, lost);
	AIRTIME_ADD(v->measured, took);
	AIRTIME_ADD(v->debt, (airtime_s64)took - charged);
	AIRTIME_ADD(r->done, took);
	if (slot < r->wheel_at)
		AIRTIME_ADD(r->outstanding, -lost);
	return took;
}

/* What vif `k` sent `age` slots before slot `to` and has in flight; more than `behind` slots ago it expires. */
AIRTIME_PART airtime_u64 airtime_slot_turn(struct airtime_radio *r, airtime_u32 k, airtime_u64 to, airtime_u64 age,
					   airtime_u64 behind)
{
	struct airtime_vif *v;

	if (!r)
		return 0;
	v = &r->vif[k & (AIRTIME_VIFS - 1)];
	if (age > to || to - age < v->landed_to)
		return 0;
	if (age <= behind)
		return v->wheel[(to - age) & (AIRTIME_WHEEL - 1)].estimated;
	if (airtime_lose(r, v, to - age))
		r->expired = 1;
	return 0;
}

/* Lets expire all that vif `k` has sent. */
AIRTIME_PART int airtime_lose_all(struct airtime_radio *r, airtime_u32 k)
{
	if (!r)
		return 0;
	AIRTIME_LOOP
	for (int i = 0; i < AIRTIME_WHEEL; i++)
		airtime_lose(r, &r->vif[k & (AIRTIME_VIFS - 1)], i);
	return 0;
}

/* Lets expire what vif `k` sent more than `behind` slots before slot `to`. What it has in flight then. */
AIRTIME_PART airtime_u64 airtime_vif_turn(struct airtime_radio *r, airtime_u32 k, airtime_u64 to, airtime_u64 behind)
{
	airtime_u64 in_flight = 0;

	if (!r)
		return 0;
	/* After a long silence nothing in the wheel is of the future, and nothing is worth waiting for. */
	if (to - r->wheel_at > AIRTIME_WHEEL_BEHIND)
		airtime_lose_all(r, k);
	/* Slots of the future are at most a horizon ahead: the others are of the past. */
	AIRTIME_LOOP
	for (airtime_u64 age = AIRTIME_WHEEL - AIRTIME_WHEEL_AHEAD - 1; age > 0; age--)
		in_flight += airtime_slot_turn(r, k, to, age, behind);
	return in_flight;
}

/* Time goes on: what left too long ago expires, and the rest of what left and was not answered for is in flight. */
AIRTIME_FN void airtime_wheel_turn(struct airtime_radio *r, airtime_u64 now)
{
	airtime_u64 to = airtime_scale(now, 1, r->wheel_slot), outstanding = 0;
	/* A driver that never says what became of a frame leaves nothing to wait for. */
	airtime_u64 behind = r->silence < AIRTIME_SILENCE ? AIRTIME_WHEEL_BEHIND : AIRTIME_WHEEL_BRIEF;

	if (r->wheel_at >= to)
		return;
	r->expired = 0;
	AIRTIME_LOOP
	for (airtime_u32 i = 0; i < AIRTIME_VIFS; i++) {
		if (i >= r->slots)
			break;
		if (r->vif[i].weight)
			outstanding += airtime_vif_turn(r, i, to, behind);
	}
	if (r->expired && r->silence < AIRTIME_SILENCE)
		r->silence++;
	r->outstanding = outstanding;
	r->wheel_at = to;
}

/* What each vif may use now: its part of all weights, or what the light ones leave, whichever is more. */
AIRTIME_FN void airtime_share_out(struct airtime_radio *r, airtime_u64 now)
{
	airtime_u64 window = now - r->usage_since;
	int smooth = window >= r->interval / 8 && window;

	r->all = 0;
	r->contending = 0;
	r->light = 0;
	AIRTIME_LOOP
	for (airtime_u32 i = 0; i < AIRTIME_VIFS; i++) {
		struct airtime_vif *v = &r->vif[i];

		if (i >= r->slots)
			break;
		if (!v->weight)
			continue;
		if (smooth) {
			airtime_u64 charged = AIRTIME_TAKE(v->charged);
			airtime_u64 used = airtime_min(airtime_scale(charged, AIRTIME_ONE, window), AIRTIME_ONE);

			v->used = window >= r->interval ? used : (v->used + used) / 2;
		}
		r->all += v->weight;
		if (v->next > now && v->next >= v->next_ceiling)
			r->contending += v->weight;
		else
			r->light += v->used;
	}
	if (smooth)
		r->usage_since = now;
	AIRTIME_LOOP
	for (airtime_u32 i = 0; i < AIRTIME_VIFS; i++) {
		struct airtime_vif *v = &r->vif[i];
		airtime_u64 rivals = r->contending, others = r->light, owed, left;

		if (i >= r->slots)
			break;
		if (!v->weight)
			continue;
		if (!(v->next > now && v->next >= v->next_ceiling)) {
			rivals += v->weight;
			others -= v->used;
		}
		others = airtime_min(others, AIRTIME_ONE);
		owed = airtime_scale(v->weight, AIRTIME_ONE, r->all);
		left = airtime_scale(v->weight, AIRTIME_ONE - others, rivals);
		v->share = airtime_max(airtime_max(owed, left), 1);
	}
}

/* The fraction that `amount` is of `whole`, cut to `most`. */
AIRTIME_FN airtime_s64 airtime_part(airtime_u64 amount, airtime_u64 whole, airtime_u64 most)
{
	return (airtime_s64)airtime_min(airtime_scale(amount, AIRTIME_ONE, whole), most);
}

/*
 * What should be in flight so that the air never runs out of frames: a burst, and two of what leaves at once. A packet of TCP
 * has many frames at low rates, and while they leave one by one they are in flight without being any reserve.
 */
AIRTIME_FN airtime_u64 airtime_flight_target(const struct airtime_radio *r)
{
	return airtime_min(r->burst + 2 * airtime_max(r->lump, r->burst), AIRTIME_FLIGHT_LIMIT / 4 * 3);
}

/* Steers the congestion factor: the inverse of the capacity, corrected so that as much is in flight as should be. */
AIRTIME_FN void airtime_control(struct airtime_radio *r, airtime_u64 now)
{
	airtime_u64 window = now - r->control_since, target = airtime_flight_target(r), busy, flight, sample;
	airtime_s64 error, factor;

	/* A step takes a fifth of the interval; where completions are rare, a whole one. */
	if (window < r->interval / 5 || !window || (r->completions < AIRTIME_COMPLETIONS && window < r->interval))
		return;
	if (r->outstanding <= 0)
		AIRTIME_ADD(r->idle, now - airtime_min(airtime_max(r->last_done, r->control_since), now));
	busy = window - airtime_min(r->idle, window);
	flight = airtime_scale(r->area, 1000000, window);
	if (r->done && busy >= window / 4) {
		sample = airtime_min(airtime_scale(r->done, AIRTIME_ONE, busy), AIRTIME_ONE);
		r->capacity = r->measuring ? (3ULL * r->capacity + sample + 2) / 4 : sample;
		r->measuring = 1;
	} else if (!r->done && r->outstanding > (airtime_s64)(AIRTIME_FLIGHT_LIMIT / 2)) {
		r->capacity -= r->capacity / 4;
	} else if (r->paced) {
		r->capacity += r->capacity / 16;
	}
	r->capacity = airtime_max(airtime_min(r->capacity, AIRTIME_ONE), AIRTIME_ONE / 64);
	if (flight > target)
		error = airtime_part(flight - target, r->interval, AIRTIME_ONE);
	else
		error = -airtime_part(target - flight, r->interval, AIRTIME_ONE / 8);
	if (r->paced)
		error -= airtime_part(window - busy, 2 * window, AIRTIME_ONE / 8);
	if (!r->paced && error < 0) {
		error = 0;
		r->bias -= r->bias >> 3;
	} else {
		r->bias += error >> 3;
	}
	if (r->bias > (airtime_s64)AIRTIME_ONE / 4)
		r->bias = AIRTIME_ONE / 4;
	if (r->bias < -(airtime_s64)AIRTIME_ONE / 4)
		r->bias = -(airtime_s64)(AIRTIME_ONE / 4);
	factor = (airtime_s64)AIRTIME_ONE + error + r->bias;
	r->congestion = airtime_max(
		airtime_min(airtime_scale(AIRTIME_ONE, factor, r->capacity), AIRTIME_CONGESTION_MAX), AIRTIME_ONE);
	r->control_since = now;
	r->paced = 0;
	r->completions = 0;
	r->done = 0;
	r->idle = 0;
	r->area = 0;
}

/* The share clocks stand still while too much is in flight: shares stay what they are, and everybody sends less. */
AIRTIME_FN void airtime_stand_still(struct airtime_radio *r, airtime_u64 now)
{
	airtime_u64 since = airtime_min(now - r->refreshed, 2 * AIRTIME_REFRESH);

	r->refreshed = now;
	if (r->outstanding <= (airtime_s64)(AIRTIME_FLIGHT_LIMIT + r->latency))
		return;
	AIRTIME_LOOP
	for (airtime_u32 i = 0; i < AIRTIME_VIFS; i++) {
		if (i >= r->slots)
			break;
		if (r->vif[i].next > now)
			AIRTIME_ADD(r->vif[i].next, since);
	}
}

/* Whether airtime_refresh() is to be called before the next packet of vif `k` is admitted. */
AIRTIME_FN int airtime_is_due(const struct airtime_radio *r, airtime_u32 k, airtime_u64 now)
{
	return now >= r->refresh_at || !r->vif[k & (AIRTIME_VIFS - 1)].share;
}

/*
 * A driver may take its time to send and to tell. That is no queue: it is learned from packets with nothing before them.
 * Where there are none, a pause makes one, as long as it takes; the packets that have their departure go before it.
 */
AIRTIME_FN void airtime_plan_pause(struct airtime_radio *r, airtime_u64 now)
{
	airtime_u64 every = airtime_min(AIRTIME_PAUSE_EVERY, 40 * r->interval);

	if (!r->paced || now < r->pause_to + every)
		return;
	if (!r->seen_alone)
		r->pause = 2 * r->pause;
	else if (r->pause > 2 * r->latency + AIRTIME_PAUSE_LEAST)
		r->pause -= r->pause / 4;
	r->pause = airtime_max(airtime_min(r->pause, r->horizon / 2), airtime_min(AIRTIME_PAUSE_LEAST, r->horizon / 2));
	r->pause_from = now + r->horizon;
	r->pause_to = r->pause_from + r->pause;
	r->seen_alone = 0;
}

/* Brings shares and congestion up to date. Called before a packet is admitted, and by a timer where nothing is sent. */
AIRTIME_FN void airtime_refresh(struct airtime_radio *r, airtime_u64 now)
{
	r->refresh_at = now + AIRTIME_REFRESH;
	airtime_wheel_turn(r, now);
	airtime_stand_still(r, now);
	airtime_share_out(r, now);
	airtime_plan_pause(r, now);
	airtime_control(r, now);
}

/*
 * A packet of vif `k` that takes `airtime` wants to leave, not before `earliest`. On AIRTIME_SEND it is charged, and
 * *departure says when it may leave; on AIRTIME_DROP it would have to be held longer than the horizon. What is urgent does
 * not wait: the packets behind it do.
 */
AIRTIME_FN enum airtime_verdict airtime_admit(struct airtime_radio *r, airtime_u32 k, airtime_u64 now,
					      airtime_u64 airtime, airtime_u64 earliest,
					      enum airtime_urgency urgency, airtime_u64 *departure)
{
	struct airtime_vif *v = &r->vif[k & (AIRTIME_VIFS - 1)];
	airtime_u64 next, next_ceiling, at, expected, charge, cost;
	struct airtime_slot *slot;
	airtime_s64 debt;
	int new_burst, at_once;

	*departure = airtime_max(now, earliest);
	if (!v->weight || !r->wheel_slot)
		return AIRTIME_SEND;
	airtime = airtime_min(airtime, AIRTIME_LONGEST);
	next = airtime_max(v->next, now);
	next_ceiling = airtime_max(v->next_ceiling, now);
	expected = airtime_min(airtime_inflated(v, airtime), AIRTIME_LONGEST);
	new_burst = v->burst_left < expected;
	at = new_burst ? airtime_max(next, next_ceiling) : airtime_max(v->depart, now);
	at = airtime_max(at, earliest);
	if (at >= r->pause_from && at < r->pause_to) {
		/* The clock skips it, too: nobody has to be made up for it. */
		at = r->pause_to;
		next = airtime_max(next, at);
		v->next = next;
	}
	at_once = urgency == AIRTIME_CONTROL ||
		  (urgency == AIRTIME_VOICE && airtime_max(next, next_ceiling) <= now + 2 * r->horizon);
	if (at_once) {
		at = airtime_max(now, earliest);
		new_burst = 0;
	} else if (at > now + r->horizon) {
		if (earliest <= now + r->horizon)
			v->dropped++;
		v->backlogged++;
		return AIRTIME_DROP;
	}

	debt = v->debt;
	if (debt < -(airtime_s64)expected)
		debt = -(airtime_s64)expected;
	AIRTIME_ADD(v->debt, -debt);
	/* What a vif got in ignorance of the medium is forgiven where paying it back would starve it. */
	if (debt > (airtime_s64)(5 * r->burst))
		debt = 5 * r->burst;
	charge = expected + debt;
	cost = charge * r->congestion >> 16;
	v->next = next + airtime_scale(cost, AIRTIME_ONE, v->share);
	if (v->ceiling && v->ceiling < AIRTIME_RATIO_FULL)
		v->next_ceiling = next_ceiling + charge * AIRTIME_RATIO_FULL / v->ceiling;
	if (new_burst) {
		v->depart = at;
		v->burst_left = r->burst;
	}
	if (!at_once)
		v->burst_left -= airtime_min(v->burst_left, expected);

	r->lump = (31 * r->lump + airtime_max(expected, r->burst)) / 32;
	AIRTIME_ADD(v->charged, cost);
	v->estimated += airtime;
	slot = &v->wheel[(at / r->wheel_slot) & (AIRTIME_WHEEL - 1)];
	AIRTIME_ADD(slot->estimated, (airtime_s64)airtime);
	AIRTIME_ADD(slot->charged, (airtime_s64)expected);
	v->admitted++;
	if (at > airtime_max(now, earliest))
		v->delayed++;
	if (at > now + r->horizon / 4)
		v->backlogged++;
	if (next > next_ceiling && next > now + r->burst)
		r->paced = 1;
	*departure = at;
	return AIRTIME_SEND;
}

/*
 * Takes airtime that departed at `departure` out of what a vif has in flight, and books the charge for it as debt that is
 * paid back. How much of it was in flight: less than `estimated` where it was given up before.
 */
AIRTIME_FN airtime_u64 airtime_land(struct airtime_radio *r, struct airtime_vif *v, airtime_u64 departure,
				       airtime_u64 estimated)
{
	airtime_u64 slot = departure / r->wheel_slot, charged;
	struct airtime_slot *in = &v->wheel[slot & (AIRTIME_WHEEL - 1)];
	airtime_s64 there = in->estimated, landed;

	if (slot < v->landed_to || there <= 0)
		return 0;
	landed = (airtime_s64)airtime_min(estimated, there);
	charged = in->charged > 0 ? airtime_scale(airtime_min(in->charged, 8 * AIRTIME_LONGEST), landed, there) : 0;
	AIRTIME_ADD(in->estimated, -landed);
	AIRTIME_ADD(in->charged, -(airtime_s64)charged);
	AIRTIME_ADD(v->debt, -(airtime_s64)charged);
	if (slot < r->wheel_at)
		AIRTIME_ADD(r->outstanding, -landed);
	return landed;
}

/* Learns from a packet what remains of the time until its completion when nothing is before it. */
AIRTIME_FN void airtime_learn_latency(struct airtime_radio *r, airtime_u64 departure, airtime_u64 now, airtime_u64 measured)
{
	airtime_u64 rest = now > departure + measured ? now - departure - measured : 0;

	if (departure >= r->last_done)
		r->seen_alone = 1;
	if (rest < r->latency)
		r->latency = rest;
	else if (departure >= r->last_done)
		r->latency = (r->latency + airtime_min(rest, AIRTIME_FLIGHT_LIMIT)) / 2;
}

/*
 * A packet of vif `k` that left at `departure` and had been charged `estimated` is done, having taken `measured`: all its
 * tries, whether or not it arrived. 0 where the driver does not say: it took what the vif's frames take otherwise.
 */
AIRTIME_FN void airtime_complete(struct airtime_radio *r, airtime_u32 k, airtime_u64 now, airtime_u64 departure,
				    airtime_u64 estimated, airtime_u64 measured)
{
	struct airtime_vif *v = &r->vif[k & (AIRTIME_VIFS - 1)];
	airtime_u64 from = airtime_max(r->last_done, r->control_since), slot, landed, took, lost = 0, gap, inflation, begin;

	if (!v->weight || !r->wheel_slot)
		return;
	estimated = airtime_min(estimated, AIRTIME_LONGEST);
	measured = airtime_min(measured, AIRTIME_LONGEST);
	if (!measured)
		measured = airtime_inflated(v, estimated);

	/* It answers for what left a slot or more before it. */
	slot = departure / r->wheel_slot;
	r->silence = 0;
	AIRTIME_LOOP
	for (int i = 0; i < AIRTIME_WHEEL && v->landed_to + 1 < slot; i++)
		lost += airtime_lose(r, v, v->landed_to++);
	v->landed_to = airtime_max(v->landed_to, slot ? slot - 1 : 0);

	/* What was given up before is accounted for already. */
	landed = airtime_land(r, v, departure, estimated);
	took = airtime_scale(measured, landed, estimated);
	AIRTIME_ADD(v->debt, took);
	AIRTIME_ADD(v->measured, took);
	AIRTIME_ADD(v->completed, 1);
	AIRTIME_ADD(r->completions, 1);
	AIRTIME_ADD(r->done, took);
	if (landed)
		airtime_learn_latency(r, departure, now, measured);
	begin = departure + r->latency;
	gap = begin > from && begin <= now ? begin - from : 0;
	if (gap > lost * r->congestion >> 16)
		AIRTIME_ADD(r->idle, gap - (lost * r->congestion >> 16));
	if (begin < now)
		AIRTIME_ADD(r->area, ((took + lost) / 1000) * ((now - begin) / 1000));
	r->last_done = airtime_max(r->last_done, now);
	if (estimated) {
		inflation = airtime_min(measured * AIRTIME_ONE / estimated, AIRTIME_CONGESTION_MAX);
		v->inflation = v->inflation ? (63ULL * v->inflation + inflation + 32) / 64 : inflation;
	}
}

/* A packet of vif `k` that was to leave at `departure` was thrown away without having been on the air. */
AIRTIME_FN void airtime_cancel(struct airtime_radio *r, airtime_u32 k, airtime_u64 departure,
				  airtime_u64 estimated)
{
	struct airtime_vif *v = &r->vif[k & (AIRTIME_VIFS - 1)];

	if (!v->weight || !r->wheel_slot)
		return;
	(void)airtime_land(r, v, departure, airtime_min(estimated, AIRTIME_LONGEST));
}

#endif
