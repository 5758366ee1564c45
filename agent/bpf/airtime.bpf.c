// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The airtime scheduler in the kernel: asks the law of airtime.h when a packet of a vif may leave, and tells it what became
 * of the packet.
 *
 *   tc clsact egress of a vif    airtime_egress      the departure goes into skb->tstamp; fq below holds the packet until then
 *   fentry in mac80211           airtime_status      a frame is done: sent, or given up
 *                                airtime_free        a frame was thrown away before it was on the air
 *                                airtime_register    the driver says what frames of a station took
 *
 * It knows no driver. The agent writes settings and reads the rest; the law's state is written here only.
 */
#include "mac80211.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "airtime_frame.h"

#define RADIOS 16
#define NS_PER_US 1000ULL
/* What left longer ago has expired several times. */
#define OLDEST_DEPARTURE (5000 * AIRTIME_MS)
/* Frames shorter than this go at rates that say little about others. */
#define RATE_SAMPLE_BYTES 200

/* A vif that is scheduled. Interface numbers are unique in a network namespace only, and mac80211 sees all of them. */
struct vif {
	__u32 radio;
	__u32 slot;
	__u32 netns;      /* inode number of its network namespace */
	__u32 extra_bytes; /* on the air, beside what the Ethernet frame has */
	__u32 rate_kbps;  /* of late, of any of its stations */
};

struct station_key {
	__u32 ifindex;
	__u8 address[6];
	__u16 unused;
};

struct radio_lock {
	struct bpf_spin_lock lock;
};

struct delays {
	__u32 count[AIRTIME_DELAY_STEPS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RADIOS);
	__type(key, __u32);
	__type(value, struct airtime_settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RADIOS);
	__type(key, __u32);
	__type(value, struct airtime_radio);
} radios SEC(".maps");

/* Beside the radios, since a program that traces may not use a map that has a lock in it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RADIOS);
	__type(key, __u32);
	__type(value, struct radio_lock);
} locks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RADIOS * AIRTIME_VIFS);
	__type(key, __u32);
	__type(value, struct vif);
} vifs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct station_key);
	__type(value, struct airtime_station);
} stations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, RADIOS * AIRTIME_VIFS);
	__type(key, __u32);
	__type(value, struct delays);
} delays SEC(".maps");

/* A test sets the clock and replays a trace. */
const volatile __u32 replaying = 0;
__u64 replay_ns = 0;

static __always_inline __u64 clock_ns(void)
{
	return replaying ? replay_ns : bpf_ktime_get_ns();
}

/* Verified once, and not under the lock: what it shares with admissions changes by atomic operations. */
__noinline int refresh(struct airtime_radio *r, const struct airtime_settings *s, __u64 now)
{
	if (!r || !s)
		return 0;
	airtime_configure(r, s, now);
	airtime_refresh(r, now);
	return 0;
}

static __always_inline void refresh_if_due(struct airtime_radio *r, const struct airtime_settings *s, __u32 slot, __u64 now)
{
	if (!airtime_is_due(r, slot, now) || __sync_lock_test_and_set(&r->refreshing, 1))
		return;
	if (airtime_is_due(r, slot, now))
		refresh(r, s, now);
	__sync_lock_test_and_set(&r->refreshing, 0);
}

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define ETH_P_PAE 0x888E   /* EAPOL */
#define ETH_P_WAPI 0x88B4
#define ETH_P_PREAUTH 0x88C7

/* RFC 8325: voice is what goes to the access category of that name; what a socket asks for counts as well. */
static __always_inline int is_voice(const struct __sk_buff *skb, const __u8 *frame)
{
	__u32 priority = skb->priority & ~256U, dscp = 0;

	if ((priority == 6 || priority == 7) && skb->priority < 264)
		return 1;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		dscp = frame[15] >> 2;
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		dscp = (frame[14] & 15) << 2 | frame[15] >> 6;
	return dscp == 46 || dscp == 44 || dscp == 48 || dscp == 56;
}

static __always_inline enum airtime_urgency urgency(const struct __sk_buff *skb, const __u8 *frame)
{
	if (skb->protocol == bpf_htons(ETH_P_PAE) || skb->protocol == bpf_htons(ETH_P_WAPI) ||
	    skb->protocol == bpf_htons(ETH_P_PREAUTH))
		return AIRTIME_CONTROL;
	return is_voice(skb, frame) ? AIRTIME_VOICE : AIRTIME_ORDINARY;
}

