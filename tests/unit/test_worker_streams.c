/* Session workers: event streams, what is replayed, slow clients, questions of servers. The real
 * program, see worker_scene.h. */
#include "json.h"
#include "json_write.h"
#include "jsonrpc.h"
#include "worker_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct scene scene;

static void setup(void)
{
	scene_start(&scene, "");
}

static void teardown(void)
{
	scene_end(&scene);
}

#define CALL(id) \
	"{\"jsonrpc\":\"2.0\",\"id\":" id \
	",\"method\":\"tools/call\",\"params\":{\"name\":\"alpha__echo\"," \
	"\"_meta\":{\"progressToken\":1}}}"
#define RESULT(id, result) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":" result "}"
#define LOG(text) "{\"level\":\"info\",\"data\":\"" text "\"}"

static struct answer *get(struct subject *subject, const char *last_id)
{
	return exchange(
		subject, "", (struct options){.verb = 2, .accept = 2, .last_event_id = last_id});
}

/* A session that has spoken with alpha, whose link is returned. */
static struct played *meet_alpha(struct subject *subject)
{
	struct answer *answer = post(subject, CALL("0"));
	struct call *call = call_wait(&scene);

	call_result(call, "{}");
	answer_wait(answer);
	return call->server;
}

#define WAIT_TEXT(answer, piece) WAIT_FOR(&scene, strstr(answer_text(answer), piece))

/* --- the stream of a GET -------------------------------------------------------------------- */

START_TEST(test_queue_before_get)
{
	struct subject *subject = scene_session(&scene, "2025-11-25", "{}");
	struct played *alpha = meet_alpha(subject);
	struct answer *stream;

	server_notes(alpha, "notifications/message", LOG("early"));
	scene_settle(&scene, 50);
	stream = get(subject, NULL);
	WAIT_TEXT(stream, "early");
	ck_assert_uint_eq(stream->content, 2);
	server_notes(alpha, "notifications/message", LOG("later"));
	WAIT_TEXT(stream, "later");
	ck_assert_uint_eq(answer_count(stream, "early"), 1);
	ck_assert(!stream->done);
}
END_TEST

START_TEST(test_priming)
{
	struct subject *subject = scene_session(&scene, "2025-11-25", "{}");
	struct answer *stream = get(subject, NULL), *again;
	struct played *alpha = meet_alpha(subject);

	WAIT_TEXT(stream, "data: \n\n");
	ck_assert_uint_eq(answer_count(stream, "retry: "), 1);
	answer_close(stream);
	scene_settle(&scene, 50);
	server_notes(alpha, "notifications/message", LOG("missed"));
	scene_settle(&scene, 50);
	again = get(subject, answer_last_id(stream));
	WAIT_TEXT(again, "missed");
}
END_TEST

/* A second GET gets what comes; the first stays open, and takes over when the second goes. */
START_TEST(test_second_get)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct played *alpha = meet_alpha(subject);
	struct answer *first = get(subject, NULL), *second;

	server_notes(alpha, "notifications/message", LOG("one"));
	WAIT_TEXT(first, "one");
	second = get(subject, NULL);
	WAIT_FOR(&scene, second->head);
	server_notes(alpha, "notifications/message", LOG("two"));
	WAIT_TEXT(second, "two");
	ck_assert_uint_eq(answer_count(second, "one"), 0);
	ck_assert_uint_eq(answer_count(first, "two"), 0);
	ck_assert(!first->done);
	answer_close(second);
	scene_settle(&scene, 30);
	server_notes(alpha, "notifications/message", LOG("three"));
	WAIT_TEXT(first, "three");
	ck_assert_uint_eq(answer_count(second, "three"), 0);
}
END_TEST

START_TEST(test_gets_are_bounded)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");

	for (int i = 0; i < 16; i++)
		get(subject, NULL);
	answer_has(get(subject, NULL), 429, "too_many");
}
END_TEST

static const char *const foreign[] = {
	"nonsense", "12345678-0-1", "00000000-0-0", "", "00000000-0-1-2"};

