// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Steering of packets at the clsact ingress of a node's ports: which rule a packet matches, and what is done to it.
 *
 *   port --parse--> echo answered? --> hop of a chain? --> rules: tuple space search --> steps of the action --> redirect
 *
 * What is not understood is handed to the kernel as if the program was not there, or dropped where the head says so. A step
 * that fails after the first change drops the packet: half of a change is nobody's.
 */
#include "steer_kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "steer.h"
#include "steer_parse.h"
#include "steer_change.h"

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct front {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct steer_front));
};

/* The generation in force. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct front);
} fronts SEC(".maps");

struct table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, STEER_CELL);
};

/* Its cells, and those of the one before or after it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct table);
} tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STEER_COUNTERS);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << STEER_RECENT_BITS);
	__type(key, __u32);
	__type(value, struct steer_recent);
} recent SEC(".maps");

/* A test says at which port a packet comes in, and reads what became of it. */
const volatile __u32 replaying = 0;
struct {
	__u32 port;
	__u32 verdict;
	__u32 ifindex;
	__u32 tag; /* outside of the data */
	__u32 action;
} replay = {};

static __always_inline void count(__u32 which, __u32 bytes)
{
	struct counter *counter = which ? bpf_map_lookup_elem(&counters, &which) : 0;

	if (!counter)
		return;
	counter->packets++;
	counter->bytes += bytes;
}

static __always_inline int ended(struct __sk_buff *skb, int verdict, __u32 ifindex)
{
	if (replaying) {
		replay.verdict = verdict;
		replay.ifindex = ifindex;
		replay.tag = READ(skb, vlan_present) ? STEER_TAGGED | READ(skb, vlan_tci) : 0;
	}
	return verdict;
}

static __always_inline const struct steer_port *find_port(const struct steer_front *front, __u32 ifindex)
{
	__u32 start = ifindex * front->head.port_factor >> (32 - STEER_PORT_BITS);

	for (int i = 0; i < STEER_PORT_PROBES; i++) {
		const struct steer_port *port = &front->ports[(start + i) & ((1 << STEER_PORT_BITS) - 1)];
		if (!port->ifindex)
			return 0;
		if (port->ifindex == ifindex)
			return port;
	}
	return 0;
}

#define FOUR_WORDS(do, first) do(first) do(first + 1) do(first + 2) do(first + 3)
#define EACH_WORD(do) \
	FOUR_WORDS(do, 0) \
	if (groups & STEER_OUTER) { FOUR_WORDS(do, 4) } \
	if (groups & STEER_INSIDE) { FOUR_WORDS(do, 8) }
/* Odd and without a pattern: of the square roots of primes. */
static const __u64 FACTOR[STEER_WORDS] = {
	0x6a09e667f3bcc909ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
	0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL,
	0xcbbb9d5dc1059ed9ULL, 0x629a292a367cd507ULL, 0x9159015a3070dd17ULL, 0x152fecd8f70e5939ULL,
};

/* The action of the first rule that matches; 0 where none does. */
static __always_inline __u32 match(void *table, const struct steer_front *front, const struct steer_key *key)
{
	const __u64 *word = (const __u64 *)key;
	const struct steer_head *head = &front->head;
	__u32 found = ~0U, tuples = head->tuples, slots_at = head->slots_at, shift = 64 - (head->slot_bits & 31);
	__u64 seed = head->seed;

	for (__u32 i = 0; i < STEER_TUPLES; i++) {
		const struct steer_tuple *tuple = &front->tuples[i];
		if (i >= tuples || tuple->best >= found)
			break;
		__u32 groups = tuple->groups;
		__u64 hash = seed * (i + 1);
#define MIX(n) hash += ((word[n] & tuple->mask[n]) ^ seed) * FACTOR[n];
		EACH_WORD(MIX)
		hash ^= hash >> 32;
		hash *= FACTOR[0];
		__u32 start = slots_at + (__u32)(hash >> shift);
		for (int probe = 0; probe < STEER_PROBES; probe++) {
			__u32 at = start + probe;
			const struct steer_slot *slot = bpf_map_lookup_elem(table, &at);
			if (!slot || !slot->action)
				break;
			__u64 differs = slot->tuple ^ i;
#define COMPARE(n) differs |= (word[n] & tuple->mask[n]) ^ slot->key[n];
			EACH_WORD(COMPARE)
			if (differs)
				continue;
			if (slot->action < found)
				found = slot->action;
			break;
		}
	}
	return found == ~0U ? 0 : found;
}

