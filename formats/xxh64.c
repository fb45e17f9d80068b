/* formats/xxh64.c - XXH64, by doc/xxhash_spec.md of Cyan4973/xxHash (v0.2.0):
 *
 *   four lanes take 8 bytes each of a 32-byte stripe:  lane = rotl(lane + in * P2, 31) * P1
 *   at the end they are merged, and the last 0..31 bytes go in by 8, by 4 and one by one */
#include "formats/xxh64.h"

#include "formats/checked.h"

#define STRIPE 32u

static const uint64_t P1 = UINT64_C(0x9E3779B185EBCA87), P2 = UINT64_C(0xC2B2AE3D27D4EB4F),
                      P3 = UINT64_C(0x165667B19E3779F9), P4 = UINT64_C(0x85EBCA77C2B2AE63),
                      P5 = UINT64_C(0x27D4EB2F165667C5);

static uint64_t turn(uint64_t x, int by) { return x << by | x >> (64 - by); }

static uint64_t mix_in(uint64_t lane, uint64_t in) { return turn(lane + in * P2, 31) * P1; }

static void add_stripe(gk_xxh64 *x, const unsigned char *p)
{
    for (int i = 0; i < 4; i++)
        x->lane[i] = mix_in(x->lane[i], gk_load_u64(p + 8 * i));
}

void gk_xxh64_begin(gk_xxh64 *x) { *x = (gk_xxh64){.lane = {P1 + P2, P2, 0, 0 - P1}}; }

void gk_xxh64_add(gk_xxh64 *x, const void *bytes, uint64_t n)
{
    const unsigned char *p = bytes;
    const uint64_t held = x->total % STRIPE;

    x->total += n;
    if (held > 0) {
        const uint64_t take = gk_min(n, STRIPE - held);
        memcpy(x->rest + held, p, (size_t)take);
        p += take;
        n -= take;
        if (held + take < STRIPE)
            return;
        add_stripe(x, x->rest);
    }
    for (; n >= STRIPE; p += STRIPE, n -= STRIPE)
        add_stripe(x, p);
    if (n > 0)
        memcpy(x->rest, p, (size_t)n);
}

uint64_t gk_xxh64_end(const gk_xxh64 *x)
{
    const uint64_t *v = x->lane;
    const unsigned char *p = x->rest;
    uint64_t n = x->total % STRIPE, h = P5;

    if (x->total >= STRIPE) {
        h = turn(v[0], 1) + turn(v[1], 7) + turn(v[2], 12) + turn(v[3], 18);
        for (int i = 0; i < 4; i++)
            h = (h ^ mix_in(0, v[i])) * P1 + P4;
    }
    h += x->total;
    for (; n >= 8; p += 8, n -= 8)
        h = turn(h ^ mix_in(0, gk_load_u64(p)), 27) * P1 + P4;
    if (n >= 4) {
        h = turn(h ^ gk_load_u32(p) * P1, 23) * P2 + P3;
        p += 4;
        n -= 4;
    }
    for (; n > 0; p++, n--)
        h = turn(h ^ *p * P5, 11) * P1;
    h = (h ^ h >> 33) * P2;
    h = (h ^ h >> 29) * P3;
    return h ^ h >> 32;
}
