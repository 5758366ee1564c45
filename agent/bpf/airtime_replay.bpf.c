// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The scheduler with one more program, which completes packets when a test says so: a test kernel need not have a radio. */
#include "airtime.bpf.c"

enum { COMPLETE = 0, CANCEL = 1 };

struct replay_step {
	__u32 kind;
	__u32 slot;
	__u64 now;
	__u64 departure;
	__u64 estimated;
	__u64 measured;
};

SEC("syscall")
int airtime_replay(struct replay_step *step)
{
	__u32 radio = 0;
	struct airtime_radio *r = bpf_map_lookup_elem(&radios, &radio);

	if (!r)
		return 1;
	if (step->kind == COMPLETE)
		airtime_complete(r, step->slot, step->now, step->departure, step->estimated, step->measured);
	else
		airtime_cancel(r, step->slot, step->departure, step->estimated);
	return 0;
}