/* The same, without a search for packets that have the fields of one that was searched for lately. */
static __always_inline __u32 match_again(void *table, const struct steer_front *front, const struct steer_key *key)
{
	const __u64 *word = (const __u64 *)key;
	const struct steer_head *head = &front->head;
	struct steer_recent *known = 0;
	__u64 hash = 0, differs;
	__u32 at, found;

	if (head->tuples < STEER_MANY)
		goto search;
#define GATHER(n) hash += (word[n] ^ head->seed) * FACTOR[n];
	FOUR_WORDS(GATHER, 0) FOUR_WORDS(GATHER, 4) FOUR_WORDS(GATHER, 8)
	hash ^= hash >> 32;
	hash *= FACTOR[0];
	at = hash >> (64 - STEER_RECENT_BITS);
	known = bpf_map_lookup_elem(&recent, &at);
	if (!known)
		goto search;
	differs = known->generation ^ head->generation;
#define DIFFERS(n) differs |= word[n] ^ known->key[n];
	FOUR_WORDS(DIFFERS, 0) FOUR_WORDS(DIFFERS, 4) FOUR_WORDS(DIFFERS, 8)
	if (!differs)
		return known->action;
search:
	found = match(table, front, key);
	if (!known)
		return found;
#define REMEMBER(n) known->key[n] = word[n];
	FOUR_WORDS(REMEMBER, 0) FOUR_WORDS(REMEMBER, 4) FOUR_WORDS(REMEMBER, 8)
	known->generation = head->generation;
	known->action = found;
	return found;
}

static __always_inline int unable(struct __sk_buff *skb, __u32 drops, __u32 which)
{
	count(which, READ(skb, len));
	return ended(skb, drops ? TC_ACT_SHOT : TC_ACT_OK, 0);
}

/* Whether what leaves is larger than what its port carries. What the kernel cuts into pieces itself has no size yet. */
static __always_inline int is_oversized(struct __sk_buff *skb, const struct steer_action *action, const struct packet *p)
{
	__u32 length = READ(skb, len) - p->l2;

	if (action->steps & (STEER_END_GTP | STEER_ENCAPSULATE)) {
		if (READ(skb, gso_size))
			return 1;
		length = action->steps & STEER_END_GTP ? p->inner_len : p->l3_len;
		if (action->steps & STEER_ENCAPSULATE)
			length += outer_len(action->steps);
	} else if (READ(skb, gso_size)) {
		return 0;
	}
	return length > action->mtu;
}

static __always_inline int carry_out(struct __sk_buff *skb, const struct steer_head *head, const struct steer_action *action,
				     struct packet *p)
{
	__u32 steps = action->steps, bytes = READ(skb, len);

	if (!(steps & (STEER_PASS | STEER_DROP)) && is_oversized(skb, action, p))
		return unable(skb, head->flags & STEER_DROP_OVERSIZED, STEER_OVERSIZED);
	count(action->counter[0], bytes);
	count(action->counter[1], bytes);
	count(action->counter[2], bytes);
	if (steps & STEER_PASS)
		return ended(skb, TC_ACT_OK, 0);
	if (steps & STEER_DROP)
		return ended(skb, TC_ACT_SHOT, 0);
	if (steps & ~STEER_SET_MAC && change(skb, action, p)) {
		count(STEER_FAILED, bytes);
		return ended(skb, TC_ACT_SHOT, 0);
	}
	if (steps & STEER_SET_MAC && bpf_skb_store_bytes(skb, 0, action->mac, 12, 0))
		return ended(skb, TC_ACT_SHOT, 0);
	int verdict = bpf_redirect(action->ifindex, 0);
	return ended(skb, verdict, action->ifindex);
}

