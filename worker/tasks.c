#include "tasks.h"
#include "log.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>

/* A server that does not answer by then is done without. */
#define PAGE_MS 5000u
/* Servers asked for one list. */
#define SERVERS_MAX 256u

struct task_list {
	char (*servers)[LIMIT_SERVER_NAME + 1];
	unsigned n, next;     /* next: the one to be asked after the present one */
	unsigned pages;       /* had of the present one */
	char *cursor;         /* of the page asked for, raw */
	uint64_t deadline_ms; /* of the request as a whole */
	bool answered;        /* at least one server did */
	struct buf tasks;     /* "[" and what was found so far */
};

void task_list_free(struct task_list *list)
{
	if (!list)
		return;
	free(list->servers);
	free(list->cursor);
	buf_free(&list->tasks);
	free(list);
}

/* Only who lists tasks can be asked, and only who has some of this session has to be. */
static bool is_wanted(const struct worker *worker, const char *name)
{
	struct catalogue_server server;
	uint32_t index;

	if (!worker->catalogue ||
		catalogue_find_server(worker->catalogue, span_str(name), &index) < 0)
		return false;
	catalogue_get_server(worker->catalogue, index, &server);
	return server.state == SERVER_UP && mcp_capable(server.capabilities, "tasks.list");
}

static bool has_server(const struct task_list *list, const char *name)
{
	for (unsigned i = 0; i < list->n; i++)
		if (strcmp(list->servers[i], name) == 0)
			return true;
	return false;
}

static struct task_list *task_list_new(const struct worker *worker)
{
	const struct session_mark *mark = worker->session.tasks.first;
	struct task_list *list = calloc(1, sizeof(*list));

	if (!list)
		return NULL;
	list->servers = calloc(SERVERS_MAX, sizeof(*list->servers));
	buf_init(&list->tasks, LIMIT_LIST);
	if (!list->servers || buf_append_char(&list->tasks, '[') < 0) {
		task_list_free(list);
		return NULL;
	}
	for (; mark && list->n < SERVERS_MAX; mark = mark->hh.next)
		if (!has_server(list, mark->server) && is_wanted(worker, mark->server))
			snprintf(list->servers[list->n++], sizeof(*list->servers), "%s",
				mark->server);
	return list;
}

static void answer(struct request *request)
{
	struct task_list *list = request->tasks;
	struct buf out;

	request->on_reply = NULL;
	buf_init(&out, list->tasks.len + 32);
	buf_printf(&out, "{\"tasks\":%.*s]}", SPAN_ARG(buf_span(&list->tasks)));
	request_result(request, buf_span(&out));
	buf_free(&out);
}

static bool on_page(struct request *request, const struct reply *reply, void *arg);

static int ask_page(struct request *request, struct span cursor)
{
	struct task_list *list = request->tasks;
	char *copy = strndup(cursor.p ? cursor.p : "", cursor.len);
	struct buf params;
	int r = -ERR_NO_MEMORY;

	free(list->cursor);
	list->cursor = copy;
	list->pages++;
	request->on_reply = on_page;
	request->deadline_ms = list->deadline_ms;
	buf_init(&params, 65536);
	if (copy && (!cursor.len || buf_printf(&params, "{\"cursor\":%s}", copy) == 0))
		r = server_call(request->worker, span_str(list->servers[list->next - 1]), request,
			SPAN_NONE, buf_span(&params), PAGE_MS);
	buf_free(&params);
	return r;
}

static void ask_next(struct request *request)
{
	struct task_list *list = request->tasks;

	while (list->next < list->n) {
		list->next++;
		list->pages = 0;
		if (ask_page(request, SPAN_NONE) == 0)
			return;
	}
	answer(request);
}

/* A server that several sessions share lists the tasks of all of them. */
static void keep_own(struct request *request, struct span tasks)
{
	struct task_list *list = request->tasks;
	const char *server = list->servers[list->next - 1];
	struct json_iter iter = json_iter(tasks);
	const struct session_mark *mark;
	struct span task, id;
	char text[256];

	while (json_iter_element(&iter, &task)) {
		if (json_string_copy(json_object_get(task, SPAN_LIT("taskId")), text, sizeof(text),
			    &id) < 0)
			continue;
		mark = session_mark_find(&request->worker->session.tasks, id);
		if (!mark || strcmp(mark->server, server) != 0 ||
			list->tasks.len + task.len + 1 > LIMIT_LIST)
			continue;
		if (list->tasks.len > 1)
			buf_append_char(&list->tasks, ',');
		buf_append_span(&list->tasks, task);
	}
}

/* True: there is another page, which has been asked for. */
static bool take_page(struct request *request, struct span result)
{
	struct task_list *list = request->tasks;
	struct span cursor = json_object_get(result, SPAN_LIT("nextCursor"));

	list->answered = true;
	keep_own(request, json_object_get(result, SPAN_LIT("tasks")));
	/* one that leads nowhere is no page */
	return json_type(cursor) == JSON_STRING && list->pages < LIMIT_LIST_PAGES &&
	       !json_equal_scalar(cursor, span_str(list->cursor)) &&
	       ask_page(request, cursor) == 0;
}

static bool on_page(struct request *request, const struct reply *reply, void *arg)
{
	struct task_list *list = request->tasks;

	(void)arg;
	if (reply->kind == 0 && take_page(request, reply->payload))
		return true;
	if (reply->kind != 0)
		log_warn("server.no_tasks", "its tasks are missing in the list",
			KV_STR("server", list->servers[list->next - 1]));
	if (reply->kind != 0 && !list->answered && list->next == list->n) {
		request->on_reply = NULL;
		request_reply(request, reply);
	} else {
		ask_next(request);
	}
	return true;
}

void tasks_list(struct request *request, struct span params)
{
	struct span cursor = json_object_get(params, SPAN_LIT("cursor"));

	if (cursor.len && json_type(cursor) != JSON_NULL) {
		request_refuse(request, ERR_INVALID_PARAMS,
			"the cursor is not one that a list of this server gave out");
		return;
	}
	request->tasks = task_list_new(request->worker);
	if (!request->tasks) {
		request_refuse(request, ERR_NO_MEMORY, "no memory for the list");
		return;
	}
	request->tasks->deadline_ms = request->deadline_ms;
	ask_next(request);
}
