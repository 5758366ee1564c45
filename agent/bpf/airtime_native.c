/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The law of airtime.h as ordinary functions, for the simulator and its tests. */
#include <stddef.h>
#include "airtime_frame.h"

size_t tranche_airtime_radio_size(void) { return sizeof(struct airtime_radio); }
size_t tranche_airtime_vif_size(void) { return sizeof(struct airtime_vif); }
size_t tranche_airtime_vif_offset(void) { return offsetof(struct airtime_radio, vif); }

airtime_u64 tranche_airtime_estimate(airtime_u64 overhead, airtime_u32 segments, airtime_u32 bytes, airtime_u32 kbps)
{
	return airtime_estimate(overhead, segments, bytes, kbps);
}

void tranche_airtime_radio_reset(struct airtime_radio *r, airtime_u64 now) { airtime_radio_reset(r, now); }
void tranche_airtime_refresh(struct airtime_radio *r, airtime_u64 now) { airtime_refresh(r, now); }

int tranche_airtime_admit(struct airtime_radio *r, airtime_u32 k, airtime_u64 now, airtime_u64 airtime,
			  airtime_u64 earliest, airtime_u64 *departure)
{
	if (airtime_is_due(r, k, now))
		airtime_refresh(r, now);
	return airtime_admit(r, k, now, airtime, earliest, AIRTIME_ORDINARY, departure);
}

size_t tranche_airtime_settings_size(void) { return sizeof(struct airtime_settings); }

/* What airtime_egress() does with a packet, but for the packet. */
int tranche_airtime_egress(struct airtime_radio *r, const struct airtime_settings *s, airtime_u32 k, airtime_u64 now,
			   airtime_u32 bytes, airtime_u32 segments, airtime_u64 *mark)
{
	airtime_u64 each = airtime_markable(airtime_estimate(s->overhead, 1, bytes / segments, s->basic_kbps)), departure;

	if (airtime_is_due(r, k, now)) {
		airtime_configure(r, s, now);
		airtime_refresh(r, now);
	}
	if (airtime_admit(r, k, now, each * segments, 0, AIRTIME_ORDINARY, &departure) == AIRTIME_DROP)
		return AIRTIME_DROP;
	*mark = airtime_mark(departure, each);
	return AIRTIME_SEND;
}

void tranche_airtime_complete(struct airtime_radio *r, airtime_u32 k, airtime_u64 now, airtime_u64 departure,
			      airtime_u64 estimated, airtime_u64 measured)
{
	airtime_complete(r, k, now, departure, estimated, measured);
}

void tranche_airtime_cancel(struct airtime_radio *r, airtime_u32 k, airtime_u64 departure, airtime_u64 estimated)
{
	airtime_cancel(r, k, departure, estimated);
}