START_TEST(test_foreign_ids)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct played *alpha = meet_alpha(subject);
	struct answer *stream = get(subject, NULL);
	char id[100];

	server_notes(alpha, "notifications/message", LOG("one"));
	WAIT_TEXT(stream, "one");
	for (size_t i = 0; i < sizeof(foreign) / sizeof(*foreign); i++)
		if (*foreign[i])
			answer_has(get(subject, foreign[i]), 400, "Last-Event-ID");
	/* one that was never given */
	snprintf(id, sizeof(id), "%.8s-0-999999", answer_last_id(stream));
	answer_has(get(subject, id), 400, "not an event id of this session");
	/* of another session, be there one or not: the same, whatever its number */
	for (size_t i = 1; i < 3; i++)
		answer_has(get(subject, foreign[i]), 400, "not an event id of this session");
	answer_has(get(subject, "12345678-0-999999"), 400, "not an event id of this session");
	answer_has(exchange(subject, "", (struct options){.verb = 2, .accept = 1}), 406,
		"text/event-stream");
}
END_TEST

/* Only what followed on the same stream comes again. */
START_TEST(test_replay)
{
	struct subject *subject = scene_session(&scene, "2025-11-25", "{}");
	struct played *alpha = meet_alpha(subject);
	struct answer *stream = get(subject, NULL), *posted, *again;
	struct call *call;
	char before[80];

	posted = post(subject, CALL("5"));
	call = call_wait(&scene);
	call_note(call, "notifications/message", LOG("first"));
	WAIT_TEXT(posted, "first");
	snprintf(before, sizeof(before), "%s", answer_last_id(posted));
	server_notes(alpha, "notifications/message", LOG("aside"));
	WAIT_TEXT(stream, "aside");
	call_note(call, "notifications/message", LOG("second"));
	call_result(call, "{\"n\":5}");
	answer_has(posted, 200, RESULT("5", "{\"n\":5}"));
	again = get(subject, before);
	answer_has(again, 200, RESULT("5", "{\"n\":5}"));
	ck_assert_uint_eq(answer_count(again, "second"), 1);
	ck_assert_uint_eq(answer_count(again, "first"), 0);
	ck_assert_uint_eq(answer_count(again, "aside"), 0);
	/* nothing is left after the last one */
	again = get(subject, answer_last_id(posted));
	answer_is(again, 200, "");
}
END_TEST

/* The client's connection breaks in the middle of a call: the answer waits for it. */
START_TEST(test_resume_post)
{
	struct subject *subject = scene_session(&scene, "2025-11-25", "{}");
	struct answer *posted = post(subject, CALL("5")), *again, *third;
	struct call *call = call_wait(&scene);

	WAIT_FOR(&scene, posted->head && posted->data.len);
	answer_close(posted);
	scene_settle(&scene, 30);
	call_note(call, "notifications/message", LOG("alone"));
	scene_settle(&scene, 30);
	again = get(subject, answer_last_id(posted));
	WAIT_TEXT(again, "alone");
	call_note(call, "notifications/progress", "{\"progress\":1,\"progressToken\":9}");
	WAIT_TEXT(again, "\"progressToken\":1");
	/* it comes back a second time before the first connection is known to be dead */
	third = get(subject, answer_last_id(again));
	WAIT_FOR(&scene, third->head);
	answer_wait(again);
	ck_assert(!call->cancelled);
	call_result(call, "{\"n\":5}");
	answer_has(third, 200, RESULT("5", "{\"n\":5}"));
	ck_assert_uint_eq(answer_count(again, "\"n\":5"), 0);
}
END_TEST

START_TEST(test_answer_waits_in_log)
{
	struct subject *subject = scene_session(&scene, "2025-11-25", "{}");
	struct answer *posted = post(subject, CALL("5"));
	struct call *call = call_wait(&scene);

	WAIT_FOR(&scene, posted->head && posted->data.len);
	answer_close(posted);
	scene_settle(&scene, 30);
	call_result(call, "{\"n\":5}");
	scene_settle(&scene, 100);
	ck_assert_uint_gt(subject->events.len, 0);
	answer_has(get(subject, answer_last_id(posted)), 200, RESULT("5", "{\"n\":5}"));
}
END_TEST

