/*
 * What the parts of the JSON code share: finding the end of plain runs in strings, eight bytes at a
 * time.
 */
#ifndef GATEHOUSE_JSON_INTERNAL_H
#define GATEHOUSE_JSON_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define JSON_ONES 0x0101010101010101u
#define JSON_HIGH 0x8080808080808080u

/* High bit set in each byte of v that is zero; bytes above the lowest such byte may be wrong. */
static inline uint64_t json_zero_bytes(uint64_t v)
{
	return (v - JSON_ONES) & ~v & JSON_HIGH;
}

static inline uint64_t json_load8(const char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	return v;
}

static inline uint32_t json_load4(const char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap32(v);
#endif
	return v;
}

/* From p, the first quote or backslash; end if there is none. */
static inline const char *json_skip_to_quote(const char *p, const char *end)
{
	while (end - p >= 8) {
		uint64_t v = json_load8(p);
		uint64_t hit = json_zero_bytes(v ^ (JSON_ONES * '"')) |
			       json_zero_bytes(v ^ (JSON_ONES * '\\'));

		if (hit)
			return p + (__builtin_ctzll(hit) >> 3);
		p += 8;
	}
	while (p < end && *p != '"' && *p != '\\')
		p++;
	return p;
}

static inline bool json_is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static inline const char *json_skip_space(const char *p, const char *end)
{
	while (p < end && json_is_space(*p))
		p++;
	return p;
}

/* The value of a hexadecimal digit, or -1. */
static inline int json_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

#endif
