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

#include "airtime_refresh.h"

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
