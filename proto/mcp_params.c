/* Params that two readers could take for different things. */
#include "mcp.h"
#include "json.h"

/* Longer than every name that MCP gives a meaning. */
#define KEY_MAX 64
#define NAMES_MAX 24

/* What params say whose a request is and what is to be done, of all methods. */
static const char *const param_names[] = {"name", "uri", "ref", "taskId", "_meta", "arguments",
	"task", "cursor", "level", "requestId", "requestState", "inputResponses", "notifications",
	"protocolVersion", "capabilities", "clientInfo", NULL};
static const char *const meta_names[] = {MCP_META_PROGRESS_TOKEN, MCP_META_PROTOCOL_VERSION,
	MCP_META_CLIENT_CAPABILITIES, MCP_META_CLIENT_INFO, MCP_META_LOG_LEVEL, NULL};
static const char *const ref_names[] = {"type", "name", "uri", NULL};

/*
 * As readers do it that ignore case (Go's encoding/json is one): Unicode has two more letters whose
 * lower case is an ASCII one, U+017F (s) and U+212A (k).
 */
static size_t fold(struct span text, char *out)
{
	size_t len = 0;

	for (size_t i = 0; i < text.len; i++) {
		struct span rest = span_of(text.p + i, text.len - i);
		char c = text.p[i];

		if (rest.len >= 2 && memcmp(rest.p, "\xc5\xbf", 2) == 0) {
			c = 's';
			i += 1;
		} else if (rest.len >= 3 && memcmp(rest.p, "\xe2\x84\xaa", 3) == 0) {
			c = 'k';
			i += 2;
		}
		out[len++] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	}
	return len;
}

/* The place among names of the one that key is but for case; -1 if it is none. */
static int place_of(struct span key, const char *const *names)
{
	char folded[KEY_MAX], wanted[KEY_MAX];
	size_t len = fold(key, folded);

	for (int i = 0; names[i]; i++) {
		struct span name = span_str(names[i]);

		if (name.len == len && fold(name, wanted) == len &&
			memcmp(folded, wanted, len) == 0)
			return i;
	}
	return -1;
}

static int check_object(
	struct span object, const char *const *names, const char *where, struct err *err)
{
	struct json_iter iter = json_iter(object);
	bool given[NAMES_MAX] = {false};
	struct span key, value, text;
	char plain[KEY_MAX];

	if (json_type(object) != JSON_OBJECT)
		return 0;
	while (json_iter_member(&iter, &key, &value)) {
		int place = -1;

		if (json_string_copy(key, plain, sizeof(plain), &text) == 0)
			place = place_of(text, names);
		if (place < 0)
			continue;
		if (!span_is(text, names[place]))
			return err_set(err, ERR_INVALID_PARAMS,
				"%s have \"%.*s\", which some take for \"%s\": names differ in "
				"more than case",
				where, SPAN_ARG(text), names[place]);
		if (given[place])
			return err_set(err, ERR_INVALID_PARAMS, "%s have \"%s\" twice", where,
				names[place]);
		given[place] = true;
	}
	return 0;
}

int mcp_params_check(struct span params, struct err *err)
{
	int r = check_object(params, param_names, "params", err);

	if (r == 0)
		r = check_object(json_object_get(params, SPAN_LIT("_meta")), meta_names,
			"the members of params._meta", err);
	if (r == 0)
		r = check_object(json_object_get(params, SPAN_LIT("ref")), ref_names,
			"the members of params.ref", err);
	return r;
}
