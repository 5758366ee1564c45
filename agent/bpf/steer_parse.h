/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What a packet is: Ethernet with a VLAN tag, IPv4 with options, IPv6 with extension headers, ports, GTP-U with its extension
 * headers and the packet inside. Reads only; every walk has a bound.
 */
#ifndef STEER_PARSE_H
#define STEER_PARSE_H

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define GTP_PORT 2152
#define GTP_ECHO_REQUEST 1
#define GTP_G_PDU 255

enum kind {
	UNDERSTOOD,
	FRAGMENT,
	ODD_IP,     /* not what its own header says */
	BAD_GTP,
};

struct packet {
	__u32 l2;       /* octets before the network header */
	__u32 in_data;  /* whether the tag is part of the data */
	__u32 l3_len;
	__u32 l4;
	__u32 end;      /* of the IP packet */
	__u32 gtp;      /* of its header; 0 where there is none */
	__u32 inner;
	__u32 inner_len;
	__u8 traffic_class;
	__u8 inner_class;
	__u8 plain; /* neither options nor extension headers */
};

#define barrier_var(var) asm volatile("" : "+r"(var))

/* In one load: kernels that load BPF programs on machines of today take it unaligned, and octet by octet it is much slower. */
static __always_inline __u16 be16(const __u8 *at)
{
	return bpf_ntohs(*(const __u16 *)at);
}

static __always_inline __u32 be32(const __u8 *at)
{
	return bpf_ntohl(*(const __u32 *)at);
}

static __always_inline void copy4(__u8 *to, const __u8 *from)
{
	*(__u32 *)to = *(const __u32 *)from;
}

static __always_inline void copy6(__u8 *to, const __u8 *from)
{
	copy4(to, from);
	*(__u16 *)(to + 4) = *(const __u16 *)(from + 4);
}

static __always_inline void copy16(__u8 *to, const __u8 *from)
{
	copy4(to, from);
	copy4(to + 4, from + 4);
	copy4(to + 8, from + 8);
	copy4(to + 12, from + 12);
}

/* `n` octets at an offset, if the packet has them and they are not too deep. */
static __always_inline const __u8 *peek(struct __sk_buff *skb, __u32 offset, __u32 n)
{
	barrier_var(offset);
	if (offset > STEER_DEPTH - n)
		return 0;
	const __u8 *at = (const __u8 *)READ(skb, data) + offset;
	if (at + n > (const __u8 *)READ(skb, data_end))
		return 0;
	return at;
}

static __always_inline void copy(__u8 *to, const __u8 *from, __u32 n)
{
	__builtin_memcpy(to, from, n);
}

static __always_inline enum kind parse_inner(struct __sk_buff *skb, struct packet *p, struct steer_key *key, __u32 end)
{
	const __u8 *ip;

	if (p->inner >= end)
		return UNDERSTOOD;
	ip = peek(skb, p->inner, 1);
	if (!ip)
		return BAD_GTP;
	__u32 version = ip[0] >> 4;
	if (version == 4) {
		ip = peek(skb, p->inner, 20);
		if (!ip || p->inner + 20 > end)
			return BAD_GTP;
		__u32 header = (ip[0] & 15) * 4;
		p->inner_len = be16(ip + 2);
		p->inner_class = ip[1];
		if (header < 20 || p->inner_len < header || p->inner + p->inner_len > end)
			return BAD_GTP;
		copy4(key->inner_source + 12, ip + 12);
		copy4(key->inner_destination + 12, ip + 16);
		key->flags |= STEER_INNER;
	} else if (version == 6) {
		ip = peek(skb, p->inner, 40);
		if (!ip || p->inner + 40 > end)
			return BAD_GTP;
		p->inner_len = 40 + be16(ip + 4);
		p->inner_class = be16(ip) >> 4;
		if (p->inner + p->inner_len > end)
			return BAD_GTP;
		copy16(key->inner_source, ip + 8);
		copy16(key->inner_destination, ip + 24);
		key->flags |= STEER_INNER | STEER_INNER_IPV6;
	}
	return UNDERSTOOD;
}

/* 3GPP TS 29.281 5. */
static __always_inline enum kind parse_gtp(struct __sk_buff *skb, struct packet *p, struct steer_key *key)
{
	const __u8 *udp = peek(skb, p->l4, 16), *at;

	if (!udp)
		return BAD_GTP;
	__u32 udp_len = be16(udp + 4), gtp_len = be16(udp + 10), flags = udp[8];
	if (udp_len < 16 || p->l4 + udp_len > p->end || (flags & 0xf0) != 0x30 || 16 + gtp_len > udp_len)
		return BAD_GTP;
	__u32 end = p->l4 + 16 + gtp_len, offset = p->l4 + 16;
	key->flags |= STEER_GTP;
	key->message_type = udp[9];
	key->teid = be32(udp + 12);
	p->gtp = p->l4 + 8;
	if (flags & 7) {
		offset += 4;
		at = peek(skb, offset - 1, 1);
		if (!at || offset > end)
			return BAD_GTP;
		__u32 next = flags & 4 ? at[0] : 0;
		for (int i = 0; i < STEER_EXTENSIONS && next; i++) {
			at = peek(skb, offset, 1);
			if (!at || !at[0])
				return BAD_GTP;
			offset += at[0] * 4;
			at = peek(skb, offset - 1, 1);
			if (!at || offset > end)
				return BAD_GTP;
			next = at[0];
		}
		if (next)
			return BAD_GTP;
	}
	p->inner = offset;
	return key->message_type == GTP_G_PDU ? parse_inner(skb, p, key, end) : UNDERSTOOD;
}

