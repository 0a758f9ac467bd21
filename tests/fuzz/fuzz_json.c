/*
 * The JSON scanner: what json_check() accepts, the accessors must read consistently and the edits
 * must leave valid; what it refuses, the accessors must survive.
 */
#include "fuzz.h"
#include "json.h"
#include "json_write.h"

#define DEPTH 64u
#define ROOM (1u << 22)

static void try_string(struct span value)
{
	struct arena arena;
	struct buf out;
	struct span text;

	arena_init(&arena, ROOM);
	buf_init(&out, ROOM);
	FUZZ_CHECK(json_string_decode(value, &arena, &text) == 0);
	FUZZ_CHECK(text.len <= value.len - 2);
	FUZZ_CHECK(json_equal_string(value, text));
	FUZZ_CHECK(json_equal_scalar(value, value));
	FUZZ_CHECK(json_string_append(value, &out) == 0);
	FUZZ_CHECK(span_equal(buf_span(&out), text));
	buf_clear(&out);
	FUZZ_CHECK(json_write_string(&out, text) == 0);
	FUZZ_CHECK(json_check(buf_span(&out), 0, NULL) == 0);
	FUZZ_CHECK(json_equal_scalar(buf_span(&out), value));
	buf_free(&out);
	arena_free(&arena);
}

static void try_edits(struct span object, struct span key, size_t members, struct arena *arena)
{
	struct json_edit edits[64];
	struct span name;
	struct buf out;
	size_t n;

	buf_init(&out, ROOM);
	FUZZ_CHECK(json_string_decode(key, arena, &name) == 0);
	FUZZ_CHECK(json_object_get(object, name).len > 0);
	FUZZ_CHECK(json_edit_remove(object, name, edits));
	FUZZ_CHECK(json_splice(object, edits, 1, &out) == 0);
	FUZZ_CHECK(json_check(buf_span(&out), DEPTH, NULL) == 0);
	FUZZ_CHECK(json_count(buf_span(&out)) == members - 1);
	if (json_edit_object(object, &name, 1, SPAN_LIT("\"x\":1"), edits, 64, &n) == 0) {
		buf_clear(&out);
		FUZZ_CHECK(json_splice(object, edits, n, &out) == 0);
		FUZZ_CHECK(json_check(buf_span(&out), DEPTH, NULL) == 0);
		FUZZ_CHECK(span_is(json_object_get(buf_span(&out), SPAN_LIT("x")), "1"));
	}
	buf_free(&out);
}

static void try_value(struct span value, unsigned depth);

static void try_object(struct span object, unsigned depth)
{
	struct json_iter iter = json_iter(object);
	size_t members = json_count(object), n = 0;
	struct arena arena;
	struct span key, value;

	arena_init(&arena, ROOM);
	for (; json_iter_member(&iter, &key, &value); n++) {
		FUZZ_CHECK(json_type(key) == JSON_STRING);
		try_string(key);
		if (n < 4)
			try_edits(object, key, members, &arena);
		try_value(value, depth);
	}
	FUZZ_CHECK(n == members);
	arena_free(&arena);
}

static void try_array(struct span array, unsigned depth)
{
	struct json_iter iter = json_iter(array);
	struct span value;

	while (json_iter_element(&iter, &value))
		try_value(value, depth);
}

static void try_value(struct span value, unsigned depth)
{
	int64_t number;

	FUZZ_CHECK(depth <= DEPTH && value.len > 0);
	switch (json_type(value)) {
	case JSON_STRING:
		try_string(value);
		break;
	case JSON_NUMBER:
		if (json_get_int64(value, &number) < 0)
			FUZZ_CHECK(json_check(value, 0, NULL) == 0);
		break;
	case JSON_OBJECT:
		try_object(value, depth + 1);
		break;
	case JSON_ARRAY:
		try_array(value, depth + 1);
		break;
	default:
		FUZZ_CHECK(span_is(value, "true") || span_is(value, "false") ||
			   span_is(value, "null"));
	}
}

/* Not JSON: any answer will do, from inside the text. */
static void try_garbage(struct span text)
{
	struct json_field field = {.key = SPAN_LIT("a")};
	struct json_edit edits[8];
	struct json_iter iter = json_iter(text);
	struct span key, value, remove = SPAN_LIT("a");
	struct buf out;
	size_t n;

	buf_init(&out, ROOM);
	while (json_iter_member(&iter, &key, &value))
		FUZZ_CHECK(value.p >= text.p && value.p + value.len <= text.p + text.len);
	FUZZ_CHECK(json_count(text) <= text.len);
	json_object_get_many(text, &field, 1);
	json_equal_string(text, SPAN_LIT("abc"));
	json_string_append(text, &out);
	buf_clear(&out);
	if (json_edit_object(text, &remove, 1, SPAN_LIT("\"x\":1"), edits, 8, &n) == 0)
		FUZZ_CHECK(json_splice(text, edits, n, &out) == 0);
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_of((const char *)data, size);
	struct err err = {0};
	struct buf out;

	if (json_check(text, DEPTH, &err) < 0) {
		FUZZ_CHECK(err.detail[0]);
		try_garbage(text);
		return 0;
	}
	buf_init(&out, ROOM);
	FUZZ_CHECK(json_splice(text, NULL, 0, &out) == 0 && span_equal(buf_span(&out), text));
	buf_free(&out);
	try_value(json_trim(text), 0);
	return 0;
}
