/* The head of a message: parsed by llhttp, then checked for what llhttp leaves open. */
#include "http1_internal.h"

#include <llhttp.h>
#include <stdlib.h>

struct head_parse {
	llhttp_t llhttp; /* first: the callbacks get a pointer to it */
	struct http1 *http;
	unsigned nheaders;
	bool complete;
};

/* What the headers said about framing, gathered before it is judged. */
struct framing_facts {
	unsigned hosts, lengths, codings;
	uint64_t length;
	bool chunked;
	bool close, keep_alive, upgrade_token, upgrade_header, expect_continue;
};

static void extend(struct span *span, const char *at, size_t len)
{
	if (span->len == 0)
		span->p = at;
	span->len = (size_t)(at + len - span->p);
}

static struct http1 *parsed(llhttp_t *llhttp)
{
	return ((struct head_parse *)llhttp)->http;
}

static int on_method(llhttp_t *llhttp, const char *at, size_t len)
{
	extend(&parsed(llhttp)->head.method, at, len);
	return 0;
}

static int on_url(llhttp_t *llhttp, const char *at, size_t len)
{
	extend(&parsed(llhttp)->head.target, at, len);
	return 0;
}

static int on_status(llhttp_t *llhttp, const char *at, size_t len)
{
	extend(&parsed(llhttp)->head.reason, at, len);
	return 0;
}

/* The array has a place for each line; more names than lines would be a disagreement about line
 * ends. */
static int on_header_field(llhttp_t *llhttp, const char *at, size_t len)
{
	struct head_parse *parse = (struct head_parse *)llhttp;

	if (parse->nheaders + 1 >= parse->http->lines)
		return HPE_USER;
	parse->http->headers[parse->nheaders].name = span_of(at, len);
	return 0;
}

static int on_header_field_complete(llhttp_t *llhttp)
{
	struct head_parse *parse = (struct head_parse *)llhttp;

	parse->nheaders++;
	return 0;
}

static int on_headers_complete(llhttp_t *llhttp)
{
	((struct head_parse *)llhttp)->complete = true;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_method = on_method,
	.on_url = on_url,
	.on_status = on_status,
	.on_header_field = on_header_field,
	.on_header_field_complete = on_header_field_complete,
	.on_headers_complete = on_headers_complete,
};

/* --- what was wrong with a start line --- */

bool http1_is_token_char(unsigned char c)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr(others, c));
}

bool http1_is_token(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!http1_is_token_char((unsigned char)s.p[i]))
			return false;
	return s.len > 0;
}

/* The raw start line without its end. */
static struct span start_line(const struct http1 *http)
{
	const char *end = memchr(http->raw.data, '\r', http->raw.len);

	return span_of(http->raw.data, (size_t)(end - http->raw.data));
}

/* "HTTP/d.d" at the end of a line of three words, in another version than 1.x that we speak? */
static bool other_version(struct span line)
{
	const char *v;

	if (line.len <= 10)
		return false;
	v = line.p + line.len - 8;
	return v[-1] == ' ' && memcmp(v, "HTTP/", 5) == 0 && v[5] >= '0' && v[5] <= '9' &&
	       v[6] == '.' && v[7] >= '0' && v[7] <= '9' &&
	       !(v[5] == '1' && (v[7] == '0' || v[7] == '1'));
}

static int refuse_request(
	struct http1 *http, struct head_parse *parse, const char *reason, struct err *err)
{
	struct span line = start_line(http);
	const char *space = memchr(line.p, ' ', line.len);
	struct span method = span_of(line.p, space ? (size_t)(space - line.p) : line.len);
	llhttp_errno_t code = llhttp_get_errno(&parse->llhttp);

	if (other_version(line))
		return err_set(err, ERR_HTTP_VERSION, "only HTTP/1.1 and HTTP/1.0 are spoken here");
	if (code == HPE_INVALID_METHOD && space && http1_is_token(method) && method.len <= 32)
		return err_set(err, ERR_HTTP_NOT_IMPLEMENTED, "method %.*s is not known",
			SPAN_ARG(method));
	return err_set(err, ERR_BAD_HTTP, "not a valid request: %s", reason);
}

static int refuse_head(struct http1 *http, struct head_parse *parse, struct err *err)
{
	const char *reason = llhttp_get_error_reason(&parse->llhttp);

	if (!reason)
		reason = "lines and headers disagree";
	if (http->kind == HTTP1_REQUEST)
		return refuse_request(http, parse, reason, err);
	return err_set(err, ERR_BAD_HTTP, "not a valid response: %s", reason);
}

/*
 * llhttp forgives runs of spaces in a request line and other things between the parts; the parts
 * must be all there is, or two readers may see two targets.
 */
