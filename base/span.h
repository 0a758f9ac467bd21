/*
 * A span: bytes that belong to somebody else. Never zero-terminated by promise; whoever hands one
 * out says how long it lives.
 */
#ifndef GATEHOUSE_SPAN_H
#define GATEHOUSE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
	const char *p;
	size_t len;
};

#define SPAN_NONE ((struct span){NULL, 0})
/* A string literal as a span. */
#define SPAN_LIT(s) ((struct span){"" s, sizeof(s) - 1})
/* For printf's "%.*s". */
#define SPAN_ARG(s) (int)(s).len, (s).p ? (s).p : ""

static inline struct span span_of(const char *p, size_t len)
{
	return (struct span){p, len};
}

/* s may be NULL, which gives SPAN_NONE. */
static inline struct span span_str(const char *s)
{
	return s ? (struct span){s, strlen(s)} : SPAN_NONE;
}

static inline bool span_equal(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static inline bool span_is(struct span a, const char *literal)
{
	return span_equal(a, span_str(literal));
}

#endif
