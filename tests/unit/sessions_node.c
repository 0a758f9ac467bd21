#include "sessions_node.h"
#include "config.h"
#include "memfile.h"
#include "process.h"

#include <endian.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void node_turn(struct node *node)
{
	const struct timeval turn = {.tv_usec = 2000};

	event_base_loopexit(node->base, &turn);
	event_base_loop(node->base, EVLOOP_ONCE);
}

/* --- a played worker ------------------------------------------------------------------------ */

static void on_lease(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_lease *lease = msg->fields;
	struct peer *peer = arg;

	(void)link;
	snprintf(peer->session, sizeof(peer->session), "%.*s", SPAN_ARG(lease->session));
	snprintf(peer->principal, sizeof(peer->principal), "%.*s", SPAN_ARG(lease->principal));
	snprintf(peer->view, sizeof(peer->view), "%.*s", SPAN_ARG(lease->view));
	peer->epoch = lease->epoch;
	peer->era = lease->era;
	peer->next_event = lease->next_event;
	buf_clear(&peer->state);
	buf_append_span(&peer->state, msg->payload);
	peer->events_before = peer->events.len;
	peer->leases++;
	if (!peer->node->lazy)
		peer_take(peer);
}

static void on_lease_events(struct link *link, const struct message *msg, void *arg)
{
	struct peer *peer = arg;

	(void)link;
	buf_append_span(&peer->events, msg->payload);
}

static void on_saved(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_saved *saved = msg->fields;
	struct peer *peer = arg;

	(void)link;
	peer->saved++;
	peer->saved_code = saved->code;
	peer->saved_stream = msg->stream;
}

static void on_dismissed(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_close *close = msg->fields;
	struct peer *peer = arg;

	(void)link;
	snprintf(peer->reason, sizeof(peer->reason), "%.*s", SPAN_ARG(close->reason));
	peer->dismissed = true;
}

static void on_peer_closed(struct link *link, int code, const char *why, void *arg)
{
	struct peer *peer = arg;

	if (code != -ERR_CLOSED)
		ck_abort_msg("a worker's link: %s", why);
	peer->link = NULL;
	link_free(link);
}

static const struct link_handlers peer_handlers = {
	.on =
		{
			[MSG_LEASE] = on_lease,
			[MSG_LEASE_EVENTS] = on_lease_events,
			[MSG_SESSION_SAVED] = on_saved,
			[MSG_SESSION_CLOSE] = on_dismissed,
		},
	.closed = on_peer_closed,
};

static struct link *make_link(struct node *node, const struct link_config *config,
	const struct link_handlers *handlers, void *arg, int *fd)
{
	struct err err = {0};
	struct link *link;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(link_new(node->base, pair[0], config, handlers, arg, &link, &err), 0);
	*fd = pair[1];
	return link;
}

static struct peer *peer_new(struct node *node)
{
	struct peer *peer = &node->workers[node->n_workers++];

	ck_assert_uint_lt(node->n_workers, WORKERS_MAX);
	*peer = (struct peer){.node = node, .instance = ++node->next_instance};
	buf_init(&peer->state, 1u << 21);
	buf_init(&peer->events, 1u << 28);
	return peer;
}

static struct link *peer_link(struct peer *peer, bool opener, int *fd)
{
	const struct link_config config = {
		.self = ROLE_WORKER,
		.self_instance = peer->instance,
		.peer = {.role = ROLE_SESSIONS},
		.opener = opener,
	};

	peer->linked = true;
	return make_link(peer->node, &config, &peer_handlers, peer, fd);
}

static void offer(struct node *node, enum role role, uint64_t instance, int fd)
{
	const struct msg_link_offer fields = {.role = role, .instance = instance};

	ck_assert_int_eq(link_send(node->manager, MSG_LINK_OFFER, 0, &fields, SPAN_NONE, &fd), 0);
	close(fd);
}

struct peer *peer_of(struct node *node, uint64_t instance)
{
	for (unsigned i = node->n_workers; i > 0; i--)
		if (node->workers[i - 1].instance == instance)
			return &node->workers[i - 1];
	ck_abort_msg("no worker %llu", (unsigned long long)instance);
}

