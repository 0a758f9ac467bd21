/*
 * See scan.h.
 */
#include "scan.h"

#include <stdlib.h>

static const char *skip_space(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
		at++;
	return at;
}

/* at: behind the opening quote; returns behind the closing one. */
static const char *skip_string(const char *at, const char *end)
{
	for (;;) {
		const char *quote = memchr(at, '"', (size_t)(end - at));
		if (!quote)
			return end;
		const char *slash = quote;
		while (slash > at && slash[-1] == '\\')
			slash--;
		at = quote + 1;
		if ((quote - slash) % 2 == 0)
			return at;
	}
}

static const char *skip_value(const char *at, const char *end)
{
	int depth = 0;
	while (at < end) {
		char c = *at;
		if (c == '"') {
			at = skip_string(at + 1, end);
			continue;
		}
		if (c == '{' || c == '[')
			depth++;
		if (c == '}' || c == ']') {
			if (depth == 0)
				return at;
			depth--;
		}
		if (c == ',' && depth == 0)
			return at;
		at++;
	}
	return at;
}

struct span scan_member(struct span object, const char *name)
{
	const char *end = object.p + object.len;
	const char *at = object.len ? skip_space(object.p, end) : end;
	size_t len = strlen(name);
	if (at == end || *at != '{')
		return SPAN_NONE;
	at++;
	for (;;) {
		at = skip_space(at, end);
		if (at >= end || *at != '"')
			return SPAN_NONE;
		const char *key = at + 1;
		at = skip_string(key, end);
		bool found = (size_t)(at - 1 - key) == len && memcmp(key, name, len) == 0;
		at = skip_space(at, end);
		if (at >= end || *at != ':')
			return SPAN_NONE;
		const char *value = skip_space(at + 1, end);
		at = skip_value(value, end);
		if (found) {
			while (at > value && (at[-1] == ' ' || at[-1] == '\n' || at[-1] == '\r' ||
						     at[-1] == '\t'))
				at--;
			return span_of(value, (size_t)(at - value));
		}
		if (at >= end || *at != ',')
			return SPAN_NONE;
		at++;
	}
}

struct span scan_string(struct span object, const char *name)
{
	struct span value = scan_member(object, name);
	if (value.len < 2 || value.p[0] != '"')
		return SPAN_NONE;
	return span_of(value.p + 1, value.len - 2);
}

long scan_number(struct span object, const char *name, long otherwise)
{
	struct span value = scan_member(object, name);
	char text[24];
	if (value.len == 0 || value.len >= sizeof text)
		return otherwise;
	memcpy(text, value.p, value.len);
	text[value.len] = '\0';
	char *end;
	long number = strtol(text, &end, 10);
	return *end ? otherwise : number;
}
