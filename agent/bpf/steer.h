/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The table of steering rules as the agent writes it and the program reads it.
 *
 * One generation of rules is a front and an array of cells of 128 octets. The front has one size, so that the program reaches
 * all of it without a call; calls are most of what a packet costs. It is, in this order:
 *
 *   head      where the others begin
 *   tuples    one for each set of fields that rules look at, in the order of the first rule that uses it
 *   ports     hashed by interface number, at most STEER_PORT_PROBES places from where the hash points, the first behind the last
 *
 * The cells are, in this order:
 *
 *   actions   what rules and hops of chains do; the number of an action is the rank of its rule, from 1
 *   slots     hashed by tuple and by the fields that it looks at: which action
 *
 * The front is put in force as a whole: the program takes it once for each packet, and it says at which of two places its cells
 * are. Those of the next generation are put at the other place before its front, and the kernel returns from replacing a front
 * only when no packet has the old one any more. So no packet sees half of an update.
 *
 * A packet is looked up once in each tuple, best first, until what was found is better than what the next tuple can have
 * (tuple space search): the first rule that matches wins, and the cost grows with the kinds of rules and not with their number.
 * Where there are several kinds, each processor remembers the outcome for the packets that it saw last: by all their fields and by
 * the generation, so that what is remembered of an earlier one is nobody's.
 */
#ifndef STEER_H
#define STEER_H

#define STEER_CELL 128
#define STEER_WORDS 12
/* Words 4 to 7 and 8 to 11, which many rules do not look at. */
#define STEER_OUTER 1
#define STEER_INSIDE 2
#define STEER_TUPLES 64
#define STEER_PROBES 4
#define STEER_PORT_BITS 12
#define STEER_PORT_PROBES 8
/* With as many tuples it is remembered what packets with the same fields led to. */
#define STEER_MANY 3
#define STEER_RECENT_BITS 9
#define STEER_ECHOES 4
/* Headers are looked at as far as this into a frame. */
#define STEER_DEPTH 512
/* Headers of one kind that are walked. */
#define STEER_EXTENSIONS 8

/* The fields of a packet, in host order where they are numbers. */
struct steer_key {
	__u32 port;
	__u32 teid;
	__u8 destination_mac[6];
	__u16 vlan; /* STEER_TAGGED and the identifier */
	__u8 source_mac[6];
	__u8 protocol;
	__u8 dscp;
	__u16 source_port;
	__u16 destination_port;
	__u8 message_type;
	__u8 flags;
	__u16 unused;
	__u8 source[16]; /* IPv4 in the last four octets */
	__u8 destination[16];
	__u8 inner_source[16];
	__u8 inner_destination[16];
} __attribute__((aligned(8)));

#define STEER_TAGGED 0x1000

/* Flags of a key. */
#define STEER_IP 1
#define STEER_IPV6 2
#define STEER_PORTS 4
#define STEER_GTP 8
#define STEER_INNER 16
#define STEER_INNER_IPV6 32
#define STEER_RETURNED 64 /* came back from the last application of a chain */

/* What the head says of packets that cannot be handled. */
#define STEER_DROP_MALFORMED 1
#define STEER_DROP_OVERSIZED 2

struct steer_head {
	__u64 version; /* hash of the object that the table is for */
	__u32 turn; /* at which place its cells are */
	__u32 tuples;
	__u32 port_factor; /* of the hash of interface numbers: one with which they find their places */
	__u32 slots_at;
	__u32 slot_bits;
	__u32 flags;
	__u64 seed;
	__u64 generation; /* hash of all else; never 0 */
};

struct steer_tuple {
	__u64 mask[STEER_WORDS];
	__u32 best;   /* first action that is found by it */
	__u32 groups; /* STEER_OUTER and STEER_INSIDE: which of the addresses it looks at */
};

struct steer_port {
	__u32 ifindex;
	__u32 action; /* what is done to all IP packets that come in; by rules where 0 */
	__u32 flags;  /* STEER_RETURNED */
	__u32 echoes;
	__u8 echo[STEER_ECHOES][16];
};

struct steer_front {
	struct steer_head head;
	struct steer_tuple tuples[STEER_TUPLES];
	struct steer_port ports[1 << STEER_PORT_BITS];
};

/* Steps of an action, in the order in which they are taken. */
#define STEER_PASS 1
#define STEER_DROP 2
#define STEER_POP 4
#define STEER_END_GTP 8
#define STEER_ENCAPSULATE 16
#define STEER_OUTER_IPV6 32
#define STEER_QFI 64
#define STEER_UPLINK 128
#define STEER_PUSH 256
#define STEER_SET_MAC 512

struct steer_action {
	__u64 name[3]; /* hashes of what is counted, for an agent that comes later */
	__u32 counter[3]; /* of the rule, its slice and the application; none where 0 */
	__u32 steps;
	__u32 ifindex;
	__u32 mtu;
	__u32 teid;
	__u16 vlan;
	__u8 qfi;
	__u8 unused;
	__u8 mac[12]; /* destination, source */
	__u8 local[16];
	__u8 peer[16];
};

struct steer_slot {
	__u64 key[STEER_WORDS];
	__u32 tuple; /* from 0 */
	__u32 action; /* none where 0 */
};

/* What packets with these fields led to. */
struct steer_recent {
	__u64 key[STEER_WORDS];
	__u64 generation;
	__u32 action; /* none where 0 */
	__u32 unused;
};

/* Counters that are no rule's. */
#define STEER_COUNTERS 24576
#define STEER_FRAGMENT 1
#define STEER_MALFORMED 2
#define STEER_OVERSIZED 3
#define STEER_ECHO 4
#define STEER_FAILED 5
#define STEER_UNMATCHED 6

#endif
