/* proto/mcp: revisions, the table of methods, modern requests, header values, capabilities. */
#include "mcp.h"
#include "json.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

START_TEST(test_versions)
{
	static const struct {
		const char *text;
		enum mcp_version version, negotiated;
		bool modern;
	} rows[] = {
		{"2024-11-05", MCP_2024_11_05, MCP_2024_11_05, false},
		{"2025-03-26", MCP_2025_03_26, MCP_2025_03_26, false},
		{"2025-06-18", MCP_2025_06_18, MCP_2025_06_18, false},
		{"2025-11-25", MCP_2025_11_25, MCP_2025_11_25, false},
		{"2026-07-28", MCP_2026_07_28, MCP_2025_11_25, true},
		{"2099-01-01", MCP_VERSION_NONE, MCP_2025_11_25, true},
		{"2026-07-27", MCP_VERSION_NONE, MCP_2025_11_25, false},
		{"1999-01-01", MCP_VERSION_NONE, MCP_2025_11_25, false},
		{"9999-xx-yy", MCP_VERSION_NONE, MCP_2025_11_25, false},
		{"2099-01-011", MCP_VERSION_NONE, MCP_2025_11_25, false},
		{"", MCP_VERSION_NONE, MCP_2025_11_25, false},
	};
	struct buf out;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span text = span_str(rows[i].text);

		ck_assert_int_eq(mcp_version_parse(text), rows[i].version);
		ck_assert_int_eq(mcp_version_negotiate(text), rows[i].negotiated);
		ck_assert_int_eq(mcp_version_looks_modern(text), rows[i].modern);
		if (rows[i].version == MCP_VERSION_NONE)
			continue;
		ck_assert_str_eq(mcp_version_name(rows[i].version), rows[i].text);
		ck_assert_int_eq(
			mcp_version_era(rows[i].version), rows[i].modern ? MCP_MODERN : MCP_LEGACY);
	}
	ck_assert_str_eq(mcp_version_name(MCP_VERSION_MAX), "");
	ck_assert_int_lt(MCP_2024_11_05, MCP_2025_03_26);
	buf_init(&out, 64);
	ck_assert_int_eq(mcp_write_versions(&out), 0);
	ck_assert(span_is(buf_span(&out), "[\"2026-07-28\"]"));
	buf_free(&out);
}
END_TEST

