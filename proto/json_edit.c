/* Changing JSON text in a few places and nowhere else. */
#include "json.h"
#include "json_internal.h"

/* The bytes the text will have after the edits; false if an edit is out of place. */
static bool splice_length(struct span text, const struct json_edit *edits, size_t n, size_t *ret)
{
	uintptr_t at = (uintptr_t)text.p, end = at + text.len;
	size_t len = text.len;

	for (size_t i = 0; i < n; i++) {
		uintptr_t p = (uintptr_t)edits[i].at.p;

		if (!edits[i].at.p || p < at || p > end || edits[i].at.len > end - p)
			return false;
		at = p + edits[i].at.len;
		len = len - edits[i].at.len + edits[i].with.len + edits[i].comma;
	}
	*ret = len;
	return true;
}

static char *put(char *dst, const char *p, size_t len)
{
	if (len)
		memcpy(dst, p, len);
	return dst + len;
}

int json_splice(struct span text, const struct json_edit *edits, size_t n, struct buf *out)
{
	const char *from = text.p;
	size_t len;
	char *dst;
	int r;

	if (!splice_length(text, edits, n, &len))
		return -ERR_INVALID_ARGUMENT;
	r = out->failed;
	if (r < 0 || len == 0)
		return r;
	r = buf_reserve(out, len);
	if (r < 0)
		return buf_fail(out, r);
	dst = out->data + out->len;
	for (size_t i = 0; i < n; i++) {
		dst = put(dst, from, (size_t)(edits[i].at.p - from));
		dst = put(dst, edits[i].with.p, edits[i].with.len);
		if (edits[i].comma)
			*dst++ = ',';
		from = edits[i].at.p + edits[i].at.len;
	}
	put(dst, from, (size_t)(text.p + text.len - from));
	out->len += len;
	return 0;
}

void json_edit_sort(struct json_edit *edits, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct json_edit e = edits[i];
		size_t j = i;

		for (; j > 0 && (uintptr_t)edits[j - 1].at.p > (uintptr_t)e.at.p; j--)
			edits[j] = edits[j - 1];
		edits[j] = e;
	}
}

struct json_edit json_edit_prepend(struct span object, struct span members)
{
	struct json_iter iter = json_iter(object);
	struct span key, value;

	return (struct json_edit){
		.at = span_of(object.p + 1, 0),
		.with = members,
		.comma = members.len > 0 && json_iter_member(&iter, &key, &value),
	};
}

static struct span span_between(const char *from, const char *to)
{
	return span_of(from, (size_t)(to - from));
}

/*
 * A run of members to be removed, from the key at run to run_end. What else goes with it: the comma
 * in front if a kept member stands there (kept_end), else the comma behind, up to the next kept
 * key.
 */
static struct span run_extent(
	const char *kept_end, const char *run, const char *run_end, const char *next_key)
{
	if (kept_end)
		return span_between(kept_end, run_end);
	return span_between(run, next_key ? next_key : run_end);
}

bool json_edit_remove(struct span object, struct span key, struct json_edit *ret)
{
	struct json_iter iter = json_iter(object);
	struct span k, value, next;
	const char *kept_end = NULL;

	if (json_type(object) != JSON_OBJECT)
		return false;
	while (json_iter_member(&iter, &k, &value)) {
		if (json_equal_string(k, key)) {
			const char *run = k.p, *run_end = value.p + value.len;
			bool more = json_iter_member(&iter, &next, &value);

			*ret = (struct json_edit){
				.at = run_extent(kept_end, run, run_end, more ? next.p : NULL)};
			return true;
		}
		kept_end = value.p + value.len;
	}
	return false;
}

static bool key_in(struct span key, const struct span *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (json_equal_string(key, keys[i]))
			return true;
	return false;
}

/* Removals only; *ret_kept tells whether a member is left. */
static int remove_runs(struct span object, const struct span *remove, size_t n_remove,
	struct json_edit *edits, size_t max, size_t *ret_n, bool *ret_kept)
{
	struct json_iter iter = json_iter(object);
	const char *kept_end = NULL, *run = NULL, *run_end = NULL;
	struct span key, value;
	size_t n = 0;
	bool more;

	do {
		more = json_iter_member(&iter, &key, &value);
		if (more && key_in(key, remove, n_remove)) {
			run = run ? run : key.p;
			run_end = value.p + value.len;
			continue;
		}
		if (run) {
			if (n >= max)
				return -ERR_TOO_MANY;
			edits[n++] = (struct json_edit){
				.at = run_extent(kept_end, run, run_end, more ? key.p : NULL)};
			run = NULL;
		}
		if (more)
			kept_end = value.p + value.len;
	} while (more);
	*ret_n = n;
	*ret_kept = kept_end != NULL;
	return 0;
}

int json_edit_object(struct span object, const struct span *remove, size_t n_remove,
	struct span members, struct json_edit *edits, size_t max, size_t *ret_n)
{
	size_t first = members.len > 0, n;
	bool kept;
	int r;

	if (json_type(object) != JSON_OBJECT)
		return -ERR_INVALID_ARGUMENT;
	if (max < first)
		return -ERR_TOO_MANY;
	r = remove_runs(object, remove, n_remove, edits + first, max - first, &n, &kept);
	if (r < 0)
		return r;
	if (first)
		edits[0] = (struct json_edit){span_of(object.p + 1, 0), members, kept};
	*ret_n = n + first;
	return 0;
}
