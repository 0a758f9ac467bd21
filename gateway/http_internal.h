/* Shared by the parts of the HTTP server; nobody else includes it. */
#ifndef GATEHOUSE_HTTP_INTERNAL_H
#define GATEHOUSE_HTTP_INTERNAL_H

#include "clock.h"
#include "http_conn.h"
#include "http_listener.h"
#include "http_server.h"
#include "http_transport.h"

#include <event2/event_struct.h>
#include <sys/queue.h>

/* Bytes of one read; the buffer is the server's, shared by all connections. */
#define HTTP_SCRATCH (64u * 1024u)
/* Output of this size leaves at once instead of being copied until the end of the turn. */
#define HTTP_DIRECT_MIN (16u * 1024u)
/* Reads of one connection in one turn of the loop, before others get theirs. */
#define HTTP_READS_PER_TURN 4
#define HTTP_DATE_MAX 32

enum http_timer_kind {
	HTTP_TIMER_NONE,
	HTTP_TIMER_HEADER,
	HTTP_TIMER_BODY,
	HTTP_TIMER_IDLE,
	HTTP_TIMER_LINGER,
	HTTP_TIMER_WRITE,
	HTTP_TIMER_MAX,
};

/*
 * A place in the queue of its kind. All timers of a kind run equally long, so that each queue is in
 * the order of its deadlines by itself, starting and stopping costs no search, and one libevent
 * timer serves them all.
 */
struct http_timer {
	TAILQ_ENTRY(http_timer) link;
	void (*fired)(void *arg, enum http_timer_kind kind);
	void *arg;
	uint64_t deadline_ms;
	enum http_timer_kind kind; /* HTTP_TIMER_NONE: not running */
};
TAILQ_HEAD(http_timer_queue, http_timer);

enum http_phase {
	HTTP_READING,   /* waiting for a request's head */
	HTTP_IN_BODY,   /* the head is there, the body is coming */
	HTTP_PENDING,   /* the owner has the request */
	HTTP_STREAMING, /* the owner began its answer */
	HTTP_CLOSING,   /* nothing more is read; what is unsent leaves first */
	HTTP_LINGERING, /* all is sent; reading and throwing away until the client closes */
	HTTP_DEAD,      /* closed; freed when no call uses it any more */
};

/*
 * How an answer leaves, by the protocol of the connection; the functions of http_conn.h of the same
 * names say what each does.
 */
struct http_protocol {
	int (*respond)(struct http_conn *conn, unsigned status, const struct http1_header *headers,
		unsigned nheaders, struct span body);
	int (*begin)(struct http_conn *conn, unsigned status, const struct http1_header *headers,
		unsigned nheaders, enum http_stream stream, uint64_t length);
	int (*write)(struct http_conn *conn, struct span data);
	int (*end)(struct http_conn *conn);
	/* abort: the client must see that its answer is not whole */
	void (*close)(struct http_conn *conn, bool abort);
	size_t (*unsent)(const struct http_conn *conn);
	void (*release_request)(struct http_conn *conn);
	const char *(*version)(const struct http_conn *conn);
};

extern const struct http_protocol http1_protocol;

/* What the owner holds: first member of a socket that speaks HTTP/1, or of a stream of HTTP/2. */
struct http_conn {
	const struct http_protocol *protocol;
	struct http_socket *sock;
	void *data; /* the owner's */
};

/* A client's socket and, while it speaks HTTP/1, the one request that it may have at a time. */
struct http_socket {
	struct http_conn conn;
	TAILQ_ENTRY(http_socket) link;
	TAILQ_ENTRY(http_socket) work_link;
	struct http_server *server;
	struct http_transport transport;
	struct event event;
	struct http1 *http;
	struct http2 *http2; /* NULL: it speaks HTTP/1 */
	enum http_phase phase;
	unsigned holds; /* calls on the stack that still use this */
	struct http_timer read_timer;
	struct http_timer write_timer;
	/* reading */
	struct span input; /* being taken apart now; points into the scratch buffer or into saved */
	struct buf saved;  /* input that came while a request was being answered */
	size_t saved_used;
	struct buf body;
	size_t body_window; /* bytes of body since the body timer was started */
	size_t linger_left;
	/* writing */
	struct buf out;
	size_t out_used;
	size_t write_window;  /* bytes sent since the write timer was started */
	uint64_t stream_left; /* of HTTP_STREAM_LENGTH */
	enum http_stream stream;
	/* of the request being answered */
	unsigned minor;
	bool is_head;
	bool keep_alive;
	bool body_done;
	bool owes_continue;
	/* of the answer */
	bool without_body; /* what is written is dropped */
	bool chunked;
	bool will_close;
	bool wants_writable;
	/* of another protocol */
	bool switched;
	bool paused;
	bool told_stalled;
	/* of the socket */
	bool registered; /* event was added */
	bool readable;
	bool writable;
	bool eof_hint; /* the end of the stream is in the socket: a short read does not drain it */
	bool eof;
	bool broken; /* reading or writing failed: killed by the next pump */
	bool told_half;
	bool linger; /* in CLOSING: linger afterwards */
	bool pumping;
	bool queued; /* in the server's work list */
	/* who is there */
	bool fresh;          /* nothing was read yet but perhaps a part of a PROXY preamble */
	bool undecided;      /* HTTP/1 or HTTP/2: too little was read to tell */
	bool may_have_proxy; /* the peer is trusted to say for whom it speaks */
	struct buf preamble; /* what came so far and did not suffice */
	struct net_address peer;
	char remote[NET_TEXT_MAX];
};
TAILQ_HEAD(http_socket_list, http_socket);

