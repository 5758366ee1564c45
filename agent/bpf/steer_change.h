/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Changes of a packet: VLAN tags, the end of GTP-U, encapsulation, the answer to an echo request. Each returns 0, or the packet
 * is not to be used any more.
 */
#ifndef STEER_CHANGE_H
#define STEER_CHANGE_H

#define UDP_GTP 16
#define QFI_CONTAINER 8

static __always_inline __u32 outer_len(__u32 steps)
{
	return (steps & STEER_OUTER_IPV6 ? 40 : 20) + UDP_GTP + (steps & STEER_QFI ? QFI_CONTAINER : 0);
}

static __always_inline void put16(__u8 *at, __u32 value)
{
	at[0] = value >> 8;
	at[1] = value;
}

static __always_inline void put32(__u8 *at, __u32 value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

static __always_inline __u16 folded(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32 & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

/* Checksum of a header of 20 octets whose own field is 0. */
static __always_inline void set_checksum(__u8 *ip)
{
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 20; i += 2)
		sum += be16(ip + i);
	put16(ip + 10, folded(sum));
}

static __always_inline int set_type(struct __sk_buff *skb, int is_ipv6)
{
	__be16 type = bpf_htons(is_ipv6 ? ETH_P_IPV6 : ETH_P_IP);

	return bpf_skb_store_bytes(skb, 12, &type, 2, 0);
}

/*
 * Takes away what is behind the Ethernet header. Kernels before 6.3 know no flags, and leave no packet that is shorter than a
 * header of the kind that goes: a short IPv4 packet behind IPv6 is made longer for the while.
 */
static __always_inline int take_away(struct __sk_buff *skb, __u32 gone, int is_ipv6)
{
	__u64 flags = is_ipv6 ? BPF_F_ADJ_ROOM_DECAP_L3_IPV6 : BPF_F_ADJ_ROOM_DECAP_L3_IPV4;
	__u32 length = READ(skb, len);

	if (!bpf_skb_adjust_room(skb, -gone, BPF_ADJ_ROOM_MAC, flags) || !bpf_skb_adjust_room(skb, -gone, BPF_ADJ_ROOM_MAC, 0))
		return 0;
	if (bpf_skb_change_tail(skb, length + 40, 0) || bpf_skb_adjust_room(skb, -gone, BPF_ADJ_ROOM_MAC, 0))
		return 1;
	return bpf_skb_change_tail(skb, length - gone, 0);
}

/* The packet inside of GTP-U behind the Ethernet header. */
static __always_inline int end_gtp(struct __sk_buff *skb, struct packet *p)
{
	const __u8 *ip = peek(skb, p->inner, 1);

	if (!ip)
		return 1;
	int is_ipv6 = ip[0] >> 4 == 6, gone = p->inner - p->l2;
	if (take_away(skb, gone, is_ipv6))
		return 1;
	p->l3_len = p->inner_len;
	p->traffic_class = p->inner_class;
	return set_type(skb, is_ipv6);
}

/* 3GPP TS 29.281 5.1, and for a QFI the PDU session container of TS 38.415 5.5.2. */
static __always_inline int encapsulate(struct __sk_buff *skb, const struct steer_action *action, const struct packet *p)
{
	__u32 steps = action->steps, inner = p->l3_len, extra = steps & STEER_QFI ? QFI_CONTAINER : 0;
	__u8 ip[40] = {}, gtp[UDP_GTP + QFI_CONTAINER] = {};
	int error;

	if (bpf_skb_adjust_room(skb, outer_len(steps), BPF_ADJ_ROOM_MAC, 0))
		return 1;
	put16(gtp, GTP_PORT);
	put16(gtp + 2, GTP_PORT);
	put16(gtp + 4, UDP_GTP + extra + inner);
	gtp[8] = extra ? 0x34 : 0x30;
	gtp[9] = GTP_G_PDU;
	put16(gtp + 10, extra + inner);
	put32(gtp + 12, action->teid);
	gtp[19] = 0x85;
	gtp[20] = 1;
	gtp[21] = steps & STEER_UPLINK ? 0x10 : 0;
	gtp[22] = action->qfi;
	if (steps & STEER_OUTER_IPV6) {
		ip[0] = 0x60 | p->traffic_class >> 4;
		ip[1] = p->traffic_class << 4;
		put16(ip + 4, UDP_GTP + extra + inner);
		ip[6] = 17;
		ip[7] = 64;
		copy(ip + 8, action->local, 16);
		copy(ip + 24, action->peer, 16);
		error = bpf_skb_store_bytes(skb, 14, ip, 40, 0);
		error = error ?: extra ? bpf_skb_store_bytes(skb, 54, gtp, UDP_GTP + QFI_CONTAINER, 0)
				       : bpf_skb_store_bytes(skb, 54, gtp, UDP_GTP, 0);
	} else {
		ip[0] = 0x45;
		ip[1] = p->traffic_class;
		put16(ip + 2, 20 + UDP_GTP + extra + inner);
		ip[8] = 64;
		ip[9] = 17;
		copy(ip + 12, action->local + 12, 4);
		copy(ip + 16, action->peer + 12, 4);
		set_checksum(ip);
		error = bpf_skb_store_bytes(skb, 14, ip, 20, 0);
		error = error ?: extra ? bpf_skb_store_bytes(skb, 34, gtp, UDP_GTP + QFI_CONTAINER, 0)
				       : bpf_skb_store_bytes(skb, 34, gtp, UDP_GTP, 0);
	}
	return error ?: set_type(skb, steps & STEER_OUTER_IPV6);
}

/* All steps but addresses and the way out. */
static __always_inline int change(struct __sk_buff *skb, const struct steer_action *action, struct packet *p)
{
	__u32 steps = action->steps;

	if (steps & (STEER_POP | STEER_END_GTP | STEER_ENCAPSULATE) && (p->in_data || READ(skb, vlan_present))) {
		if (bpf_skb_vlan_pop(skb))
			return 1;
		p->inner -= p->l2 - 14;
		p->l2 = 14;
	}
	if (steps & STEER_END_GTP && end_gtp(skb, p))
		return 1;
	if (steps & STEER_ENCAPSULATE && encapsulate(skb, action, p))
		return 1;
	if (steps & STEER_PUSH && bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), action->vlan))
		return 1;
	return 0;
}