START_TEST(test_params_of_two_readings)
{
	static const struct {
		const char *params, *says; /* says: NULL where it is unambiguous */
	} rows[] = {
		{"{}", NULL},
		{"", NULL},
		{"[\"name\",\"name\"]", NULL},
		{"{\"name\":\"a\",\"arguments\":{\"name\":1,\"name\":2,\"Name\":3}}", NULL},
		{"{\"x\":1,\"x\":2,\"X\":3,\"names\":4,\"nam\":5}", NULL},
		{"{\"_meta\":[1],\"ref\":\"x\"}", NULL},
		{"{\"name\":1,\"name\":1}", "params have \"name\" twice"},
		{"{\"name\":1,\"n\\u0061me\":1}", "params have \"name\" twice"},
		{"{\"NAME\":1}", "params have \"NAME\", which some take for \"name\""},
		{"{\"argument\xc5\xbf\":1}", "which some take for \"arguments\""},
		{"{\"tas\\u212aId\":1}", "which some take for \"taskId\""},
		{"{\"_meta\":{\"progressToken\":1,\"progressToken\":2}}",
			"the members of params._meta have \"progressToken\" twice"},
		{"{\"_meta\":{\"" MCP_META_PROTOCOL_VERSION "\":1,\"" MCP_META_PROTOCOL_VERSION
		 "\":2}}",
			"twice"},
		{"{\"ref\":{\"type\":\"x\",\"Type\":\"y\"}}", "the members of params.ref have"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct err err = {0};
		int r = mcp_params_check(span_str(rows[i].params), &err);

		ck_assert_msg(r == (rows[i].says ? -ERR_INVALID_PARAMS : 0), "%s", rows[i].params);
		if (rows[i].says)
			ck_assert_msg(strstr(err_text(&err), rows[i].says), "%s: %s",
				rows[i].params, err_text(&err));
	}
}
END_TEST

/* The search by halves needs the rows in order. */
START_TEST(test_methods_sorted)
{
	for (enum mcp_method m = MCP_METHOD_NONE + 1; m < MCP_METHOD_MAX; m++) {
		const struct mcp_method_info *info = mcp_method_info(m);
		char longer[64];

		ck_assert_int_eq(mcp_method_find(info->name), m);
		ck_assert_int_le(info->since, info->until);
		if (m > MCP_METHOD_NONE + 1)
			ck_assert_str_lt(mcp_method_info(m - 1)->name.p, info->name.p);
		snprintf(longer, sizeof(longer), "%sx", info->name.p);
		ck_assert_int_eq(mcp_method_find(span_str(longer)), MCP_METHOD_NONE);
		ck_assert_int_ne(mcp_method_find(span_of(info->name.p, info->name.len - 1)), m);
		ck_assert(info->kind == MCP_REQUEST ||
			  strncmp(info->name.p, "notifications/", 14) == 0);
	}
	ck_assert_int_eq(mcp_method_find(SPAN_NONE), MCP_METHOD_NONE);
	ck_assert_int_eq(mcp_method_find(SPAN_LIT("Tools/call")), MCP_METHOD_NONE);
	ck_assert_int_eq(mcp_method_find(SPAN_LIT("zzz")), MCP_METHOD_NONE);
	ck_assert_uint_eq(mcp_method_info(MCP_METHOD_NONE)->name.len, 0);
	ck_assert_uint_eq(mcp_method_info(MCP_METHOD_MAX)->name.len, 0);
}
END_TEST

/* How many methods each revision's schema has (the last with the three requests and the
 * notification of its tasks). */
START_TEST(test_methods_per_version)
{
	static const struct {
		enum mcp_version version;
		int requests, notifications;
	} rows[] = {{MCP_2024_11_05, 15, 9}, {MCP_2025_03_26, 15, 9}, {MCP_2025_06_18, 16, 9},
		{MCP_2025_11_25, 20, 11}, {MCP_2026_07_28, 13, 9}, {MCP_VERSION_NONE, 0, 0}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int n[2] = {0, 0};

		for (enum mcp_method m = MCP_METHOD_NONE; m < MCP_METHOD_MAX; m++)
			if (mcp_method_in(m, rows[i].version))
				n[mcp_method_info(m)->kind]++;
		ck_assert_int_eq(n[MCP_REQUEST], rows[i].requests);
		ck_assert_int_eq(n[MCP_NOTIFICATION], rows[i].notifications);
	}
}
END_TEST

START_TEST(test_method_rows)
{
	static const char *const gone[] = {"initialize", "ping", "logging/setLevel",
		"resources/subscribe", "sampling/createMessage", "roots/list", "tasks/result",
		"notifications/initialized"};

	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
		enum mcp_method m = mcp_method_find(span_str(gone[i]));

		ck_assert_int_ne(m, MCP_METHOD_NONE);
		ck_assert(!mcp_method_in(m, MCP_2026_07_28));
		ck_assert(mcp_method_in(m, MCP_2025_11_25));
	}
	ck_assert(!(mcp_method_info(MCP_TOOLS_CALL)->flags & MCP_SAFE));
	ck_assert(mcp_method_info(MCP_TOOLS_LIST)->flags & MCP_SAFE);
	ck_assert(span_is(mcp_method_info(MCP_TEMPLATES_LIST)->list, "resourceTemplates"));
	ck_assert_int_eq(mcp_method_info(MCP_PING)->direction, MCP_TO_SERVER | MCP_TO_CLIENT);
	ck_assert(!mcp_method_in(MCP_DISCOVER, MCP_2025_11_25));
}
END_TEST

