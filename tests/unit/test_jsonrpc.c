/* proto/jsonrpc: what is a message, and writing them. */
#include "jsonrpc.h"

#include <check.h>
#include <stdlib.h>

#define V "\"jsonrpc\":\"2.0\""

struct parse_case {
	const char *body;
	int r;
	enum jsonrpc_kind kind;
	const char *id, *method, *params, *payload; /* payload: result or error */
};

static const struct parse_case parse_cases[] = {
	/* requests and notifications */
	{"{" V ",\"id\":1,\"method\":\"ping\"}", 0, JSONRPC_REQUEST, "1", "ping", "", ""},
	{"{" V ",\"id\":\"a\\u0062\",\"method\":\"x\",\"params\":{ \"k\":1e5 }}", 0,
		JSONRPC_REQUEST, "\"a\\u0062\"", "x", "{ \"k\":1e5 }", ""},
	{"  {\"params\":{},\"method\":\"x\",\"id\":-7," V "}\n", 0, JSONRPC_REQUEST, "-7", "x",
		"{}", ""},
	{"{" V ",\"id\":123456789012345678901234567890,\"method\":\"x\"}", 0, JSONRPC_REQUEST,
		"123456789012345678901234567890", "x", "", ""},
	{"{" V ",\"id\":\"\",\"method\":\"x\"}", 0, JSONRPC_REQUEST, "\"\"", "x", "", ""},
	{"{" V ",\"method\":\"notifications/initialized\"}", 0, JSONRPC_NOTIFICATION, "",
		"notifications/initialized", "", ""},
	{"{" V ",\"id\":1,\"method\":\"x\",\"params\":null}", 0, JSONRPC_REQUEST, "1", "x", "", ""},
	{"{" V ",\"id\":1,\"method\":\"tools\\u002fcall\"}", 0, JSONRPC_REQUEST, "1", "tools/call",
		"", ""},
	{"{" V ",\"\\u0069d\":1,\"method\":\"x\"}", 0, JSONRPC_REQUEST, "1", "x", "", ""},
	{"{" V ",\"id\":1,\"method\":\"x\",\"extra\":[{}]}", 0, JSONRPC_REQUEST, "1", "x", "", ""},
	{"{" V ",\"id\":1,\"method\":\"x\",\"result\":null,\"error\":null}", 0, JSONRPC_REQUEST,
		"1", "x", "", ""},
	/* responses */
	{"{" V ",\"id\":1,\"result\":{\"a\":[1.0]}}", 0, JSONRPC_RESULT, "1", "", "",
		"{\"a\":[1.0]}"},
	{"{" V ",\"id\":\"1\",\"result\":null}", 0, JSONRPC_RESULT, "\"1\"", "", "", "null"},
	{"{" V ",\"id\":1,\"result\":{},\"error\":null}", 0, JSONRPC_RESULT, "1", "", "", "{}"},
	{"{" V ",\"id\":1,\"error\":{\"code\":1,\"message\":\"m\"}}", 0, JSONRPC_ERROR, "1", "", "",
		"{\"code\":1,\"message\":\"m\"}"},
	{"{" V ",\"id\":null,\"error\":{}}", 0, JSONRPC_ERROR, "", "", "", "{}"},
	{"{" V ",\"error\":{}}", 0, JSONRPC_ERROR, "", "", "", "{}"},
	{"{" V ",\"id\":1,\"result\":null,\"error\":{}}", 0, JSONRPC_ERROR, "1", "", "", "{}"},
	/* batches */
	{"[1]", 0, JSONRPC_BATCH, "", "", "", ""},
	{"[{" V ",\"method\":\"x\"}]", 0, JSONRPC_BATCH, "", "", "", ""},
	{"[]", -ERR_INVALID_REQUEST, JSONRPC_NONE, "", "", "", ""},
	/* not JSON */
	{"", -ERR_PARSE, JSONRPC_NONE, "", "", "", ""},
	{"{\"id\":1", -ERR_PARSE, JSONRPC_NONE, "", "", "", ""},
	{"{" V ",\"id\":1,\"method\":\"x\"}{}", -ERR_PARSE, JSONRPC_NONE, "", "", "", ""},
	/* not a message */
	{"1", -ERR_INVALID_REQUEST, JSONRPC_NONE, "", "", "", ""},
	{"\"x\"", -ERR_INVALID_REQUEST, JSONRPC_NONE, "", "", "", ""},
	{"{}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "", "", "", ""},
	{"{\"id\":5,\"method\":\"x\"}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "5", "", "", ""},
	{"{\"jsonrpc\":2.0,\"id\":5,\"method\":\"x\"}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "5", "",
		"", ""},
	{"{\"jsonrpc\":\"1.0\",\"id\":5,\"method\":\"x\"}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "5",
		"", "", ""},
	{"{" V ",\"id\":5}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "5", "", "", ""},
	{"{" V ",\"id\":5,\"method\":7}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "5", "", "", ""},
	{"{" V ",\"id\":5,\"method\":null,\"result\":{}}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "5",
		"", "", ""},
	{"{" V ",\"id\":null,\"method\":\"x\"}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "", "", "",
		""},
	{"{" V ",\"id\":1.5,\"method\":\"x\"}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "", "", "", ""},
	{"{" V ",\"id\":1e3,\"method\":\"x\"}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "", "", "", ""},
	{"{" V ",\"id\":true,\"method\":\"x\"}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "", "", "",
		""},
	{"{" V ",\"id\":[1],\"method\":\"x\"}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "", "", "", ""},
	{"{" V ",\"id\":{},\"method\":\"x\"}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "", "", "", ""},
	{"{" V ",\"id\":1,\"method\":\"x\",\"params\":1}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "1",
		"", "", ""},
	{"{" V ",\"id\":1,\"method\":\"x\",\"params\":[1]}", -ERR_INVALID_PARAMS, JSONRPC_NONE, "1",
		"", "", ""},
	{"{" V ",\"id\":1,\"method\":\"x\",\"result\":{}}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "1",
		"", "", ""},
	{"{" V ",\"id\":1,\"result\":{},\"error\":{}}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "1", "",
		"", ""},
	{"{" V ",\"id\":1,\"error\":\"no\"}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "1", "", "", ""},
	{"{" V ",\"result\":{}}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "", "", "", ""},
	{"{" V ",\"id\":null,\"result\":{}}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "", "", "", ""},
	/* an envelope key given twice, also in disguise */
	{"{" V ",\"id\":1,\"id\":2,\"method\":\"x\"}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "", "",
		"", ""},
	{"{" V ",\"id\":1,\"\\u0069d\":1,\"method\":\"x\"}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "",
		"", "", ""},
	{"{" V ",\"id\":1,\"method\":\"x\",\"method\":\"y\"}", -ERR_INVALID_REQUEST, JSONRPC_NONE,
		"1", "", "", ""},
	{"{" V ",\"id\":1,\"method\":\"x\",\"params\":{},\"params\":{}}", -ERR_INVALID_REQUEST,
		JSONRPC_NONE, "1", "", "", ""},
	{"{" V "," V ",\"id\":1,\"method\":\"x\"}", -ERR_INVALID_REQUEST, JSONRPC_NONE, "1", "", "",
		""},
};

START_TEST(test_parse_table)
{
	const struct parse_case *c = &parse_cases[_i];
	struct err err = {0};
	struct jsonrpc msg;
	int r = jsonrpc_parse(span_str(c->body), &msg, &err);

	ck_assert_msg(r == c->r, "%s: %d %s", c->body, r, err_text(&err));
	ck_assert_int_eq(msg.kind, c->kind);
	ck_assert_msg(span_is(msg.id, c->id), "%s: id %.*s", c->body, SPAN_ARG(msg.id));
	if (r < 0) {
		ck_assert(err.detail[0]);
		return;
	}
	ck_assert(span_is(msg.method, c->method));
	ck_assert(span_is(msg.params, c->params));
	ck_assert(span_is(msg.result.len ? msg.result : msg.error, c->payload));
	ck_assert_int_eq(
		jsonrpc_is_reply(&msg), c->kind == JSONRPC_RESULT || c->kind == JSONRPC_ERROR);
}
END_TEST

/* Lengths at their limits. */
START_TEST(test_parse_limits)
{
	struct buf body;
	struct jsonrpc msg;

	buf_init(&body, 4096);
	for (unsigned over = 0; over < 2; over++) {
		unsigned id = JSONRPC_ID_MAX - 2 + over, method = JSONRPC_METHOD_MAX + over;

		buf_clear(&body);
		buf_printf(&body, "{" V ",\"id\":\"%0*d\",\"method\":\"x\"}", (int)id, 0);
		ck_assert_int_eq(jsonrpc_parse(buf_span(&body), &msg, NULL),
			over ? -ERR_INVALID_REQUEST : 0);
		ck_assert_uint_eq(msg.id.len, over ? 0 : JSONRPC_ID_MAX);
		for (unsigned escaped = 0; escaped < 2; escaped++) {
			buf_clear(&body);
			buf_printf(&body, "{" V ",\"id\":1,\"method\":\"%s%0*d\"}",
				escaped ? "\\u0061" : "a", (int)method - 1, 0);
			ck_assert_int_eq(jsonrpc_parse(buf_span(&body), &msg, NULL),
				over ? -ERR_INVALID_REQUEST : 0);
			ck_assert_uint_eq(msg.id.len, 1);
		}
	}
	buf_clear(&body);
	buf_printf(&body, "{" V ",\"id\":1,\"method\":\"x\",\"params\":");
	for (int i = 0; i < 200; i++)
		buf_append_char(&body, '[');
	ck_assert_int_eq(jsonrpc_parse(buf_span(&body), &msg, NULL), -ERR_TOO_DEEP);
	buf_free(&body);
}
END_TEST

START_TEST(test_batch)
{
	struct span body = SPAN_LIT(" [ {" V ",\"id\":1,\"method\":\"a\"}, 7 ,[],{" V
				    ",\"method\":\"b\"},{" V ",\"id\":2,\"result\":{}}] ");
	static const struct {
		int r;
		enum jsonrpc_kind kind;
	} want[] = {{1, JSONRPC_REQUEST}, {-ERR_INVALID_REQUEST, JSONRPC_NONE},
		{-ERR_INVALID_REQUEST, JSONRPC_NONE}, {1, JSONRPC_NOTIFICATION},
		{1, JSONRPC_RESULT}, {0, JSONRPC_RESULT}};
	struct jsonrpc batch, msg = {0};
	struct json_iter iter;

	ck_assert_int_eq(jsonrpc_parse(body, &batch, NULL), 0);
	ck_assert_int_eq(batch.kind, JSONRPC_BATCH);
	ck_assert_uint_eq(batch.batch_len, 5);
	iter = json_iter(batch.body);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		ck_assert_int_eq(jsonrpc_batch_next(&iter, &msg, NULL), want[i].r);
		ck_assert_int_eq(msg.kind, want[i].kind);
	}
}
END_TEST

START_TEST(test_ids)
{
	static const struct {
		const char *raw;
		bool valid;
		int r;
		uint64_t v;
	} rows[] = {{"0", true, 0, 0}, {"9223372036854775807", true, 0, INT64_MAX},
		{"9223372036854775808", true, -ERR_INVALID_ARGUMENT, 0},
		{"-1", true, -ERR_INVALID_ARGUMENT, 0}, {"\"1\"", true, -ERR_INVALID_ARGUMENT, 0},
		{"1.0", true, 0, 1}, {"120.000", true, 0, 120}, {"-1.0", true, -ERR_INVALID_ARGUMENT, 0},
		{"1.5", false, -ERR_INVALID_ARGUMENT, 0}, {"1.05", false, -ERR_INVALID_ARGUMENT, 0},
		{"1e2", false, -ERR_INVALID_ARGUMENT, 0}, {"-", false, -ERR_INVALID_ARGUMENT, 0},
		{"null", false, -ERR_INVALID_ARGUMENT, 0}, {"", false, -ERR_INVALID_ARGUMENT, 0}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t v = 0;

		ck_assert_msg(jsonrpc_id_valid(span_str(rows[i].raw)) == rows[i].valid, "%s",
			rows[i].raw);
		ck_assert_msg(jsonrpc_id_uint64(span_str(rows[i].raw), &v) == rows[i].r, "%s",
			rows[i].raw);
		ck_assert_uint_eq(v, rows[i].v);
	}
}
END_TEST

/* Small, and those of processes that follow one another far apart. */
START_TEST(test_own_ids)
{
	enum { MAKERS = 1000, APART = 500000 };

	for (uint64_t i = 1; i <= MAKERS; i++) {
		uint64_t first = jsonrpc_own_id(i, 1);

		ck_assert_uint_lt(first, UINT64_C(1) << 31);
		ck_assert_uint_eq((first + 1) & INT32_MAX, jsonrpc_own_id(i, 2));
		for (uint64_t j = 1; j < i; j++) {
			uint64_t apart = (first - jsonrpc_own_id(j, 1)) & INT32_MAX;

			ck_assert_uint_gt(apart, APART);
			ck_assert_uint_lt(apart, (UINT64_C(1) << 31) - APART);
		}
	}
}
END_TEST

START_TEST(test_error_get)
{
	struct span message, data;
	int64_t code;

	ck_assert_int_eq(
		jsonrpc_error_get(SPAN_LIT("{\"data\":[1],\"message\":\"m\",\"code\":-32000}"),
			&code, &message, &data),
		0);
	ck_assert_int_eq(code, -32000);
	ck_assert(span_is(message, "\"m\"") && span_is(data, "[1]"));
	ck_assert_int_eq(jsonrpc_error_get(SPAN_LIT("{\"message\":\"m\"}"), &code, &message, &data),
		-ERR_INVALID_REQUEST);
	ck_assert_int_eq(jsonrpc_error_get(SPAN_LIT("{\"code\":1.5,\"message\":\"m\"}"), &code,
				 &message, &data),
		-ERR_INVALID_REQUEST);
	ck_assert_int_eq(jsonrpc_error_get(SPAN_LIT("{\"code\":1}"), &code, &message, &data),
		-ERR_INVALID_REQUEST);
}
END_TEST

/* Each writer once; i counts them. */
static int write_one(int i, struct buf *out)
{
	struct err err = {.code = -ERR_SERVER_DIED};

	err_set(&err, ERR_SERVER_DIED, "the server \"x\" died");
	switch (i) {
	case 0:
		return jsonrpc_write_request(
			out, UINT64_MAX, SPAN_LIT("a\"b"), SPAN_LIT("{\"x\":1.0}"));
	case 1:
		return jsonrpc_write_request_raw(
			out, SPAN_LIT("\"i\\u0064\""), SPAN_LIT("m"), SPAN_NONE);
	case 2:
		return jsonrpc_write_notification(out, SPAN_LIT("n"), SPAN_LIT("{}"));
	case 3:
		return jsonrpc_write_result(out, SPAN_LIT("7"), SPAN_LIT("{ }"));
	case 4:
		return jsonrpc_write_result(out, SPAN_LIT("7"), SPAN_NONE);
	case 5:
		return jsonrpc_write_error(out, SPAN_NONE, -32700, SPAN_LIT("no"), SPAN_NONE);
	case 6:
		return jsonrpc_write_error(out, SPAN_LIT("1"), 5, SPAN_LIT("\n"), SPAN_LIT("[1]"));
	case 7:
		return jsonrpc_write_err(out, SPAN_LIT("1"), &err, JSONRPC_EXECUTED_UNKNOWN);
	default:
		return jsonrpc_write_err_data(
			out, SPAN_LIT("1"), &err, JSONRPC_EXECUTED_NO, SPAN_LIT("\"a\":1"));
	}
}

static const char *const written[] = {
	"{" V ",\"id\":18446744073709551615,\"method\":\"a\\\"b\",\"params\":{\"x\":1.0}}",
	"{" V ",\"id\":\"i\\u0064\",\"method\":\"m\"}",
	"{" V ",\"method\":\"n\",\"params\":{}}",
	"{" V ",\"id\":7,\"result\":{ }}",
	"{" V ",\"id\":7,\"result\":{}}",
	"{" V ",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"no\"}}",
	"{" V ",\"id\":1,\"error\":{\"code\":5,\"message\":\"\\n\",\"data\":[1]}}",
	"{" V ",\"id\":1,\"error\":{\"code\":-32000,\"message\":\"the server \\\"x\\\" died\","
	"\"data\":{\"reason\":\"server_died\",\"retryable\":true,\"executed\":\"unknown\"}}}",
	"{" V ",\"id\":1,\"error\":{\"code\":-32000,\"message\":\"the server \\\"x\\\" died\","
	"\"data\":{\"a\":1,\"reason\":\"server_died\",\"retryable\":true,\"executed\":\"no\"}}}",
};

START_TEST(test_write)
{
	struct buf out;
	struct jsonrpc msg;

	buf_init(&out, 1024);
	ck_assert_int_eq(write_one(_i, &out), 0);
	ck_assert_msg(span_is(buf_span(&out), written[_i]), "%.*s", SPAN_ARG(buf_span(&out)));
	ck_assert_int_eq(jsonrpc_parse(buf_span(&out), &msg, NULL), 0);
	buf_free(&out);
	/* Without room, nothing is left behind. */
	for (size_t max = 1; max < strlen(written[_i]) + 1; max++) {
		buf_init(&out, max);
		buf_append_char(&out, '>');
		ck_assert_int_eq(write_one(_i, &out), -ERR_TOO_LARGE);
		ck_assert_uint_eq(out.len, 1);
		buf_free(&out);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("jsonrpc");
	TCase *tc = tcase_create("jsonrpc");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tc, test_parse_table, 0, sizeof(parse_cases) / sizeof(parse_cases[0]));
	tcase_add_test(tc, test_parse_limits);
	tcase_add_test(tc, test_batch);
	tcase_add_test(tc, test_ids);
	tcase_add_test(tc, test_own_ids);
	tcase_add_test(tc, test_error_get);
	tcase_add_loop_test(tc, test_write, 0, sizeof(written) / sizeof(written[0]));
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
