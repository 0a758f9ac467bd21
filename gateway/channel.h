/*
 * A channel: one connection of a client on which all messages of a session travel, both ways, for
 * as long as it is open (WebSocket, HTTP+SSE of 2024-11-05). It begins without a session;
 * `initialize` opens one; when the connection closes, the session ends. Towards the session worker
 * it is nothing new: each message of the client is an exchange of its own (POST), and one more
 * (GET) brings what belongs to no request. When a worker dies, its successor is asked for both, and
 * the connection stays.
 *
 * Only the legacy era: in 2026-07-28 there are no sessions, and its messages are single requests.
 */
#ifndef GATEHOUSE_CHANNEL_H
#define GATEHOUSE_CHANNEL_H

#include "exchange.h"
#include "network.h"

/* Messages of one channel that are under way to its session worker, answers included, at most. */
#define CHANNEL_EXCHANGES_MAX 1024u
/* Their bytes, as a multiple of what one may have. */
#define CHANNEL_BODIES_MAX 4u
/* With more bytes than these waiting, a client is too slow for one more message. */
#define CHANNEL_QUEUE_HIGH (32u * 1024 * 1024)
/* What a transport's queue must be able to hold: that, one message, and its framing. */
#define CHANNEL_QUEUE_MAX (CHANNEL_QUEUE_HIGH + LIMIT_MESSAGE_PAYLOAD + LIMIT_MESSAGE_PAYLOAD / 4)
/* With more bytes than these waiting, workers are not given leave to send more. */
#define CHANNEL_CONGESTED LIMIT_FRAME_PAYLOAD

/*
 * With more bytes than these of events that are not whole, only the oldest of the exchanges that
 * have such a one is given leave to send more: all others wait until it is whole.
 */
#define CHANNEL_HALF_MAX (8u * 1024 * 1024)

#define CHANNEL_EVENT_ID_MAX 64u

/* Why a channel ends; the numbers are those of RFC 6455. */
enum channel_end {
	CHANNEL_DONE = 1000,     /* the session is over */
	CHANNEL_AWAY = 1001,     /* this gateway ends */
	CHANNEL_MISUSED = 1008,  /* the client breaks a rule */
	CHANNEL_FAILED = 1011,   /* our fault */
	CHANNEL_RESTART = 1012,  /* this gateway ends, and its successor is there */
	CHANNEL_TOO_SLOW = 1013, /* one side does not keep up */
};

enum channel_state {
	CHANNEL_NEW,     /* no session */
	CHANNEL_OPENING, /* initialize is being answered */
	CHANNEL_OPEN,
	CHANNEL_ENDING, /* nothing more is said but goodbye */
	CHANNEL_CLOSED, /* the connection is gone, the session is being ended */
};

/* What a transport does for its channels. */
struct channel_ops {
	const struct client_transport *transport;
	/* Queue one message (copied). 0, -ERR_CLOSED, -ERR_TOO_LARGE, -ERR_NO_MEMORY. */
	int (*send)(struct channel *channel, struct span json);
	/* Bytes that the connection has not taken. */
	size_t (*queued)(const struct channel *channel);
	/* Once in each sse.keepalive. quiet: nothing was sent in it. */
	void (*tick)(struct channel *channel, bool quiet);
	/* Say goodbye and let the connection close, not before this returns. */
	void (*end)(struct channel *channel, enum channel_end why, const char *text);
	/* Free it all. */
	void (*free)(struct channel *channel);
};

/* First member of a transport's own struct. */
struct channel {
	struct conn_user user;        /* of conn */
	struct channel *prev, *next;  /* all of the gateway */
	struct gateway *gateway;
	const struct channel_ops *ops;
	struct http_conn *conn; /* NULL once it is closed */
	enum channel_state state;
	struct view *view;
	char session[LIMIT_SESSION_ID + 1];
	size_t session_len;
	char remote[NET_TEXT_MAX];
	struct exchange *exchanges;
	unsigned n_exchanges;
	unsigned begin_pause;     /* ms in which a session has to be begun */
	uint64_t begin_ms;        /* NEW: until then */
	size_t message_max;       /* bytes of one message of the client */
	size_t body_bytes;        /* of those under way */
	size_t half_bytes;        /* of events that are not whole yet */
	struct exchange *opening; /* the initialize */
	struct exchange *events;  /* the GET */
	uint64_t events_since_ms; /* it was begun */
	uint64_t events_due_ms;   /* it is to be begun again; 0: no */
	char last_event_id[CHANNEL_EVENT_ID_MAX + 1];
	struct event *timer;
	uint64_t tick_ms;  /* the next tick is due */
	uint64_t wrote_ms; /* the last message was sent */
};

/* A channel of a client that came by this door with this request. ops, user_ops and conn are
 * borrowed; conn becomes the channel's. 0 or -ERR_NO_MEMORY. */
int channel_init(struct channel *channel, const struct door *door, struct http_conn *conn,
	const struct http1_head *head, const struct facts *facts, const struct channel_ops *ops,
	const struct conn_ops *user_ops);
/* Part of a transport's free. */
void channel_fini(struct channel *channel);

/* What is known of a message that is not taken. */
struct channel_refusal {
	struct span id; /* raw, or empty; lies in the message */
	bool is_answered; /* JSON-RPC has an answer for it: it is no notification and no reply */
};

/*
 * A message of the client: 0: it is on its way (or was answered). Negative, with err: it went
 * nowhere; refusal says whether the client is to be told on the channel.
 */
int channel_message(struct channel *channel, struct span message, struct channel_refusal *refusal,
	struct err *err);
/* Such a message is counted, logged, and where it can be answered, it is, with this error. */
void channel_refuse(struct channel *channel, const struct channel_refusal *refusal,
	const struct err *err);
/* Queue a message for the client; a client that is too slow for it ends the channel. */
void channel_deliver(struct channel *channel, struct span json);
/* Say goodbye, once; the channel is freed only later. */
void channel_end(struct channel *channel, enum channel_end why, const char *text);

/*
 * To be called by the transport: the connection took bytes; all has been said, and it closes by
 * itself; it is closed. The last two free the channel when its session has ended, not before the
 * first of them returns.
 */
void channel_took(struct channel *channel);
void channel_leave(struct channel *channel);
void channel_closed(struct channel *channel);

/* Requests that have no answer yet. */
bool channel_is_busy(const struct channel *channel);

/* The gateway ends: channels do as soon as they are not busy. */
void channels_drain(struct gateway *gateway);
void channels_free(struct gateway *gateway);

/* --- between channel.c and channel_answers.c ------------------------------------------------ */

extern const struct answer_ops channel_answers;

/* initialize was answered with a session. */
void channel_opened(struct channel *channel, struct span session);
/* Begin the GET, unless it is there. */
void channel_listen(struct channel *channel);
/* Half an event of an exchange was so long before, and is now. */
void channel_note_half(struct channel *channel, size_t before, size_t now);
/* This exchange, or with NULL all of them, may be owed credit: it is given where nothing stands
 * against it. */
void channel_grant(struct channel *channel, struct exchange *exchange);
/* The copy of its message is not needed any more. */
void channel_body_gone(struct channel *channel, struct exchange *exchange);
/* The exchange is being freed. May free the channel. */
void channel_forget(struct channel *channel, struct exchange *exchange);

#endif
