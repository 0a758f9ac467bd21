#include "worker_scene_parts.h"
#include "clock.h"
#include "config.h"
#include "memfile.h"
#include "process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

uint64_t scene_now(void)
{
	return clock_ms();
}

void scene_turn(struct scene *scene)
{
	const struct timeval turn = {.tv_usec = 2000};

	event_base_loopexit(scene->base, &turn);
	event_base_loop(scene->base, EVLOOP_ONCE);
}

void scene_settle(struct scene *scene, unsigned ms)
{
	uint64_t end = clock_ms() + ms;

	while (clock_ms() < end)
		scene_turn(scene);
}

void scene_copy(char *dst, size_t size, struct span text)
{
	snprintf(dst, size, "%.*s", SPAN_ARG(text));
}

static struct link *link_to(struct event_base *base, enum role self, enum role peer, bool opener,
	const struct link_handlers *handlers, void *arg, int *ret_fd)
{
	const struct link_config config = {.self = self, .peer = {.role = peer}, .opener = opener};
	struct err err = {0};
	struct link *link;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(link_new(base, pair[0], &config, handlers, arg, &link, &err), 0);
	*ret_fd = pair[1];
	return link;
}

/* --- the root ------------------------------------------------------------------------------- */

static void on_ready(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	((struct subject *)arg)->ready = true;
}

static void grant(struct subject *subject, uint32_t stream, const struct msg_link_open *open,
	const struct link_handlers *handlers, void *arg, struct link **ret)
{
	const struct msg_link_grant granted = {.role = open->role, .name = open->name};
	int fd;

	*ret = link_to(subject->scene->base, (enum role)open->role, ROLE_WORKER, false, handlers,
		arg, &fd);
	ck_assert_int_eq(
		link_send(subject->root, MSG_LINK_GRANT, stream, &granted, SPAN_NONE, &fd), 0);
	close(fd);
}

static void on_link_open(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_link_open *open = msg->fields;
	const struct msg_link_deny deny = {.code = ERR_CLOSED, .detail = SPAN_LIT("not there")};
	struct subject *subject = arg;
	struct scene *scene = subject->scene;
	struct played *server;
	char name[LIMIT_SERVER_NAME + 1];

	if (open->role == ROLE_SESSIONS)
		subject->sessions_asked++;
	else
		subject->links_asked++;
	if (open->role == ROLE_SESSIONS ? scene->no_sessions : scene->no_upstreams) {
		link_post(link, MSG_LINK_DENY, msg->stream, &deny);
	} else if (open->role == ROLE_SESSIONS) {
		grant(subject, msg->stream, open, &scene_sessions_handlers, subject,
			&subject->sessions);
	} else {
		scene_copy(name, sizeof(name), open->name);
		server = played(subject, name);
		server->opened++;
		grant(subject, msg->stream, open, &scene_upstream_handlers, server, &server->link);
	}
}

static void on_root_closed(struct link *link, int code, const char *why, void *arg)
{
	if (code != -ERR_CLOSED)
		ck_abort_msg("a worker's link with the root: %s", why);
	((struct subject *)arg)->root = NULL;
	link_free(link);
}

static void on_serving(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_serving *serving = msg->fields;
	struct subject *subject = arg;

	(void)link;
	snprintf(subject->serves, sizeof(subject->serves), "%.*s", SPAN_ARG(serving->session));
}

static const struct link_handlers root_handlers = {
	.on = {[MSG_READY] = on_ready,
		[MSG_LINK_OPEN] = on_link_open,
		[MSG_SERVING] = on_serving},
	.closed = on_root_closed,
};

struct link *subject_open(
	struct subject *subject, enum role role, const struct link_handlers *handlers)
{
	const struct msg_link_offer offer = {.role = role, .instance = 7};
	struct link *link;
	int fd;

	link = link_to(subject->scene->base, role, ROLE_WORKER, true, handlers, subject, &fd);
	ck_assert_int_eq(link_send(subject->root, MSG_LINK_OFFER, 0, &offer, SPAN_NONE, &fd), 0);
	close(fd);
	return link;
}

static void on_zygote_ready(struct link *link, const struct message *msg, void *arg)
{
	(void)link;
	(void)msg;
	((struct scene *)arg)->zygote_ready = true;
}

