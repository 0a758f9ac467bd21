#include "gateway_node.h"
#include "clock.h"
#include "config.h"
#include "memfile.h"
#include "process.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define COPY(place, span) snprintf(place, sizeof(place), "%.*s", SPAN_ARG(span))

/* --- the loop ------------------------------------------------------------------------------- */

static void turn(struct node *node)
{
	const struct timeval tv = {.tv_usec = 2000};

	event_base_loopexit(node->base, &tv);
	event_base_loop(node->base, EVLOOP_ONCE);
}

void node_run(struct node *node, unsigned ms)
{
	uint64_t end = clock_ms() + ms;

	while (clock_ms() < end)
		turn(node);
}

bool node_wait(struct node *node, const bool *flag, unsigned ms)
{
	uint64_t end = clock_ms() + ms;

	while (!*flag && clock_ms() < end)
		turn(node);
	return *flag;
}

void node_wait_seen(struct node *node, unsigned count)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (node->n_seen < count && clock_ms() < end)
		turn(node);
	ck_assert_uint_ge(node->n_seen, count);
}

/* --- workers -------------------------------------------------------------------------------- */

static void on_exchange(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_exchange *fields = msg->fields;
	struct worker *worker = arg;
	struct node *node = worker->node;
	struct seen *seen = &node->seen[node->n_seen++];

	(void)link;
	ck_assert_uint_lt(node->n_seen, NODE_SEEN_MAX);
	*seen = (struct seen){.worker = worker, .stream = msg->stream};
	seen->verb = (unsigned)fields->verb;
	seen->accept = (unsigned)fields->accept;
	COPY(seen->session, fields->session);
	COPY(seen->version, fields->version);
	COPY(seen->mcp_method, fields->mcp_method);
	COPY(seen->mcp_params, fields->mcp_params);
	COPY(seen->last_event_id, fields->last_event_id);
	COPY(seen->traceparent, fields->traceparent);
	COPY(seen->body, msg->payload);
	if (node->automatic)
		seen_answer_session(seen, 200, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}");
}

static struct seen *find_seen(struct worker *worker, uint32_t stream)
{
	struct node *node = worker->node;

	for (unsigned i = node->n_seen; i > 0; i--)
		if (node->seen[i - 1].worker == worker && node->seen[i - 1].stream == stream)
			return &node->seen[i - 1];
	ck_abort_msg("no exchange %u", stream);
	return NULL;
}

static void on_exchange_closed(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	find_seen(arg, msg->stream)->closed = true;
}

static void on_credit(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_credit *credit = msg->fields;

	(void)link;
	find_seen(arg, msg->stream)->credit += credit->bytes;
}

static void on_worker_closed(struct link *link, int code, const char *why, void *arg)
{
	struct worker *worker = arg;

	if (code != -ERR_CLOSED)
		ck_abort_msg("worker's link: %s", why);
	worker->link = NULL;
	link_free(link);
}

static void on_ping(struct link *link, const struct message *msg, void *arg)
{
	const struct worker *worker = arg;

	if (!worker->hangs)
		link_post(link, MSG_PONG, msg->stream, NULL);
}

static const struct link_handlers worker_handlers = {
	.on = {[MSG_PING] = on_ping,
		[MSG_EXCHANGE] = on_exchange,
		[MSG_EXCHANGE_CLOSED] = on_exchange_closed,
		[MSG_CREDIT] = on_credit},
	.closed = on_worker_closed,
};

static struct worker *worker_new(struct node *node, int kind, const char *session)
{
	struct worker *worker = &node->workers[node->n_workers++];

	ck_assert_uint_lt(node->n_workers, NODE_WORKERS_MAX);
	*worker = (struct worker){
		.node = node, .instance = 100 + node->n_workers, .kind = kind, .alive = true};
	if (session)
		snprintf(worker->session, sizeof(worker->session), "%s", session);
	else
		snprintf(worker->session, sizeof(worker->session), "%s-%u",
			kind == WORKER_SHARED ? "shared" : "session", node->n_workers);
	return worker;
}

