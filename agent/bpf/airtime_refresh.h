/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the law of airtime.h does every millisecond: what left too long ago expires, the air is shared out, and the congestion
 * factor is steered.
 */
#ifndef TRANCHE_AIRTIME_REFRESH_H
#define TRANCHE_AIRTIME_REFRESH_H

#include "airtime_state.h"

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

#endif
