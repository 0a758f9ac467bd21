/*
 * Frames cost the sender nearly nothing: PING, SETTINGS, WINDOW_UPDATE in steps of a byte, streams
 * that are opened and reset at once (CVE-2023-44487) or made to be reset by us. Two buckets of
 * tokens hold for a connection what HTTP/1 gets for free from its order of request and answer.
 */
#include "http2_internal.h"

/* More than any client needs in a burst: a few for each of some hundred streams. */
#define CONTROL_MAX 4000u
#define CONTROL_PER_SECOND 500u
/* A client that reads answers updates two windows for each frame of them. */
#define CONTROL_PER_ANSWER_FRAME 2u
/* Bytes of a frame of an answer that earn that: not those of a window opened byte by byte. */
#define ANSWER_FRAME_MIN 32u
#define RESETS_MAX 200u
#define RESETS_PER_SECOND 20u

static void add(uint64_t *tokens, uint64_t n, uint64_t max)
{
	*tokens = *tokens + n < max ? *tokens + n : max;
}

void http2_calm_init(struct http2_calm *calm)
{
	*calm = (struct http2_calm){
		.at_ms = clock_ms(), .control = CONTROL_MAX, .resets = RESETS_MAX};
}

/* By whole tokens of the slower bucket, so that nothing is lost to rounding. */
static void refill(struct http2_calm *calm)
{
	const uint64_t step_ms = 1000u / RESETS_PER_SECOND;
	uint64_t steps = (clock_ms() - calm->at_ms) / step_ms;

	if (steps == 0)
		return;
	calm->at_ms += steps * step_ms;
	add(&calm->control, steps * CONTROL_PER_SECOND / RESETS_PER_SECOND, CONTROL_MAX);
	add(&calm->resets, steps, RESETS_MAX);
}

static void take(struct http2 *http2, uint64_t *tokens)
{
	if (*tokens == 0)
		refill(&http2->calm);
	if (*tokens > 0)
		(*tokens)--;
	else
		http2_terminate(http2, NGHTTP2_ENHANCE_YOUR_CALM);
}

void http2_calm_control(struct http2 *http2)
{
	take(http2, &http2->calm.control);
}

void http2_calm_reset(struct http2 *http2)
{
	take(http2, &http2->calm.resets);
}

void http2_calm_sent(struct http2 *http2, size_t bytes)
{
	if (bytes >= ANSWER_FRAME_MIN)
		add(&http2->calm.control, CONTROL_PER_ANSWER_FRAME, CONTROL_MAX);
}

void http2_calm_answered(struct http2 *http2)
{
	add(&http2->calm.control, CONTROL_PER_ANSWER_FRAME, CONTROL_MAX);
	add(&http2->calm.resets, 1, RESETS_MAX);
}
