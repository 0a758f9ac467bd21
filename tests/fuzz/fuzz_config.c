/*
 * A configuration file of anything: refused with a reason, or good; and what is good survives being
 * written for a child process and read back. The first byte chooses JSON ('j') or YAML. The rest is
 * also read as what a child is given.
 */
#include "config.h"
#include "fuzz.h"

#include <string.h>

#define ROOM (8u << 20)

static void check_report(const struct config_report *report, bool good)
{
	struct buf out;

	FUZZ_CHECK(report->count <= CONFIG_REPORT_MAX);
	FUZZ_CHECK(good == (report->errors == 0));
	buf_init(&out, ROOM);
	FUZZ_CHECK(config_report_write(report, &out) == 0);
	buf_free(&out);
}

static void write_view(const struct config *config, enum config_view view, struct buf *out)
{
	buf_init(out, ROOM);
	FUZZ_CHECK(config_write_json(config, view, NULL, out) == 0);
}

static void check_round_trip(const struct config *config)
{
	struct config *back = NULL;
	struct config_diff diff;
	struct buf first, second;

	write_view(config, CONFIG_VIEW_ORIGIN, &first);
	buf_free(&first);
	write_view(config, CONFIG_VIEW_FULL, &first);
	FUZZ_CHECK(config_read_json(buf_span(&first), &back, NULL) == 0);
	write_view(back, CONFIG_VIEW_FULL, &second);
	FUZZ_CHECK(span_equal(buf_span(&first), buf_span(&second)));
	FUZZ_CHECK(config_diff(config, back, &diff) == 0);
	FUZZ_CHECK(diff.count == 0);
	config_diff_free(&diff);
	buf_free(&first);
	buf_free(&second);
	config_free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *config = NULL;
	struct config_report report;
	struct span text;
	bool json, good;

	if (size == 0)
		return 0;
	json = data[0] == 'j';
	text = span_of((const char *)data + 1, size - 1);
	config_report_init(&report);
	good = config_load_text(text, json ? CONFIG_SYNTAX_JSON : CONFIG_SYNTAX_YAML, "fuzz",
		       "/nonexistent", &config, &report) == 0;
	check_report(&report, good);
	if (good)
		check_round_trip(config);
	config_free(config);
	config_report_free(&report);
	config = NULL;
	if (config_read_json(text, &config, NULL) == 0)
		config_free(config);
	return 0;
}
