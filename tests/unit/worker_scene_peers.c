/* Gateways and the session manager, as played for session workers (worker_scene.h). */
#include "worker_scene_parts.h"

#include <stdio.h>
#include <stdlib.h>

/* --- gateways ------------------------------------------------------------------------------- */

static struct answer *find_answer(
	struct subject *subject, const struct link *gateway, uint32_t stream)
{
	struct scene *scene = subject->scene;

	for (unsigned i = scene->n_answers; i-- > 0;)
		if (scene->answers[i]->gateway == gateway && scene->answers[i]->stream == stream)
			return scene->answers[i];
	ck_abort_msg("an answer to nothing");
}

static void on_head(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_exchange_head *head = msg->fields;
	struct answer *answer = find_answer(arg, link, msg->stream);

	ck_assert(!answer->head && !answer->done);
	answer->head = true;
	answer->status = (unsigned)head->status;
	answer->content = (unsigned)head->content;
	scene_copy(answer->session, sizeof(answer->session), head->session);
}

static void on_data(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_credit credit = {.bytes = msg->payload.len};
	struct answer *answer = find_answer(arg, link, msg->stream);

	ck_assert(answer->head && !answer->done);
	ck_assert_int_eq(buf_append_span(&answer->data, msg->payload), 0);
	if (!answer->keep_credit)
		link_post(link, MSG_CREDIT, msg->stream, &credit);
}

static void on_end(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_exchange_end *end = msg->fields;
	struct answer *answer = find_answer(arg, link, msg->stream);

	ck_assert(answer->head && !answer->done);
	answer->done = true;
	answer->code = (unsigned)end->code;
	answer->executed = (unsigned)end->executed;
	answer->cut = end->cut != 0;
}

static void on_answer(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_exchange_answer *fields = msg->fields;
	struct answer *answer = find_answer(arg, link, msg->stream);

	ck_assert(!answer->head && !answer->done);
	answer->done = true;
	answer->status = (unsigned)fields->status;
	answer->content = (unsigned)fields->content;
	answer->code = (unsigned)fields->code;
	answer->executed = (unsigned)fields->executed;
	scene_copy(answer->session, sizeof(answer->session), fields->session);
	scene_copy(answer->method, sizeof(answer->method), fields->method);
	scene_copy(answer->server, sizeof(answer->server), fields->server);
	scene_copy(answer->tool, sizeof(answer->tool), fields->tool);
	buf_append_span(&answer->data, msg->payload);
}

static void on_forwarded(struct link *link, const struct message *msg, void *arg)
{
	struct answer *answer = find_answer(arg, link, msg->stream);

	answer->forwarded = true;
	answer->forwards++;
}

static void on_gateway_closed(struct link *link, int code, const char *why, void *arg)
{
	struct subject *subject = arg;

	if (code != -ERR_CLOSED)
		ck_abort_msg("a gateway's link: %s", why);
	for (unsigned i = 0; i < 2; i++)
		if (subject->gateways[i] == link)
			subject->gateways[i] = NULL;
	link_free(link);
}

static const struct link_handlers gateway_handlers = {
	.on = {[MSG_EXCHANGE_HEAD] = on_head,
		[MSG_EXCHANGE_DATA] = on_data,
		[MSG_EXCHANGE_END] = on_end,
		[MSG_EXCHANGE_ANSWER] = on_answer,
		[MSG_EXCHANGE_FORWARDED] = on_forwarded},
	.closed = on_gateway_closed,
};

struct answer *exchange(struct subject *subject, const char *body, struct options o)
{
	struct scene *scene = subject->scene;
	struct link **gateway = &subject->gateways[o.gateway];
	struct msg_exchange fields = {
		.verb = o.verb ? o.verb : 1,
		.accept = o.accept ? o.accept : 3,
		.session = span_str(o.session ? o.session : "session-1"),
		.epoch = 1,
		.principal = span_str(o.principal ? o.principal : "anonymous"),
		.version = span_str(o.version),
		.mcp_method = span_str(o.method),
		.mcp_name = span_str(o.name),
		.last_event_id = span_str(o.last_event_id),
		.traceparent = span_str(o.traceparent),
		.mcp_params = span_str(o.params),
	};
	struct answer *answer = calloc(1, sizeof(*answer));

	if (!*gateway)
		*gateway = subject_open(subject, ROLE_GATEWAY, &gateway_handlers);
	ck_assert_uint_lt(scene->n_answers, ANSWERS_MAX);
	scene->answers[scene->n_answers++] = answer;
	answer->subject = subject;
	answer->gateway = *gateway;
	answer->keep_credit = o.keep_credit;
	answer->stream = link_stream(*gateway);
	buf_init(&answer->data, BUF_MAX);
	ck_assert_int_eq(
		link_send(*gateway, MSG_EXCHANGE, answer->stream, &fields, span_str(body), NULL),
		0);
	return answer;
}

