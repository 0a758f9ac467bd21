/*
 * A catalogue file from somebody hostile: refused, or every view a reader can ask for lies inside
 * it. The size in the header is put right first, so that mutations get past it (the unit test
 * covers a wrong one).
 */
#include "catalogue.h"
#include "fuzz.h"

#include <string.h>

#define SIZE_AT 12u

static const char *begin, *end;

static void use(struct span span)
{
	FUZZ_CHECK(span.len == 0 || (span.p >= begin && span.p + span.len <= end));
}

static void use_item(const struct catalogue *catalogue, const struct catalogue_item *item)
{
	struct catalogue_item found[2];

	use(item->json);
	use(item->name);
	use(item->original);
	use(item->name_token);
	use(item->schema);
	use(item->output_schema);
	FUZZ_CHECK(item->server < catalogue_servers(catalogue));
	FUZZ_CHECK(catalogue_find(catalogue, item->kind, item->name, found, 2) >= 1);
	FUZZ_CHECK(span_equal(found[0].name, item->name));
	if (item->kind == CATALOGUE_TEMPLATE)
		catalogue_template_matches(item->name, item->json);
}

static void use_server(const struct catalogue *catalogue, uint32_t index)
{
	struct catalogue_server facts;
	struct catalogue_item item;

	catalogue_get_server(catalogue, index, &facts);
	use(facts.name);
	use(facts.upstream);
	use(facts.version);
	use(facts.capabilities);
	use(facts.info);
	use(facts.instructions);
	use(facts.error);
	use(facts.alike);
	catalogue_is_alike(&facts, 1, CATALOGUE_TOOL);
	FUZZ_CHECK(strcmp(server_state_name(facts.state), "unknown") != 0);
	for (unsigned kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		if (catalogue_get(catalogue, (enum catalogue_kind)kind, index, 0, &item))
			FUZZ_CHECK(item.kind == kind);
}

static void use_all(const struct catalogue *catalogue)
{
	struct catalogue_item item, found[2];
	bool private;

	use(catalogue_instructions(catalogue));
	use(catalogue_capabilities(catalogue, CATALOGUE_LEGACY));
	use(catalogue_capabilities(catalogue, CATALOGUE_MODERN));
	for (unsigned kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
		catalogue_ttl_ms(catalogue, (enum catalogue_kind)kind, &private);
		for (uint32_t n = 0; catalogue_get(
			     catalogue, (enum catalogue_kind)kind, CATALOGUE_ALL_SERVERS, n, &item);
			n++)
			use_item(catalogue, &item);
	}
	for (uint32_t i = 0; i < catalogue_servers(catalogue); i++)
		use_server(catalogue, i);
	catalogue_match(catalogue, SPAN_LIT("db://users/7"), found, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct catalogue *catalogue;
	uint32_t len = (uint32_t)size;
	char *copy = malloc(size ? size : 1);

	if (!copy)
		return 0;
	if (size)
		memcpy(copy, data, size);
	if (size >= SIZE_AT + sizeof(len))
		memcpy(copy + SIZE_AT, &len, sizeof(len));
	begin = copy;
	end = copy + size;
	if (catalogue_parse(span_of(copy, size), &catalogue, NULL) == 0) {
		use_all(catalogue);
		catalogue_free(catalogue);
	}
	free(copy);
	return 0;
}
