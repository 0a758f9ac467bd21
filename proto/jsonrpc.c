/* JSON-RPC 2.0: what a message is. The writers are in jsonrpc_write.c. */
#include "jsonrpc.h"
#include "bounds.h"

/* 2^31 by the cube of the golden ratio: no spacing keeps any number of beginnings further apart. */
#define OWN_ID_STEP UINT64_C(506952113)
#define OWN_ID_MASK ((UINT64_C(1) << 31) - 1)

enum { F_VERSION, F_ID, F_METHOD, F_PARAMS, F_RESULT, F_ERROR, F_MAX };

const char *jsonrpc_kind_name(enum jsonrpc_kind kind)
{
	static const char *const names[JSONRPC_KIND_MAX] = {
		"none", "request", "notification", "result", "error", "batch"};

	return (unsigned)kind < JSONRPC_KIND_MAX ? names[kind] : "none";
}

bool jsonrpc_is_reply(const struct jsonrpc *msg)
{
	return msg->kind == JSONRPC_RESULT || msg->kind == JSONRPC_ERROR;
}

/* 5.00 → 5 */
static struct span without_point(struct span raw)
{
	size_t len = raw.len;

	while (len > 0 && raw.p[len - 1] == '0')
		len--;
	return len > 0 && len < raw.len && raw.p[len - 1] == '.' ? span_of(raw.p, len - 1) : raw;
}

bool jsonrpc_id_valid(struct span raw)
{
	size_t i = raw.len > 0 && raw.p[0] == '-';

	if (raw.len == 0 || raw.len > JSONRPC_ID_MAX)
		return false;
	if (raw.p[0] == '"')
		return true;
	raw = without_point(raw);
	if (i >= raw.len)
		return false;
	for (; i < raw.len; i++)
		if (raw.p[i] < '0' || raw.p[i] > '9')
			return false;
	return true;
}

int jsonrpc_id_uint64(struct span raw, uint64_t *ret)
{
	int64_t v;

	raw = without_point(raw);
	if (raw.len == 0 || raw.p[0] == '-' || json_get_int64(raw, &v) < 0)
		return -ERR_INVALID_ARGUMENT;
	*ret = (uint64_t)v;
	return 0;
}

uint64_t jsonrpc_own_id(uint64_t maker, uint64_t n)
{
	return (maker * OWN_ID_STEP + n) & OWN_ID_MASK;
}

static bool is_null(struct span value)
{
	return json_type(value) == JSON_NULL;
}

/* Present and not null. */
static bool given(struct span value)
{
	return value.len > 0 && !is_null(value);
}

static int read_id(const struct json_field *id, struct jsonrpc *ret, struct err *err)
{
	if (id->count > 1)
		return err_set(err, ERR_INVALID_REQUEST, "\"id\" is given twice");
	if (id->count == 0)
		return 0;
	if (is_null(id->value))
		return 0; /* judged where the kind is known: an error response may have it */
	if (!jsonrpc_id_valid(id->value))
		return err_set(err, ERR_INVALID_REQUEST,
			"\"id\" must be a string or an integer of at most %u bytes",
			JSONRPC_ID_MAX);
	ret->id = id->value;
	return 0;
}

static int read_method(struct span value, struct jsonrpc *ret, struct err *err)
{
	if (json_type(value) != JSON_STRING)
		return err_set(err, ERR_INVALID_REQUEST, "\"method\" must be a string");
	if (!json_string_escaped(value)) {
		ret->method = span_of(value.p + 1, value.len - 2);
		if (ret->method.len <= JSONRPC_METHOD_MAX)
			return 0;
	} else if (json_string_copy(
			   value, ret->method_buf, sizeof(ret->method_buf), &ret->method) == 0) {
		return 0;
	}
	return err_set(
		err, ERR_INVALID_REQUEST, "\"method\" is longer than %u bytes", JSONRPC_METHOD_MAX);
}

static int read_call(const struct json_field *f, struct jsonrpc *ret, struct err *err)
{
	int r = read_method(f[F_METHOD].value, ret, err);

	if (r < 0)
		return r;
	if (given(f[F_RESULT].value) || given(f[F_ERROR].value))
		return err_set(err, ERR_INVALID_REQUEST,
			"a message with \"method\" cannot have a result or an error");
	if (is_null(f[F_ID].value))
		return err_set(err, ERR_INVALID_REQUEST, "\"id\" must not be null");
	switch (json_type(f[F_PARAMS].value)) {
	case JSON_OBJECT:
		ret->params = f[F_PARAMS].value;
		break;
	case JSON_NONE:
	case JSON_NULL:
		break;
	case JSON_ARRAY:
		return err_set(err, ERR_INVALID_PARAMS, "\"params\" must be an object");
	default:
		return err_set(err, ERR_INVALID_REQUEST, "\"params\" must be an object");
	}
	ret->kind = ret->id.len ? JSONRPC_REQUEST : JSONRPC_NOTIFICATION;
	return 0;
}