START_TEST(test_route_value)
{
	static const struct {
		const char *method, *params, *want;
	} rows[] = {
		{"tools/call", "{\"arguments\":{\"name\":1},\"name\":\"a\\u0062\"}",
			"\"a\\u0062\""},
		{"prompts/get", "{\"name\":\"p\"}", "\"p\""},
		{"resources/read", "{\"uri\":\"file:///\"}", "\"file:///\""},
		{"resources/subscribe", "{\"uri\":\"u\"}", "\"u\""},
		{"notifications/resources/updated", "{\"uri\":\"u\"}", "\"u\""},
		{"completion/complete", "{\"ref\":{\"type\":\"ref/prompt\",\"name\":\"p\"}}",
			"\"p\""},
		{"completion/complete", "{\"ref\":{\"type\":\"ref/resource\",\"uri\":\"u\"}}",
			"\"u\""},
		{"tasks/get", "{\"taskId\":\"t\"}", "\"t\""},
		{"notifications/progress", "{\"progressToken\":7}", "7"},
		{"notifications/cancelled", "{\"requestId\":\"7\"}", "\"7\""},
		{"tools/list", "{\"name\":\"a\"}", ""},
		{"tools/call", "{}", ""},
		{"tools/call", "", ""},
		{"nothing", "{\"name\":\"a\"}", ""},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span got = mcp_route_value(
			mcp_method_find(span_str(rows[i].method)), span_str(rows[i].params));

		ck_assert_msg(
			span_is(got, rows[i].want), "%s: %.*s", rows[i].method, SPAN_ARG(got));
	}
	ck_assert(span_is(
		mcp_progress_token(SPAN_LIT("{\"_meta\":{\"progressToken\":\"x\"}}")), "\"x\""));
	ck_assert(span_is(mcp_progress_token(SPAN_LIT("{\"_meta\":{\"progressToken\":0}}")), "0"));
	ck_assert_uint_eq(
		mcp_progress_token(SPAN_LIT("{\"_meta\":{\"progressToken\":null}}")).len, 0);
	ck_assert_uint_eq(mcp_progress_token(SPAN_LIT("{\"progressToken\":1}")).len, 0);
	ck_assert_uint_eq(mcp_progress_token(SPAN_NONE).len, 0);
}
END_TEST

#define PV "\"io.modelcontextprotocol/protocolVersion\":"
#define CC "\"io.modelcontextprotocol/clientCapabilities\":"
#define META "\"_meta\":{" PV "\"2026-07-28\"," CC "{}}"
#define CALL(params) \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{" params "}}"
#define LIST(params) \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{" params "}}"
#define NOTE(params) \
	"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{" params "}}"
#define MODERN "2026-07-28"

