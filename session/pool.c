/* Workers kept ready: a session that begins or wakes takes one, and another is asked for. */
#include "clock.h"
#include "log.h"
#include "manager.h"

#include <stdlib.h>

/* Asked for at once: the zygote makes them one by one anyway. */
#define WANTED_MAX 64u
#define RETRY_MS 50u

static void serve(struct manager *manager)
{
	while (manager->needy && manager->warm) {
		struct lease *lease = manager->needy;
		struct warm *warm = manager->warm;

		manager->needy = lease->next_needy;
		if (!manager->needy)
			manager->needy_end = &manager->needy;
		lease->next_needy = NULL;
		manager->warm = warm->next;
		manager->n_warm--;
		lease_offer(manager, lease, warm->instance, warm->link);
		free(warm);
	}
}

static unsigned count_needy(const struct manager *manager)
{
	const struct lease *lease;
	unsigned n = 0;

	for (lease = manager->needy; lease && n < WANTED_MAX; lease = lease->next_needy)
		n++;
	return n;
}

void pool_fill(struct manager *manager)
{
	unsigned target = (unsigned)manager->config->worker_warm + count_needy(manager);

	if (process_stopping(manager->process) || clock_ms() < manager->retry_ms)
		return;
	while (manager->n_warm + manager->wanted < target && manager->wanted < WANTED_MAX) {
		if (link_post(process_root(manager->process), MSG_WORKER_WANT, link_stream(process_root(manager->process)), NULL) <
			0)
			return;
		manager->wanted++;
	}
}

void pool_need(struct manager *manager, struct lease *lease)
{
	lease->state = LEASE_WAITING;
	lease->next_needy = NULL;
	if (!manager->needy)
		manager->needy_end = &manager->needy;
	*manager->needy_end = lease;
	manager->needy_end = &lease->next_needy;
	serve(manager);
	pool_fill(manager);
	manager_tick_soon(manager);
}

void pool_forget(struct manager *manager, struct lease *lease)
{
	struct lease **place = &manager->needy;

	while (*place && *place != lease)
		place = &(*place)->next_needy;
	if (!*place)
		return;
	*place = lease->next_needy;
	if (!*place)
		manager->needy_end = place;
	lease->next_needy = NULL;
}

static void on_link(struct process *process, struct link *link, const struct err *err, void *arg)
{
	struct manager *manager = manager_of(process);
	struct warm *warm = arg;

	manager->wanted--;
	if (!link) {
		log_debug("worker.no_link", err_text(err));
		free(warm);
		manager_tick_soon(manager);
		return;
	}
	link_set_user(link, NULL);
	warm->link = link;
	warm->next = manager->warm;
	manager->warm = warm;
	manager->n_warm++;
	serve(manager);
	pool_fill(manager);
}

/* Nobody can be given a worker: who waits is told why, rather than left waiting. */
static void refuse_needy(struct manager *manager, struct span detail)
{
	struct err err = {0};

	err_set(&err, ERR_BUSY, "no session worker: %.*s", SPAN_ARG(detail));
	log_warn("worker.none", err_text(&err));
	manager->retry_ms = clock_ms() + RETRY_MS;
	manager_tick_soon(manager);
}

void pool_on_given(struct link *root, const struct message *msg, void *arg)
{
	struct manager *manager = manager_of(arg);
	const struct msg_worker_given *given = msg->fields;
	const struct msg_worker_kill kill = {.instance = given->instance};
	struct warm *warm = given->instance ? calloc(1, sizeof(*warm)) : NULL;

	if (!given->instance) {
		manager->wanted -= manager->wanted > 0;
		refuse_needy(manager, given->detail);
		return;
	}
	if (warm)
		warm->instance = given->instance;
	if (warm && process_open_link(arg, ROLE_WORKER, "", given->instance, on_link, warm) == 0)
		return;
	free(warm);
	manager->wanted -= manager->wanted > 0;
	link_post(root, MSG_WORKER_KILL, 0, &kill);
}

bool pool_lost(struct manager *manager, const struct link *link)
{
	struct warm **place = &manager->warm;
	struct warm *warm;

	while (*place && (*place)->link != link)
		place = &(*place)->next;
	warm = *place;
	if (!warm)
		return false;
	*place = warm->next;
	manager->n_warm--;
	free(warm);
	pool_fill(manager);
	return true;
}

void pool_free(struct manager *manager)
{
	struct warm *warm = manager->warm, *next;

	for (; warm; warm = next) {
		next = warm->next;
		link_free(warm->link);
		free(warm);
	}
	manager->warm = NULL;
}
