/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the program that steers needs of the kernel's interface to BPF besides kernel.h.
 */
#ifndef STEER_KERNEL_H
#define STEER_KERNEL_H

#include "kernel.h"

enum {
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
};
#define BPF_F_INNER_MAP (1U << 12)
#define BPF_ADJ_ROOM_MAC 1
/* Which protocol comes after a header that is taken away, for kernels that ask (6.3). */
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV4 (1ULL << 7)
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV6 (1ULL << 8)

/*
 * Reads a field at a constant offset from the pointer as it was given: the verifier takes no other, and clang likes to keep the
 * address of a field that is read often.
 */
#define READ(skb, field) \
	({ \
		__u64 value_; \
		asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(value_) : "r"(skb), "i"(__builtin_offsetof(struct __sk_buff, field))); \
		value_; \
	})

#define TC_ACT_OK 0
#define TC_ACT_SHOT 2

#endif