void peer_reconnect(struct peer *peer)
{
	int fd;

	ck_assert_ptr_null(peer->link);
	peer->dismissed = false;
	peer->link = peer_link(peer, true, &fd);
	offer(peer->node, ROLE_WORKER, peer->instance, fd);
}

void peer_claim(
	struct peer *peer, const char *session, uint64_t epoch, const char *principal, unsigned era)
{
	const struct msg_lease_taken fields = {.session = span_str(session),
		.epoch = epoch,
		.principal = span_str(principal),
		.era = era,
		.view = span_str(peer->view)};

	ck_assert_int_eq(link_post(peer->link, MSG_LEASE_TAKEN, 0, &fields), 0);
}

void peer_take(struct peer *peer)
{
	peer_claim(peer, peer->session, peer->epoch, peer->principal, (unsigned)peer->era);
}

void peer_vanish(struct peer *peer)
{
	const struct msg_exited fields = {
		.role = ROLE_WORKER, .instance = peer->instance, .reason = SPAN_LIT("signal 9")};

	link_free(peer->link);
	peer->link = NULL;
	if (peer->node->manager)
		link_post(peer->node->manager, MSG_EXITED, 0, &fields);
}

void peer_die(struct peer *peer)
{
	peer_vanish(peer);
	node_settle(peer->node);
}

void peer_save(struct peer *peer, uint32_t stream, uint64_t epoch, struct span state)
{
	const struct msg_session_state fields = {
		.session = span_str(peer->session), .epoch = epoch, .next_event = peer->next_event};

	ck_assert_int_eq(link_send(peer->link, MSG_SESSION_STATE, stream, &fields, state, NULL), 0);
}

void peer_save_now(struct peer *peer, const char *state)
{
	unsigned before = peer->saved;

	peer_save(peer, before + 1, peer->epoch, span_str(state));
	AWAIT(peer->node, peer->saved > before);
	ck_assert_uint_eq(peer->saved_code, 0);
	ck_assert_uint_eq(peer->saved_stream, before + 1);
}

void peer_log(struct peer *peer, uint64_t first, unsigned count, size_t size)
{
	const struct msg_session_events fields = {
		.session = span_str(peer->session), .epoch = peer->epoch};
	char *data = calloc(1, 16 + size);
	struct buf records;

	buf_init(&records, 1u << 23);
	for (unsigned i = 0; i < count; i++) {
		uint32_t stream = htobe32(7), len = htobe32((uint32_t)size);
		uint64_t id = htobe64(first + i);

		memcpy(data, &stream, 4);
		memcpy(data + 4, &id, 8);
		memcpy(data + 12, &len, 4);
		memset(data + 16, 'e', size);
		ck_assert_int_eq(buf_append(&records, data, 16 + size), 0);
	}
	while (link_send(peer->link, MSG_SESSION_EVENTS, 0, &fields, buf_span(&records), NULL) ==
		-ERR_AGAIN)
		node_turn(peer->node);
	buf_free(&records);
	free(data);
}

void peer_close(struct peer *peer, const char *reason)
{
	const struct msg_session_close fields = {.session = span_str(peer->session),
		.epoch = peer->epoch,
		.reason = span_str(reason)};

	ck_assert_int_eq(link_post(peer->link, MSG_SESSION_CLOSE, 0, &fields), 0);
}

/* --- the played root ------------------------------------------------------------------------ */

static void on_ready(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	((struct node *)arg)->ready = true;
}

static void answer_want(struct node *node, uint32_t stream, bool refuse)
{
	struct msg_worker_given fields = {.detail = SPAN_LIT("the test gives none")};

	if (!refuse)
		fields = (struct msg_worker_given){.instance = peer_new(node)->instance};
	ck_assert_int_eq(link_post(node->manager, MSG_WORKER_GIVEN, stream, &fields), 0);
}

static void on_want(struct link *link, const struct message *msg, void *arg)
{
	struct node *node = arg;

	(void)link;
	node->wants++;
	if (node->giving != HOLD) {
		answer_want(node, msg->stream, node->giving == REFUSE);
		return;
	}
	for (unsigned i = 0; i < 256; i++)
		if (!node->wanted[i]) {
			node->wanted[i] = msg->stream;
			return;
		}
	ck_abort_msg("too many workers wanted at once");
}