/* The server polls: the client's stream closes, and is taken up by GET. */
START_TEST(test_park)
{
	struct subject *subject = scene_session(&scene, "2025-11-25", "{}");
	struct answer *posted = post(subject, CALL("5"));
	struct call *call = call_wait(&scene);

	WAIT_FOR(&scene, posted->head && posted->data.len);
	ck_assert_int_eq(link_post(call->server->link, MSG_CALL_PARKED, call->stream, NULL), 0);
	answer_wait(posted);
	posted = get(subject, answer_last_id(posted));
	WAIT_FOR(&scene, posted->head);
	call_result(call, "{\"n\":5}");
	answer_has(posted, 200, RESULT("5", "{\"n\":5}"));
}
END_TEST

/* A client that cannot come back keeps its stream. */
START_TEST(test_park_never)
{
	struct subject *subject = scene_session(&scene, "2025-11-25", "{}");
	struct answer *posted =
		exchange(subject, CALL("5"), (struct options){.accept = 1 | 2 | 8});
	struct call *call = call_wait(&scene);

	WAIT_FOR(&scene, posted->head && posted->data.len);
	ck_assert_int_eq(link_post(call->server->link, MSG_CALL_PARKED, call->stream, NULL), 0);
	scene_settle(&scene, 100);
	ck_assert(!posted->done);
	call_result(call, "{\"n\":5}");
	answer_has(posted, 200, RESULT("5", "{\"n\":5}"));
}
END_TEST

/* --- another worker takes over -------------------------------------------------------------- */

START_TEST(test_restore)
{
	struct subject *subject = scene_session(&scene, "2025-11-25", "{\"roots\":{}}"), *next;
	struct played *alpha = meet_alpha(subject);
	struct answer *stream = get(subject, NULL), *posted, *again;
	struct call *call;
	char first[80], second[80];

	server_notes(alpha, "notifications/message", LOG("heard"));
	WAIT_TEXT(stream, "heard");
	snprintf(first, sizeof(first), "%s", answer_last_id(stream));
	answer_close(stream);
	scene_settle(&scene, 30);
	server_notes(alpha, "notifications/message", LOG("unheard"));
	posted = post(subject, CALL("5"));
	call = call_wait(&scene);
	call_note(call, "notifications/message", LOG("on the way"));
	WAIT_TEXT(posted, "on the way");
	snprintf(second, sizeof(second), "%s", answer_last_id(posted));
	call_result(call, "{\"n\":5}");
	answer_wait(posted);
	scene_settle(&scene, 150);
	subject_kill(subject);

	next = scene_worker(&scene);
	ck_assert_int_eq(link_send(next->sessions, MSG_LEASE_EVENTS, 0, NULL,
				 buf_span(&subject->events), NULL),
		0);
	subject_lease(next, "session-1", 2, 0, subject->state.data, subject->next_event);
	again = get(next, second);
	answer_has(again, 200, RESULT("5", "{\"n\":5}"));
	ck_assert_uint_eq(answer_count(again, "unheard"), 0);
	again = get(next, first);
	WAIT_TEXT(again, "unheard");
	/* ids go on behind those that may have been given */
	ck_assert_int_eq(strncmp(answer_last_id(again), first, 8), 0);
	ck_assert_uint_ge(
		strtoull(strrchr(answer_last_id(again), '-') + 1, NULL, 10), subject->next_event);
	/* the session is as it was */
	posted = post(next, CALL("6"));
	call_result(call_wait(&scene), "{}");
	answer_has(posted, 200, RESULT("6", "{}"));
}
END_TEST

