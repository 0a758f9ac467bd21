#include "link_ends.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct event_base *base;
struct end a, b;

static uint32_t sum_of(struct span bytes)
{
	uint32_t sum = 2166136261u;

	for (size_t i = 0; i < bytes.len; i += 1 + i / 4096)
		sum = (sum ^ (unsigned char)bytes.p[i]) * 16777619u;
	return sum;
}

static void on_message(struct link *link, const struct message *msg, void *arg)
{
	struct end *end = arg;

	ck_assert_uint_eq(end->closed, 0);
	ck_assert_uint_lt(end->n, RECORDS_MAX);
	ck_assert(!msg->more);
	end->records[end->n++] =
		(struct record){msg->type, msg->stream, msg->payload.len, sum_of(msg->payload)};
	if (end->keep_fd) {
		end->kept = msg->fds[0];
		msg->fds[0] = -1;
	}
	if (end->free_on_message) {
		link_free(link);
		end->link = NULL;
	}
}

static void on_closed(struct link *link, int code, const char *why, void *arg)
{
	struct end *end = arg;

	end->closed++;
	end->code = code;
	snprintf(end->why, sizeof(end->why), "%s", why);
	if (end->free_on_closed) {
		link_free(link);
		end->link = NULL;
	}
}

static void end_init(struct end *end)
{
	*end = (struct end){.kept = -1};
	end->records = calloc(RECORDS_MAX, sizeof(*end->records));
	for (int type = MSG_NONE + 1; type < MSG_MAX; type++)
		if (type != MSG_PING)
			end->handlers.on[type] = on_message;
	end->handlers.closed = on_closed;
}

void end_open(struct end *end, int fd, enum role self, enum role peer, bool opener)
{
	const struct link_config config = {.self = self, .peer = {.role = peer}, .opener = opener};
	struct err err = {0};

	ck_assert_msg(link_new(base, fd, &config, &end->handlers, end, &end->link, &err) == 0, "%s",
		err_text(&err));
}

void set_up(void)
{
	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	end_init(&a);
	end_init(&b);
}

void tear_down(void)
{
	link_free(a.link);
	link_free(b.link);
	free(a.records);
	free(b.records);
	event_base_free(base);
}

void open_pair(enum role role_a, enum role role_b)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	end_open(&a, fds[0], role_a, role_b, true);
	end_open(&b, fds[1], role_b, role_a, false);
}

void turn(void)
{
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

void settle(void)
{
	unsigned before;

	do {
		before = a.n + b.n + a.closed + b.closed;
		for (int i = 0; i < 50; i++)
			turn();
	} while (a.n + b.n + a.closed + b.closed != before || (a.link && link_queued(a.link)) ||
		 (b.link && link_queued(b.link)));
}

/* Bytes that differ from message to message. */
struct span payload_of(size_t len, unsigned seed)
{
	static char *room;

	room = realloc(room, len + 1);
	for (size_t i = 0; i < len; i++)
		room[i] = (char)(i * 31 + i / 257 + seed * 7);
	return span_of(room, len);
}

int exchange(struct end *end, uint32_t stream, size_t len, unsigned seed)
{
	const struct msg_exchange fields = {.verb = 1, .session = SPAN_LIT("s")};

	return link_send(end->link, MSG_EXCHANGE, stream, &fields, payload_of(len, seed), NULL);
}

void check_record(const struct end *end, unsigned i, enum message_type type, uint32_t stream,
	size_t len, unsigned seed)
{
	ck_assert_uint_lt(i, end->n);
	ck_assert_int_eq(end->records[i].type, type);
	ck_assert_uint_eq(end->records[i].stream, stream);
	ck_assert_uint_eq(end->records[i].len, len);
	ck_assert_uint_eq(end->records[i].sum, sum_of(payload_of(len, seed)));
}
