#include "neighbours.h"
#include "edge.h"
#include "log.h"
#include "sse_stream.h"

#include <ctype.h>
#include <stdlib.h>
#include <utlist.h>

/* Bytes of a slot's number, and its end. */
#define SLOT_MAX 4u

/* A message that was posted here for another. */
struct posting {
	struct conn_user user; /* of conn */
	struct posting *prev, *next;
	struct neighbour *neighbour;
	struct door *door;
	struct http_conn *conn;
	struct http_request request; /* lies in the connection, as do these: */
	struct span origin, key;
	uint32_t stream; /* 0: it has not left yet */
	struct event *timer;
};

struct neighbour {
	struct neighbour *next;
	struct gateway *gateway;
	char slot[SLOT_MAX];
	struct link *link; /* NULL: none yet */
	bool opening;
	struct posting *postings;
};

/* A link that another gateway has opened. */
struct neighbour_link {
	struct neighbour_link *prev, *next;
	struct link *link;
};

/* --- the answer ----------------------------------------------------------------------------- */

static void posting_free(struct posting *posting)
{
	DL_DELETE(posting->neighbour->postings, posting);
	http_conn_set_data(posting->conn, NULL);
	event_free(posting->timer);
	free(posting);
}

static void accept_it(struct posting *posting)
{
	struct http_conn *conn = posting->conn;
	struct door *door = posting->door;
	struct span origin = posting->origin;

	posting_free(posting);
	edge_accept(door, conn, origin);
}

/* Nobody else answers it. */
static void refuse(struct posting *posting, const struct err *err)
{
	struct http_conn *conn = posting->conn;
	struct door *door = posting->door;
	const struct http_request request = posting->request;

	posting_free(posting);
	edge_refuse_body(door, conn, &request, err);
}

/* When it has left, the stream may still answer it. */
static void give_up(struct posting *posting, const struct err *err)
{
	struct http_conn *conn = posting->conn;
	struct door *door = posting->door;
	const struct http1_head *head = posting->request.head;

	if (posting->stream == 0) {
		refuse(posting, err);
		return;
	}
	posting_free(posting);
	edge_give_up(door, conn, head, err);
}

/* The stream went with its gateway. */
static void gone(struct posting *posting)
{
	struct err err = {0};

	err_set(&err, ERR_SESSION_UNKNOWN,
		"the event stream is gone with the gateway that had it: open another with GET");
	give_up(posting, &err);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	struct err err = {0};

	(void)fd;
	(void)what;
	err_set(&err, ERR_TIMEOUT, "the gateway that has this event stream does not answer");
	give_up(arg, &err);
}

static void on_conn_closed(struct conn_user *user)
{
	posting_free((struct posting *)user);
}

static const struct conn_ops conn_ops = {.closed = on_conn_closed};

/* --- sending -------------------------------------------------------------------------------- */

/* False: the link is full; the message waits where it lies, in its connection. */
static bool send_posting(struct posting *posting)
{
	struct link *link = posting->neighbour->link;
	const struct msg_channel_post fields = {
		.key = posting->key, .principal = SPAN_LIT(PRINCIPAL)};
	uint32_t stream = link_stream(link);
	struct err err = {0};
	int r = link_send(link, MSG_CHANNEL_POST, stream, &fields, posting->request.body, NULL);

	if (r == 0) {
		posting->stream = stream;
	} else if (r == -ERR_CLOSED) {
		gone(posting);
	} else if (r != -ERR_AGAIN) {
		err_set(&err, (enum err_code) - r,
			r == -ERR_TOO_LARGE ? "the message is too long"
					    : "the message cannot be handed on: try again");
		refuse(posting, &err);
	}
	return r != -ERR_AGAIN;
}

/* In the order in which they came, as far as the link takes them. */
static void send_postings(struct neighbour *neighbour)
{
	struct posting *posting, *next;

	DL_FOREACH_SAFE(neighbour->postings, posting, next)
	{
		if (posting->stream == 0 && (!neighbour->link || !send_posting(posting)))
			return;
	}
}

static void on_opened(struct process *process, struct link *link, const struct err *err, void *arg)
{
	struct neighbour *neighbour = arg;
	struct posting *posting, *next;
	struct err busy = {0};

	(void)process;
	neighbour->opening = false;
	neighbour->link = link;
	if (link) {
		link_set_user(link, neighbour);
		send_postings(neighbour);
		return;
	}
	err_set(&busy, ERR_BUSY, "%s: try again", err_text(err));
	DL_FOREACH_SAFE(neighbour->postings, posting, next)
	{
		if (err->code == -ERR_NOT_FOUND)
			gone(posting);
		else
			refuse(posting, &busy);
	}
}

static int open_link(struct neighbour *neighbour)
{
	int r;

	if (neighbour->opening)
		return 0;
	r = process_open_link(neighbour->gateway->process, ROLE_GATEWAY, neighbour->slot, 0,
		on_opened, neighbour);
	neighbour->opening = r == 0;
	return r;
}

/* Only slots that this node can have: a client that makes some up costs nothing. */
static struct neighbour *get_neighbour(struct gateway *gateway, struct span slot)
{
	int64_t gateways = gateway->config->gateways;
	struct neighbour *neighbour;
	unsigned n = 0;