START_TEST(test_restored_session)
{
	static const char state[] = "{\"version\":\"2025-06-18\",\"opened\":true,\"initialized\":"
				    "true,\"logLevel\":5,\"capabilities\":{\"sampling\":{}},"
				    "\"clientInfo\":{\"name\":\"n\"},\"subscriptions\":{\"file:///"
				    "a.txt\":\"alpha\",\"x:b\":\"beta\"},\"tasks\":{}}";
	struct subject *subject = scene_worker(&scene);
	struct answer *answer;
	struct call *call;

	subject_lease(subject, "session-1", 4, 0, state, 2049);
	answer = post(subject, CALL("6"));
	call = call_wait(&scene);
	ck_assert_str_eq(call->server->attach.data,
		"{\"capabilities\":{\"sampling\":{}},\"clientInfo\":{\"name\":\"n\"},"
		"\"subscriptions\":[\"file:///a.txt\"]}");
	ck_assert_str_eq(call->server->version, "2025-06-18");
	ck_assert_str_eq(call->server->log_level, "error");
	WAIT_FOR(&scene, answer->head);
	/* the ids it now uses were saved before */
	ck_assert_uint_gt(subject->next_event, 2049);
	ck_assert_ptr_nonnull(strstr(subject->state.data, "\"file:///a.txt\":\"alpha\""));
	call_result(call, "{}");
	answer_has(answer, 200, RESULT("6", "{}"));
	answer_has(post(subject, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\","
				 "\"params\":{\"protocolVersion\":\"2025-06-18\"}}"),
		200, "initialized already");
}
END_TEST

/* --- subscriptions and changed lists -------------------------------------------------------- */

#define SUBSCRIBE(method) \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"resources/" method \
	"\",\"params\":{\"uri\":\"file:///\\u0061.txt\"}}"
#define UPDATED "{\"uri\":\"file:///a.txt\"}"

START_TEST(test_subscriptions)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *stream = get(subject, NULL), *answer;
	struct played *alpha = meet_alpha(subject);

	server_notes(alpha, "notifications/resources/updated", UPDATED);
	answer = post(subject, SUBSCRIBE("subscribe"));
	call_result(call_wait(&scene), "{}");
	answer_is(answer, 200, RESULT("1", "{}"));
	WAIT_FOR(&scene,
		strstr(subject->state.data, "\"subscriptions\":{\"file:///a.txt\":\"alpha\"}"));
	server_notes(alpha, "notifications/resources/updated", UPDATED);
	WAIT_TEXT(stream, "resources/updated");
	/* a new conversation with the server is told */
	server_dies(alpha);
	answer = post(subject, CALL("2"));
	call_result(call_wait(&scene), "{}");
	answer_wait(answer);
	ck_assert_ptr_nonnull(strstr(alpha->attach.data, "\"subscriptions\":[\"file:///a.txt\"]"));
	answer = post(subject, SUBSCRIBE("unsubscribe"));
	call_result(call_wait(&scene), "{}");
	answer_wait(answer);
	WAIT_FOR(&scene, strstr(subject->state.data, "\"subscriptions\":{}"));
	server_notes(alpha, "notifications/resources/updated", UPDATED);
	scene_settle(&scene, 50);
	ck_assert_uint_eq(answer_count(stream, "resources/updated"), 1);
}
END_TEST

static struct answer *subscribe_to(struct subject *subject, struct span uri)
{
	struct buf body;
	struct answer *answer;

	buf_init(&body, 1 << 20);
	buf_append_str(&body, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"resources/subscribe\","
			      "\"params\":{\"uri\":");
	json_write_string(&body, uri);
	ck_assert_int_eq(buf_append(&body, "}}", 3), 0);
	answer = post(subject, body.data);
	buf_free(&body);
	WAIT_FOR(&scene, answer->done || scene.n_calls > scene.taken_calls);
	if (answer->done)
		return answer;
	call_result(call_wait(&scene), "{}");
	answer_is(answer, 200, RESULT("1", "{}"));
	return answer;
}

/* A URI is bytes, whatever bytes; and all of them fit into the state that is saved. */
START_TEST(test_odd_subscriptions)
{
	static const char zero[] = "file:///a\0bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *answer;
	char uri[2000];

	subscribe_to(subject, span_of(zero, sizeof(zero) - 1));
	WAIT_FOR(&scene, strstr(subject->state.data,
				 "{\"file:///a\\u0000bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\":\"alpha\"}"));
	memset(uri, 1, sizeof(uri));
	memcpy(uri, "file:///", 8);
	do {
		uri[8]++;
		answer = subscribe_to(subject, span_of(uri, sizeof(uri)));
		ck_assert_int_lt(uri[8], 100);
	} while (!strstr(answer_text(answer), "too many subscriptions"));
	scene_settle(&scene, 100);
	ck_assert_int_eq(json_check(span_str(subject->state.data), 8, NULL), 0);
	ck_assert_uint_gt(strlen(subject->state.data), 300000);
}
END_TEST

