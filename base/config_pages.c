/*
 * The pages people read, held against the rows of config.def.
 *
 *   config_pages > docs/configuration.md       writes the reference
 *   config_pages docs/configuration.md FILE…   fails unless the page says the same and each
 * configuration FILE is good
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGE_MAX (1u << 20)

/* Is the file at path what reference says? */
static bool page_current(const char *path, struct span reference)
{
	FILE *f = fopen(path, "re");
	char *page = malloc(PAGE_MAX);
	size_t len = f && page ? fread(page, 1, PAGE_MAX, f) : 0;
	bool same = span_equal(span_of(page, len), reference);

	if (f)
		fclose(f);
	free(page);
	if (!same)
		fprintf(stderr, "%s is out of date: write it anew with config_pages\n", path);
	return same;
}

static bool sample_good(const char *path)
{
	struct config *config = NULL;
	struct config_report report;
	struct buf out;
	int r;

	config_report_init(&report);
	buf_init(&out, PAGE_MAX);
	r = config_load(path, &config, &report);
	config_report_write(&report, &out);
	fprintf(stderr, "%.*s", SPAN_ARG(buf_span(&out)));
	config_free(config);
	config_report_free(&report);
	buf_free(&out);
	return r == 0;
}

int main(int argc, char **argv)
{
	struct buf reference;
	bool good;

	buf_init(&reference, PAGE_MAX);
	good = config_write_reference(&reference) == 0;
	if (good && argc < 2)
		fwrite(reference.data, 1, reference.len, stdout);
	if (good && argc > 1)
		good = page_current(argv[1], buf_span(&reference));
	for (int i = 2; i < argc; i++)
		good &= sample_good(argv[i]);
	buf_free(&reference);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
