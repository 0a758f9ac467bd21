/*
 * What the benchmark's MCP server answers: initialize, ping, tools/list and a tool echo {size} that
 * returns `size` letters x; with modern on, also server/discover and results of revision
 * 2026-07-28.
 */
#ifndef BENCH_ANSWER_H
#define BENCH_ANSWER_H

#include "buf.h"

enum answer_kind {
	ANSWER_NOTHING, /* a notification or a response: nothing to say */
	ANSWER_RESULT,
	ANSWER_INITIALIZE, /* a result that opens a session */
	ANSWER_BAD,        /* not a request */
};

#define ANSWER_MAX_SIZE (1024 * 1024)

/*
 * Appends the JSON-RPC answer to out. modern: the request is of the modern era. tools: how many are
 * listed; all but echo are there to be listed.
 */
enum answer_kind answer_request(
	struct span request, bool modern, unsigned tools, struct buf *out);

#endif