static const struct meta_case {
	const char *body;
	const char *version, *method, *name; /* headers; NULL: absent */
	int r;
	enum mcp_era era;
} meta_cases[] = {
	/* agreed */
	{LIST(META), MODERN, "tools/list", NULL, 0, MCP_MODERN},
	{LIST(META), "  2026-07-28\t", " tools/list ", NULL, 0, MCP_MODERN},
	{CALL(META ",\"name\":\"echo\""), MODERN, "tools/call", "echo", 0, MCP_MODERN},
	{CALL(META ",\"name\":\"echo\""), MODERN, "tools/call", "  echo  ", 0, MCP_MODERN},
	{CALL(META ",\"name\":\"echo\""), MODERN, "tools/call", "=?base64?ZWNobw==?=", 0,
		MCP_MODERN},
	{CALL(META ",\"name\":\"\\u4e16\""), MODERN, "tools/call", "=?base64?5LiW?=", 0,
		MCP_MODERN},
	{CALL(META), MODERN, "tools/call", NULL, 0, MCP_MODERN},
	{LIST("\"_meta\":{" PV "\"2026\\u002d07-28\"," CC "{}}"), MODERN, "tools/list", NULL, 0,
		MCP_MODERN},
	/* _meta */
	{LIST(""), MODERN, "tools/list", NULL, -ERR_INVALID_PARAMS, MCP_MODERN},
	{LIST("\"_meta\":{}"), MODERN, "tools/list", NULL, -ERR_INVALID_PARAMS, MCP_MODERN},
	{LIST("\"_meta\":[]"), MODERN, "tools/list", NULL, -ERR_INVALID_PARAMS, MCP_MODERN},
	{LIST("\"_meta\":{" PV "\"2026-07-28\"}"), MODERN, "tools/list", NULL, -ERR_INVALID_PARAMS,
		MCP_MODERN},
	{LIST("\"_meta\":{" CC "{}}"), MODERN, "tools/list", NULL, -ERR_INVALID_PARAMS, MCP_MODERN},
	{LIST("\"_meta\":{" PV "1," CC "{}}"), MODERN, "tools/list", NULL, -ERR_INVALID_PARAMS,
		MCP_MODERN},
	{LIST("\"_meta\":{" PV "\"2026-07-28\"," CC "[]}"), MODERN, "tools/list", NULL,
		-ERR_INVALID_PARAMS, MCP_MODERN},
	{LIST("\"_meta\":{" PV "\"2026-07-28\"," CC
	      "{},\"io.modelcontextprotocol/logLevel\":\"loud\"}"),
		MODERN, "tools/list", NULL, -ERR_INVALID_PARAMS, MCP_MODERN},
	{LIST("\"_meta\":{" PV "\"2026-07-28\"," CC "{},\"io.modelcontextprotocol/clientInfo\":1}"),
		MODERN, "tools/list", NULL, -ERR_INVALID_PARAMS, MCP_MODERN},
	{LIST("\"_meta\":{" PV "\"2026-07-28\"," PV "\"2026-07-28\"," CC "{}}"), MODERN,
		"tools/list", NULL, -ERR_INVALID_PARAMS, MCP_MODERN},
	/* headers */
	{LIST(META), NULL, "tools/list", NULL, -ERR_HEADER_MISMATCH, MCP_MODERN},
	{LIST(META), MODERN, NULL, NULL, -ERR_HEADER_MISMATCH, MCP_MODERN},
	{LIST(META), "2025-11-25", "tools/list", NULL, -ERR_HEADER_MISMATCH, MCP_MODERN},
	{LIST(META), "", "tools/list", NULL, -ERR_HEADER_MISMATCH, MCP_MODERN},
	{LIST(META), MODERN, "prompts/list", NULL, -ERR_HEADER_MISMATCH, MCP_MODERN},
	{LIST(META), MODERN, "TOOLS/LIST", NULL, -ERR_HEADER_MISMATCH, MCP_MODERN},
	{CALL(META ",\"name\":\"echo\""), MODERN, "tools/call", NULL, -ERR_HEADER_MISMATCH,
		MCP_MODERN},
	{CALL(META ",\"name\":\"echo\""), MODERN, "tools/call", "Echo", -ERR_HEADER_MISMATCH,
		MCP_MODERN},
	{CALL(META ",\"name\":\"echo\""), MODERN, "tools/call",
		"=?base64?ZWNobw=?=", -ERR_HEADER_MISMATCH, MCP_MODERN},
	{CALL(META ",\"name\":\"echo\""), MODERN, "tools/call",
		"=?base64?ZWNobx==?=", -ERR_HEADER_MISMATCH, MCP_MODERN},
	{CALL(META ",\"name\":\"\\u4e16\""), MODERN, "tools/call", "\xe4\xb8\x96",
		-ERR_HEADER_MISMATCH, MCP_MODERN},
	/* versions */
	{LIST("\"_meta\":{" PV "\"1900-01-01\"," CC "{}}"), "1900-01-01", "tools/list", NULL,
		-ERR_UNSUPPORTED_VERSION, MCP_MODERN},
	{LIST("\"_meta\":{" PV "\"2025-11-25\"," CC "{}}"), "2025-11-25", "tools/list", NULL,
		-ERR_UNSUPPORTED_VERSION, MCP_MODERN},
	{LIST("\"_meta\":{" PV "\"2099-01-01 and more\"," CC "{}}"), NULL, NULL, NULL,
		-ERR_UNSUPPORTED_VERSION, MCP_MODERN},
	/* notifications */
	{NOTE(""), MODERN, NULL, NULL, 0, MCP_MODERN},
	{NOTE(META), NULL, NULL, NULL, 0, MCP_MODERN},
	{NOTE(META), "2025-11-25", NULL, NULL, -ERR_HEADER_MISMATCH, MCP_MODERN},
	{NOTE(META), MODERN, "x", NULL, -ERR_HEADER_MISMATCH, MCP_MODERN},
};