void node_give(struct node *node, bool refuse)
{
	for (unsigned i = 0; i < 256; i++)
		if (node->wanted[i]) {
			answer_want(node, node->wanted[i], refuse);
			node->wanted[i] = 0;
			return;
		}
	ck_abort_msg("no worker is wanted");
}

static void on_kill(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_worker_kill *kill = msg->fields;
	struct peer *peer = peer_of(arg, kill->instance);

	(void)link;
	peer->killed = true;
	if (peer->link)
		peer_vanish(peer);
}

static void on_link_open(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_link_open *open = msg->fields;
	struct node *node = arg;
	const struct msg_link_deny deny = {.code = ERR_NOT_FOUND, .detail = SPAN_LIT("it died")};
	struct msg_link_grant grant = {.role = open->role, .instance = open->instance};
	struct peer *peer = peer_of(node, open->instance);
	int fd;

	ck_assert_uint_eq(open->role, ROLE_WORKER);
	if (node->deny_links) {
		link_post(link, MSG_LINK_DENY, msg->stream, &deny);
		return;
	}
	peer->link = peer_link(peer, false, &fd);
	ck_assert_int_eq(link_send(link, MSG_LINK_GRANT, msg->stream, &grant, SPAN_NONE, &fd), 0);
	close(fd);
}

static void on_manager_closed(struct link *link, int code, const char *why, void *arg)
{
	struct node *node = arg;

	(void)code;
	(void)why;
	node->closed = true;
	node->manager = NULL;
	link_free(link);
}

static const struct link_handlers manager_handlers = {
	.on =
		{
			[MSG_READY] = on_ready,
			[MSG_WORKER_WANT] = on_want,
			[MSG_WORKER_KILL] = on_kill,
			[MSG_LINK_OPEN] = on_link_open,
		},
	.closed = on_manager_closed,
};

static int config_file(const char *yaml)
{
	struct config_report report;
	struct config *config;
	struct err err = {0};
	struct buf json;
	int fd;

	config_report_init(&report);
	buf_init(&json, 8u << 20);
	ck_assert_int_eq(config_load_text(span_str(yaml), CONFIG_SYNTAX_YAML, "test.yaml", "/",
				 &config, &report),
		0);
	ck_assert_int_eq(config_write_json(config, CONFIG_VIEW_PUBLIC, NULL, &json), 0);
	ck_assert_int_eq(memfile_new("config", buf_span(&json), &fd, &err), 0);
	buf_free(&json);
	config_free(config);
	config_report_free(&report);
	return fd;
}

static void execute(const struct node *node, int fd)
{
	char *argv[] = {(char *)(uintptr_t)SESSIONS_PROGRAM, NULL};
	const struct rlimit limit = {node->file_limit, node->file_limit};
	char log[80];

	snprintf(log, sizeof(log), "%s/log", node->dir);
	dup2(open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), STDERR_FILENO);
	if (node->file_limit) {
		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &limit);
	}
	if (fd == PROCESS_ROOT_FD)
		fcntl(fd, F_SETFD, 0);
	else
		dup2(fd, PROCESS_ROOT_FD);
	execv(SESSIONS_PROGRAM, argv);
	_exit(127);
}

void node_again(struct node *node)
{
	const struct link_config config = {
		.self = ROLE_ROOT, .peer = {.role = ROLE_SESSIONS}, .opener = true};
	const struct msg_start start = {
		.instance = 1, .state_dir = span_str(node->dir), .run_dir = span_str(node->dir)};
	int fd, view = config_file(node->yaml);

	node->ready = node->closed = false;
	memset(node->wanted, 0, sizeof(node->wanted));
	node->manager = make_link(node, &config, &manager_handlers, node, &fd);
	node->pid = fork();
	if (node->pid == 0)
		execute(node, fd);
	close(fd);
	ck_assert_int_eq(link_send(node->manager, MSG_START, 0, &start, SPAN_NONE, &view), 0);
	close(view);
	AWAIT(node, node->ready || node->closed);
	if (node->closed)
		waitpid(node->pid, &node->status, 0);
	else
		gate_open(node, 0);
}