SEC("tc")
int airtime_egress(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex, segments = skb->gso_segs, bytes = skb->wire_len, radio, slot, of_delays, kbps;
	struct vif *vif = bpf_map_lookup_elem(&vifs, &ifindex);
	struct station_key key = { .ifindex = ifindex };
	const struct airtime_settings *s;
	struct airtime_station *station;
	enum airtime_verdict verdict;
	struct airtime_radio *r;
	struct radio_lock *l;
	struct delays *d;
	__u64 now, each, earliest, departure;
	enum airtime_urgency how;
	__u8 frame[16] = {};

	if (!vif)
		return TC_ACT_UNSPEC;
	radio = vif->radio;
	slot = vif->slot & (AIRTIME_VIFS - 1);
	of_delays = radio * AIRTIME_VIFS + slot;
	s = bpf_map_lookup_elem(&settings, &radio);
	r = bpf_map_lookup_elem(&radios, &radio);
	l = bpf_map_lookup_elem(&locks, &radio);
	d = bpf_map_lookup_elem(&delays, &of_delays);
	if (!s || !r || !l || !d || bpf_skb_load_bytes(skb, 0, frame, sizeof(frame)))
		return TC_ACT_UNSPEC;

	kbps = s->basic_kbps;
	if (!(frame[0] & 1)) {
		__builtin_memcpy(key.address, frame, sizeof(key.address));
		station = bpf_map_lookup_elem(&stations, &key);
		if (station && station->rate_kbps)
			kbps = station->rate_kbps;
		else if (vif->rate_kbps)
			kbps = vif->rate_kbps;
	}
	if (!segments)
		segments = 1;
	if (bytes < skb->len)
		bytes = skb->len;
	each = airtime_markable(airtime_estimate(s->overhead, 1, bytes / segments + vif->extra_bytes, kbps));

	now = clock_ns();
	how = urgency(skb, frame);
	/* Who paces himself is not dropped for it. */
	earliest = airtime_min(skb->tstamp, now + s->horizon);
	refresh_if_due(r, s, slot, now);
	bpf_spin_lock(&l->lock);
	verdict = airtime_admit(r, slot, now, each * segments, earliest, how, &departure);
	if (verdict == AIRTIME_SEND) {
		__u32 step = airtime_delay_step(departure > now ? departure - now : 0);

		if (step < AIRTIME_DELAY_STEPS)
			d->count[step]++;
	}
	bpf_spin_unlock(&l->lock);
	if (verdict == AIRTIME_DROP)
		return TC_ACT_SHOT;
	skb->tstamp = airtime_mark(departure, each);
	return TC_ACT_UNSPEC;
}

/* What mac80211 has in its hands, as far as it is ours. */
struct ours {
	struct vif *vif;
	struct airtime_radio *radio;
	const struct airtime_settings *settings;
	__u32 ifindex;
};

static __always_inline int find(__u32 ifindex, __u32 netns, struct ours *ours)
{
	struct vif *vif = bpf_map_lookup_elem(&vifs, &ifindex);

	if (!vif || vif->netns != netns)
		return 0;
	ours->vif = vif;
	ours->ifindex = ifindex;
	ours->radio = bpf_map_lookup_elem(&radios, &vif->radio);
	ours->settings = bpf_map_lookup_elem(&settings, &vif->radio);
	return ours->radio && ours->settings;
}

static __always_inline struct airtime_station *station_of(const struct ours *ours, struct ieee80211_sta *sta)
{
	struct station_key key = { .ifindex = ours->ifindex };
	struct airtime_station unknown = {}, *station;

	if (bpf_core_read(key.address, sizeof(key.address), &sta->addr))
		return 0;
	station = bpf_map_lookup_elem(&stations, &key);
	if (station)
		return station;
	bpf_map_update_elem(&stations, &key, &unknown, BPF_NOEXIST);
	return bpf_map_lookup_elem(&stations, &key);
}

static __always_inline int find_of(struct sk_buff *skb, struct ours *ours)
{
	return find(skb->dev->ifindex, skb->dev->nd_net.net->ns.inum, ours);
}

/* When a frame left, and what it was charged. Whether it came through airtime_egress at all. */
static __always_inline int mark_of(struct sk_buff *skb, __u64 now, __u64 *departure, __u64 *estimated)
{
	__u64 mark = skb->tstamp;

	*departure = airtime_mark_departure(mark);
	*estimated = airtime_mark_estimated(mark);
	return *estimated && *departure <= now && now - *departure < OLDEST_DEPARTURE;
}

