#include "hash.h"

#include <endian.h>
#include <string.h>

#define P1 0x9E3779B185EBCA87ull
#define P2 0xC2B2AE3D27D4EB4Full
#define P3 0x165667B19E3779F9ull
#define P4 0x85EBCA77C2B2AE63ull
#define P5 0x27D4EB2F165667C5ull

static uint64_t rotl(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

static uint64_t read64(const unsigned char *p)
{
	uint64_t x;

	memcpy(&x, p, sizeof(x));
	return le64toh(x);
}

static uint64_t read32(const unsigned char *p)
{
	uint32_t x;

	memcpy(&x, p, sizeof(x));
	return le32toh(x);
}

static uint64_t hash_round(uint64_t acc, uint64_t lane)
{
	return rotl(acc + lane * P2, 31) * P1;
}

/* The whole stripes of 32 bytes; *p moves behind them. */
static uint64_t hash_stripes(const unsigned char **p, const unsigned char *end, uint64_t seed)
{
	uint64_t acc[4] = {seed + P1 + P2, seed + P2, seed, seed - P1};
	uint64_t h;

	for (; end - *p >= 32; *p += 32)
		for (int i = 0; i < 4; i++)
			acc[i] = hash_round(acc[i], read64(*p + 8 * i));
	h = rotl(acc[0], 1) + rotl(acc[1], 7) + rotl(acc[2], 12) + rotl(acc[3], 18);
	for (int i = 0; i < 4; i++)
		h = (h ^ hash_round(0, acc[i])) * P1 + P4;
	return h;
}

uint64_t hash64(const void *data, size_t len, uint64_t seed)
{
	const unsigned char *p = len ? data : (const unsigned char *)"";
	const unsigned char *end = p + len;
	uint64_t h = len >= 32 ? hash_stripes(&p, end, seed) : seed + P5;

	h += len;
	for (; end - p >= 8; p += 8)
		h = rotl(h ^ hash_round(0, read64(p)), 27) * P1 + P4;
	for (; end - p >= 4; p += 4)
		h = rotl(h ^ read32(p) * P1, 23) * P2 + P3;
	for (; p < end; p++)
		h = rotl(h ^ *p * P5, 11) * P1;
	h = (h ^ h >> 33) * P2;
	h = (h ^ h >> 29) * P3;
	return h ^ h >> 32;
}
