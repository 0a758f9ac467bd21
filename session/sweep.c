/*
 * Sessions that nobody came back to. While a worker has a session, the worker ends it after
 * session.idle; here end those that no worker has. A record says when it was last saved, and one of
 * a session in use is touched each idle/2 at the latest: so what is older than idle + idle/2 was
 * not used for idle. One pass visits all records, some in each turn.
 */
#include "clock.h"
#include "log.h"
#include "manager.h"

#include <stdio.h>
#include <stdlib.h>

#define PASS_MIN_MS 1000u
#define PASS_MAX_MS 60000u
#define VISITS_MAX 2000u

struct visit {
	struct manager *manager;
	int64_t now_s, idle_s;
	unsigned visited, touched, old;
	char (*ids)[LIMIT_SESSION_ID + 1]; /* to be touched from the front, old ones from the end */
};

static bool visit_one(void *arg, struct span session, const struct session_record *record)
{
	struct visit *visit = arg;
	struct manager *manager = visit->manager;
	int64_t age = visit->now_s - record->saved_s;
	char *place = NULL;

	snprintf(manager->sweep_from, sizeof(manager->sweep_from), "%.*s", SPAN_ARG(session));
	if (lease_find(manager, session)) {
		if (age >= visit->idle_s / 4)
			place = visit->ids[visit->touched++];
	} else if (age > visit->idle_s + visit->idle_s / 2) {
		place = visit->ids[VISITS_MAX - ++visit->old];
	}
	if (place)
		memcpy(place, manager->sweep_from, sizeof(manager->sweep_from));
	return ++visit->visited < VISITS_MAX;
}

static void carry_out(struct visit *visit)
{
	struct manager *manager = visit->manager;

	for (unsigned i = 0; i < visit->touched; i++)
		records_touch(manager->records, span_str(visit->ids[i]), 0, visit->now_s);
	for (unsigned i = 0; i < visit->old; i++)
		records_remove(manager->records, span_str(visit->ids[VISITS_MAX - 1 - i]));
	if (visit->old > 0)
		log_info("session.collected", "sessions that nobody used have ended",
			KV_INT("count", visit->old));
	manager->closed += visit->old;
	manager_flush(manager);
}

static uint64_t pause_of(const struct manager *manager)
{
	uint64_t quarter = (uint64_t)manager->config->session_idle / 4;

	if (quarter < PASS_MIN_MS)
		return PASS_MIN_MS;
	return quarter < PASS_MAX_MS ? quarter : PASS_MAX_MS;
}

void sweep_tick(struct manager *manager, uint64_t now_ms)
{
	struct visit visit = {.manager = manager, .now_s = clock_wall_s()};

	if (!manager->sweeping && now_ms < manager->sweep_ms)
		return;
	if (!manager->sweeping)
		manager->sweep_from[0] = '\0';
	visit.idle_s = (manager->config->session_idle + 999) / 1000;
	visit.ids = calloc(VISITS_MAX, sizeof(*visit.ids));
	if (!visit.ids)
		return;
	records_visit(manager->records, span_str(manager->sweep_from), visit_one, &visit);
	carry_out(&visit);
	free(visit.ids);
	manager->sweeping = visit.visited == VISITS_MAX;
	if (!manager->sweeping)
		manager->sweep_ms = now_ms + pause_of(manager);
}
