/* All parts' samples as one text. */
#include "admin.h"
#include "log.h"
#include "samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define GATEWAYS_MAX 256u
#define GATEWAY_NAME_MAX 8u

struct gathering {
	struct admin *admin;
	admin_metrics_fn *fn;
	void *arg;
};

/* As the root counts them. */
static unsigned count_gateways(const struct admin *admin)
{
	int64_t n = admin->config->gateways ? admin->config->gateways : admin->cores;

	return n < 1 ? 1 : n > GATEWAYS_MAX ? GATEWAYS_MAX : (unsigned)n;
}

static void add_own(const struct parts_answer *answers, size_t n, struct samples *samples)
{
	char line[256];

	snprintf(line, sizeof(line), "gatehouse_build_info{version=\"%s\",build=\"%s\"} 1\n",
		GATEHOUSE_VERSION, GATEHOUSE_BUILD_ID);
	samples_add(samples, span_str(line));
	snprintf(line, sizeof(line), "gatehouse_log_dropped_total{role=\"admin\"} %llu\n",
		(unsigned long long)log_dropped());
	samples_add(samples, span_str(line));
	for (size_t i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "gatehouse_part_up{part=\"%s%s%s\"} %d\n",
			role_name(answers[i].role), answers[i].name[0] ? "/" : "", answers[i].name,
			answers[i].err.code == 0);
		samples_add(samples, span_str(line));
	}
}

static void on_answers(void *arg, const struct parts_answer *answers, size_t n)
{
	struct gathering *gathering = arg;
	struct samples *samples = samples_new();
	struct err err = {0};
	struct buf out;
	int r = samples ? 0 : -ERR_NO_MEMORY;

	buf_init(&out, ADMIN_REPLY_MAX);
	for (size_t i = 0; i < n && r == 0; i++)
		if (answers[i].err.code == 0)
			r = samples_add(samples, span_of(answers[i].payload, answers[i].len));
	if (r == 0) {
		add_own(answers, n, samples);
		r = samples_write(samples, &out);
	}
	if (r < 0)
		err_set(&err, (enum err_code) - r, "the metrics do not fit: %s", err_reason(r));
	gathering->fn(gathering->arg, buf_span(&out), r < 0 ? &err : NULL);
	buf_free(&out);
	samples_free(samples);
	free(gathering);
}

static size_t list_parts(const struct admin *admin, struct parts_ask *asks, size_t max,
	char names[][GATEWAY_NAME_MAX])
{
	const struct config *config = admin->config;
	unsigned gateways = count_gateways(admin);
	size_t n = 0;

	asks[n++] = (struct parts_ask){.role = ROLE_ROOT, .what = "metrics"};
	asks[n++] = (struct parts_ask){.role = ROLE_REGISTRY, .what = "metrics"};
	asks[n++] = (struct parts_ask){.role = ROLE_SESSIONS, .what = "metrics"};
	for (unsigned i = 0; i < gateways && n < max; i++) {
		snprintf(names[i], GATEWAY_NAME_MAX, "%u", i);
		asks[n++] = (struct parts_ask){
			.role = ROLE_GATEWAY, .name = names[i], .what = "metrics"};
	}
	for (size_t i = 0; i < config->server_count && n < max; i++)
		if (!config->servers[i].disabled)
			asks[n++] = (struct parts_ask){.role = ROLE_UPSTREAM,
				.name = config->servers[i].name,
				.what = "metrics"};
	return n;
}

void admin_gather_metrics(struct admin *admin, admin_metrics_fn *fn, void *arg)
{
	struct parts_ask *asks = calloc(PARTS_ASK_MAX, sizeof(*asks));
	struct gathering *gathering = calloc(1, sizeof(*gathering));
	char names[GATEWAYS_MAX][GATEWAY_NAME_MAX];
	struct err err = {0};
	int r = -ERR_NO_MEMORY;

	if (asks && gathering) {
		*gathering = (struct gathering){admin, fn, arg};
		r = parts_ask(admin->parts, asks,
			list_parts(admin, asks, PARTS_ASK_MAX, names), ADMIN_QUERY_MS,
			on_answers, gathering);
	}
	free(asks);
	if (r == 0)
		return;
	free(gathering);
	err_set(&err, (enum err_code) - r, "the metrics cannot be gathered: %s", err_reason(r));
	fn(arg, SPAN_NONE, &err);
}