void worker_die(struct worker *worker)
{
	worker->alive = false;
	if (worker->link)
		link_flush(worker->link);
	link_free(worker->link);
	worker->link = NULL;
}

static void answer(struct seen *seen, unsigned status, const char *json, const char *session)
{
	const struct msg_exchange_answer fields = {.status = status,
		.content = *json ? 1 : 0,
		.session = span_str(session),
		.method = SPAN_LIT("tools/call"),
		.server = SPAN_LIT("files"),
		.tool = SPAN_LIT("read"),
		.upstream_us = 100,
		.version = SPAN_LIT("2025-11-25"),
		.client = SPAN_LIT("test")};

	ck_assert_int_eq(link_send(seen->worker->link, MSG_EXCHANGE_ANSWER, seen->stream, &fields,
				 span_str(json), NULL),
		0);
}

void seen_answer(struct seen *seen, unsigned status, const char *json)
{
	answer(seen, status, json, "");
}

void seen_answer_session(struct seen *seen, unsigned status, const char *json)
{
	answer(seen, status, json, seen->session);
}

void seen_begin(struct seen *seen)
{
	const struct msg_exchange_head head = {.status = 200, .content = 2};

	link_post(seen->worker->link, MSG_EXCHANGE_HEAD, seen->stream, &head);
}

void seen_data(struct seen *seen, const char *data, size_t len)
{
	ck_assert_int_eq(link_send(seen->worker->link, MSG_EXCHANGE_DATA, seen->stream, NULL,
				 span_of(data, len), NULL),
		0);
}

void seen_end(struct seen *seen)
{
	const struct msg_exchange_end end = {.method = SPAN_LIT("tools/call")};

	link_post(seen->worker->link, MSG_EXCHANGE_END, seen->stream, &end);
}

void seen_cut(struct seen *seen)
{
	const struct msg_exchange_end end = {.method = SPAN_LIT("tools/call"), .cut = 1};

	link_post(seen->worker->link, MSG_EXCHANGE_END, seen->stream, &end);
}

void seen_forwarded(struct seen *seen, bool safe)
{
	const struct msg_exchange_forwarded forwarded = {.safe = safe};

	link_post(seen->worker->link, MSG_EXCHANGE_FORWARDED, seen->stream, &forwarded);
}

/* --- the session manager -------------------------------------------------------------------- */

static void lease(struct link *link, uint32_t stream, const struct worker *worker, unsigned code)
{
	struct msg_session_leased leased = {.code = code, .detail = SPAN_LIT("as the test says")};

	if (worker) {
		leased.session = span_str(worker->session);
		leased.instance = worker->instance;
		leased.epoch = worker->instance;
	}
	link_post(link, MSG_SESSION_LEASED, stream, &leased);
}

static unsigned mood(struct node *node)
{
	if (node->refuse_code)
		return node->refuse_code;
	if (node->busy == 0)
		return 0;
	node->busy--;
	return ERR_BUSY;
}

static void on_session_open(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_open *open = msg->fields;
	struct node *node = arg;
	unsigned code = mood(node);

	node->opens++;
	ck_assert(span_is(open->principal, "anonymous"));
	snprintf(node->view, sizeof(node->view), "%.*s", SPAN_ARG(open->view));
	lease(link, msg->stream,
		code ? NULL : worker_new(node, open->era ? WORKER_SHARED : WORKER_SESSION, NULL),
		code);
}

static void on_session_find(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_find *search = msg->fields;
	struct node *node = arg;
	struct worker *found = NULL;
	unsigned code = mood(node);

	node->finds++;
	for (unsigned i = 0; i < node->n_workers; i++)
		if (span_is(search->session, node->workers[i].session) &&
			(!found || node->workers[i].alive))
			found = &node->workers[i];
	if (!found && !code)
		code = ERR_SESSION_UNKNOWN;
	if (!code && !found->alive && node->stale > 0)
		node->stale--;
	else if (!code && !found->alive)
		found = worker_new(node, found->kind, found->session);
	lease(link, msg->stream, code ? NULL : found, code);
}