/* include/net/mac80211.h */
#define IEEE80211_TX_STAT_TX_FILTERED (1U << 8)
#define IEEE80211_TX_STAT_ACK (1U << 9)
#define IEEE80211_TX_STAT_AMPDU (1U << 10)
#define IEEE80211_TX_RC_MCS 3
#define IEEE80211_TX_RC_40_MHZ_WIDTH 5
#define IEEE80211_TX_RC_SHORT_GI 7
#define IEEE80211_TX_RC_VHT_MCS 8
#define IEEE80211_TX_RC_80_MHZ_WIDTH 9
#define IEEE80211_TX_RC_160_MHZ_WIDTH 10

static __always_inline int bit(__u32 bits, __u32 number) { return bits >> number & 1; }

static __always_inline __u32 rate_of(const struct airtime_settings *s, __u32 index, __u32 flags)
{
	__u32 width = bit(flags, IEEE80211_TX_RC_160_MHZ_WIDTH) ? 3 : bit(flags, IEEE80211_TX_RC_80_MHZ_WIDTH) ? 2 :
		      bit(flags, IEEE80211_TX_RC_40_MHZ_WIDTH);
	int guard = bit(flags, IEEE80211_TX_RC_SHORT_GI);

	if (bit(flags, IEEE80211_TX_RC_VHT_MCS))
		return airtime_rate_vht(index & 15, (index >> 4) + 1, width, guard);
	if (bit(flags, IEEE80211_TX_RC_MCS))
		return airtime_rate_vht(index & 7, (index >> 3) + 1, width, guard);
	return airtime_rate_legacy(s->ofdm_only, index);
}

/* enum rate_info_flags and enum rate_info_bw of include/net/cfg80211.h */
#define RATE_INFO_FLAGS_MCS 0
#define RATE_INFO_FLAGS_VHT_MCS 1
#define RATE_INFO_FLAGS_SHORT_GI 2
#define RATE_INFO_FLAGS_HE_MCS 4
#define RATE_INFO_FLAGS_EHT_MCS 7

static __always_inline __u32 width_log2(__u32 bandwidth)
{
	/* 20, 40, 80, 160 and 320 MHz; a part of a channel counts as its least */
	return bandwidth == 2 ? 1 : bandwidth == 3 ? 2 : bandwidth == 4 ? 3 : bandwidth == 6 ? 4 : 0;
}

static __always_inline __u32 rate_of_info(const struct rate_info *rate)
{
	__u8 flags = 0, mcs = 0, streams = 0, bandwidth = 0, guard = 0;
	__u16 legacy = 0;

	bpf_core_read(&flags, 1, &rate->flags);
	bpf_core_read(&mcs, 1, &rate->mcs);
	bpf_core_read(&streams, 1, &rate->nss);
	bpf_core_read(&bandwidth, 1, &rate->bw);
	bpf_core_read(&guard, 1, &rate->he_gi);
	bpf_core_read(&legacy, 2, &rate->legacy);
	streams = streams ? streams & 15 : 1;
	if (bit(flags, RATE_INFO_FLAGS_HE_MCS) || bit(flags, RATE_INFO_FLAGS_EHT_MCS))
		return airtime_rate_he(mcs, streams, width_log2(bandwidth), guard);
	if (bit(flags, RATE_INFO_FLAGS_VHT_MCS))
		return airtime_rate_vht(mcs, streams, width_log2(bandwidth), bit(flags, RATE_INFO_FLAGS_SHORT_GI));
	if (bit(flags, RATE_INFO_FLAGS_MCS))
		return airtime_rate_vht(mcs & 7, (mcs >> 3) + 1, width_log2(bandwidth),
					bit(flags, RATE_INFO_FLAGS_SHORT_GI));
	return legacy * 100U;
}