static __always_inline int is_echo(const struct steer_port *port, const struct steer_key *key, const struct packet *p)
{
	if (!(key->flags & STEER_GTP) || key->message_type != GTP_ECHO_REQUEST || !p->plain)
		return 0;
	const __u64 *to = (const __u64 *)key->destination;
	for (__u32 i = 0; i < STEER_ECHOES && i < port->echoes; i++) {
		const __u64 *own = (const __u64 *)port->echo[i];
		if (to[0] == own[0] && to[1] == own[1])
			return 1;
	}
	return 0;
}

SEC("tc")
int steer(struct __sk_buff *skb)
{
	__u32 zero = 0, ifindex = READ(skb, ifindex);
	if (replaying)
		ifindex = replay.port;
	void *generation = bpf_map_lookup_elem(&fronts, &zero);

	if (!generation)
		return ended(skb, TC_ACT_OK, 0);
	const struct steer_front *front = bpf_map_lookup_elem(generation, &zero);
	if (!front)
		return ended(skb, TC_ACT_OK, 0);
	const struct steer_head *head = &front->head;
	const struct steer_port *port = find_port(front, ifindex);
	if (!port)
		return ended(skb, TC_ACT_OK, 0);
	__u32 turn = head->turn;
	void *table = bpf_map_lookup_elem(&tables, &turn);
	if (!table)
		return ended(skb, TC_ACT_OK, 0);
	__u32 wanted = READ(skb, len) < STEER_DEPTH ? READ(skb, len) : STEER_DEPTH;
	if ((__u32)(READ(skb, data_end) - READ(skb, data)) < wanted && bpf_skb_pull_data(skb, wanted))
		return ended(skb, TC_ACT_OK, 0);

	struct steer_key key = {};
	struct packet packet = {};
	key.port = ifindex;
	key.flags = port->flags;
	switch (parse(skb, &packet, &key)) {
	case FRAGMENT:
		return unable(skb, 0, STEER_FRAGMENT);
	case BAD_GTP:
		return unable(skb, head->flags & STEER_DROP_MALFORMED, STEER_MALFORMED);
	case ODD_IP:
		return unable(skb, 0, STEER_UNMATCHED);
	case UNDERSTOOD:
		break;
	}
	if (is_echo(port, &key, &packet)) {
		count(STEER_ECHO, READ(skb, len));
		if (answer_echo(skb, &packet, key.flags & STEER_IPV6))
			return ended(skb, TC_ACT_SHOT, 0);
		int verdict = bpf_redirect(ifindex, 0);
		return ended(skb, verdict, ifindex);
	}
	__u32 rank = port->action;
	if (rank || port->flags & STEER_RETURNED) {
		/* What an application says to its neighbours is not of the chain. */
		if (!(key.flags & STEER_IP) || key.destination_mac[0] & 1)
			return unable(skb, 0, STEER_UNMATCHED);
	}
	if (!rank)
		rank = match_again(table, front, &key);
	if (replaying)
		replay.action = rank;
	if (!rank)
		return unable(skb, 0, STEER_UNMATCHED);
	__u32 at = rank - 1;
	const struct steer_action *action = bpf_map_lookup_elem(table, &at);
	if (!action)
		return ended(skb, TC_ACT_OK, 0);
	return carry_out(skb, head, action, &packet);
}

/* The kernel's helpers ask for a licence that is compatible with its own. */
char _license[] SEC("license") = "Dual MIT/GPL";
