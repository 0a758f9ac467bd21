/*
 * The points of docs/checklist.md: what must be right between clients and servers. In a build made
 * for tests/points (meson's option points) each can be switched off while the node runs: then
 * something simpler is done that one might do without having thought of it, and the test of that
 * point has to notice. In every other build POINT() is true, and nothing of this is compiled.
 */
#ifndef GATEHOUSE_POINTS_H
#define GATEHOUSE_POINTS_H

#include "span.h"

#include <stdbool.h>

enum point {
	POINT_NONE,
#define ROW(number, NAME, behaviour, off, test, note) POINT_##NAME = number,
#include "points.def"
#undef ROW
	POINT_MAX,
};

/* What the simpler ways need; they exist in that build alone. */

/* A number as a double has it; anything else as it is. The result lives until the next call. */
struct span point_number(struct span token);
/* A JSON value without white space between its tokens, numbers as doubles have them. As above. */
struct span point_reencode(struct span value);
/* Of a JSON string what follows its first "__", as a JSON string; or all of it. As above. */
struct span point_after_separator(struct span token);

#ifdef GATEHOUSE_POINTS
/* In the environment: a file with a byte for each point, which is 0 where it holds. */
#define POINTS_FILE "GATEHOUSE_POINTS"
/* Before the process enters its sandbox. */
void points_open(void);
bool point_holds(enum point point);
#define POINT(name) point_holds(POINT_##name)
#else
static inline void points_open(void)
{
}
#define POINT(name) true
#endif

#endif
