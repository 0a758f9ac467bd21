/* Leases: their table, who waits for them, their end. */
#include "clock.h"
#include "log.h"
#include "manager.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

/* --- the table ------------------------------------------------------------------------------ */

struct lease *lease_find(struct manager *manager, struct span session)
{
	struct lease *lease;

	HASH_FIND(hh, manager->leases, session.p, session.len, lease);
	return lease;
}

struct owner lease_owner(const struct lease *lease)
{
	return (struct owner){span_str(lease->principal), span_str(lease->view)};
}

bool lease_is_of(const struct lease *lease, struct owner owner)
{
	return span_is(owner.principal, lease->principal) && span_is(owner.view, lease->view);
}

static bool is_word(struct span text, size_t max)
{
	return text.len > 0 && text.len <= max && !memchr(text.p, '\0', text.len);
}

static bool is_owner(struct owner owner)
{
	return is_word(owner.principal, PRINCIPAL_SIZE - 1) &&
	       (owner.view.len == 0 || is_word(owner.view, LIMIT_VIEW_NAME));
}

/* owner is one. NULL: there is none, or no memory for it. */
static struct sharer *sharer_of(struct manager *manager, struct owner owner, bool make)
{
	struct sharer *sharer;
	char name[SHARER_SIZE] = "";
	size_t len = owner.principal.len + 1 + owner.view.len;

	memcpy(name, owner.principal.p, owner.principal.len);
	if (owner.view.len)
		memcpy(name + owner.principal.len + 1, owner.view.p, owner.view.len);
	HASH_FIND(hh, manager->sharers, name, len, sharer);
	if (sharer || !make)
		return sharer;
	sharer = calloc(1, sizeof(*sharer));
	if (!sharer)
		return NULL;
	memcpy(sharer->name, name, len);
	HASH_ADD(hh, manager->sharers, name, len, sharer);
	return sharer;
}

static int share(struct manager *manager, struct lease *lease)
{
	struct sharer *sharer = sharer_of(manager, lease_owner(lease), true);

	if (!sharer)
		return -ERR_NO_MEMORY;
	DL_APPEND2(sharer->shared, lease, prev_shared, next_shared);
	sharer->n_shared++;
	return 0;
}

static void unshare(struct manager *manager, struct lease *lease)
{
	struct sharer *sharer = sharer_of(manager, lease_owner(lease), false);

	if (!sharer)
		return;
	DL_DELETE2(sharer->shared, lease, prev_shared, next_shared);
	if (--sharer->n_shared > 0)
		return;
	HASH_DEL(manager->sharers, sharer);
	free(sharer);
}

struct lease *lease_shared(struct manager *manager, struct owner owner, unsigned *ret_count)
{
	struct sharer *sharer = is_owner(owner) ? sharer_of(manager, owner, false) : NULL;
	struct lease *lease;

	*ret_count = sharer ? sharer->n_shared : 0;
	if (!sharer)
		return NULL;
	lease = sharer->shared;
	DL_DELETE2(sharer->shared, lease, prev_shared, next_shared);
	DL_APPEND2(sharer->shared, lease, prev_shared, next_shared);
	return lease;
}

struct lease *lease_new(struct manager *manager, struct span session, struct owner owner,
	enum mcp_era era, uint64_t epoch)
{
	struct lease *lease;

	if (!is_word(session, LIMIT_SESSION_ID) || !is_owner(owner))
		return NULL;
	lease = calloc(1, sizeof(*lease));
	if (!lease)
		return NULL;
	memcpy(lease->session, session.p, session.len);
	memcpy(lease->principal, owner.principal.p, owner.principal.len);
	if (owner.view.len)
		memcpy(lease->view, owner.view.p, owner.view.len);
	lease->era = era;
	lease->epoch = epoch;
	lease->opened_s = clock_wall_s();
	lease->needy_us = clock_us();
	lease->since_ms = lease->needy_us / 1000;
	if (era == MCP_MODERN && share(manager, lease) < 0) {
		free(lease);
		return NULL;
	}
	HASH_ADD_STR(manager->leases, session, lease);
	lease->state = LEASE_NEEDY;
	DL_APPEND(manager->needy, lease);
	manager->n_needy++;
	return lease;
}

/* The list a lease is in, by its state; NULL: none. */
static struct lease **list_of(struct manager *manager, const struct lease *lease)
{
	switch (lease->state) {
	case LEASE_NEEDY:
		return &manager->needy;
	case LEASE_OFFERED:
		return &manager->offered;
	case LEASE_LIVE:
		return lease->fresh ? &manager->unsaved : NULL;
	}
	return NULL;
}