START_TEST(test_list_changed)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *stream = get(subject, NULL);
	int catalogue = scene_catalogue(2, ",{\"name\":\"new\",\"inputSchema\":{}}", false);

	WAIT_FOR(&scene, stream->head);
	scene_publish(subject, scene.catalogue, 1);
	scene_publish(subject, catalogue, 2);
	scene_publish(subject, catalogue, 2);
	WAIT_TEXT(stream, "notifications/tools/list_changed");
	scene_settle(&scene, 50);
	ck_assert_uint_eq(answer_count(stream, "list_changed"), 1);
	answer_has(post(subject, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}"), 200,
		"alpha__new");
	close(catalogue);
}
END_TEST

/* --- slow clients --------------------------------------------------------------------------- */

/* Its notifications are left out beyond a bound, its answer is not; others are not held up. */
START_TEST(test_slow_client)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *slow = exchange(subject, CALL("1"), (struct options){.keep_credit = true}),
		      *other;
	struct call *call = call_wait(&scene);
	char *note = malloc(60001);
	struct msg_credit credit = {.bytes = 64u * 1024 * 1024};

	memset(note, 'x', 60000);
	note[60000] = '\0';
	memcpy(note, "{\"level\":\"info\",\"data\":\"", 24);
	memcpy(note + 59998, "\"}", 2);
	for (int i = 0; i < 100; i++) {
		call_note(call, "notifications/message", note);
		WAIT_FOR(&scene, link_queued(call->server->link) == 0);
	}
	call_result(call, "{\"n\":1}");
	other = post(subject, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}");
	answer_wait(other);
	scene_settle(&scene, 100);
	ck_assert(!slow->done);
	ck_assert_uint_le(slow->data.len, LIMIT_STREAM_WINDOW);
	slow->keep_credit = false;
	link_post(slow->gateway, MSG_CREDIT, slow->stream, &credit);
	answer_has(slow, 200, RESULT("1", "{\"n\":1}"));
	ck_assert_uint_lt(answer_count(slow, "data: {"), 20);
	ck_assert_uint_ge(answer_count(slow, "data: {"), 5);
	free(note);
}
END_TEST

/* What may not be left out is kept up to a bound; then the stream ends, and says that it is cut. */
START_TEST(test_slow_client_cut)
{
	enum { SIZE = 14u << 20 };
	struct subject *subject = scene_session(&scene, "2025-06-18", "{}");
	struct answer *slow = exchange(subject, CALL("1"), (struct options){.keep_credit = true});
	struct call *call = call_wait(&scene);
	char *note = malloc(SIZE + 1);

	memset(note, 'x', SIZE);
	note[SIZE] = '\0';
	memcpy(note, "{\"uri\":\"", 8);
	memcpy(note + SIZE - 2, "\"}", 2);
	for (int i = 0; i < 8; i++) {
		ck_assert(!slow->done);
		call_note(call, "notifications/resources/updated", note);
		WAIT_FOR(&scene, link_queued(call->server->link) == 0);
	}
	WAIT_FOR(&scene, slow->done);
	ck_assert(slow->cut);
	ck_assert_uint_le(slow->data.len, LIMIT_STREAM_WINDOW);
	call_result(call, "{}");
	free(note);
}
END_TEST

/* --- questions to the client ---------------------------------------------------------------- */

#define SAMPLE "{\"messages\":[],\"maxTokens\":1e2}"
#define ABLE "{\"sampling\":{},\"elicitation\":{},\"roots\":{\"listChanged\":true}}"

/* The id of the question last sent on a stream. */
static const char *asked_id(const struct answer *answer, const char *method)
{
	static char id[32];
	char pattern[128];
	const char *p = answer_text(answer), *last = NULL;

	snprintf(pattern, sizeof(pattern), ",\"method\":\"%s\"", method);
	while ((p = strstr(p, pattern)))
		last = p++;
	ck_assert_ptr_nonnull(last);
	for (p = last; p[-1] != ':'; p--)
		;
	snprintf(id, sizeof(id), "%.*s", (int)(last - p), p);
	return id;
}