static void on_sessions_closed(struct link *link, int code, const char *why, void *arg)
{
	struct node *node = arg;

	if (code != -ERR_CLOSED)
		ck_abort_msg("session manager's link: %s", why);
	node->sessions = NULL;
	link_free(link);
}

static const struct link_handlers sessions_handlers = {
	.on = {[MSG_SESSION_OPEN] = on_session_open, [MSG_SESSION_FIND] = on_session_find},
	.closed = on_sessions_closed,
};

void node_drop_sessions(struct node *node)
{
	link_free(node->sessions);
	node->sessions = NULL;
}

/* --- another gateway ------------------------------------------------------------------------- */

static void on_post(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_channel_post *fields = msg->fields;
	struct node *node = arg;

	node->posted.stream = msg->stream;
	COPY(node->posted.key, fields->key);
	COPY(node->posted.principal, fields->principal);
	COPY(node->posted.body, msg->payload);
	node->n_posted++;
	if (node->takes_all)
		link_post(link, MSG_CHANNEL_TAKEN, msg->stream,
			&(struct msg_channel_taken){.code = 0});
}

static void on_taken(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_channel_taken *fields = msg->fields;
	struct node *node = arg;

	(void)link;
	node->taken_code = (unsigned)fields->code;
	node->taken = true;
}

static void on_neighbour_closed(struct link *link, int code, const char *why, void *arg)
{
	struct node *node = arg;

	if (code != -ERR_CLOSED)
		ck_abort_msg("neighbour's link: %s", why);
	node->neighbour = NULL;
	link_free(link);
}

static const struct link_handlers neighbour_handlers = {
	.on = {[MSG_CHANNEL_POST] = on_post, [MSG_CHANNEL_TAKEN] = on_taken},
	.closed = on_neighbour_closed,
};

void node_taken(struct node *node, unsigned code)
{
	const struct msg_channel_taken taken = {.code = code, .detail = SPAN_LIT("as it says")};

	link_post(node->neighbour, MSG_CHANNEL_TAKEN, node->posted.stream, &taken);
}

void node_neighbour_dies(struct node *node)
{
	link_free(node->neighbour);
	node->neighbour = NULL;
}

/* --- the root ------------------------------------------------------------------------------- */

static struct link *make_link(struct node *node, enum role self, uint64_t instance, bool opener,
	const struct link_handlers *handlers, void *arg, int *fd)
{
	const struct link_config config = {.self = self,
		.self_instance = instance,
		.peer = {.role = ROLE_GATEWAY},
		.opener = opener};
	struct err err = {0};
	struct link *link;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(link_new(node->base, pair[0], &config, handlers, arg, &link, &err), 0);
	*fd = pair[1];
	return link;
}

static struct link *open_worker(struct node *node, uint64_t instance, int *fd)
{
	for (unsigned i = 0; i < node->n_workers; i++) {
		struct worker *worker = &node->workers[i];

		if (worker->instance != instance || !worker->alive)
			continue;
		ck_assert_ptr_null(worker->link);
		worker->links++;
		worker->link =
			make_link(node, ROLE_WORKER, instance, false, &worker_handlers, worker, fd);
		return worker->link;
	}
	return NULL;
}

static void on_link_open(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_link_open *open = msg->fields;
	struct node *node = arg;
	const struct msg_link_grant grant = {.role = open->role, .instance = open->instance};
	const struct msg_link_deny deny = {
		.code = open->role == ROLE_GATEWAY && node->neighbour_code ? node->neighbour_code
									   : ERR_NOT_FOUND,
		.detail = SPAN_LIT("none runs")};
	int fd = -1;

	if (open->role == ROLE_WORKER)
		open_worker(node, open->instance, &fd);
	else if (open->role == ROLE_GATEWAY && !node->neighbour_code && span_is(open->name, "1"))
		node->neighbour =
			make_link(node, ROLE_GATEWAY, 6, false, &neighbour_handlers, node, &fd);
	else if (open->role == ROLE_SESSIONS && !node->sessions_away && !node->sessions)
		node->sessions =
			make_link(node, ROLE_SESSIONS, 7, false, &sessions_handlers, node, &fd);
	if (fd < 0) {
		node->denied += open->role == ROLE_WORKER;
		link_post(link, MSG_LINK_DENY, msg->stream, &deny);
		return;
	}
	ck_assert_int_eq(link_send(link, MSG_LINK_GRANT, msg->stream, &grant, SPAN_NONE, &fd), 0);
	close(fd);
}

