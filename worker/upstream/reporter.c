#include "reporter.h"
#include "instance.h"
#include "log.h"
#include "upstream.h"

#include <stdio.h>
#include <stdlib.h>

#define RETRY_MS 50
/* What tools ask for headers with (2026-07-28). */
#define HEADER_KEY "x-mcp-header"

static void again_later(struct upstream *up)
{
	const struct timeval tv = {.tv_usec = RETRY_MS * 1000};

	event_add(up->reporter.timer, &tv);
}

static int send_state(struct upstream *up)
{
	struct reporter *reporter = &up->reporter;
	const struct msg_server_state fields = {
		.server = span_str(up->server->name),
		.state = reporter->state,
		.detail = span_str(reporter->detail),
		.version = span_str(reporter->version),
	};

	return link_send(
		reporter->link, MSG_SERVER_STATE, 0, &fields, span_str(reporter->facts), NULL);
}

static int send_list(struct upstream *up, enum catalogue_kind kind)
{
	struct reporter *reporter = &up->reporter;
	const struct msg_server_list fields = {.server = span_str(up->server->name),
		.kind = kind,
		.ttl_ms = reporter->freshness[kind].ttl_ms,
		.cache_public = reporter->freshness[kind].is_public};

	return link_send(reporter->link, MSG_SERVER_LIST, 0, &fields,
		span_of(reporter->lists[kind], reporter->list_len[kind]), NULL);
}

/* Lists before the state: a server that is said to be up has its lists in the catalogue. */
static void send_unsent(struct upstream *up)
{
	struct reporter *reporter = &up->reporter;

	if (!reporter->link)
		return;
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++) {
		if (!reporter->list_unsent[kind])
			continue;
		if (send_list(up, (enum catalogue_kind)kind) == -ERR_AGAIN) {
			again_later(up);
			return;
		}
		reporter->list_unsent[kind] = false;
	}
	if (!reporter->state_unsent)
		return;
	if (send_state(up) == -ERR_AGAIN)
		again_later(up);
	else
		reporter->state_unsent = false;
}

static int send_alike(struct upstream *up, const struct reported_alike *row)
{
	const struct msg_server_alike fields = {
		.server = span_str(up->server->name),
		.client = row->client,
		.kinds = row->differs ? 0 : row->kinds,
	};

	return up->reporter.link ? link_post(up->reporter.link, MSG_SERVER_ALIKE, 0, &fields) : 0;
}

static void on_link(struct process *process, struct link *link, const struct err *err, void *arg)
{
	struct upstream *up = arg;

	(void)process;
	(void)err;
	up->reporter.opening = false;
	if (!link) {
		again_later(up);
		return;
	}
	up->reporter.link = link;
	up->reporter.state_unsent = true;
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		up->reporter.list_unsent[kind] = up->reporter.lists[kind] != NULL;
	for (unsigned n = 0; n < up->reporter.n_alike && n < CATALOGUE_ALIKE_MAX; n++)
		send_alike(up, &up->reporter.alike[n]);
	send_unsent(up);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct upstream *up = arg;
	struct reporter *reporter = &up->reporter;

	(void)fd;
	(void)what;
	if (reporter->link) {
		send_unsent(up);
		return;
	}
	if (reporter->opening)
		return;
	if (process_open_link(up->process, ROLE_REGISTRY, "", 0, on_link, up) == 0)
		reporter->opening = true;
	else
		again_later(up);
}

static void on_refresh(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	instance_refresh(upstream_of(arg));
}

static void on_closed(struct link *link, int code, const char *why, void *arg)
{
	struct upstream *up = upstream_of(arg);

	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", "registry"));
	link_free(link);
	up->reporter.link = NULL;
	again_later(up);
}

const struct link_handlers reporter_handlers = {
	.on = {[MSG_SERVER_REFRESH] = on_refresh}, .closed = on_closed};

int reporter_init(struct upstream *up, struct err *err)
{
	up->reporter.timer = evtimer_new(upstream_base(up), on_timer, up);
	if (!up->reporter.timer)
		return err_set(err, ERR_NO_MEMORY, "no memory for a timer");
	up->reporter.state_unsent = true;
	on_timer(-1, 0, up);
	return 0;
}

void reporter_free(struct upstream *up)
{
	struct reporter *reporter = &up->reporter;

	link_free(reporter->link);
	if (reporter->timer)
		event_free(reporter->timer);
	free(reporter->facts);
	for (int kind = 0; kind < CATALOGUE_KIND_MAX; kind++)
		free(reporter->lists[kind]);
}

void reporter_state(struct upstream *up, enum server_state state, const char *detail,
	const char *version, const char *facts)
{
	struct reporter *reporter = &up->reporter;
	char *copy = facts ? strdup(facts) : NULL;

	reporter->state = state;
	snprintf(reporter->detail, sizeof(reporter->detail), "%s", detail);
	if (version)
		snprintf(reporter->version, sizeof(reporter->version), "%s", version);
	if (copy) {
		free(reporter->facts);
		reporter->facts = copy;
	}
	reporter->state_unsent = true;
	send_unsent(up);
}

static struct reported_alike *alike_of(struct reporter *reporter, uint64_t client)
{
	unsigned n = 0;
	struct reported_alike *row;

	while (n < reporter->n_alike && n < CATALOGUE_ALIKE_MAX) {
		if (reporter->alike[n].client == client)
			return &reporter->alike[n];
		n++;
	}
	row = &reporter->alike[reporter->n_alike++ % CATALOGUE_ALIKE_MAX];
	if (reporter->n_alike == 2 * CATALOGUE_ALIKE_MAX)
		reporter->n_alike = CATALOGUE_ALIKE_MAX;
	*row = (struct reported_alike){.client = client};
	return row;
}

void reporter_alike(struct upstream *up, uint64_t client, enum catalogue_kind kind, bool same)
{
	struct reported_alike *row = alike_of(&up->reporter, client);
	unsigned kinds = same ? row->kinds | 1u << kind : row->kinds & ~(1u << kind);
	bool stale = !same && row->kinds & 1u << kind;

	if (row->differs || kinds == row->kinds)
		return;
	row->kinds = kinds;
	send_alike(up, row);
	/* it was the same before: perhaps the catalogue is what is out of date */
	if (stale)
		instance_refresh(up);
}

void reporter_differs(struct upstream *up, uint64_t client)
{
	struct reported_alike *row = alike_of(&up->reporter, client);

	if (row->differs)
		return;
	row->differs = true;
	send_alike(up, row);
}

void reporter_list(struct upstream *up, enum catalogue_kind kind, struct span array,
	struct freshness freshness)
{
	struct reporter *reporter = &up->reporter;
	char *copy = malloc(array.len);

	if (!copy)
		return;
	memcpy(copy, array.p, array.len);
	free(reporter->lists[kind]);
	reporter->lists[kind] = copy;
	reporter->list_len[kind] = array.len;
	reporter->freshness[kind] = freshness;
	reporter->list_unsent[kind] = true;
	if (kind == CATALOGUE_TOOL)
		up->header_tools = memmem(array.p, array.len, HEADER_KEY, sizeof(HEADER_KEY) - 1);
	send_unsent(up);
}
