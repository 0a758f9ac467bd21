/* URI templates (RFC 6570) against URIs, backwards: can this URI have come from that template? */
#include "catalogue.h"

/* One step of a template: a literal byte, or an expression. */
struct step {
	enum { STEP_LITERAL, STEP_SEGMENT, STEP_TEXT, STEP_OPTIONAL } kind;
	char literal;
};

/* False: a brace without its partner, or too long. */
static bool template_compile(
	struct span template, struct step steps[CATALOGUE_TEMPLATE_MAX], size_t *ret_n)
{
	size_t n = 0;

	if (template.len > CATALOGUE_TEMPLATE_MAX)
		return false;
	for (size_t i = 0; i < template.len; i++, n++) {
		const char *close;

		steps[n] = (struct step){STEP_LITERAL, template.p[i]};
		if (template.p[i] == '}')
			return false;
		if (template.p[i] != '{')
			continue;
		close = memchr(template.p + i, '}', template.len - i);
		if (!close || close == template.p + i + 1)
			return false;
		switch (template.p[i + 1]) {
		case '+':
		case '#':
			steps[n].kind = STEP_TEXT;
			break;
		case '.':
		case '/':
		case ';':
		case '?':
		case '&':
			steps[n].kind = STEP_OPTIONAL;
			break;
		default:
			steps[n].kind = STEP_SEGMENT;
		}
		i = (size_t)(close - template.p);
	}
	*ret_n = n;
	return true;
}

/*
 * Places before which the template may stand are a set, moved on byte by byte: no backtracking, so
 * that no template is slow beyond its length times the URI's. states[i]: steps before i are done.
 * inside[i]: expression i has taken at least one byte.
 */
struct places {
	bool at[CATALOGUE_TEMPLATE_MAX + 1];
	bool inside[CATALOGUE_TEMPLATE_MAX + 1];
};

/* What an optional expression that takes nothing, or any expression that has taken enough, leads
 * to. */
static void places_settle(const struct step *steps, size_t n, struct places *places)
{
	for (size_t i = 0; i < n; i++)
		if (places->inside[i] || (places->at[i] && steps[i].kind == STEP_OPTIONAL))
			places->at[i + 1] = true;
}

static bool places_move(
	const struct step *steps, size_t n, const struct places *from, char c, struct places *to)
{
	bool any = false;

	memset(to, 0, sizeof(*to));
	for (size_t i = 0; i < n; i++) {
		if (steps[i].kind == STEP_LITERAL) {
			if (from->at[i] && steps[i].literal == c)
				any = to->at[i + 1] = true;
		} else if ((from->at[i] || from->inside[i]) &&
			   (steps[i].kind != STEP_SEGMENT || c != '/')) {
			any = to->inside[i] = true;
		}
	}
	places_settle(steps, n, to);
	return any;
}

bool catalogue_template_matches(struct span template, struct span uri)
{
	struct step steps[CATALOGUE_TEMPLATE_MAX];
	struct places places[2];
	size_t n;

	if (uri.len > CATALOGUE_URI_MAX || !template_compile(template, steps, &n))
		return false;
	/* Most templates differ from most URIs in their first bytes. */
	for (size_t i = 0; i < n && steps[i].kind == STEP_LITERAL; i++)
		if (i >= uri.len || uri.p[i] != steps[i].literal)
			return false;
	memset(&places[0], 0, sizeof(places[0]));
	places[0].at[0] = true;
	places_settle(steps, n, &places[0]);
	for (size_t i = 0; i < uri.len; i++)
		if (!places_move(steps, n, &places[i % 2], uri.p[i], &places[(i + 1) % 2]))
			return false;
	return places[uri.len % 2].at[n];
}

/* Characters outside of expressions. */
static size_t literal_count(struct span template)
{
	size_t count = 0;
	bool inside = false;

	for (size_t i = 0; i < template.len; i++) {
		inside |= template.p[i] == '{';
		count += !inside;
		inside &= template.p[i] != '}';
	}
	return count;
}

/* Keep the best max items, best first, equal ones in the order they came. */
static void keep_best(struct catalogue_item *items, uint32_t kept, uint32_t max,
	const struct catalogue_item *item)
{
	size_t literals = literal_count(item->name);
	uint32_t i = kept < max ? kept : max;

	while (i > 0 && literal_count(items[i - 1].name) < literals) {
		if (i < max)
			items[i] = items[i - 1];
		i--;
	}
	if (i < max)
		items[i] = *item;
}

uint32_t catalogue_match(const struct catalogue *catalogue, struct span uri,
	struct catalogue_item *ret_items, uint32_t max)
{
	struct catalogue_item item;
	uint32_t found = 0;

	for (uint32_t n = 0;
		catalogue_get(catalogue, CATALOGUE_TEMPLATE, CATALOGUE_ALL_SERVERS, n, &item);
		n++) {
		if (!catalogue_template_matches(item.name, uri))
			continue;
		keep_best(ret_items, found, max, &item);
		found++;
	}
	return found;
}