START_TEST(test_request_meta)
{
	const struct meta_case *c = &meta_cases[_i];
	struct mcp_headers headers = {span_str(c->version), span_str(c->method), span_str(c->name)};
	struct err err = {0};
	struct jsonrpc msg;
	struct mcp_meta meta;
	int r;

	ck_assert_int_eq(jsonrpc_parse(span_str(c->body), &msg, &err), 0);
	ck_assert_int_eq(mcp_request_era(&msg, &headers), c->era);
	r = mcp_request_meta(&msg, &headers, &meta, &err);
	ck_assert_msg(r == c->r, "%s: %d %s", c->body, r, err.detail);
	ck_assert_int_eq(meta.method, mcp_method_find(msg.method));
	if (r == 0 && msg.kind == JSONRPC_REQUEST) {
		ck_assert_int_eq(meta.version, MCP_2026_07_28);
		ck_assert(span_is(meta.capabilities, "{}"));
	}
	/* On stdio there are no headers to be wrong. */
	if (r == -ERR_HEADER_MISMATCH)
		ck_assert_int_eq(mcp_request_meta(&msg, NULL, &meta, NULL), 0);
}
END_TEST

START_TEST(test_request_meta_fields)
{
	struct jsonrpc msg;
	struct mcp_meta meta;

	ck_assert_int_eq(
		jsonrpc_parse(SPAN_LIT(LIST("\"_meta\":{" PV "\"2026-07-28\"," CC
					    "{\"roots\":{}},\"io.modelcontextprotocol/"
					    "clientInfo\":{\"name\":\"n\"},"
					    "\"io.modelcontextprotocol/"
					    "logLevel\":\"warning\",\"progressToken\":\"t\"}")),
			&msg, NULL),
		0);
	ck_assert_int_eq(mcp_request_meta(&msg, NULL, &meta, NULL), 0);
	ck_assert(span_is(meta.capabilities, "{\"roots\":{}}"));
	ck_assert(span_is(meta.client_info, "{\"name\":\"n\"}"));
	ck_assert(span_is(meta.progress_token, "\"t\""));
	ck_assert_int_eq(meta.log_level, MCP_LOG_WARNING);
	ck_assert_str_eq(mcp_log_level_name(meta.log_level), "warning");
	ck_assert_int_eq(mcp_log_level_parse(SPAN_LIT("\"Warning\"")), MCP_LOG_NONE);
}
END_TEST

START_TEST(test_era)
{
	static const struct {
		const char *body, *version;
		enum mcp_era era;
	} rows[] = {
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}", MODERN, MCP_LEGACY},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{" META "}}",
			NULL, MCP_MODERN},
		{LIST(""), NULL, MCP_LEGACY},
		{LIST(""), "2025-11-25", MCP_LEGACY},
		{LIST(""), "2030-01-01", MCP_MODERN},
		{LIST("\"_meta\":{\"progressToken\":1}"), NULL, MCP_LEGACY},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", NULL, MCP_LEGACY},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", MODERN, MCP_MODERN},
		{"[" LIST(META) "]", NULL, MCP_LEGACY},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mcp_headers headers = {.version = span_str(rows[i].version)};
		struct jsonrpc msg;

		ck_assert_int_eq(jsonrpc_parse(span_str(rows[i].body), &msg, NULL), 0);
		ck_assert_msg(mcp_request_era(&msg, &headers) == rows[i].era, "row %zu", i);
		if (!rows[i].version)
			ck_assert_int_eq(mcp_request_era(&msg, NULL), rows[i].era);
	}
}
END_TEST