struct http_room {
	LIST_ENTRY(http_room) link;
	void (*made)(void *arg);
	void *arg;
};

struct http_server {
	struct event_base *base;
	struct http_limits limits;
	const struct http_server_ops *ops;
	void *arg;
	struct http_socket_list conns;
	unsigned nconns;
	unsigned nhttp2;     /* of those, with HTTP/2 */
	unsigned busy_http2; /* of these, with a stream or more */
	unsigned streams;
	bool draining;
	enum http_drain drain; /* while draining */
	struct http_server_stats *stats; /* own_stats, or the owner's */
	struct http_server_stats own_stats;
	/* connections to pump at the end of this turn or in the next */
	struct http_socket_list work;
	struct event work_event;
	struct http_timer_queue timers[HTTP_TIMER_MAX];
	struct event tick_event;
	uint64_t tick_ms; /* when tick_event is due; 0 when it is not pending */
	/* who waits for a connection to close */
	LIST_HEAD(, http_room) rooms;
	int64_t date_s;
	char date[HTTP_DATE_MAX];
	size_t date_len;
	char *scratch;
};

/* http_timer.c */
void http_timers_init(struct http_server *server);
void http_timers_free(struct http_server *server);
/* Start or start again. */
void http_timer_start(
	struct http_server *server, struct http_timer *timer, enum http_timer_kind kind);
void http_timer_stop(struct http_server *server, struct http_timer *timer);

/* http_server.c */
enum http_when { HTTP_THIS_TURN, HTTP_NEXT_TURN };
/* Pump the connection soon (once, however often this is called). */
void http_server_queue(struct http_socket *sock, enum http_when when);
/* "Sun, 06 Nov 1994 08:49:37 GMT", renewed each second. */
struct span http_server_date(struct http_server *server);
/* A connection is gone: tell who waits. */
void http_server_tell_room(struct http_server *server);

/* http_socket.c */
void http_socket_pump(struct http_socket *sock);
/* Close, with a reset if wanted, and tell the owner. Freed when nothing uses it any more. */
void http_socket_kill(struct http_socket *sock, bool reset);
/* What is unsent leaves, then the connection closes; with linger, not before the client did (or a
 * timeout). */
void http_socket_wind_up(struct http_socket *sock, bool linger);
/* It is to end as soon as nothing is asked on it: the server drains. */
bool http_socket_must_end(const struct http_socket *sock);
/* No request is under way, nothing waits to be read or sent here: another process may have it. */
bool http_socket_is_idle(const struct http_socket *sock);
void http_socket_hold(struct http_socket *sock);
void http_socket_release(struct http_socket *sock);

/* http_response.c */
/* The protocol's rules for an answer's headers, whatever the version (http_conn.h). */
bool http_header_is_ours(struct span name);
/* Statuses whose answers end with their headers, RFC 9110 §6.4.1. */
bool http_status_is_bodyless(unsigned status);

/* http_input.c */
/* Take sock->input apart as far as the phase allows. */
void http_input_process(struct http_socket *sock);
/* The same with what was saved. */
void http_input_process_saved(struct http_socket *sock);
/* Keep what is left of sock->input, when it stands in the scratch buffer. */
void http_input_save(struct http_socket *sock);
size_t http_input_saved(const struct http_socket *sock);
void http_input_free(struct http_socket *sock);
/* Answer with an error of our own and close after it. */
void http_input_refuse(struct http_socket *sock, int code, const char *detail);
/* The timer that fits what is being waited for. */
void http_input_set_timer(struct http_socket *sock);

/* http_preamble.c */
/*
 * Take a PROXY preamble off the first sock->input, and find out which HTTP follows. False: more must
 * come, or it was refused.
 */
bool http_preamble_take(struct http_socket *sock);

/* http_output.c */
/*
 * Queue up to three parts, or send them at once when they are large. 0, or, nothing queued,
 * -ERR_NO_MEMORY, -ERR_TOO_LARGE, -ERR_CLOSED.
 */
int http_out_put(struct http_socket *sock, const struct span *parts, int nparts);
/* Send what the socket takes; sets broken when the peer is gone. */
void http_out_flush(struct http_socket *sock);
/* Bytes accepted and not yet taken by the socket. */
size_t http_socket_unsent(const struct http_socket *sock);

/* http_error.c: the body of an error answer. */
int http_error_body(struct buf *out, int code, const char *detail);

#endif
