/*
 * Metrics and health over HTTP, for Prometheus and load balancers: /metrics /livez /healthz
 * /readyz. By libevent's server; requests have no body that matters, and everyone may read.
 */
#include "admin.h"
#include "bounds.h"
#include "json.h"
#include "json_write.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <stdlib.h>
#include <unistd.h>

#define HEADERS_MAX 16384
#define TIMEOUT_S 30

static void answer(struct evhttp_request *req, int status, const char *type, struct span body)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
	struct evbuffer *out = evbuffer_new();

	evhttp_add_header(headers, "Content-Type", type);
	evhttp_add_header(headers, "Cache-Control", "no-store");
	if (out)
		evbuffer_add(out, body.p, body.len);
	evhttp_send_reply(req, status, NULL, out);
	if (out)
		evbuffer_free(out);
}

static void answer_text(struct evhttp_request *req, int status, const char *text)
{
	answer(req, status, "text/plain; charset=utf-8", span_str(text));
}

/* --- /metrics ------------------------------------------------------------------------------- */

static void on_metrics(void *arg, struct span text, const struct err *err)
{
	struct evhttp_request *req = arg;

	if (err)
		answer_text(req, HTTP_SERVUNAVAIL, err_text(err));
	else
		answer(req, HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text);
}

static void get_metrics(struct evhttp_request *req, void *arg)
{
	admin_gather_metrics(arg, on_metrics, req);
}

/* --- health --------------------------------------------------------------------------------- */

static void get_livez(struct evhttp_request *req, void *arg)
{
	(void)arg;
	answer_text(req, HTTP_OK, "ok\n");
}

struct probe {
	struct admin *admin;
	struct evhttp_request *req;
};

/* Those that did not answer, as a JSON array. Returns how many. */
static unsigned write_silent(const struct parts_answer *answers, size_t n, struct buf *out)
{
	unsigned silent = 0;

	buf_append_char(out, '[');
	for (size_t i = 0; i < n; i++) {
		if (answers[i].err.code == 0)
			continue;
		buf_append_str(out, silent++ ? "," : "");
		json_write_string(out, span_str(err_text(&answers[i].err)));
	}
	buf_append_char(out, ']');
	return silent;
}

static void on_health(void *arg, const struct parts_answer *answers, size_t n)
{
	struct probe *probe = arg;
	struct buf out;
	unsigned silent;

	buf_init(&out, ADMIN_REPLY_MAX);
	buf_append_str(&out, "{\"not_answering\":");
	silent = write_silent(answers, n, &out);
	buf_append_str(&out, ",\"servers\":");
	admin_write_servers(probe->admin, &out);
	buf_append_str(&out, "}\n");
	answer(probe->req, silent ? HTTP_SERVUNAVAIL : HTTP_OK, "application/json", buf_span(&out));
	buf_free(&out);
	free(probe);
}

/* The root's word for its state: starting, ready, stopping. */
static struct span root_state(const struct parts_answer *root)
{
	struct span json = span_of(root->payload, root->len), state;

	if (root->err.code != 0 || json_check(json, LIMIT_JSON_DEPTH, NULL) < 0)
		return SPAN_LIT("not answering");
	state = json_object_get(json_trim(json), SPAN_LIT("state"));
	return state.len > 2 ? span_of(state.p + 1, state.len - 2) : SPAN_LIT("unknown");
}

static void on_readiness(void *arg, const struct parts_answer *answers, size_t n)
{
	struct probe *probe = arg;
	struct span state = n ? root_state(&answers[0]) : SPAN_NONE;
	bool ready = span_is(state, "ready") && !admin_lacks_required(probe->admin) &&
		     !process_stopping(probe->admin->process);
	struct buf out;

	buf_init(&out, ADMIN_REPLY_MAX);
	buf_printf(&out, "{\"ready\":%s,\"node\":\"%.*s\",\"servers\":", ready ? "true" : "false",
		SPAN_ARG(state));
	admin_write_servers(probe->admin, &out);
	buf_append_str(&out, "}\n");
	answer(probe->req, ready ? HTTP_OK : HTTP_SERVUNAVAIL, "application/json", buf_span(&out));
	buf_free(&out);
	free(probe);
}

static void probe_parts(struct admin *admin, struct evhttp_request *req,
	const struct parts_ask *asks, size_t n, parts_done_fn *fn)
{
	struct probe *probe = calloc(1, sizeof(*probe));

	if (probe) {
		*probe = (struct probe){admin, req};
		if (parts_ask(admin->parts, asks, n, ADMIN_QUERY_MS, fn, probe) == 0)
			return;
	}
	free(probe);
	answer_text(req, HTTP_SERVUNAVAIL, "the node is too busy to be asked\n");
}

static void get_healthz(struct evhttp_request *req, void *arg)
{
	static const struct parts_ask asks[] = {{.role = ROLE_ROOT, .what = "status"},
		{.role = ROLE_REGISTRY, .what = "metrics"},
		{.role = ROLE_SESSIONS, .what = "metrics"}};

	probe_parts(arg, req, asks, sizeof(asks) / sizeof(*asks), on_health);
}

static void get_readyz(struct evhttp_request *req, void *arg)
{
	static const struct parts_ask asks[] = {{.role = ROLE_ROOT, .what = "status"}};

	probe_parts(arg, req, asks, 1, on_readiness);
}

/* --- the server ----------------------------------------------------------------------------- */

static const struct {
	const char *path;
	void (*get)(struct evhttp_request *req, void *arg);
} pages[] = {
	{"/metrics", get_metrics},
	{"/livez", get_livez},
	{"/healthz", get_healthz},
	{"/readyz", get_readyz},
};

static void on_other(struct evhttp_request *req, void *arg)
{
	(void)arg;
	answer_text(req, HTTP_NOTFOUND, "here are /metrics /livez /healthz /readyz\n");
}

int admin_http_listen(struct admin *admin, int fd, struct err *err)
{
	if (!admin->http) {
		admin->http = evhttp_new(process_base(admin->process));
		if (!admin->http) {
			close(fd);
			return err_set(err, ERR_NO_MEMORY, "no memory to serve metrics");
		}
		evhttp_set_max_headers_size(admin->http, HEADERS_MAX);
		evhttp_set_max_body_size(admin->http, 0);
		evhttp_set_timeout(admin->http, TIMEOUT_S);
		evhttp_set_allowed_methods(admin->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
		evhttp_set_gencb(admin->http, on_other, admin);
		for (size_t i = 0; i < sizeof(pages) / sizeof(*pages); i++)
			evhttp_set_cb(admin->http, pages[i].path, pages[i].get, admin);
	}
	evutil_make_socket_nonblocking(fd);
	if (!evhttp_accept_socket_with_handle(admin->http, fd)) {
		close(fd);
		return err_set(err, ERR_SYSTEM, "cannot accept on the metrics socket");
	}
	return 0;
}

void admin_http_close(struct admin *admin)
{
	if (admin->http)
		evhttp_free(admin->http);
	admin->http = NULL;
}