/*
 * TS 29.281 7.2.2: the response has the request's sequence number and a recovery counter of 0, and goes back to where the
 * request came from. The UDP checksum is 0 with IPv4 and computed with IPv6.
 */
static __always_inline int answer_echo(struct __sk_buff *skb, const struct packet *p, int is_ipv6)
{
	__u32 l2 = p->l2, header = is_ipv6 ? 40 : 20;
	__u8 mac[12], old[12], ip[40] = {}, udp[24] = {}, port[2], sequence[2] = {};
	const __u8 *at = peek(skb, p->gtp, 1);

	if (!at)
		return 1;
	if (at[0] & 2 && bpf_skb_load_bytes(skb, p->gtp + 8, sequence, 2))
		return 1;
	if (bpf_skb_load_bytes(skb, p->l4, port, 2) || bpf_skb_load_bytes(skb, 0, old, 12))
		return 1;
	if (is_ipv6 ? bpf_skb_load_bytes(skb, l2, ip, 40) : bpf_skb_load_bytes(skb, l2, ip, 20))
		return 1;
	copy(mac, old + 6, 6);
	copy(mac + 6, old, 6);
	put16(udp, GTP_PORT);
	copy(udp + 2, port, 2);
	put16(udp + 4, 22);
	udp[8] = 0x32;
	udp[9] = 2;
	put16(udp + 10, 6);
	copy(udp + 16, sequence, 2);
	udp[20] = 14;
	__u32 sum = 0;
	if (is_ipv6) {
		__u8 swapped[16];
		copy(swapped, ip + 8, 16);
		copy(ip + 8, ip + 24, 16);
		copy(ip + 24, swapped, 16);
		put16(ip + 4, 22);
		ip[7] = 64;
		sum = 22 + 17;
#pragma unroll
		for (int i = 8; i < 40; i += 2)
			sum += be16(ip + i);
#pragma unroll
		for (int i = 0; i < 22; i += 2)
			sum += be16(udp + i);
		put16(udp + 6, folded(sum) ?: 0xffff);
	} else {
		__u8 swapped[4];
		copy(swapped, ip + 12, 4);
		copy(ip + 12, ip + 16, 4);
		copy(ip + 16, swapped, 4);
		put16(ip + 2, 42);
		put16(ip + 10, 0);
		ip[8] = 64;
		set_checksum(ip);
	}
	if (bpf_skb_change_tail(skb, l2 + header + 22, 0) || bpf_skb_store_bytes(skb, 0, mac, 12, 0))
		return 1;
	if (is_ipv6 ? bpf_skb_store_bytes(skb, l2, ip, 40, 0) : bpf_skb_store_bytes(skb, l2, ip, 20, 0))
		return 1;
	return bpf_skb_store_bytes(skb, l2 + header, udp, 22, 0);
}

#endif