static void leave_list(struct manager *manager, struct lease *lease)
{
	struct lease **list = list_of(manager, lease);

	if (list)
		DL_DELETE(*list, lease);
	manager->n_needy -= lease->state == LEASE_NEEDY;
}

void lease_set_state(struct manager *manager, struct lease *lease, enum lease_state state)
{
	struct lease **list;

	leave_list(manager, lease);
	lease->state = state;
	lease->since_ms = clock_ms();
	if (state == LEASE_NEEDY)
		lease->needy_us = clock_us();
	list = list_of(manager, lease);
	if (list)
		DL_APPEND(*list, lease);
	manager->n_needy += state == LEASE_NEEDY;
}

void lease_set_stored(struct manager *manager, struct lease *lease)
{
	if (!lease->fresh)
		return;
	if (lease->state == LEASE_LIVE)
		DL_DELETE(manager->unsaved, lease);
	lease->fresh = false;
	manager->n_fresh--;
}

/* --- who waits ------------------------------------------------------------------------------ */

static void answer(const struct lease *lease, struct link *gateway, uint32_t stream)
{
	const struct msg_session_leased fields = {
		.session = span_str(lease->session),
		.instance = lease->worker->instance,
		.epoch = lease->epoch,
	};

	link_post(gateway, MSG_SESSION_LEASED, stream, &fields);
}

void lease_answer_error(struct link *gateway, uint32_t stream, int code, const char *detail)
{
	const struct msg_session_leased fields = {
		.code = (uint64_t)(code < 0 ? -code : code), .detail = span_str(detail)};

	link_post(gateway, MSG_SESSION_LEASED, stream, &fields);
}

static void waiter_free(struct manager *manager, struct waiter *waiter)
{
	DL_DELETE(waiter->lease->waiters, waiter);
	waiter->lease->n_waiters--;
	DL_DELETE2(manager->waiters, waiter, prev_all, next_all);
	manager->n_waiters--;
	free(waiter);
}

void lease_wait(struct manager *manager, struct lease *lease, struct link *gateway, uint32_t stream)
{
	struct waiter *waiter = NULL;

	if (lease->state == LEASE_LIVE) {
		answer(lease, gateway, stream);
		return;
	}
	if (lease->n_waiters < WAITERS_MAX && manager->n_waiters < WAITERS_ALL_MAX)
		waiter = calloc(1, sizeof(*waiter));
	if (!waiter) {
		lease_answer_error(gateway, stream, ERR_TOO_MANY,
			"too many requests wait for a worker: try again later");
		if (lease->state == LEASE_NEEDY && !lease->waiters)
			lease_free(manager, lease);
		return;
	}
	*waiter = (struct waiter){
		.lease = lease, .gateway = gateway, .stream = stream, .since_ms = clock_ms()};
	DL_APPEND(lease->waiters, waiter);
	lease->n_waiters++;
	DL_APPEND2(manager->waiters, waiter, prev_all, next_all);
	manager->n_waiters++;
	manager_tick_soon(manager);
	pool_turn(manager);
}

/* Nobody waits for it any more, and no worker has it. */
static void free_unwanted(struct manager *manager, struct lease *lease)
{
	if (!lease->waiters && lease->state == LEASE_NEEDY)
		lease_free(manager, lease);
}

void leases_forget_gateway(struct manager *manager, const struct link *gateway)
{
	struct waiter *waiter, *next;

	for (waiter = manager->waiters; waiter; waiter = next) {
		struct lease *lease = waiter->lease;

		next = waiter->next_all;
		if (waiter->gateway != gateway)
			continue;
		waiter_free(manager, waiter);
		free_unwanted(manager, lease);
	}
}

static void answer_waiters(
	struct manager *manager, struct lease *lease, int code, const char *detail)
{
	while (lease->waiters) {
		const struct waiter *waiter = lease->waiters;

		if (code == 0)
			answer(lease, waiter->gateway, waiter->stream);
		else
			lease_answer_error(waiter->gateway, waiter->stream, code, detail);
		waiter_free(manager, lease->waiters);
	}
}

/* --- life ----------------------------------------------------------------------------------- */

void lease_free(struct manager *manager, struct lease *lease)
{
	while (lease->waiters)
		waiter_free(manager, lease->waiters);
	if (lease->worker)
		lease->worker->lease = NULL;
	leave_list(manager, lease);
	manager->n_fresh -= lease->fresh;
	if (lease->era == MCP_MODERN)
		unshare(manager, lease);
	HASH_DEL(manager->leases, lease);
	event_log_free(&lease->log);
	free(lease);
}