static void reply(struct subject *subject, const char *id, const char *rest)
{
	char body[512];

	snprintf(body, sizeof(body), "{\"jsonrpc\":\"2.0\",\"id\":%s,%s}", id, rest);
	answer_is(post(subject, body), 202, "");
}

START_TEST(test_ask_on_call)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", ABLE);
	struct answer *stream = get(subject, NULL), *first = post(subject, CALL("1")),
		      *second = post(subject, CALL("2"));
	struct call *a = call_wait(&scene), *b = call_wait(&scene);
	struct asked *asked = server_asks(a->server, a, "sampling/createMessage", SAMPLE);

	WAIT_TEXT(first, "\"method\":\"sampling/createMessage\",\"params\":" SAMPLE);
	ck_assert_uint_eq(answer_count(second, "sampling"), 0);
	ck_assert_uint_eq(answer_count(stream, "sampling"), 0);
	reply(subject, asked_id(first, "sampling/createMessage"),
		"\"result\":{\"role\":\"assistant\", \"x\":1.0}");
	WAIT_FOR(&scene, asked->answered);
	ck_assert_uint_eq(asked->kind, 0);
	ck_assert_str_eq(asked->payload.data, "{\"role\":\"assistant\", \"x\":1.0}");
	/* a second reply answers nothing */
	reply(subject, asked_id(first, "sampling/createMessage"), "\"result\":{}");
	/* refused by the user */
	asked = server_asks(
		b->server, b, "elicitation/create", "{\"message\":\"?\",\"requestedSchema\":{}}");
	WAIT_TEXT(second, "elicitation/create");
	reply(subject, asked_id(second, "elicitation/create"),
		"\"error\":{\"code\":-1,\"message\":\"no\"}");
	WAIT_FOR(&scene, asked->answered);
	ck_assert_uint_eq(asked->kind, 1);
	ck_assert_str_eq(asked->payload.data, "{\"code\":-1,\"message\":\"no\"}");
	call_result(a, "{}");
	call_result(b, "{}");
	answer_wait(first);
	answer_wait(second);
}
END_TEST

START_TEST(test_ask_on_get)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", ABLE);
	struct played *alpha = meet_alpha(subject);
	struct asked *asked = server_asks(alpha, NULL, "roots/list", "");
	struct answer *stream;

	/* the client is about to open its stream */
	scene_settle(&scene, 50);
	ck_assert(!asked->answered);
	stream = get(subject, NULL);
	WAIT_TEXT(stream, "\"method\":\"roots/list\"");
	reply(subject, asked_id(stream, "roots/list"), "\"result\":{\"roots\":[]}");
	WAIT_FOR(&scene, asked->answered);
	ck_assert_str_eq(asked->payload.data, "{\"roots\":[]}");
	/* its roots change */
	answer_is(post(subject,
			  "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/roots/list_changed\"}"),
		202, "");
	WAIT_FOR(&scene, alpha->notes.len > 0);
	ck_assert_int_eq(strncmp(alpha->notes.data, "notifications/roots/list_changed", 32), 0);
}
END_TEST

static const struct {
	const char *capabilities, *method;
} unable[] = {
	{"{}", "sampling/createMessage"},
	{"{\"sampling\":{}}", "roots/list"},
	{"{\"roots\":{}}", "elicitation/create"},
};

START_TEST(test_ask_unable)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", unable[_i].capabilities);
	struct played *alpha = meet_alpha(subject);
	struct asked *asked = server_asks(alpha, NULL, unable[_i].method, "{}");

	WAIT_FOR(&scene, asked->answered);
	ck_assert_uint_eq(asked->kind, 2);
	ck_assert_uint_eq(asked->code, ERR_METHOD_NOT_FOUND);
}
END_TEST

