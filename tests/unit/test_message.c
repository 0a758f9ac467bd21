/* The message catalogue: every row goes through encoding and decoding, whole and mutilated. */
#include "message.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define STRING_TEXT "a string of 24 bytes, ok"

static size_t member_size(char letter)
{
	return letter == 's' ? sizeof(struct span) : sizeof(uint64_t);
}

static uint64_t integer_value(char letter, unsigned at)
{
	static const uint64_t b = 200, w = 0xfedcba98, q = UINT64_C(0xfedcba9876543210);

	return (letter == 'b' ? b : letter == 'w' ? w : q) - at;
}

/* A value of its own for each field. */
static void fill(const char *letters, char *member)
{
	for (unsigned i = 0; letters[i]; i++) {
		uint64_t v = integer_value(letters[i], i);
		struct span s = span_of(STRING_TEXT, sizeof(STRING_TEXT) - 1 - i);

		if (letters[i] == 's')
			memcpy(member, &s, sizeof(s));
		else
			memcpy(member, &v, sizeof(v));
		member += member_size(letters[i]);
	}
}

/* Fields as filled, the last of them possibly missing. Returns how many are there. */
static unsigned check_fields(const char *letters, const char *member)
{
	unsigned present = 0;

	for (unsigned i = 0; letters[i]; i++, member += member_size(letters[i - 1])) {
		uint64_t v;
		struct span s;

		if (letters[i] == 's') {
			memcpy(&s, member, sizeof(s));
			if (s.len == 0)
				continue;
			ck_assert_uint_eq(s.len, sizeof(STRING_TEXT) - 1 - i);
			ck_assert_mem_eq(s.p, STRING_TEXT, s.len);
		} else {
			memcpy(&v, member, sizeof(v));
			if (v == 0)
				continue;
			ck_assert_uint_eq(v, integer_value(letters[i], i));
		}
		ck_assert_uint_eq(present, i); /* nothing after a missing one */
		present++;
	}
	return present;
}

static struct buf encoded(enum message_type type)
{
	const struct message_row *row = message_row(type);
	union message_fields fields;
	struct buf frame;

	memset(&fields, 0, sizeof(fields));
	fill(row->fields, (char *)&fields);
	buf_init(&frame, LIMIT_FRAME);
	ck_assert_int_eq(message_encode(&frame, type, 0x80000001, true, row->fds, &fields), 0);
	return frame;
}

/* In a block of exactly that size, so that reading past the end is noticed. */
static int decode_copy(
	struct span frame, const char *letters, struct message *ret, unsigned *ret_present)
{
	union message_fields storage;
	char *copy = malloc(frame.len ? frame.len : 1);
	struct err err = {0};
	int r;

	memset(&storage, 0xff, sizeof(storage));
	if (frame.len)
		memcpy(copy, frame.p, frame.len);
	r = message_decode(span_of(copy, frame.len), &storage, ret, &err);
	if (r == 0 && letters)
		*ret_present = check_fields(letters, (char *)&storage);
	if (r < 0) {
		ck_assert_int_eq(r, -ERR_PROTOCOL);
		ck_assert_int_gt((int)strlen(err_text(&err)), 10);
	}
	free(copy);
	return r;
}

static void set_fields_len(struct buf *frame, size_t len)
{
	for (int i = 0; i < 4; i++)
		frame->data[8 + i] = (char)(len >> (24 - 8 * i));
}

START_TEST(every_row_comes_back)
{
	enum message_type type = (enum message_type)_i;
	const struct message_row *row = message_row(type);
	struct buf frame = encoded(type);
	struct message msg;
	unsigned present;

	buf_append_str(&frame, "the payload");
	ck_assert_int_eq(decode_copy(buf_span(&frame), row->fields, &msg, &present), 0);
	ck_assert_uint_eq(present, strlen(row->fields));
	ck_assert_int_eq(msg.type, type);
	ck_assert(msg.more);
	ck_assert_uint_eq(msg.stream, 0x80000001);
	ck_assert_uint_eq(msg.nfds, row->fds);
	ck_assert_uint_eq(msg.payload.len, strlen("the payload"));
	ck_assert_int_eq(message_by_number(row->number), type);
	buf_free(&frame);
}
END_TEST

START_TEST(every_cut_is_refused)
{
	const struct message_row *row = message_row((enum message_type)_i);
	struct buf frame = encoded((enum message_type)_i);
	struct message msg;
	unsigned present;

	for (size_t len = 0; len < frame.len; len++)
		ck_assert_int_lt(
			decode_copy(span_of(frame.data, len), row->fields, &msg, &present), 0);
	buf_free(&frame);
}
END_TEST

/* What an older program sends ends after some field; what ends within one is no message. */
START_TEST(fewer_fields_are_zero)
{
	const struct message_row *row = message_row((enum message_type)_i);
	struct buf frame = encoded((enum message_type)_i);
	size_t n = strlen(row->fields), fields = frame.len - MESSAGE_HEADER_SIZE, whole = 0;
	struct message msg;
	unsigned present;

	for (size_t len = 0; len <= fields; len++) {
		set_fields_len(&frame, len);
		if (decode_copy(span_of(frame.data, MESSAGE_HEADER_SIZE + len), row->fields, &msg,
			    &present) == 0)
			ck_assert_uint_eq(present, whole++);
	}
	ck_assert_uint_eq(whole, n + 1);
	buf_free(&frame);
}
END_TEST

