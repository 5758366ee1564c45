/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The parts of the kernel's structs that the program reads, by name: libbpf puts in the offsets of the kernel it is loaded
 * into (CO-RE), and refuses where a name is missing.
 */
#ifndef TRANCHE_MAC80211_H
#define TRANCHE_MAC80211_H

/* what libbpf's headers need of the kernel's */
typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
};

struct sk_buff {
	struct net_device *dev;
	__s64 tstamp;
	unsigned int len;
};

struct ieee80211_sta {
	__u8 addr[6];
};

struct ieee80211_sub_if_data {
	struct net_device *dev;
};

struct sta_info {
	struct ieee80211_sub_if_data *sdata;
	struct ieee80211_sta sta;
};

/* idx, then count:5 and flags:11; read as bytes */
struct ieee80211_tx_rate {
	__s8 idx;
	__u16 bits;
} __attribute__((packed));

struct ieee80211_tx_info {
	__u32 flags;
	union {
		struct {
			struct ieee80211_tx_rate rates[4];
			__u8 ampdu_len;
			__u16 tx_time;
		} status;
	};
};

struct rate_info {
	__u8 flags; /* 16 bits since Linux 6.5 */
	__u8 mcs;
	__u8 nss;
	__u8 bw;
	__u16 legacy;
	__u8 he_gi;
};

struct ieee80211_rate_status {
	struct rate_info rate_idx;
	__u8 try_count;
};

struct ieee80211_tx_status {
	struct ieee80211_sta *sta;
	struct ieee80211_tx_info *info;
	struct sk_buff *skb;
	struct ieee80211_rate_status *rates; /* since Linux 5.20 */
	__u8 n_rates;
};

struct ieee80211_hw;

#pragma clang attribute pop

/* include/uapi/linux/bpf.h and pkt_cls.h */
enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_ARRAY = 2, BPF_MAP_TYPE_LRU_HASH = 9 };
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { TC_ACT_UNSPEC = -1, TC_ACT_SHOT = 2 };
struct bpf_spin_lock {
	__u32 val;
};

struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
	__u32 napi_id;
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 data_meta;
	__u64 flow_keys __attribute__((aligned(8)));
	__u64 tstamp;
	__u32 wire_len;
	__u32 gso_segs;
	__u64 sk __attribute__((aligned(8)));
	__u32 gso_size;
};
#endif
