/* Gatehouse's own errors as HTTP answers. */
#include "http_internal.h"
#include "json_write.h"

#include <stdio.h>

/* A detail of ERR_DETAIL_MAX bytes, each escaped, and what stands around it. */
#define ERROR_BODY_MAX (ERR_DETAIL_MAX * 6 + 512)

int http_error_body(struct buf *out, int code, const char *detail)
{
	char head[96], tail[160];
	struct span text = span_str(detail && *detail ? detail : err_reason(code));
	size_t len = out->len;
	int n, r;

	if (text.len >= ERR_DETAIL_MAX)
		text.len = ERR_DETAIL_MAX - 1;
	n = snprintf(head, sizeof(head),
		"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":%d,\"message\":",
		err_rpc_code(code));
	r = buf_append(out, head, (size_t)n);
	if (r == 0)
		r = json_write_string(out, text);
	n = snprintf(tail, sizeof(tail),
		",\"data\":{\"reason\":\"%s\",\"retryable\":%s,\"executed\":\"no\"}}}",
		err_reason(code), err_retryable(code) ? "true" : "false");
	if (r == 0)
		r = buf_append(out, tail, (size_t)n);
	if (r < 0)
		buf_cut(out, len);
	return r;
}

int http_conn_respond_error(struct http_conn *conn, int code, const char *detail)
{
	static const struct http1_header headers[] = {
		{{"Content-Type", 12}, {"application/json", 16}},
		{{"Retry-After", 11}, {"1", 1}},
	};
	struct buf body;
	int r, status = err_http_status(code);

	buf_init(&body, ERROR_BODY_MAX);
	r = http_error_body(&body, code, detail);
	if (r == 0)
		r = http_conn_respond(conn, (unsigned)status, headers, status == 503 ? 2 : 1,
			buf_span(&body));
	buf_free(&body);
	return r;
}