static int read_reply(const struct json_field *f, struct jsonrpc *ret, struct err *err)
{
	bool error = given(f[F_ERROR].value);

	if (error && given(f[F_RESULT].value))
		return err_set(err, ERR_INVALID_REQUEST,
			"a response cannot have both a result and an error");
	if (!error && f[F_RESULT].count == 0)
		return err_set(err, ERR_INVALID_REQUEST,
			"neither \"method\" nor \"result\" nor \"error\"");
	if (error) {
		if (json_type(f[F_ERROR].value) != JSON_OBJECT)
			return err_set(err, ERR_INVALID_REQUEST, "\"error\" must be an object");
		ret->error = f[F_ERROR].value;
		ret->kind = JSONRPC_ERROR;
		return 0;
	}
	if (ret->id.len == 0)
		return err_set(err, ERR_INVALID_REQUEST, "a result needs an id");
	ret->result = f[F_RESULT].value;
	ret->kind = JSONRPC_RESULT;
	return 0;
}

static int read_object(struct jsonrpc *ret, struct err *err)
{
	struct json_field f[F_MAX] = {
		[F_VERSION] = {.key = SPAN_LIT("jsonrpc")},
		[F_ID] = {.key = SPAN_LIT("id")},
		[F_METHOD] = {.key = SPAN_LIT("method")},
		[F_PARAMS] = {.key = SPAN_LIT("params")},
		[F_RESULT] = {.key = SPAN_LIT("result")},
		[F_ERROR] = {.key = SPAN_LIT("error")},
	};
	int r;

	json_object_get_many(ret->body, f, F_MAX);
	r = read_id(&f[F_ID], ret, err);
	if (r < 0)
		return r;
	/* Where two readers could choose differently, what we route by is not what the server acts
	 * on. */
	for (size_t i = 0; i < F_MAX; i++)
		if (f[i].count > 1)
			return err_set(err, ERR_INVALID_REQUEST, "\"%.*s\" is given twice",
				SPAN_ARG(f[i].key));
	if (!json_equal_string(f[F_VERSION].value, SPAN_LIT("2.0")))
		return err_set(err, ERR_INVALID_REQUEST, "\"jsonrpc\" must be \"2.0\"");
	return f[F_METHOD].count ? read_call(f, ret, err) : read_reply(f, ret, err);
}

static void clear(struct jsonrpc *ret, struct span body)
{
	*ret = (struct jsonrpc){.kind = JSONRPC_NONE, .body = body};
}

int jsonrpc_parse_checked(struct span value, struct jsonrpc *ret, struct err *err)
{
	clear(ret, json_trim(value));
	switch (json_type(ret->body)) {
	case JSON_OBJECT:
		return read_object(ret, err);
	case JSON_ARRAY:
		ret->batch_len = json_count(ret->body);
		if (ret->batch_len == 0)
			return err_set(err, ERR_INVALID_REQUEST, "an empty batch");
		ret->kind = JSONRPC_BATCH;
		return 0;
	default:
		return err_set(err, ERR_INVALID_REQUEST, "a message must be an object, not a %s",
			json_type_name(json_type(ret->body)));
	}
}

int jsonrpc_parse(struct span body, struct jsonrpc *ret, struct err *err)
{
	int r = json_check(body, LIMIT_JSON_DEPTH, err);

	if (r < 0) {
		clear(ret, body);
		return r;
	}
	return jsonrpc_parse_checked(body, ret, err);
}

int jsonrpc_batch_next(struct json_iter *iter, struct jsonrpc *ret, struct err *err)
{
	struct span element;
	int r;

	if (!json_iter_element(iter, &element))
		return 0;
	if (json_type(element) == JSON_ARRAY) {
		clear(ret, element);
		return err_set(err, ERR_INVALID_REQUEST, "a batch within a batch");
	}
	r = jsonrpc_parse_checked(element, ret, err);
	return r < 0 ? r : 1;
}

int jsonrpc_error_get(
	struct span error, int64_t *ret_code, struct span *ret_message, struct span *ret_data)
{
	struct json_field f[] = {
		{.key = SPAN_LIT("code")}, {.key = SPAN_LIT("message")}, {.key = SPAN_LIT("data")}};
	int64_t code;

	json_object_get_many(error, f, 3);
	if (json_get_int64(f[0].value, &code) < 0 || json_type(f[1].value) != JSON_STRING)
		return -ERR_INVALID_REQUEST;
	*ret_code = code;
	*ret_message = f[1].value;
	*ret_data = f[2].value;
	return 0;
}