static int check_request_line(struct http1 *http, struct err *err)
{
	const struct http1_head *head = &http->head;

	if (start_line(http).len != head->method.len + 1 + head->target.len + 1 + 8)
		return err_set(
			err, ERR_BAD_HTTP, "the request line is not method, target, version");
	if (head->target.len > http->limits.target)
		return err_set(err, ERR_URI_TOO_LONG, "the request target is longer than %zu bytes",
			http->limits.target);
	return 0;
}

static int check_status_line(struct http1 *http, struct err *err)
{
	struct http1_head *head = &http->head;

	for (size_t i = 0; i < head->reason.len; i++) {
		unsigned char c = (unsigned char)head->reason.p[i];

		if (c != '\t' && (c < ' ' || c == 0x7f))
			return err_set(
				err, ERR_BAD_HTTP, "a control character in the reason phrase");
	}
	if (head->status < 100 || head->status > 599)
		return err_set(
			err, ERR_BAD_HTTP, "status %u is not between 100 and 599", head->status);
	return 0;
}

/* --- the target, RFC 9112 §3.2 --- */

static bool is_host_char(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("-._~%!$&'()*+;=:[]", c));
}

static bool is_host(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_host_char((unsigned char)s.p[i]))
			return false;
	return true;
}

static void split_query(struct http1_head *head, struct span rest)
{
	const char *mark = memchr(rest.p, '?', rest.len);

	head->path = rest;
	if (mark) {
		head->path.len = (size_t)(mark - rest.p);
		head->query = span_of(mark + 1, (size_t)(rest.p + rest.len - mark) - 1);
	}
	if (head->path.len == 0)
		head->path = SPAN_LIT("/");
}

/* "http://authority/path": the authority counts, whatever Host says (RFC 9112 §3.2.2). */
static bool split_absolute(struct http1_head *head)
{
	struct span t = head->target;
	size_t scheme = 0, end;

	if (t.len > 7 && strncasecmp(t.p, "http://", 7) == 0)
		scheme = 7;
	else if (t.len > 8 && strncasecmp(t.p, "https://", 8) == 0)
		scheme = 8;
	else
		return false;
	for (end = scheme; end < t.len && t.p[end] != '/' && t.p[end] != '?'; end++)
		;
	head->host = span_of(t.p + scheme, end - scheme);
	split_query(head, span_of(t.p + end, t.len - end));
	return head->host.len > 0 && is_host(head->host);
}

static int check_target(struct http1_head *head, struct err *err)
{
	if (span_is(head->method, "CONNECT"))
		return err_set(err, ERR_HTTP_NOT_IMPLEMENTED, "CONNECT is not served");
	if (memchr(head->target.p, '#', head->target.len))
		return err_set(err, ERR_BAD_HTTP, "the request target holds a fragment");
	if (head->target.p[0] == '/')
		split_query(head, head->target);
	else if (span_is(head->target, "*") && span_is(head->method, "OPTIONS"))
		head->path = head->target;
	else if (!split_absolute(head))
		return err_set(
			err, ERR_BAD_HTTP, "the request target is neither a path nor an http URL");
	return 0;
}

/* --- headers that decide about the message --- */

static int see_host(
	struct http1 *http, struct span value, struct framing_facts *facts, struct err *err)
{
	if (http->kind == HTTP1_RESPONSE)
		return 0;
	if (++facts->hosts > 1)
		return err_set(err, ERR_BAD_HTTP, "more than one Host header");
	if (!is_host(value))
		return err_set(err, ERR_BAD_HTTP, "the Host header is not a host and port");
	if (!http->head.host.p)
		http->head.host = value;
	return 0;
}

static int see_length(
	struct http1 *http, struct span value, struct framing_facts *facts, struct err *err)
{
	uint64_t length = 0;

	(void)http;
	if (++facts->lengths > 1)
		return err_set(err, ERR_BAD_HTTP, "more than one Content-Length header");
	for (size_t i = 0; i < value.len; i++) {
		if (value.p[i] < '0' || value.p[i] > '9')
			return err_set(err, ERR_BAD_HTTP, "Content-Length is not plain digits");
		/* 18 digits fit; nothing real is longer */
		if (i >= 18)
			return err_set(err, ERR_TOO_LARGE, "Content-Length has too many digits");
		length = length * 10 + (uint64_t)(value.p[i] - '0');
	}
	if (value.len == 0)
		return err_set(err, ERR_BAD_HTTP, "Content-Length is empty");
	facts->length = length;
	return 0;
}