static void on_ready(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	((struct node *)arg)->ready = true;
}

static void on_root_closed(struct link *link, int code, const char *why, void *arg)
{
	struct node *node = arg;

	if (code != -ERR_CLOSED)
		ck_abort_msg("root's link: %s", why);
	node->exited = true;
	node->root = NULL;
	link_free(link);
}

static void on_worker_kill(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_worker_kill *kill = msg->fields;
	struct node *node = arg;

	(void)link;
	for (unsigned i = 0; i < node->n_workers; i++)
		if (node->workers[i].instance == kill->instance)
			worker_die(&node->workers[i]);
	node->killed++;
}

static const struct link_handlers root_handlers = {
	.on = {[MSG_READY] = on_ready,
		[MSG_LINK_OPEN] = on_link_open,
		[MSG_WORKER_KILL] = on_worker_kill},
	.closed = on_root_closed,
};

static int config_file(const char *yaml, uint16_t port)
{
	struct config_report report;
	struct config *config;
	struct err err = {0};
	struct buf json, text;
	int fd;

	config_report_init(&report);
	buf_init(&json, 8u << 20);
	buf_init(&text, 1u << 20);
	ck_assert_int_eq(
		buf_printf(&text, "listen: ['http://127.0.0.1:%u']\n%s%s", port,
			strstr(yaml, "gateways:") ? "" : "gateways: 1\n", yaml),
		0);
	if (config_load_text(
		    buf_span(&text), CONFIG_SYNTAX_YAML, "test.yaml", "/", &config, &report) < 0) {
		buf_clear(&text);
		config_report_write(&report, &text);
		ck_abort_msg("%.*s", (int)text.len, text.data);
	}
	ck_assert_int_eq(config_write_json(config, CONFIG_VIEW_PUBLIC, NULL, &json), 0);
	ck_assert_int_eq(memfile_new("config", buf_span(&json), &fd, &err), 0);
	buf_free(&json);
	buf_free(&text);
	config_free(config);
	config_report_free(&report);
	return fd;
}

static void open_listener(struct node *node)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	node->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(node->listener, (struct sockaddr *)&address, len), 0);
	ck_assert_int_eq(listen(node->listener, 128), 0);
	getsockname(node->listener, (struct sockaddr *)&address, &len);
	node->port = ntohs(address.sin_port);
}

static void spawn(struct node *node, int fd)
{
	char *argv[] = {(char *)(uintptr_t)GATEWAY_PROGRAM, NULL};

	node->pid = fork();
	if (node->pid != 0)
		return;
	if (fd == PROCESS_ROOT_FD)
		fcntl(fd, F_SETFD, 0);
	else
		dup2(fd, PROCESS_ROOT_FD);
	execv(GATEWAY_PROGRAM, argv);
	_exit(127);
}

static void introduce(struct node *node, const char *yaml, const char *url)
{
	const struct msg_start start = {.instance = 5,
		.name = SPAN_LIT("0"),
		.state_dir = SPAN_LIT("/"),
		.run_dir = SPAN_LIT("/")};
	struct msg_listener listener = {.kind = SPAN_LIT("mcp")};
	char text[128];
	int fd = config_file(yaml, node->port);

	ck_assert_int_eq(link_send(node->root, MSG_START, 0, &start, SPAN_NONE, &fd), 0);
	close(fd);
	snprintf(text, sizeof(text), url ? url : "http://127.0.0.1:%u", node->port);
	listener.url = span_str(text);
	ck_assert_int_eq(
		link_send(node->root, MSG_LISTENER, 0, &listener, SPAN_NONE, &node->listener), 0);
}