	if (slot.len == 0 || slot.len >= SLOT_MAX || (slot.p[0] == '0' && slot.len > 1))
		return NULL;
	for (size_t i = 0; i < slot.len; i++) {
		if (!isdigit((unsigned char)slot.p[i]))
			return NULL;
		n = n * 10 + (unsigned)(slot.p[i] - '0');
	}
	if (n >= (gateways > 0 ? gateways : gateway_cores()))
		return NULL;
	LL_FOREACH(gateway->neighbours, neighbour)
	{
		if (span_is(slot, neighbour->slot))
			return neighbour;
	}
	neighbour = calloc(1, sizeof(*neighbour));
	if (!neighbour)
		return NULL;
	neighbour->gateway = gateway;
	memcpy(neighbour->slot, slot.p, slot.len);
	LL_PREPEND(gateway->neighbours, neighbour);
	return neighbour;
}

static struct posting *posting_new(
	struct neighbour *neighbour, struct door *door, struct http_conn *conn)
{
	const struct timeval wait = {NEIGHBOUR_WAIT_MS / 1000, NEIGHBOUR_WAIT_MS % 1000 * 1000};
	struct posting *posting = calloc(1, sizeof(*posting));

	if (posting)
		posting->timer = evtimer_new(
			process_base(neighbour->gateway->process), on_late, posting);
	if (!posting || !posting->timer) {
		free(posting);
		return NULL;
	}
	event_add(posting->timer, &wait);
	posting->user.ops = &conn_ops;
	posting->neighbour = neighbour;
	posting->door = door;
	posting->conn = conn;
	DL_APPEND(neighbour->postings, posting);
	http_conn_set_data(conn, posting);
	return posting;
}

void neighbour_post(struct door *door, struct http_conn *conn, const struct http_request *request,
	const struct facts *facts, struct span slot, struct span key)
{
	struct neighbour *neighbour = get_neighbour(door->gateway, slot);
	struct posting *posting = neighbour ? posting_new(neighbour, door, conn) : NULL;
	struct err err = {0};

	if (!posting) {
		err_set(&err, neighbour ? ERR_NO_MEMORY : ERR_SESSION_UNKNOWN,
			neighbour ? "the gateway is out of memory"
				  : "there is no such event stream: open one with GET");
		edge_refuse_body(door, conn, request, &err);
		return;
	}
	posting->request = *request;
	posting->origin = facts->origin;
	posting->key = key;
	if (neighbour->link) {
		send_postings(neighbour);
	} else if (open_link(neighbour) < 0) {
		err_set(&err, ERR_BUSY, "no link to another gateway can be had: try again");
		refuse(posting, &err);
	}
}

/* --- links, both ways ----------------------------------------------------------------------- */

static void on_post(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_channel_post *fields = msg->fields;
	struct msg_channel_taken taken = {.code = 0};
	struct err err = {0};

	if (sse_stream_message(gateway_of(arg), fields->key, fields->principal, msg->payload,
		    &err) < 0)
		taken = (struct msg_channel_taken){
			.code = (uint64_t)-err.code, .detail = span_str(err_text(&err))};
	link_post(link, MSG_CHANNEL_TAKEN, msg->stream, &taken);
}

static void on_taken(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_channel_taken *taken = msg->fields;
	struct neighbour *neighbour = link_user(link);
	struct posting *posting;
	struct err err = {0};

	(void)arg;
	if (!neighbour)
		return;
	DL_SEARCH_SCALAR(neighbour->postings, posting, stream, msg->stream);
	if (posting && taken->code == 0) {
		accept_it(posting);
	} else if (posting) {
		err_set(&err, taken->code < ERR_MAX ? (enum err_code)taken->code : ERR_INTERNAL,
			"%.*s", SPAN_ARG(taken->detail));
		refuse(posting, &err);
	}
	/* what it had taken of the link is free */
	send_postings(neighbour);
}

static void on_closed(struct link *link, int code, const char *why, void *arg)
{
	struct gateway *gateway = gateway_of(arg);
	struct neighbour *neighbour;
	struct neighbour_link *accepted;

	if (code != -ERR_CLOSED)
		log_warn("link.failed", why, KV_STR("peer", "gateway"));
	DL_SEARCH_SCALAR(gateway->neighbour_links, accepted, link, link);
	if (accepted) {
		DL_DELETE(gateway->neighbour_links, accepted);
		free(accepted);
	} else if ((neighbour = link_user(link))) {
		neighbour->link = NULL;
		while (neighbour->postings)
			gone(neighbour->postings);
	}
	link_free(link);
}

const struct link_handlers neighbour_handlers = {
	.on = {[MSG_CHANNEL_POST] = on_post, [MSG_CHANNEL_TAKEN] = on_taken},
	.closed = on_closed,
};

void neighbour_accepted(struct process *process, struct link *link)
{
	struct gateway *gateway = gateway_of(process);
	struct neighbour_link *accepted = calloc(1, sizeof(*accepted));

	if (!accepted) {
		link_free(link);
		return;
	}
	accepted->link = link;
	DL_APPEND(gateway->neighbour_links, accepted);
}

/* The connections are closed already. */
void neighbours_free(struct gateway *gateway)
{
	struct neighbour_link *accepted, *after;
	struct neighbour *neighbour, *next;

	DL_FOREACH_SAFE(gateway->neighbour_links, accepted, after)
	{
		link_free(accepted->link);
		free(accepted);
	}
	LL_FOREACH_SAFE(gateway->neighbours, neighbour, next)
	{
		link_free(neighbour->link);
		free(neighbour);
	}
}