void node_start(struct node *node, const char *yaml)
{
	signal(SIGPIPE, SIG_IGN);
	*node = (struct node){.base = event_base_new(), .yaml = yaml, .next_instance = 100};
	snprintf(node->dir, sizeof(node->dir), "/tmp/gatehouse-sessions-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(node->dir));
	node->workers = calloc(WORKERS_MAX, sizeof(*node->workers));
	node->asks = calloc(ASKS_MAX, sizeof(*node->asks));
	buf_init(&node->reply, 1u << 25);
	node_again(node);
}

static void all_links_closed(struct node *node)
{
	for (unsigned i = 0; i < GATES_MAX; i++)
		AWAIT(node, !node->gates[i]);
	for (unsigned i = 0; i < node->n_workers; i++)
		AWAIT(node, !node->workers[i].link);
	AWAIT(node, !node->admin && node->closed);
	waitpid(node->pid, &node->status, 0);
}

void node_kill(struct node *node)
{
	kill(node->pid, SIGKILL);
	all_links_closed(node);
}

void node_stop(struct node *node)
{
	const struct msg_stop stop = {.deadline_ms = 1000};

	ck_assert_int_eq(link_post(node->manager, MSG_STOP, 0, &stop), 0);
	all_links_closed(node);
	ck_assert(WIFEXITED(node->status));
	ck_assert_int_eq(WEXITSTATUS(node->status), 0);
}

void node_configure(struct node *node, const char *yaml)
{
	const struct msg_config config = {.generation = 2};
	int fd = config_file(yaml);

	node->yaml = yaml;
	ck_assert_int_eq(link_send(node->manager, MSG_CONFIG, 0, &config, SPAN_NONE, &fd), 0);
	close(fd);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

void node_end(struct node *node)
{
	if (!node->closed)
		node_stop(node);
	for (unsigned i = 0; i < node->n_workers; i++) {
		buf_free(&node->workers[i].state);
		buf_free(&node->workers[i].events);
	}
	free(node->workers);
	free(node->asks);
	buf_free(&node->reply);
	event_base_free(node->base);
	nftw(node->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void node_log(const struct node *node, char *text, size_t size)
{
	char path[80];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/log", node->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = read(fd, text, size - 1);
	text[n > 0 ? n : 0] = '\0';
	close(fd);
}

bool node_logged(const struct node *node, const char *words)
{
	static char text[1u << 18];

	node_log(node, text, sizeof(text));
	return strstr(text, words) != NULL;
}

/* --- played gateways ------------------------------------------------------------------------ */

static void on_leased(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_session_leased *leased = msg->fields;
	struct node *node = arg;

	for (unsigned i = node->n_asks; i > 0; i--) {
		struct ask *ask = &node->asks[i - 1];

		if (ask->gate != link || ask->stream != msg->stream)
			continue;
		ck_assert_msg(!ask->told, "a second answer");
		ask->told = true;
		ask->told_ms = clock_ms();
		ask->code = leased->code;
		ask->instance = leased->instance;
		ask->epoch = leased->epoch;
		snprintf(ask->detail, sizeof(ask->detail), "%.*s", SPAN_ARG(leased->detail));
		snprintf(ask->session, sizeof(ask->session), "%.*s", SPAN_ARG(leased->session));
		return;
	}
	ck_abort_msg("an answer to nobody");
}

static void on_gate_closed(struct link *link, int code, const char *why, void *arg)
{
	struct node *node = arg;

	if (code != -ERR_CLOSED)
		ck_abort_msg("a gateway's link: %s", why);
	for (unsigned i = 0; i < GATES_MAX; i++)
		if (node->gates[i] == link)
			node->gates[i] = NULL;
	link_free(link);
}

static const struct link_handlers gate_handlers = {
	.on = {[MSG_SESSION_LEASED] = on_leased}, .closed = on_gate_closed};

void gate_open(struct node *node, unsigned gate)
{
	const struct link_config config = {
		.self = ROLE_GATEWAY, .peer = {.role = ROLE_SESSIONS}, .opener = true};
	int fd;

	node->gates[gate] = make_link(node, &config, &gate_handlers, node, &fd);
	offer(node, ROLE_GATEWAY, 10 + gate, fd);
}

void gate_close(struct node *node, unsigned gate)
{
	link_free(node->gates[gate]);
	node->gates[gate] = NULL;
}

static struct ask *ask_new(struct node *node, unsigned gate)
{
	struct ask *ask = &node->asks[node->n_asks++];

	ck_assert_uint_lt(node->n_asks, ASKS_MAX);
	*ask = (struct ask){.gate = node->gates[gate], .stream = link_stream(node->gates[gate])};
	return ask;
}

struct ask *ask_open(struct node *node, unsigned gate, const char *principal, unsigned era)
{
	const struct msg_session_open fields = {
		.principal = span_str(principal), .era = era, .view = span_str(node->view)};
	struct ask *ask = ask_new(node, gate);

	ck_assert_int_eq(link_post(ask->gate, MSG_SESSION_OPEN, ask->stream, &fields), 0);
	return ask;
}

struct ask *ask_find(struct node *node, unsigned gate, const char *session, const char *principal)
{
	const struct msg_session_find fields = {
		.session = span_str(session),
		.principal = span_str(principal),
		.view = span_str(node->view)};
	struct ask *ask = ask_new(node, gate);

	ck_assert_int_eq(link_post(ask->gate, MSG_SESSION_FIND, ask->stream, &fields), 0);
	return ask;
}

struct ask *open_now(struct node *node, const char *principal, unsigned era)
{
	struct ask *ask = ask_open(node, 0, principal, era);

	AWAIT(node, ask->told);
	ck_assert_msg(ask->code == 0, "refused: %s", ask->detail);
	return ask;
}

/* As a gateway does: AGAIN means again. */
struct ask *find_now(struct node *node, const char *session)
{
	struct ask *ask;

	do {
		ask = ask_find(node, 0, session, "anonymous");
		AWAIT(node, ask->told);
		if (ask->code == ERR_AGAIN)
			node_turn(node);
	} while (ask->code == ERR_AGAIN);
	return ask;
}

/* --- the played admin process --------------------------------------------------------------- */

static void on_reply(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_query_reply *reply = msg->fields;
	struct node *node = arg;

	(void)link;
	node->replied = true;
	node->reply_code = reply->code;
	buf_clear(&node->reply);
	buf_append_span(&node->reply, msg->payload);
	buf_append_char(&node->reply, '\0');
}

static void on_admin_closed(struct link *link, int code, const char *why, void *arg)
{
	(void)code;
	(void)why;
	((struct node *)arg)->admin = NULL;
	link_free(link);
}

static const struct link_handlers admin_handlers = {
	.on = {[MSG_QUERY_REPLY] = on_reply}, .closed = on_admin_closed};

static uint64_t admin_ask(
	struct node *node, enum message_type type, const char *what, const char *payload)
{
	const struct link_config config = {
		.self = ROLE_ADMIN, .peer = {.role = ROLE_SESSIONS}, .opener = true};
	const struct msg_query fields = {.what = span_str(what)};
	int fd;

	if (!node->admin) {
		node->admin = make_link(node, &config, &admin_handlers, node, &fd);
		offer(node, ROLE_ADMIN, 5, fd);
	}
	node->replied = false;
	ck_assert_int_eq(link_send(node->admin, type, link_stream(node->admin), &fields,
				 span_str(payload), NULL),
		0);
	AWAIT(node, node->replied);
	return node->reply_code;
}

uint64_t admin_query(struct node *node, const char *what)
{
	return admin_ask(node, MSG_QUERY, what, NULL);
}

uint64_t admin_command(struct node *node, const char *what, const char *payload)
{
	return admin_ask(node, MSG_COMMAND, what, payload);
}

void node_settle(struct node *node)
{
	/* it hears the second only after all that was there before the first */
	for (int i = 0; i < 2; i++)
		admin_query(node, "metrics");
}