void node_start(struct node *node, const char *yaml, const char *url)
{
	int fd;

	signal(SIGPIPE, SIG_IGN);
	*node = (struct node){.base = event_base_new()};
	buf_init(&node->reply, 1u << 24);
	open_listener(node);
	node->root = make_link(node, ROLE_ROOT, 0, true, &root_handlers, node, &fd);
	spawn(node, fd);
	close(fd);
	introduce(node, yaml, url);
	ck_assert(node_wait(node, &node->ready, PATIENCE_MS));
}

void node_stop(struct node *node, uint32_t deadline_ms)
{
	const struct msg_stop stop = {.deadline_ms = deadline_ms};

	link_post(node->root, MSG_STOP, 0, &stop);
}

void node_end(struct node *node)
{
	int status;

	if (!node->exited)
		node_stop(node, 300);
	ck_assert(node_wait(node, &node->exited, PATIENCE_MS));
	ck_assert_int_eq(waitpid(node->pid, &status, 0), node->pid);
	ck_assert_int_eq(status, 0);
	for (unsigned i = 0; i < node->n_workers; i++)
		link_free(node->workers[i].link);
	link_free(node->sessions);
	link_free(node->admin);
	link_free(node->neighbour);
	link_free(node->root);
	buf_free(&node->reply);
	close(node->listener);
	event_base_free(node->base);
}

void node_publish(struct node *node, const struct node_server *servers, unsigned count)
{
	static uint64_t generation;
	struct catalogue_server rows[8] = {0};
	struct catalogue_content content = {
		.generation = ++generation, .servers = rows, .servers_len = count};
	const struct msg_catalogue message = {.generation = generation};
	struct err err = {0};
	struct buf file;
	int fd;

	ck_assert_uint_le(count, 8);
	for (unsigned i = 0; i < count; i++) {
		rows[i].name = rows[i].upstream = span_str(servers[i].name);
		rows[i].state = servers[i].state;
		rows[i].capabilities = servers[i].listed ? SPAN_LIT("{}") : SPAN_NONE;
		rows[i].error =
			servers[i].state == SERVER_DOWN ? SPAN_LIT("it fell over") : SPAN_NONE;
	}
	buf_init(&file, 1u << 20);
	ck_assert_msg(catalogue_write(&content, &file, &err) == 0, "%s", err_text(&err));
	ck_assert_int_eq(memfile_new("catalogue", buf_span(&file), &fd, &err), 0);
	ck_assert_int_eq(link_send(node->root, MSG_CATALOGUE, 0, &message, SPAN_NONE, &fd), 0);
	close(fd);
	buf_free(&file);
}

/* --- the admin process ---------------------------------------------------------------------- */

static void on_reply(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_query_reply *reply = msg->fields;
	struct node *node = arg;

	(void)link;
	ck_assert_uint_eq(reply->code, 0);
	buf_clear(&node->reply);
	buf_append_span(&node->reply, msg->payload);
	buf_append_char(&node->reply, '\0');
	node->replied = true;
}

static void on_admin_closed(struct link *link, int code, const char *why, void *arg)
{
	if (code != -ERR_CLOSED)
		ck_abort_msg("admin's link: %s", why);
	((struct node *)arg)->admin = NULL;
	link_free(link);
}

static const struct link_handlers admin_handlers = {
	.on = {[MSG_QUERY_REPLY] = on_reply},
	.closed = on_admin_closed,
};

const char *node_query(struct node *node, const char *what)
{
	const struct msg_link_offer offer = {.role = ROLE_ADMIN, .instance = 3};
	const struct msg_query query = {.what = span_str(what)};
	int fd;

	if (!node->admin) {
		node->admin = make_link(node, ROLE_ADMIN, 3, true, &admin_handlers, node, &fd);
		ck_assert_int_eq(
			link_send(node->root, MSG_LINK_OFFER, 0, &offer, SPAN_NONE, &fd), 0);
		close(fd);
	}
	node->replied = false;
	link_post(node->admin, MSG_QUERY, link_stream(node->admin), &query);
	ck_assert(node_wait(node, &node->replied, PATIENCE_MS));
	return node->reply.data;
}

