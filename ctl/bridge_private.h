/* Parts of the bridge: bridge.c has the lines and the session, transfer.c an HTTP exchange. */
#ifndef GATEHOUSE_CTL_BRIDGE_PRIVATE_H
#define GATEHOUSE_CTL_BRIDGE_PRIVATE_H

#include "bounds.h"
#include "bridge.h"
#include "jsonrpc.h"
#include "sse.h"

enum transfer_kind {
	TRANSFER_POST,    /* a message of the client */
	TRANSFER_RESUME,  /* the rest of a POST's broken stream, by GET */
	TRANSFER_LISTEN,  /* the stream for what the server says by itself */
	TRANSFER_RENEW,   /* initialize once more; its answer is not the client's */
	TRANSFER_RENEWED, /* notifications/initialized after that */
	TRANSFER_END,     /* DELETE */
};

struct bridge;

/* One HTTP exchange, or one that waits to be tried again. */
struct transfer {
	struct transfer *prev, *next;
	struct bridge *bridge;
	enum transfer_kind kind;
	CURL *curl; /* NULL: waiting */
	struct curl_slist *headers;
	struct buf body;    /* the client's message */
	struct span raw_id; /* in body; empty: no single request */
	bool batch;         /* an array: each of its requests gets its answer */
	bool batch_begun;   /* some of those answers have gone out */
	bool modern;
	bool initialize;
	bool safe;          /* may be sent twice */
	bool answered;      /* a response has gone out, or the client waits for none any more */
	bool with_session;  /* was sent within the session */
	uint64_t epoch;     /* of that session */
	bool renewed;       /* was sent again after the session was opened again */
	bool waits_session; /* until that is done */
	uint64_t again_ms;  /* when to try again, 0: not by time */
	uint64_t first_ms;  /* when it was first tried */
	unsigned failures;  /* in a row */
	char last_event[SSE_ID_MAX + 1];
	/* of the exchange under way */
	struct sse_parser *sse;
	struct buf answer;
	char session[LIMIT_SESSION_ID + 64]; /* as the server said */
	bool broken;                         /* too long, or out of memory */
};

enum session_state { SESSION_NONE, SESSION_OPEN, SESSION_RENEWING };

struct bridge {
	const struct target *target;
	CURLM *multi;
	int in, out;
	bool in_closed, out_closed, stopping;
	struct buf input;
	bool skipping; /* the rest of a line that was too long */
	struct transfer *transfers;
	unsigned n_transfers;
	struct transfer *barrier; /* no further message before this one is through */
	enum session_state state;
	char session[LIMIT_SESSION_ID + 64];
	char version[16];
	uint64_t epoch;        /* grows with each session */
	struct buf initialize; /* the client's, for opening the session again */
};

/* transfer.c */
struct transfer *transfer_new(struct bridge *bridge, enum transfer_kind kind);
void transfer_free(struct transfer *transfer);
/* Start, or start again. */
int transfer_start(struct transfer *transfer);
/* The exchange is over; drop what belonged to it alone. */
void transfer_stop(struct transfer *transfer);

/* bridge_out.c */
/* A message came. */
void bridge_deliver(struct transfer *transfer, struct span message);
/* An answer that is no stream: the response, or why there is none. */
void bridge_deliver_body(struct transfer *transfer, long status);
/* Its request, or each of its batch, gets an error for an answer, if it has none yet. */
void bridge_fail(struct transfer *transfer, enum err_code code, enum jsonrpc_executed executed,
	const char *text);
/* An error response; raw_id may be empty. */
void bridge_refuse(struct bridge *bridge, struct span raw_id, const struct err *err,
	enum jsonrpc_executed executed);
/* To standard error. */
void bridge_complain(const char *what, struct span detail);

/* bridge.c: the exchange has ended. */
void bridge_ended(struct transfer *transfer, CURLcode code, long status);

#endif