/* All tries of a frame with the rates that the driver reports; the last of them, which most likely worked, in *kbps. */
static __always_inline __u64 rated(const struct airtime_settings *s, struct ieee80211_tx_status *status, __u32 bytes,
				   __u32 *kbps)
{
	struct ieee80211_tx_info *info = status->info;
	__u64 overhead = s->overhead, sum = 0;
	struct ieee80211_rate_status *rates;
	__u8 raw[12] = {}, together = 0;
	__u32 rate;

	if (info->flags & IEEE80211_TX_STAT_AMPDU)
		bpf_core_read(&together, 1, &info->status.ampdu_len);
	if (together > 1)
		overhead /= together;
	if (bpf_core_field_exists(status->n_rates) && status->n_rates) {
		rates = status->rates;
#pragma unroll
		for (int i = 0; i < 4; i++) {
			const struct ieee80211_rate_status *one =
				(void *)rates + i * bpf_core_type_size(struct ieee80211_rate_status);
			__u8 tries = 0;

			if (i >= status->n_rates)
				break;
			bpf_core_read(&tries, 1, &one->try_count);
			rate = rate_of_info(&one->rate_idx);
			if (!rate)
				break;
			*kbps = rate;
			sum += (tries ? tries : 1) * airtime_estimate(overhead, 1, bytes, rate);
		}
		return sum;
	}
	if (bpf_core_read(raw, sizeof(raw), &info->status.rates))
		return 0;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		__u32 bits = raw[3 * i + 1] | raw[3 * i + 2] << 8, tries = bits & 31;

		if ((__s8)raw[3 * i] < 0 || !tries)
			break;
		rate = rate_of(s, raw[3 * i], bits >> 5);
		if (!rate)
			break;
		*kbps = rate;
		sum += tries * airtime_estimate(overhead, 1, bytes, rate);
	}
	return sum;
}

/* A frame check sequence is on the air and not in the buffer. */
#define FCS_BYTES 4
/* A slower frame has a slower acknowledgement: as ACK_BYTES in hardware.rs. */
#define ACK_BYTES 15

SEC("fentry/ieee80211_tx_status_ext")
int BPF_PROG(airtime_status, struct ieee80211_hw *hw, struct ieee80211_tx_status *status)
{
	struct ieee80211_tx_info *info = status->info;
	struct ieee80211_sta *sta = status->sta;
	struct sk_buff *skb = status->skb;
	__u64 departure, estimated, measured, now = bpf_ktime_get_ns();
	struct airtime_station *station = 0;
	struct ours ours = {};
	__u16 tx_time = 0;
	__u32 kbps = 0, bytes;

	/* What a sleeping station did not get is sent again, and reported again. */
	if (!skb || !info || info->flags & IEEE80211_TX_STAT_TX_FILTERED)
		return 0;
	if (!mark_of(skb, now, &departure, &estimated) || !find_of(skb, &ours))
		return 0;
	bytes = skb->len + FCS_BYTES + ACK_BYTES;
	measured = rated(ours.settings, status, bytes, &kbps);
	if (sta)
		station = station_of(&ours, sta);
	if (station) {
		bpf_core_read(&tx_time, sizeof(tx_time), &info->status.tx_time);
		/* Where tries are reported, a frame without any was refused before it was on the air. */
		if (station->source == AIRTIME_SOURCE_RATES && !measured && !tx_time && !(info->flags & IEEE80211_TX_STAT_ACK)) {
			airtime_cancel(ours.radio, ours.vif->slot, departure, estimated);
			return 0;
		}
		measured = airtime_station_complete(station, estimated, tx_time * NS_PER_US, measured);
		if (bytes > RATE_SAMPLE_BYTES) {
			airtime_station_rate(&station->rate_kbps, kbps);
			airtime_station_rate(&ours.vif->rate_kbps, kbps);
		}
	}
	airtime_complete(ours.radio, ours.vif->slot, now, departure, estimated, measured);
	return 0;
}

SEC("fentry/ieee80211_free_txskb")
int BPF_PROG(airtime_free, struct ieee80211_hw *hw, struct sk_buff *skb)
{
	__u64 departure, estimated;
	struct ours ours = {};

	if (skb && mark_of(skb, bpf_ktime_get_ns(), &departure, &estimated) && find_of(skb, &ours))
		airtime_cancel(ours.radio, ours.vif->slot, departure, estimated);
	return 0;
}

SEC("fentry/ieee80211_sta_register_airtime")
int BPF_PROG(airtime_register, struct ieee80211_sta *sta, __u8 tid, __u32 sent_us, __u32 received_us)
{
	struct airtime_station *station;
	struct ours ours = {};
	struct net_device *dev;
	struct sta_info *info;

	info = (void *)sta - bpf_core_field_offset(struct sta_info, sta);
	dev = BPF_CORE_READ(info, sdata, dev);
	if (!find(BPF_CORE_READ(dev, ifindex), BPF_CORE_READ(dev, nd_net.net, ns.inum), &ours))
		return 0;
	station = station_of(&ours, sta);
	if (station)
		airtime_station_register(station, sent_us * NS_PER_US, received_us * NS_PER_US);
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
