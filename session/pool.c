/* Workers kept ready: a session that begins or wakes takes one, and another is asked for. */
#include "clock.h"
#include "log.h"
#include "manager.h"

#include <stdio.h>
#include <stdlib.h>

/* Asked for at once: the zygote makes them one by one anyway. */
#define WANTED_MAX 64u
/* Pause after the root could not give one: doubled each time. */
#define PAUSE_FIRST_MS 50u
#define PAUSE_MAX_MS 1000u
/* The root answers each WORKER_WANT, if only after its start timeout. */
#define ANSWER_MS 30000u

static void serve(struct manager *manager)
{
	struct lease *lease, *next;
	uint64_t now = clock_ms();

	for (lease = manager->needy; lease && manager->warm; lease = next) {
		next = lease->next;
		if (now >= lease->pause_until_ms)
			lease_offer(manager, lease, manager->warm);
	}
}

/* Processes that count against worker.max. */
static unsigned alive(const struct manager *manager)
{
	return HASH_COUNT(manager->workers) + manager->wanted;
}

bool pool_is_exhausted(const struct manager *manager)
{
	return manager->n_warm + manager->n_linking + manager->wanted + manager->n_ending == 0 &&
	       alive(manager) >= (unsigned)manager->config->worker_max;
}

static void refuse_all(struct manager *manager)
{
	struct err err = {0};

	err_set(&err, ERR_TOO_MANY, "worker.max (%lld) session workers are in use: try again later",
		(long long)manager->config->worker_max);
	while (manager->needy)
		lease_refuse(manager, manager->needy, ERR_TOO_MANY, err_text(&err));
}

static void fill(struct manager *manager)
{
	struct link *root = process_root(manager->process);
	unsigned target = (unsigned)manager->config->worker_warm + manager->n_needy;

	if (clock_ms() < manager->retry_ms)
		return;
	while (manager->n_warm + manager->n_linking + manager->wanted < target &&
		manager->wanted < WANTED_MAX &&
		alive(manager) < (unsigned)manager->config->worker_max) {
		if (link_post(root, MSG_WORKER_WANT, link_stream(root), NULL) < 0)
			return;
		if (manager->wanted++ == 0)
			manager->wanted_ms = clock_ms();
	}
}

void pool_turn(struct manager *manager)
{
	if (process_stopping(manager->process))
		return;
	serve(manager);
	if (manager->needy && pool_is_exhausted(manager))
		refuse_all(manager);
	fill(manager);
}

void pool_tick(struct manager *manager, uint64_t now_ms)
{
	if (manager->wanted > 0 && now_ms >= manager->wanted_ms + ANSWER_MS) {
		log_error("worker.no_answer",
			"the root does not answer: workers are asked for anew",
			KV_INT("wanted", manager->wanted));
		manager->wanted = 0;
	}
	pool_turn(manager);
}

/* The root has none to give, or gave one that cannot be used: who waits goes on waiting, up to
 * WAIT_MS. */
static void hold_back(struct manager *manager, struct span detail)
{
	if (manager->retry_pause == 0)
		log_warn("worker.none", "no session worker can be had", KV_SPAN("detail", detail));
	snprintf(manager->refusal, sizeof(manager->refusal), "%.*s", SPAN_ARG(detail));
	manager->retry_pause = manager->retry_pause ? manager->retry_pause * 2 : PAUSE_FIRST_MS;
	if (manager->retry_pause > PAUSE_MAX_MS)
		manager->retry_pause = PAUSE_MAX_MS;
	manager->retry_ms = clock_ms() + manager->retry_pause;
	manager_tick_soon(manager);
}

static void on_link(struct process *process, struct link *link, const struct err *err, void *arg)
{
	struct manager *manager = manager_of(process);
	struct worker *worker = arg;

	if (!link) {
		/* it has died; if not, nobody would ever use it */
		log_debug("worker.no_link", err_text(err), KV_INT("instance", worker->instance));
		worker_kill(worker);
		worker_free(worker);
		hold_back(manager, span_str(err_text(err)));
		return;
	}
	manager->retry_pause = 0;
	manager->retry_ms = 0;
	manager->refusal[0] = '\0';
	worker->link = link;
	link_set_user(link, worker);
	worker_set_state(worker, WORKER_WARM);
	pool_turn(manager);
}

void pool_on_given(struct link *root, const struct message *msg, void *arg)
{
	struct manager *manager = manager_of(arg);
	const struct msg_worker_given *given = msg->fields;
	const struct msg_worker_kill kill = {.instance = given->instance};
	struct worker *worker;

	manager->wanted -= manager->wanted > 0;
	manager->wanted_ms = clock_ms();
	if (!given->instance) {
		hold_back(manager, given->detail);
		return;
	}
	worker = worker_new(manager, given->instance);
	if (worker &&
		process_open_link(arg, ROLE_WORKER, "", given->instance, on_link, worker) == 0)
		return;
	if (worker)
		worker_free(worker);
	link_post(root, MSG_WORKER_KILL, 0, &kill);
	manager_tick_soon(manager);
}