struct answer *post(struct subject *subject, const char *body)
{
	return exchange(subject, body, (struct options){0});
}

const char *answer_text(const struct answer *answer)
{
	struct buf *data = (struct buf *)(uintptr_t)&answer->data;

	if (buf_reserve(data, 1) == 0)
		data->data[data->len] = '\0';
	return data->data;
}

void answer_wait(struct answer *answer)
{
	WAIT_FOR(answer->subject->scene, answer->done);
}

/* What took long has become a stream of events; its last one is the answer. */
static const char *last_data(const char *text)
{
	const char *p = text, *last = text;
	static char data[65536];

	while ((p = strstr(p, "\ndata: ")))
		last = p += strlen("\ndata: ");
	if (last == text)
		return text;
	scene_copy(data, sizeof(data), span_of(last, strcspn(last, "\n")));
	return data;
}

void answer_is(struct answer *answer, unsigned status, const char *body)
{
	answer_wait(answer);
	ck_assert_str_eq(last_data(answer_text(answer)), body);
	ck_assert_uint_eq(answer->status, status);
}

void answer_has(struct answer *answer, unsigned status, const char *piece)
{
	answer_wait(answer);
	ck_assert_msg(strstr(answer_text(answer), piece), "%s\nis not in\n%s", piece,
		answer_text(answer));
	ck_assert_uint_eq(answer->status, status);
}

void answer_close(struct answer *answer)
{
	ck_assert_int_eq(link_post(answer->gateway, MSG_EXCHANGE_CLOSED, answer->stream, NULL), 0);
}

const char *answer_last_id(const struct answer *answer)
{
	static char id[80];
	const char *p = answer_text(answer), *last = NULL;

	while ((p = strstr(p, "id: ")))
		last = p += 4;
	ck_assert_ptr_nonnull(last);
	scene_copy(id, sizeof(id), span_of(last, strcspn(last, "\n")));
	return id;
}

unsigned answer_count(const struct answer *answer, const char *piece)
{
	const char *p = answer_text(answer);
	unsigned n = 0;

	while ((p = strstr(p, piece))) {
		p += strlen(piece);
		n++;
	}
	return n;
}

/* --- the session manager -------------------------------------------------------------------- */

static void on_taken(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_lease_taken *taken = msg->fields;
	struct subject *subject = arg;

	(void)link;
	subject->taken++;
	subject->epoch = taken->epoch;
	snprintf(subject->claimed, sizeof(subject->claimed), "%.*s %u", SPAN_ARG(taken->principal),
		(unsigned)taken->era);
}

static void on_state(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_state *state = msg->fields;
	struct subject *subject = arg;
	const struct msg_session_saved saved = {.code = subject->save_code};

	subject->saves++;
	subject->save_stream = msg->stream;
	subject->next_event = state->next_event;
	buf_clear(&subject->state);
	buf_append_span(&subject->state, msg->payload);
	buf_append(&subject->state, "", 1);
	if (!subject->hold_saves)
		link_post(link, MSG_SESSION_SAVED, msg->stream, &saved);
}

static void on_events(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	buf_append_span(&((struct subject *)arg)->events, msg->payload);
}

static void on_session_close(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_close *fields = msg->fields;
	struct subject *subject = arg;

	(void)link;
	scene_copy(subject->closed, sizeof(subject->closed), fields->reason);
}

static void on_sessions_closed(struct link *link, int code, const char *why, void *arg)
{
	if (code != -ERR_CLOSED)
		ck_abort_msg("the session manager's link: %s", why);
	((struct subject *)arg)->sessions = NULL;
	link_free(link);
}

const struct link_handlers scene_sessions_handlers = {
	.on = {[MSG_LEASE_TAKEN] = on_taken,
		[MSG_SESSION_STATE] = on_state,
		[MSG_SESSION_EVENTS] = on_events,
		[MSG_SESSION_CLOSE] = on_session_close},
	.closed = on_sessions_closed,
};

void subject_open_sessions(struct subject *subject)
{
	subject->sessions = subject_open(subject, ROLE_SESSIONS, &scene_sessions_handlers);
}

void subject_lease(struct subject *subject, const char *session, uint64_t epoch, unsigned era,
	const char *state, uint64_t next_event)
{
	const struct msg_lease lease = {.session = span_str(session),
		.principal = SPAN_LIT("anonymous"),
		.epoch = epoch,
		.era = era,
		.next_event = next_event,
		.view = span_str(subject->scene->view)};
	unsigned before = subject->taken;

	ck_assert_int_eq(
		link_send(subject->sessions, MSG_LEASE, 0, &lease, span_str(state), NULL), 0);
	WAIT_FOR(subject->scene, subject->taken > before);
	ck_assert_uint_eq(subject->epoch, epoch);
}