static __always_inline enum kind parse_ports(struct __sk_buff *skb, struct packet *p, struct steer_key *key)
{
	__u32 needed = key->protocol == 17 ? 8 : 4;

	if (key->protocol != 6 && key->protocol != 17 && key->protocol != 132)
		return UNDERSTOOD;
	const __u8 *at = peek(skb, p->l4, 8);
	if (!at || p->l4 + needed > p->end)
		return UNDERSTOOD;
	key->flags |= STEER_PORTS;
	key->source_port = be16(at);
	key->destination_port = be16(at + 2);
	if (key->protocol == 17 && key->destination_port == GTP_PORT)
		return parse_gtp(skb, p, key);
	return UNDERSTOOD;
}

static __always_inline enum kind parse_ipv4(struct __sk_buff *skb, struct packet *p, struct steer_key *key)
{
	const __u8 *ip = peek(skb, p->l2, 20);

	if (!ip || ip[0] >> 4 != 4)
		return ODD_IP;
	__u32 header = (ip[0] & 15) * 4;
	p->l3_len = be16(ip + 2);
	if (header < 20 || p->l3_len < header || p->l2 + p->l3_len > READ(skb, len))
		return ODD_IP;
	if (be16(ip + 6) & 0x3fff)
		return FRAGMENT;
	key->flags |= STEER_IP;
	key->protocol = ip[9];
	key->dscp = ip[1] >> 2;
	p->traffic_class = ip[1];
	copy4(key->source + 12, ip + 12);
	copy4(key->destination + 12, ip + 16);
	p->plain = header == 20;
	p->l4 = p->l2 + header;
	p->end = p->l2 + p->l3_len;
	return parse_ports(skb, p, key);
}

/* RFC 8200 4: hop-by-hop, routing and destination options, authentication; a fragment is left alone. */
static __always_inline enum kind parse_ipv6(struct __sk_buff *skb, struct packet *p, struct steer_key *key)
{
	const __u8 *ip = peek(skb, p->l2, 40);

	if (!ip || ip[0] >> 4 != 6)
		return ODD_IP;
	p->l3_len = 40 + be16(ip + 4);
	if (p->l2 + p->l3_len > READ(skb, len))
		return ODD_IP;
	p->end = p->l2 + p->l3_len;
	p->traffic_class = be16(ip) >> 4;
	key->dscp = p->traffic_class >> 2;
	copy16(key->source, ip + 8);
	copy16(key->destination, ip + 24);
	__u32 next = ip[6], offset = p->l2 + 40;
	int i;
	for (i = 0; i < STEER_EXTENSIONS; i++) {
		if (next == 44)
			return FRAGMENT;
		if (next != 0 && next != 43 && next != 60 && next != 51)
			break;
		const __u8 *at = peek(skb, offset, 2);
		if (!at || offset + 8 > p->end)
			return ODD_IP;
		offset += next == 51 ? (at[1] + 2) * 4 : (at[1] + 1) * 8;
		next = at[0];
		if (offset > p->end)
			return ODD_IP;
	}
	if (i == STEER_EXTENSIONS)
		return ODD_IP;
	key->flags |= STEER_IP | STEER_IPV6;
	key->protocol = next;
	p->plain = i == 0;
	p->l4 = offset;
	return parse_ports(skb, p, key);
}

/* One of `kind`. A function of its own for the verifier, which goes through it once and not once for each way to it. */
__noinline int parse(struct __sk_buff *skb, struct packet *p, struct steer_key *key)
{
	if (!p || !key)
		return ODD_IP;
	const __u8 *at = peek(skb, 0, 14);
	if (!at)
		return ODD_IP;
	copy6(key->destination_mac, at);
	copy6(key->source_mac, at + 6);
	__u32 type = be16(at + 12);
	p->l2 = 14;
	if (READ(skb, vlan_present)) {
		key->vlan = STEER_TAGGED | (READ(skb, vlan_tci) & 0xfff);
	} else if (type == ETH_P_8021Q || type == ETH_P_8021AD) {
		at = peek(skb, 14, 4);
		if (!at)
			return ODD_IP;
		key->vlan = STEER_TAGGED | (be16(at) & 0xfff);
		type = be16(at + 2);
		p->l2 = 18;
		p->in_data = 1;
	}
	if (type == ETH_P_IP)
		return parse_ipv4(skb, p, key);
	if (type == ETH_P_IPV6)
		return parse_ipv6(skb, p, key);
	return UNDERSTOOD;
}

#endif