static int see_coding(
	struct http1 *http, struct span value, struct framing_facts *facts, struct err *err)
{
	if (++facts->codings > 1)
		return err_set(err, ERR_BAD_HTTP, "more than one Transfer-Encoding header");
	if (http->head.minor == 0)
		return err_set(err, ERR_BAD_HTTP, "Transfer-Encoding in an HTTP/1.0 message");
	facts->chunked = http1_name_is(value, "chunked");
	if (facts->chunked)
		return 0;
	if (value.len > 7 && strncasecmp(value.p, "chunked", 7) == 0)
		return err_set(err, ERR_BAD_HTTP, "chunked is not the only transfer coding");
	return err_set(err, ERR_HTTP_NOT_IMPLEMENTED, "a transfer coding other than chunked");
}

static int see_connection(
	struct http1 *http, struct span value, struct framing_facts *facts, struct err *err)
{
	struct http1_header one = {SPAN_LIT("Connection"), value};
	struct http1_head only = {.headers = &one, .nheaders = 1};

	(void)http;
	(void)err;
	facts->close |= http1_header_has_token(&only, "Connection", "close");
	facts->keep_alive |= http1_header_has_token(&only, "Connection", "keep-alive");
	facts->upgrade_token |= http1_header_has_token(&only, "Connection", "upgrade");
	return 0;
}

static int see_upgrade(
	struct http1 *http, struct span value, struct framing_facts *facts, struct err *err)
{
	(void)http;
	(void)err;
	facts->upgrade_header |= value.len > 0;
	return 0;
}

static int see_expect(
	struct http1 *http, struct span value, struct framing_facts *facts, struct err *err)
{
	(void)http;
	(void)err;
	facts->expect_continue |= http1_name_is(value, "100-continue");
	return 0;
}

static const struct {
	struct span name;
	int (*see)(struct http1 *http, struct span value, struct framing_facts *facts,
		struct err *err);
} deciding[] = {
	{{"Host", 4}, see_host},
	{{"Content-Length", 14}, see_length},
	{{"Transfer-Encoding", 17}, see_coding},
	{{"Connection", 10}, see_connection},
	{{"Upgrade", 7}, see_upgrade},
	{{"Expect", 6}, see_expect},
};

/*
 * The value after a colon, trimmed, up to the line's CR (each line has one: read_head saw to that).
 * False for a control character.
 */
static bool line_value(const char *colon, struct span *ret_value)
{
	const char *p = colon + 1, *end;

	while (*p == ' ' || *p == '\t')
		p++;
	for (end = p; *end != '\r'; end++)
		if (((unsigned char)*end < ' ' && *end != '\t') || *end == 0x7f)
			return false;
	while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*ret_value = span_of(p, (size_t)(end - p));
	return true;
}

/*
 * The values are cut from the lines here, so that what a header says never depends on llhttp's view
 * of where it ends: each line must begin with a name and its colon, as many lines as names.
 */
static int check_header_lines(struct http1 *http, unsigned nheaders, struct err *err)
{
	const char *line = http->raw.data + start_line(http).len + 2;
	const char *end = http->raw.data + http->raw.len;

	if (nheaders + 1 != http->lines)
		return err_set(err, ERR_BAD_HTTP, "lines and headers disagree");
	for (unsigned i = 0; i < nheaders; i++) {
		struct http1_header *header = &http->headers[i];

		if (header->name.p != line || !http1_is_token(header->name) ||
			line[header->name.len] != ':')
			return err_set(err, ERR_BAD_HTTP,
				"a header's name is not a token followed by a colon");
		if (!line_value(line + header->name.len, &header->value))
			return err_set(err, ERR_BAD_HTTP, "a control character in header %.*s",
				SPAN_ARG(header->name));
		line = memchr(header->value.p, '\n', (size_t)(end - header->value.p));
		line++;
	}
	return 0;
}