START_TEST(newer_fields_are_passed_over)
{
	const struct message_row *row = message_row((enum message_type)_i);
	struct buf frame = encoded((enum message_type)_i);
	struct message msg;
	unsigned present;

	buf_append_str(&frame, "of tomorrow");
	set_fields_len(&frame, frame.len - MESSAGE_HEADER_SIZE);
	buf_append_str(&frame, "payload");
	ck_assert_int_eq(decode_copy(buf_span(&frame), row->fields, &msg, &present), 0);
	ck_assert_uint_eq(present, strlen(row->fields));
	ck_assert_uint_eq(msg.payload.len, strlen("payload"));
	buf_free(&frame);
}
END_TEST

START_TEST(only_the_numbers_of_rows_are_known)
{
	unsigned known = 0;

	for (unsigned number = 0; number <= UINT16_MAX; number++) {
		enum message_type type = message_by_number((uint16_t)number);
		char frame[MESSAGE_HEADER_SIZE] = {(char)(number >> 8), (char)number};
		union message_fields storage;
		struct message msg;
		struct err err = {0};

		if (type != MSG_NONE) {
			ck_assert_uint_eq(message_row(type)->number, number);
			known++;
			continue;
		}
		ck_assert_int_eq(
			message_decode(span_of(frame, sizeof(frame)), &storage, &msg, &err),
			-ERR_PROTOCOL);
		ck_assert_ptr_nonnull(strstr(err_text(&err), "unknown message number"));
	}
	ck_assert_uint_eq(known, MSG_MAX - 1);
}
END_TEST

START_TEST(every_row_has_senders_and_receivers)
{
	for (int type = MSG_NONE + 1; type < MSG_MAX; type++) {
		const struct message_row *row = message_row((enum message_type)type);
		bool with_root = (row->senders | row->receivers) & 1u << ROLE_ROOT;

		ck_assert_msg(row->senders && row->receivers, "%s", row->name);
		ck_assert_msg(row->fds == 0 || with_root, "%s: descriptors travel with the root",
			row->name);
	}
}
END_TEST

START_TEST(values_too_large)
{
	struct msg_query_reply reply = {.code = UINT64_MAX};
	struct msg_exchange_forwarded forwarded = {.safe = 256};
	char text[LIMIT_FRAME_FIELDS + 1] = {0};
	union message_fields storage;
	struct message msg;
	struct buf frame;

	buf_init(&frame, 2 * LIMIT_FRAME);
	ck_assert_int_eq(message_encode(&frame, MSG_QUERY_REPLY, 0, false, 0, &reply), 0);
	ck_assert_int_eq(message_decode(buf_span(&frame), &storage, &msg, NULL), 0);
	ck_assert_uint_eq(storage.query_reply.code, UINT32_MAX);
	buf_clear(&frame);
	ck_assert_int_eq(
		message_encode(&frame, MSG_EXCHANGE_FORWARDED, 0, false, 0, &forwarded), 0);
	ck_assert_int_eq(message_decode(buf_span(&frame), &storage, &msg, NULL), 0);
	ck_assert_uint_eq(storage.exchange_forwarded.safe, 255);
	buf_clear(&frame);

	for (size_t len = LIMIT_FRAME_FIELDS - 12; len <= LIMIT_FRAME_FIELDS + 1; len++) {
		int fits = len + 4 + 4 <= LIMIT_FRAME_FIELDS ? 0 : -ERR_TOO_LARGE;

		reply.detail = span_of(text, len);
		ck_assert_int_eq(
			message_encode(&frame, MSG_QUERY_REPLY, 0, false, 0, &reply), fits);
		ck_assert_uint_eq(frame.len, fits == 0 ? MESSAGE_HEADER_SIZE + 8 + len : 0);
		buf_clear(&frame);
	}
	ck_assert_int_eq(
		message_encode(&frame, MSG_QUERY_REPLY, 0, false, 0, NULL), -ERR_INVALID_ARGUMENT);
	ck_assert_int_eq(message_encode(&frame, MSG_READY, 0, false, 0, NULL), 0);
	buf_free(&frame);
}
END_TEST

START_TEST(roles)
{
	ck_assert(role_may_open(ROLE_GATEWAY, ROLE_WORKER));
	ck_assert(!role_may_open(ROLE_WORKER, ROLE_GATEWAY));
	ck_assert(!role_may_open(ROLE_MAX, ROLE_WORKER));
	ck_assert(!role_may_open(ROLE_GATEWAY, ROLE_MAX));
	ck_assert_str_eq(role_name(ROLE_MAX), "unknown");
	/* only gateways hand anything to each other */
	for (int role = 0; role < ROLE_MAX; role++)
		ck_assert(role_may_open((enum role)role, (enum role)role) == (role == ROLE_GATEWAY));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("message");
	TCase *tests = tcase_create("message");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tests, every_row_comes_back, MSG_NONE + 1, MSG_MAX);
	tcase_add_loop_test(tests, every_cut_is_refused, MSG_NONE + 1, MSG_MAX);
	tcase_add_loop_test(tests, fewer_fields_are_zero, MSG_NONE + 1, MSG_MAX);
	tcase_add_loop_test(tests, newer_fields_are_passed_over, MSG_NONE + 1, MSG_MAX);
	tcase_add_test(tests, only_the_numbers_of_rows_are_known);
	tcase_add_test(tests, every_row_has_senders_and_receivers);
	tcase_add_test(tests, values_too_large);
	tcase_add_test(tests, roles);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