START_TEST(test_write_errors)
{
	struct err err = {0};
	struct jsonrpc msg;
	struct mcp_meta meta;
	struct buf out;

	buf_init(&out, 4096);
	ck_assert_int_eq(jsonrpc_parse(SPAN_LIT(LIST("\"_meta\":{" PV "\"1900-01-01\"," CC "{}}")),
				 &msg, NULL),
		0);
	ck_assert_int_eq(mcp_request_meta(&msg, NULL, &meta, &err), -ERR_UNSUPPORTED_VERSION);
	ck_assert_int_eq(mcp_write_err(&out, msg.id, &err, &meta, JSONRPC_EXECUTED_NO), 0);
	ck_assert_msg(span_is(buf_span(&out),
			      "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32022,"
			      "\"message\":\"protocol version "
			      "\\\"1900-01-01\\\" is not "
			      "supported\",\"data\":{\"supported\":[\"2026-07-28\"],\"requested\":"
			      "\"1900-01-01\",\"reason\":\"unsupported_version\",\"retryable\":"
			      "false,\"executed\":\"no\"}}}"),
		"%.*s", SPAN_ARG(buf_span(&out)));
	buf_clear(&out);
	ck_assert_int_eq(mcp_write_err(&out, msg.id, &err, NULL, JSONRPC_EXECUTED_NO), 0);
	ck_assert_int_eq(json_check(buf_span(&out), 8, NULL), 0);
	buf_clear(&out);
	ck_assert_int_eq(
		mcp_write_missing_capability(&out, SPAN_LIT("\"q\""), "elicitation.url"), 0);
	ck_assert_int_eq(json_check(buf_span(&out), 8, NULL), 0);
	ck_assert(span_is(json_path(buf_span(&out), "error", "code", NULL), "-32021"));
	ck_assert(span_is(json_path(buf_span(&out), "error", "data", "requiredCapabilities", NULL),
		"{\"elicitation\":{\"url\":{}}}"));
	buf_clear(&out);
	ck_assert_int_eq(mcp_write_missing_capability(&out, SPAN_LIT("1"), "roots"), 0);
	ck_assert(span_is(json_path(buf_span(&out), "error", "data", "requiredCapabilities", NULL),
		"{\"roots\":{}}"));
	buf_clear(&out);
	ck_assert_int_eq(
		mcp_write_missing_extension(&out, SPAN_LIT("1"), MCP_EXTENSION_TASKS), 0);
	ck_assert(span_is(json_path(buf_span(&out), "error", "code", NULL), "-32021"));
	ck_assert(span_is(json_path(buf_span(&out), "error", "data", "requiredCapabilities", NULL),
		"{\"extensions\":{\"io.modelcontextprotocol/tasks\":{}}}"));
	buf_free(&out);
}
END_TEST

/* The specification's own examples first. */
static const struct {
	struct span text;
	const char *header;
} header_values[] = {
	{SPAN_LIT("us-west1"), "us-west1"},
	{SPAN_LIT("Hello, \xe4\xb8\x96\xe7\x95\x8c"), "=?base64?SGVsbG8sIOS4lueVjA==?="},
	{SPAN_LIT(" padded "), "=?base64?IHBhZGRlZCA=?="},
	{SPAN_LIT("line1\nline2"), "=?base64?bGluZTEKbGluZTI=?="},
	{SPAN_LIT("=?base64?literal?="), "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="},
	{SPAN_LIT(""), ""},
	{SPAN_LIT("a b\tc~"), "a b\tc~"},
	{SPAN_LIT("a\0b"), "=?base64?YQBi?="},
	{SPAN_LIT("\x7f"), "=?base64?fw==?="},
	{SPAN_LIT("=?base64?x"), "=?base64?x"},
	{SPAN_LIT("=?BASE64?eA==?="), "=?BASE64?eA==?="},
	{SPAN_LIT("\xff\xfb\xf0"), "=?base64?//vw?="},
};

START_TEST(test_header_values)
{
	struct buf out;

	buf_init(&out, 256);
	ck_assert_int_eq(mcp_header_encode(header_values[_i].text, &out), 0);
	ck_assert_msg(span_is(buf_span(&out), header_values[_i].header), "%.*s",
		SPAN_ARG(buf_span(&out)));
	buf_clear(&out);
	ck_assert_int_eq(mcp_header_decode(span_str(header_values[_i].header), &out, NULL), 0);
	ck_assert(span_equal(buf_span(&out), header_values[_i].text));
	buf_free(&out);
	buf_init(&out, 3);
	if (strlen(header_values[_i].header) > 3)
		ck_assert_int_eq(mcp_header_encode(header_values[_i].text, &out), -ERR_TOO_LARGE);
	ck_assert_uint_le(out.len, 3);
	buf_free(&out);
}
END_TEST

START_TEST(test_header_refused)
{
	static const char *const bad[] = {"\x01", "a\x80", "\xc3\xa9", "a\nb", "\x7f",
		"=?base64?a?=", "=?base64?YQ=?=", "=?base64?YQ?=", "=?base64?YR==?=",
		"=?base64?Y===?=", "=?base64?====?=", "=?base64?YQ==YQ==?=", "=?base64?YW_-?=",
		"=?base64? YQ==?=", "=?base64?YQ= =?="};
	struct buf out;

	buf_init(&out, 256);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(
			mcp_header_decode(span_str(bad[i]), &out, NULL) == -ERR_HEADER_MISMATCH,
			"%s", bad[i]);
		ck_assert_uint_eq(out.len, 0);
	}
	buf_free(&out);
}
END_TEST

