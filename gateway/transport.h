/*
 * Transports towards clients: the ways in which MCP messages come to this gateway and answers
 * leave it. A transport is a file with three tables and a row in transports[] (transport.c):
 *
 *   struct client_transport  which requests are its own, and what becomes of one
 *   struct conn_ops          what happens on a connection it has
 *   struct answer_ops        how the answer of an exchange reaches the client
 *
 * Streamable HTTP gives each HTTP request an exchange of its own. Transports on which one
 * connection carries all messages of a session share channel.h, which has the answer_ops for them.
 * Routes and session workers do not know the difference.
 */
#ifndef GATEHOUSE_TRANSPORT_H
#define GATEHOUSE_TRANSPORT_H

#include "checks.h"
#include "http_conn.h"

struct door;
struct exchange;
struct gateway;
struct outcome;

struct client_transport {
	const char *name; /* in metrics and log */
	/* What must be done before the process is in its sandbox. May be NULL. */
	int (*prepare)(struct err *err);
	/* Is a request with this head for it? *ret_view: the virtual server that its path names, or
	 * empty (struct facts); it says nothing where the answer is no. */
	bool (*takes)(const struct gateway *gateway, const struct http1_head *head,
		struct span *ret_view);
	/* All that can be said from the head alone, before a body is read. 0, or an error for
	 * edge_refuse. */
	int (*check)(const struct door *door, const struct http1_head *head,
		const struct facts *facts, struct err *err);
	/* How else it could be asked, for the Allow header: "GET, POST". */
	const char *allow;
	/* The same, where it depends on the path; may be NULL. */
	const char *(*allow_at)(struct span path);
	/* The body of a refusal, where clients expect another than a JSON-RPC error; may be NULL.
	 * Returns its media type. */
	const char *(*refusal)(struct buf *out, const struct err *err, struct span request_id);
	/* A whole request that passed check. It is answered now or later. */
	void (*request)(struct door *door, struct http_conn *conn,
		const struct http_request *request, const struct facts *facts);
};

extern const struct client_transport transport_streamable, transport_websocket,
	transport_sse, transport_rest;

/* The one that takes it, or NULL. ret_view: as of takes. */
const struct client_transport *transport_find(
	const struct gateway *gateway, const struct http1_head *head, struct span *ret_view);
int transports_prepare(struct err *err);
/* All of them, for i from 0; NULL at the end. */
const struct client_transport *transport_at(unsigned i);

struct conn_user;

/* Callbacks of http_server_ops for a connection that is in use; any may be NULL. */
struct conn_ops {
	void (*writable)(struct conn_user *user);
	void (*gone)(struct conn_user *user, enum http_gone gone);
	void (*input)(struct conn_user *user, struct span bytes);
	void (*closed)(struct conn_user *user);
};

/* Who has a connection: first member of whatever http_conn_data() is. */
struct conn_user {
	const struct conn_ops *ops;
};

/* What EXCHANGE_ANSWER says, or an error of ours. */
struct answer {
	unsigned content; /* enum exchange_content */
	struct span session; /* for the client to keep, or empty */
	struct span body;
};

struct answer_ops {
	/* The whole answer; or, after begin, what comes last on the stream. Frees the exchange. */
	void (*give)(struct exchange *exchange, const struct answer *answer,
		const struct outcome *outcome);
	/* It becomes a stream of events. 0, or negative: impossible, and broken is called. */
	int (*begin)(struct exchange *exchange, unsigned status, struct span session);
	/* Bytes of that stream, cut anywhere. May free the exchange. */
	void (*write)(struct exchange *exchange, struct span bytes);
	/* The stream is complete. Frees the exchange, now or when all of it is out. */
	void (*end)(struct exchange *exchange, const struct outcome *outcome);
	/* Its worker died: what was begun goes on with what another says. */
	void (*again)(struct exchange *exchange);
	/* The same, for a stream that is nobody's answer (exchange_is_endless). Frees the exchange. */
	void (*cut)(struct exchange *exchange);
	/* Nothing sensible can be said: the client must see that. Frees the exchange. */
	void (*broken)(struct exchange *exchange);
	/* The exchange is being freed. */
	void (*stop)(struct exchange *exchange);
	/* For the log: the client's address, and how it came. */
	const char *(*remote)(const struct exchange *exchange);
	const char *(*transport)(const struct exchange *exchange);
};

#endif