void lease_refuse(struct manager *manager, struct lease *lease, int code, const char *detail)
{
	answer_waiters(manager, lease, code, detail);
	lease_free(manager, lease);
}

void lease_taken(struct manager *manager, struct lease *lease)
{
	lease_set_state(manager, lease, LEASE_LIVE);
	histogram_observe(&manager->wake, histogram_overhead, clock_us() - lease->needy_us);
	lease->offers = 0;
	/* who wanted to open it has gone, and nobody else knows its name */
	if (lease->fresh && !lease->waiters)
		lease_close(manager, lease, "nobody waits for it", true);
	else
		answer_waiters(manager, lease, 0, NULL);
}

static bool has_record(const struct lease *lease)
{
	return lease->era == MCP_LEGACY && !lease->fresh;
}

/* What was logged of a session that has no record goes with it. */
static void forget_fresh(struct manager *manager, struct lease *lease)
{
	if (!lease->fresh || lease->log.len == 0)
		return;
	records_remove(manager->records, span_str(lease->session));
	manager_flush_soon(manager);
}

void lease_lost(struct manager *manager, struct lease *lease)
{
	bool offered = lease->state == LEASE_OFFERED;

	lease->worker = NULL;
	lease->loading = false;
	lease->epoch++;
	forget_fresh(manager, lease);
	event_log_free(&lease->log);
	if (offered && ++lease->offers >= OFFERS_MAX) {
		log_error("lease.given_up", "workers end when they take this session up",
			KV_STR("principal", lease->principal), KV_INT("workers", lease->offers));
		lease_refuse(manager, lease, ERR_INTERNAL,
			"the workers that should take this session up have failed");
	} else if (lease->waiters) {
		if (offered)
			lease->pause_until_ms =
				clock_ms() + ((uint64_t)OFFER_PAUSE_MS << (lease->offers - 1));
		lease_set_state(manager, lease, LEASE_NEEDY);
		pool_turn(manager);
	} else {
		/* it was in use until now; a session without a record ends here */
		if (has_record(lease)) {
			records_touch(
				manager->records, span_str(lease->session), 0, clock_wall_s());
			manager_flush_soon(manager);
		}
		lease_free(manager, lease);
	}
}

void lease_close(struct manager *manager, struct lease *lease, const char *reason, bool tell_worker)
{
	struct worker *worker = lease->worker;

	log_info("session.closed", reason, KV_STR("principal", lease->principal));
	if (worker && tell_worker)
		worker_dismiss(worker, span_str(lease->session), lease->epoch, reason);
	else if (worker)
		worker_set_state(worker, WORKER_ENDING);
	if (lease->era == MCP_LEGACY) {
		records_remove(manager->records, span_str(lease->session));
		manager_flush_soon(manager);
		manager->closed++;
	}
	lease_refuse(manager, lease, ERR_SESSION_UNKNOWN, "the session has ended");
}

void leases_free(struct manager *manager)
{
	/* who waits asks the next session manager */
	while (manager->leases)
		lease_free(manager, manager->leases);
}

/* --- time ----------------------------------------------------------------------------------- */

static void give_up_waiting(struct manager *manager, struct waiter *waiter)
{
	struct lease *lease = waiter->lease;
	struct err err = {0};

	err_set(&err, ERR_BUSY, "no session worker in %u s%s%s", WAIT_MS / 1000,
		manager->refusal[0] ? ": " : "", manager->refusal);
	lease_answer_error(waiter->gateway, waiter->stream, ERR_BUSY, err_text(&err));
	waiter_free(manager, waiter);
	free_unwanted(manager, lease);
}

static void give_up_worker(struct manager *manager, struct lease *lease)
{
	struct worker *worker = lease->worker;

	log_warn("lease.not_taken", "a worker did not take its session and is killed",
		KV_INT("instance", worker->instance));
	worker->lease = NULL;
	worker_kill(worker);
	lease_lost(manager, lease);
}

/* What begins anew meanwhile may be younger than now_ms. */
void leases_tick(struct manager *manager, uint64_t now_ms)
{
	while (manager->waiters && now_ms >= manager->waiters->since_ms + WAIT_MS)
		give_up_waiting(manager, manager->waiters);
	while (manager->offered && now_ms >= manager->offered->since_ms + OFFER_MS)
		give_up_worker(manager, manager->offered);
	while (manager->unsaved && now_ms >= manager->unsaved->since_ms + UNSAVED_MS)
		lease_close(manager, manager->unsaved, "it was never opened", true);
}
