/*
 * One frame of a link: whatever is decoded lies within the frame, and is the same after encoding it
 * and decoding it again.
 */
#include "fuzz.h"
#include "message.h"

static void check_inside(struct span part, struct span whole)
{
	FUZZ_CHECK(
		part.len == 0 || (part.p >= whole.p && part.p + part.len <= whole.p + whole.len));
}

static void check_same(const char *letters, const char *one, const char *other, struct span frame)
{
	for (; *letters; letters++) {
		if (*letters == 's') {
			struct span s[2];

			memcpy(&s[0], one, sizeof(*s));
			memcpy(&s[1], other, sizeof(*s));
			check_inside(s[0], frame);
			FUZZ_CHECK(s[0].len == s[1].len);
			FUZZ_CHECK(s[0].len == 0 || memcmp(s[0].p, s[1].p, s[0].len) == 0);
			one += sizeof(*s);
			other += sizeof(*s);
		} else {
			FUZZ_CHECK(memcmp(one, other, sizeof(uint64_t)) == 0);
			one += sizeof(uint64_t);
			other += sizeof(uint64_t);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span frame = span_of((const char *)data, size);
	union message_fields one, other;
	struct message msg, again;
	struct err err = {0};
	struct buf copy;
	int r = message_decode(frame, &one, &msg, &err);

	FUZZ_CHECK(r == 0 || (r == -ERR_PROTOCOL && *err_text(&err)));
	if (r < 0)
		return 0;
	check_inside(msg.payload, frame);
	buf_init(&copy, LIMIT_FRAME);
	r = message_encode(&copy, msg.type, msg.stream, msg.more, msg.nfds, &one);
	FUZZ_CHECK(r == 0 || r == -ERR_TOO_LARGE);
	if (r == 0) {
		FUZZ_CHECK(message_decode(buf_span(&copy), &other, &again, &err) == 0);
		FUZZ_CHECK(again.type == msg.type && again.stream == msg.stream &&
			   again.more == msg.more && again.nfds == msg.nfds &&
			   again.payload.len == 0);
		check_same(message_row(msg.type)->fields, (char *)&one, (char *)&other, frame);
	}
	buf_free(&copy);
	return 0;
}