static void on_forked(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_forked *forked = msg->fields;
	struct scene *scene = arg;

	(void)link;
	for (unsigned i = 0; i < scene->n_subjects; i++) {
		struct subject *subject = scene->subjects[i];

		if (subject->instance != forked->instance)
			continue;
		subject->pid = (pid_t)forked->pid;
		subject->pidfd = msg->fds[0];
		msg->fds[0] = -1;
	}
}

static void on_fork_failed(struct link *link, const struct message *msg, void *arg)
{
	const struct msg_fork_failed *failed = msg->fields;

	(void)link;
	(void)arg;
	ck_abort_msg("fork: %.*s", SPAN_ARG(failed->reason));
}

static void on_zygote_closed(struct link *link, int code, const char *why, void *arg)
{
	struct scene *scene = arg;

	(void)code;
	(void)why;
	scene->zygote_closed = true;
	scene->zygote = NULL;
	link_free(link);
}

static const struct link_handlers zygote_handlers = {
	.on = {[MSG_READY] = on_zygote_ready,
		[MSG_FORKED] = on_forked,
		[MSG_FORK_FAILED] = on_fork_failed},
	.closed = on_zygote_closed,
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

static void send_start(struct link *link, uint64_t instance, int fd)
{
	const struct msg_start start = {
		.instance = instance, .state_dir = SPAN_LIT("/"), .run_dir = SPAN_LIT("/")};

	ck_assert_int_eq(link_send(link, MSG_START, 0, &start, SPAN_NONE, &fd), 0);
	close(fd);
}

static const char usual_config[] = "session: {request_timeout: 30s}\n"
				   "servers:\n"
				   "  alpha: {command: /bin/true, idempotent: [\"idem*\"]}\n"
				   "  beta: {command: /bin/true}\n"
				   "views:\n"
				   "  without: {resources: {exclude: [\"test://t/{id}/data\"]}}\n"
				   "  only: {resources: {include: [\"test://t/{id}/data\"],"
				   " exclude: [\"test://t/7/*\"]}}\n";

struct config *scene_config(void)
{
	struct config_report report;
	struct config *config;

	config_report_init(&report);
	ck_assert_int_eq(config_load_text(span_str(usual_config), CONFIG_SYNTAX_YAML, "test.yaml",
				 "/", &config, &report),
		0);
	config_report_free(&report);
	return config;
}

void scene_start(struct scene *scene, const char *yaml)
{
	char *argv[] = {(char *)(uintptr_t)WORKER_PROGRAM, NULL};
	int fd;

	signal(SIGPIPE, SIG_IGN);
	*scene = (struct scene){.base = event_base_new()};
	scene->catalogue = scene_catalogue(1, "", false);
	scene->zygote =
		link_to(scene->base, ROLE_ROOT, ROLE_ZYGOTE, true, &zygote_handlers, scene, &fd);
	scene->zygote_pid = fork();
	if (scene->zygote_pid == 0) {
		if (fd == PROCESS_ROOT_FD)
			fcntl(fd, F_SETFD, 0);
		else
			dup2(fd, PROCESS_ROOT_FD);
		execv(WORKER_PROGRAM, argv);
		_exit(127);
	}
	close(fd);
	send_start(scene->zygote, 1, config_file(*yaml ? yaml : usual_config));
	WAIT_FOR(scene, scene->zygote_ready);
}

struct subject *scene_fork(struct scene *scene)
{
	struct subject *subject = calloc(1, sizeof(*subject));
	struct msg_fork order = {.instance = 100 + scene->n_subjects};
	struct err err = {0};
	int fd, none;

	ck_assert_uint_lt(scene->n_subjects, SUBJECTS_MAX);
	subject->scene = scene;
	subject->instance = order.instance;
	subject->pidfd = -1;
	buf_init(&subject->state, BUF_MAX);
	buf_init(&subject->events, BUF_MAX);
	scene->subjects[scene->n_subjects++] = subject;
	subject->root =
		link_to(scene->base, ROLE_ROOT, ROLE_WORKER, true, &root_handlers, subject, &fd);
	ck_assert_int_eq(link_send(scene->zygote, MSG_FORK, 0, &order, SPAN_NONE, &fd), 0);
	close(fd);
	ck_assert_int_eq(memfile_new("config", SPAN_NONE, &none, &err), 0);
	send_start(subject->root, subject->instance, none);
	scene_publish(subject, scene->catalogue, 1);
	return subject;
}

struct subject *scene_worker(struct scene *scene)
{
	struct subject *subject = scene_fork(scene);

	WAIT_FOR(scene, subject->ready && subject->pid);
	subject_open_sessions(subject);
	return subject;
}

struct subject *scene_session(struct scene *scene, const char *version, const char *capabilities)
{
	struct subject *subject = scene_worker(scene);
	struct answer *answer;
	char body[4096];

	subject_lease(subject, "session-1", 1, 0, "", 1);
	snprintf(body, sizeof(body),
		"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{"
		"\"protocolVersion\":\"%s\","
		"\"capabilities\":%s,\"clientInfo\":{\"name\":\"tester\",\"version\":\"1\"}}}",
		version, capabilities);
	answer_has(answer = post(subject, body), 200, "\"protocolVersion\"");
	ck_assert_str_eq(answer->session, "session-1");
	answer_is(post(subject, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}"),
		202, "");
	return subject;
}

struct subject *scene_modern(struct scene *scene)
{
	struct subject *subject = scene_worker(scene);

	subject_lease(subject, "shared-1", 1, 1, "", 1);
	return subject;
}

int subject_wait_exit(struct subject *subject)
{
	struct scene *scene = subject->scene;
	siginfo_t info = {0};

	WAIT_FOR(scene, waitid(P_PIDFD, (id_t)subject->pidfd, &info, WEXITED | WNOHANG) == 0 &&
				info.si_pid);
	close(subject->pidfd);
	subject->pidfd = -1;
	WAIT_FOR(scene, !subject->root && !subject->sessions);
	return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
}

void subject_kill(struct subject *subject)
{
	ck_assert_int_eq(kill(subject->pid, SIGKILL), 0);
	ck_assert_int_eq(subject_wait_exit(subject), -SIGKILL);
}

static void subject_free(struct subject *subject)
{
	const struct msg_stop stop = {.deadline_ms = 5000};

	if (subject->pidfd >= 0) {
		ck_assert_int_eq(link_post(subject->root, MSG_STOP, 0, &stop), 0);
		ck_assert_int_eq(subject_wait_exit(subject), 0);
	}
	link_free(subject->root);
	link_free(subject->sessions);
	for (unsigned i = 0; i < 2; i++)
		link_free(subject->gateways[i]);
	for (unsigned i = 0; i < SERVERS_MAX; i++) {
		link_free(subject->servers[i].link);
		buf_free(&subject->servers[i].attach);
		buf_free(&subject->servers[i].notes);
	}
	buf_free(&subject->state);
	buf_free(&subject->events);
	free(subject);
}

void scene_end(struct scene *scene)
{
	const struct msg_stop stop = {.deadline_ms = 5000};
	int status;

	for (unsigned i = 0; i < scene->n_calls; i++) {
		struct call *call = scene->calls[i];

		if (call->server->link && !call->cancelled && call->stream)
			call_failed(call, ERR_DRAINING, 0);
		buf_free(&call->params);
		buf_free(&call->reason);
	}
	for (unsigned i = 0; i < scene->n_subjects; i++)
		subject_free(scene->subjects[i]);
	for (unsigned i = 0; i < scene->n_calls; i++)
		free(scene->calls[i]);
	for (unsigned i = 0; i < scene->n_answers; i++) {
		buf_free(&scene->answers[i]->data);
		free(scene->answers[i]);
	}
	for (unsigned i = 0; i < scene->n_asks; i++) {
		buf_free(&scene->asks[i]->payload);
		free(scene->asks[i]);
	}
	if (scene->zygote)
		link_post(scene->zygote, MSG_STOP, 0, &stop);
	WAIT_FOR(scene, waitpid(scene->zygote_pid, &status, WNOHANG) == scene->zygote_pid);
	ck_assert(scene->zygote_killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	link_free(scene->zygote);
	close(scene->catalogue);
	event_base_free(scene->base);
}

void scene_publish(struct subject *subject, int catalogue, uint64_t generation)
{
	const struct msg_catalogue fields = {.generation = generation};

	ck_assert_int_eq(
		link_send(subject->root, MSG_CATALOGUE, 0, &fields, SPAN_NONE, &catalogue), 0);
}