static int gather(struct http1 *http, struct framing_facts *facts, struct err *err)
{
	for (unsigned i = 0; i < http->head.nheaders; i++) {
		const struct http1_header *header = &http->headers[i];

		for (size_t d = 0; d < sizeof(deciding) / sizeof(*deciding); d++) {
			int r;

			if (header->name.len != deciding[d].name.len ||
				strncasecmp(header->name.p, deciding[d].name.p, header->name.len) !=
					0)
				continue;
			r = deciding[d].see(http, header->value, facts, err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* RFC 9112 §6.3 */
static enum http1_framing judge_framing(struct http1 *http, const struct framing_facts *facts)
{
	const struct http1_head *head = &http->head;
	bool response = http->kind == HTTP1_RESPONSE;

	if (response && (http->head_response || head->status < 200 || head->status == 204 ||
				head->status == 304))
		return HTTP1_FRAMING_NONE;
	if (facts->chunked)
		return HTTP1_FRAMING_CHUNKED;
	if (facts->lengths)
		return facts->length ? HTTP1_FRAMING_LENGTH : HTTP1_FRAMING_NONE;
	return response ? HTTP1_FRAMING_EOF : HTTP1_FRAMING_NONE;
}

static int judge(struct http1 *http, const struct framing_facts *facts, struct err *err)
{
	struct http1_head *head = &http->head;

	if (facts->lengths && facts->codings)
		return err_set(err, ERR_BAD_HTTP, "both Content-Length and Transfer-Encoding");
	if (http->kind == HTTP1_REQUEST && head->minor == 1 && facts->hosts == 0)
		return err_set(err, ERR_BAD_HTTP, "an HTTP/1.1 request without a Host header");
	head->framing = judge_framing(http, facts);
	if (facts->lengths)
		head->content_length = facts->length;
	head->keep_alive =
		(head->minor == 1 ? !facts->close : facts->keep_alive && !facts->close) &&
		head->framing != HTTP1_FRAMING_EOF;
	head->upgrade = facts->upgrade_token && facts->upgrade_header && head->minor == 1;
	head->expect_continue = http->kind == HTTP1_REQUEST && facts->expect_continue &&
				head->minor == 1 && head->framing != HTTP1_FRAMING_NONE;
	return 0;
}

/* llhttp over the whole head. */
static int run_llhttp(struct http1 *http, struct head_parse *parse, struct err *err)
{
	const char *end = http->raw.data + http->raw.len, *stop;

	parse->http = http;
	llhttp_init(&parse->llhttp, http->kind == HTTP1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE,
		&settings);
	if (llhttp_execute(&parse->llhttp, http->raw.data, http->raw.len) != HPE_PAUSED ||
		!parse->complete)
		return refuse_head(http, parse, err);
	stop = llhttp_get_error_pos(&parse->llhttp);
	if (stop != end && stop != end - 1)
		return err_set(err, ERR_BAD_HTTP, "lines and headers disagree");
	http->head.minor = parse->llhttp.http_minor;
	http->head.status = parse->llhttp.status_code;
	http->head.headers = http->headers;
	http->head.nheaders = parse->nheaders;
	if (parse->llhttp.http_major != 1 || parse->llhttp.http_minor > 1)
		return err_set(err, ERR_HTTP_VERSION, "only HTTP/1.1 and HTTP/1.0 are spoken here");
	return check_header_lines(http, parse->nheaders, err);
}

int http1_parse_head(struct http1 *http, struct err *err)
{
	struct head_parse parse = {0};
	struct framing_facts facts = {0};
	int r;

	http->headers = calloc(http->lines, sizeof(*http->headers));
	if (!http->headers)
		return err_set(err, ERR_NO_MEMORY, "no memory for the headers");
	r = run_llhttp(http, &parse, err);
	if (r == 0 && http->kind == HTTP1_REQUEST)
		r = check_request_line(http, err);
	if (r == 0 && http->kind == HTTP1_REQUEST)
		r = check_target(&http->head, err);
	if (r == 0 && http->kind == HTTP1_RESPONSE)
		r = check_status_line(http, err);
	if (r == 0)
		r = gather(http, &facts, err);
	return r < 0 ? r : judge(http, &facts, err);
}

/* --- looking headers up --- */

bool http1_name_is(struct span name, const char *literal)
{
	size_t len = strlen(literal);

	return name.len == len && (len == 0 || strncasecmp(name.p, literal, len) == 0);
}

struct span http1_header_get(const struct http1_head *head, const char *name)
{
	for (unsigned i = 0; i < head->nheaders; i++)
		if (http1_name_is(head->headers[i].name, name))
			return head->headers[i].value;
	return SPAN_NONE;
}

unsigned http1_header_count(const struct http1_head *head, const char *name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < head->nheaders; i++)
		n += http1_name_is(head->headers[i].name, name);
	return n;
}

static bool list_has(struct span list, const char *token)
{
	while (list.len > 0) {
		const char *comma = memchr(list.p, ',', list.len);
		struct span item = span_of(list.p, comma ? (size_t)(comma - list.p) : list.len);
		size_t used = item.len + (comma ? 1 : 0);

		while (item.len > 0 && (*item.p == ' ' || *item.p == '\t'))
			item = span_of(item.p + 1, item.len - 1);
		while (item.len > 0 &&
			(item.p[item.len - 1] == ' ' || item.p[item.len - 1] == '\t'))
			item.len--;
		if (http1_name_is(item, token))
			return true;
		list = span_of(list.p + used, list.len - used);
	}
	return false;
}

bool http1_header_has_token(const struct http1_head *head, const char *name, const char *token)
{
	for (unsigned i = 0; i < head->nheaders; i++)
		if (http1_name_is(head->headers[i].name, name) &&
			list_has(head->headers[i].value, token))
			return true;
	return false;
}