unsigned node_hand_over(
	struct node *node, const char *key, const char *principal, const char *body)
{
	const struct msg_link_offer offer = {.role = ROLE_GATEWAY, .instance = 6};
	const struct msg_channel_post post = {
		.key = span_str(key), .principal = span_str(principal)};
	int fd;

	if (!node->neighbour) {
		node->neighbour =
			make_link(node, ROLE_GATEWAY, 6, true, &neighbour_handlers, node, &fd);
		ck_assert_int_eq(
			link_send(node->root, MSG_LINK_OFFER, 0, &offer, SPAN_NONE, &fd), 0);
		close(fd);
	}
	node->taken = false;
	ck_assert_int_eq(link_send(node->neighbour, MSG_CHANNEL_POST, link_stream(node->neighbour),
				 &post, span_str(body), NULL),
		0);
	ck_assert(node_wait(node, &node->taken, PATIENCE_MS));
	return node->taken_code;
}

/* --- clients -------------------------------------------------------------------------------- */

void client_open(struct client *client, struct node *node)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(node->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	*client =
		(struct client){.node = node, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	buf_init(&client->in, 64u << 20);
	ck_assert_int_eq(connect(client->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	fcntl(client->fd, F_SETFL, O_NONBLOCK);
}

void client_close(struct client *client)
{
	close(client->fd);
	buf_free(&client->in);
	client->fd = -1;
}

void client_send(struct client *client, const char *text, size_t len)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (len > 0 && clock_ms() < end) {
		ssize_t n = send(client->fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return;
		if (n < 0)
			turn(client->node);
		else
			text += n, len -= (size_t)n;
	}
}

void client_say(struct client *client, const char *text)
{
	client_send(client, text, strlen(text));
}

void client_post(struct client *client, const char *headers, const char *body)
{
	struct buf text;

	buf_init(&text, 1u << 24);
	buf_printf(&text,
		"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Type: application/json\r\n"
		"Accept: application/json, text/event-stream\r\nContent-Length: %zu\r\n%s\r\n%s",
		client->node->port, strlen(body), headers, body);
	buf_append_char(&text, '\0');
	client_say(client, text.data);
	buf_free(&text);
}

void client_read(struct client *client)
{
	char piece[65536];
	ssize_t n;

	turn(client->node);
	if (client->stalled)
		return;
	while ((n = recv(client->fd, piece, sizeof(piece), 0)) > 0)
		buf_append(&client->in, piece, (size_t)n);
	client->closed = n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

const char *client_text(struct client *client)
{
	ck_assert_int_eq(buf_reserve(&client->in, 1), 0);
	client->in.data[client->in.len] = '\0';
	return client->in.data;
}

bool client_wait(struct client *client, const char *text)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (!strstr(client_text(client), text)) {
		if (client->closed || clock_ms() > end)
			return false;
		client_read(client);
	}
	return true;
}

bool client_wait_closed(struct client *client)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (!client->closed && clock_ms() < end)
		client_read(client);
	return client->closed;
}

static bool is_whole(const char *text)
{
	const char *end = strstr(text, "\r\n\r\n");
	const char *length = strstr(text, "Content-Length: ");

	if (!end)
		return false;
	if (length && length < end)
		return strlen(end + 4) >= (size_t)atol(length + 16);
	return strstr(text, "chunked") ? strstr(text, "\r\n0\r\n\r\n") != NULL : true;
}

unsigned client_status(struct client *client)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (!is_whole(client_text(client)) && !client->closed && clock_ms() < end)
		client_read(client);
	return strncmp(client_text(client), "HTTP/1.1 ", 9) == 0
		       ? (unsigned)atoi(client_text(client) + 9)
		       : 0;
}

void client_forget(struct client *client)
{
	buf_clear(&client->in);
}