START_TEST(test_header_check)
{
	static const struct {
		const char *header, *value;
		bool ok;
	} rows[] = {
		{"us", "\"us\"", true},
		{"us", "\"u\\u0073\"", true},
		{"us", "\"eu\"", false},
		{NULL, "\"us\"", false},
		{"", "\"\"", true},
		{"", "\"us\"", false},
		{NULL, "null", true},
		{"x", "null", true},
		{"x", "", true},
		{NULL, "", true},
		{"42", "42", true},
		{"42.0", "42", true},
		{"42", "42.0", true},
		{"42", "4.2e1", true},
		{"42", "43", false},
		{"-7", "-7", true},
		{"7", "-7", false},
		{"x", "7", false},
		{"", "7", false},
		{"0x7", "7", false},
		{"7 ", "7", true},
		{"1.50", "1.5", true},
		{"nan", "1", false},
		{"9007199254740993", "9007199254740993", true},
		{"9007199254740992", "9007199254740993", false},
		{"true", "true", true},
		{"false", "true", false},
		{"True", "true", false},
		{NULL, "false", false},
		{"=?base64?NDI=?=", "42", true},
		{"42", "\"42\"", true},
		{"a", "{\"a\":1}", true},
		{NULL, "[1]", true},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(mcp_header_check("Mcp-Param-X", span_str(rows[i].header),
				      span_str(rows[i].value),
				      NULL) == (rows[i].ok ? 0 : -ERR_HEADER_MISMATCH),
			"'%s' against %s", rows[i].header ? rows[i].header : "(none)",
			rows[i].value);
}
END_TEST

START_TEST(test_header_write)
{
	static const struct {
		const char *value, *want;
		int r;
	} rows[] = {{"\"us\"", "us", 0}, {"\"\\u00e9\"", "=?base64?w6k=?=", 0}, {"42", "42", 0},
		{"true", "true", 0}, {"\"\"", "", 0}, {"null", "", -ERR_INVALID_ARGUMENT},
		{"{}", "", -ERR_INVALID_ARGUMENT}, {"", "", -ERR_INVALID_ARGUMENT}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf out;

		buf_init(&out, 64);
		ck_assert_int_eq(mcp_header_write(span_str(rows[i].value), &out), rows[i].r);
		ck_assert(span_is(buf_span(&out), rows[i].want));
		buf_free(&out);
	}
}
END_TEST

/* 2026-07-28, server/tools: which annotations of a tool are none */
START_TEST(test_header_faults)
{
	static const struct {
		const char *schema, *fault; /* NULL: good */
	} cases[] = {
#define ONE(type, name) "{\"properties\":{\"a\":{\"type\":" type ",\"x-mcp-header\":" name "}}}"
		{"{}", NULL},
		{ONE("\"string\"", "\"Region\""), NULL},
		{ONE("\"integer\"", "\"a-1_~\""), NULL},
		{ONE("\"boolean\"", "\"B\""), NULL},
		{ONE("\"number\"", "\"B\""), "not on a string"},
		{ONE("\"object\"", "\"B\""), "not on a string"},
		{ONE("[\"string\",\"null\"]", "\"B\""), "not on a string"},
		{ONE("\"string\"", "\"\""), "no name of a header"},
		{ONE("\"string\"", "7"), "no name of a header"},
		{ONE("\"string\"", "\"My Region\""), "no name of a header"},
		{ONE("\"string\"", "\"a:b\""), "no name of a header"},
		{ONE("\"string\"", "\"R\\u00e9gion\""), "no name of a header"},
		{ONE("\"string\"", "\"a\\tb\""), "no name of a header"},
		{"{\"properties\":{\"a\":{\"type\":\"string\",\"x-mcp-header\":\"R\"},"
		 "\"b\":{\"type\":\"string\",\"x-mcp-header\":\"r\"}}}",
			"the same x-mcp-header"},
		{"{\"properties\":{\"o\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":"
		 "\"string\",\"x-mcp-header\":\"R\"}}}}}",
			NULL},
		{"{\"type\":\"string\",\"x-mcp-header\":\"R\"}", "no argument"},
		{"{\"properties\":{\"l\":{\"items\":{\"type\":\"string\",\"x-mcp-header\":\"R\"}}}}",
			"no argument"},
		{"{\"anyOf\":[{\"properties\":{\"a\":{\"type\":\"string\",\"x-mcp-header\":\"R\"}}}]}",
			"no argument"},
		{"{\"properties\":{\"x-mcp-header\":{\"type\":\"string\",\"default\":"
		 "{\"x-mcp-header\":1}}}}",
			NULL},
#undef ONE
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *fault = mcp_header_fault(span_str(cases[i].schema));

		ck_assert_msg(cases[i].fault ? fault && strstr(fault, cases[i].fault) : !fault,
			"%s: %s", cases[i].schema, fault ? fault : "no fault");
	}
}
END_TEST

START_TEST(test_capabilities)
{
	static const struct {
		const char *capabilities, *path;
		bool can;
	} rows[] = {
		{"{}", "roots", false},
		{"{\"roots\":{}}", "roots", true},
		{"{\"roots\":null}", "roots", false},
		{"{\"roots\":{\"listChanged\":true}}", "roots.listChanged", true},
		{"{\"roots\":{\"listChanged\":false}}", "roots.listChanged", false},
		{"{\"sampling\":{}}", "sampling.tools", false},
		{"{\"sampling\":{\"tools\":{}}}", "sampling.tools", true},
		{"{\"elicitation\":{}}", "elicitation", true},
		{"{\"elicitation\":{}}", "elicitation.form", true},
		{"{\"elicitation\":{}}", "elicitation.url", false},
		{"{\"elicitation\":{\"form\":{}}}", "elicitation.url", false},
		{"{\"elicitation\":{\"url\":{}}}", "elicitation.url", true},
		{"{\"elicitation\":{\"url\":{}}}", "elicitation.form", false},
		{"{\"elicitation\":{\"url\":{},\"form\":{}}}", "elicitation.form", true},
		{"{}", "elicitation.form", false},
		{"", "roots", false},
		{"{\"resources\":{\"subscribe\":true}}", "resources.subscribe", true},
	};
	struct span tasks = SPAN_LIT("{\"extensions\":{\"io.modelcontextprotocol/tasks\":{}}}");

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(
			mcp_client_can(span_str(rows[i].capabilities), rows[i].path) == rows[i].can,
			"%s in %s", rows[i].path, rows[i].capabilities);
	ck_assert(mcp_has_extension(tasks, MCP_EXTENSION_TASKS));
	ck_assert(!mcp_has_extension(SPAN_LIT("{}"), MCP_EXTENSION_TASKS));
	ck_assert_str_eq(mcp_request_need(MCP_ELICITATION_CREATE, SPAN_LIT("{\"mode\":\"url\"}")),
		"elicitation.url");
	ck_assert_str_eq(
		mcp_request_need(MCP_ELICITATION_CREATE, SPAN_LIT("{}")), "elicitation.form");
	ck_assert_str_eq(mcp_request_need(MCP_SAMPLING_CREATE, SPAN_LIT("{\"tools\":[]}")),
		"sampling.tools");
	ck_assert_str_eq(mcp_request_need(MCP_SAMPLING_CREATE, SPAN_LIT("{}")), "sampling");
	ck_assert_str_eq(mcp_request_need(MCP_ROOTS_LIST, SPAN_NONE), "roots");
	ck_assert_str_eq(mcp_request_need(MCP_PING, SPAN_NONE), "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mcp");
	TCase *tc = tcase_create("mcp");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, test_versions);
	tcase_add_test(tc, test_methods_sorted);
	tcase_add_test(tc, test_params_of_two_readings);
	tcase_add_test(tc, test_methods_per_version);
	tcase_add_test(tc, test_method_rows);
	tcase_add_test(tc, test_route_value);
	tcase_add_loop_test(tc, test_request_meta, 0, sizeof(meta_cases) / sizeof(meta_cases[0]));
	tcase_add_test(tc, test_request_meta_fields);
	tcase_add_test(tc, test_era);
	tcase_add_test(tc, test_write_errors);
	tcase_add_loop_test(
		tc, test_header_values, 0, sizeof(header_values) / sizeof(header_values[0]));
	tcase_add_test(tc, test_header_refused);
	tcase_add_test(tc, test_header_check);
	tcase_add_test(tc, test_header_write);
	tcase_add_test(tc, test_header_faults);
	tcase_add_test(tc, test_capabilities);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
