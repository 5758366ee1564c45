/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The parts of the kernel's structs that the program reads, by name: libbpf puts in the offsets of the kernel it is loaded
 * into (CO-RE), and refuses where a name is missing.
 */
#ifndef TRANCHE_MAC80211_H
#define TRANCHE_MAC80211_H

#include "kernel.h"

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
#endif