/* Our token towards the client, the server's towards the server. */
START_TEST(test_ask_progress)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", ABLE);
	struct answer *stream = get(subject, NULL);
	struct played *alpha = meet_alpha(subject);
	struct asked *asked = server_asks(alpha, NULL, "sampling/createMessage",
		"{\"_meta\":{\"progressToken\":\"own\"},\"messages\":[]}");
	char body[256], expected[256];
	const char *id;

	WAIT_TEXT(stream, "sampling/createMessage");
	id = asked_id(stream, "sampling/createMessage");
	snprintf(expected, sizeof(expected), "{\"_meta\":{\"progressToken\":%s},\"messages\":[]}",
		id);
	ck_assert_ptr_nonnull(strstr(answer_text(stream), expected));
	snprintf(body, sizeof(body),
		"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
		"progress\",\"params\":{\"progressToken\":%s,\"progress\":1}}",
		id);
	answer_is(post(subject, body), 202, "");
	WAIT_FOR(&scene, alpha->notes.len > 0);
	ck_assert_int_eq(
		strncmp(alpha->notes.data,
			"notifications/progress {\"progressToken\":\"own\",\"progress\":1}", 58),
		0);
	reply(subject, id, "\"result\":{}");
	WAIT_FOR(&scene, asked->answered);
}
END_TEST

START_TEST(test_ask_cancelled)
{
	struct subject *subject = scene_session(&scene, "2025-06-18", ABLE);
	struct answer *first = post(subject, CALL("1"));
	struct call *a = call_wait(&scene);
	struct asked *asked = server_asks(a->server, a, "sampling/createMessage", SAMPLE);
	char expected[256];
	const char *id;

	WAIT_TEXT(first, "sampling");
	id = asked_id(first, "sampling/createMessage");
	server_cancels(asked);
	snprintf(expected, sizeof(expected),
		"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/"
		"cancelled\",\"params\":{\"requestId\":%s,\"reason\":\"changed my mind\"}}",
		id);
	WAIT_TEXT(first, expected);
	reply(subject, id, "\"result\":{}");
	scene_settle(&scene, 30);
	ck_assert(!asked->answered);
	call_result(a, "{}");
	answer_wait(first);
}
END_TEST

/* A successor's questions are never taken for those of the worker before. */
START_TEST(test_ask_ids)
{
	struct subject *subject = scene_worker(&scene);
	struct answer *stream;
	struct asked *asked;

	subject_lease(subject, "session-1", 3, 0,
		"{\"version\":\"2025-06-18\",\"opened\":true,\"initialized\":true,"
		"\"capabilities\":" ABLE "}",
		5);
	stream = get(subject, NULL);
	asked = server_asks(meet_alpha(subject), NULL, "roots/list", "");
	WAIT_TEXT(stream, "roots/list");
	ck_assert_uint_eq(
		strtoull(asked_id(stream, "roots/list"), NULL, 10), jsonrpc_own_id(3, 1));
	reply(subject, "1", "\"result\":{}");
	scene_settle(&scene, 30);
	ck_assert(!asked->answered);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("worker streams");
	TCase *t = tcase_create("streams");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_queue_before_get);
	tcase_add_test(t, test_priming);
	tcase_add_test(t, test_second_get);
	tcase_add_test(t, test_gets_are_bounded);
	tcase_add_test(t, test_foreign_ids);
	tcase_add_test(t, test_replay);
	tcase_add_test(t, test_resume_post);
	tcase_add_test(t, test_answer_waits_in_log);
	tcase_add_test(t, test_park);
	tcase_add_test(t, test_park_never);
	tcase_add_test(t, test_restore);
	tcase_add_test(t, test_restored_session);
	tcase_add_test(t, test_subscriptions);
	tcase_add_test(t, test_odd_subscriptions);
	tcase_add_test(t, test_list_changed);
	tcase_add_test(t, test_slow_client);
	tcase_add_test(t, test_slow_client_cut);
	tcase_add_test(t, test_ask_on_call);
	tcase_add_test(t, test_ask_on_get);
	tcase_add_loop_test(t, test_ask_unable, 0, sizeof(unable) / sizeof(*unable));
	tcase_add_test(t, test_ask_progress);
	tcase_add_test(t, test_ask_cancelled);
	tcase_add_test(t, test_ask_ids);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
