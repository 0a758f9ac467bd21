/*
 * Finds members of JSON objects without building a tree. Knows strings and nesting, checks nothing
 * else.
 */
#ifndef BENCH_SCAN_H
#define BENCH_SCAN_H

#include "span.h"

/* The text of the value of a member, quotes included; SPAN_NONE when there is no such member or no
 * object. */
struct span scan_member(struct span object, const char *name);

/* The same for a string without escapes, without its quotes. */
struct span scan_string(struct span object, const char *name);

/* The value of a member that is a whole number, or the default. */
long scan_number(struct span object, const char *name, long otherwise);

#endif
