/*
 * Messages between processes: the catalogue (messages.def) as C, and the encoding of one message.
 *
 * Wire, within one SP message, all big endian: type u16, flags u8, number of descriptors u8, stream
 * u32, length of the fields u32, the fields (U8 one byte, U32 four, U64 eight, STR four of length
 * and the bytes), the payload. A receiver reads the fields it knows; what an older sender did not
 * send is zero or empty, what a newer one added is passed over.
 */
#ifndef GATEHOUSE_MESSAGE_H
#define GATEHOUSE_MESSAGE_H

#include "bounds.h"
#include "buf.h"
#include "err.h"
#include "span.h"

#include <stdint.h>

enum role {
#define ROLE(name, text, program, singleton) ROLE_##name,
#include "roles.def"
#undef ROLE
	ROLE_MAX,
};

const char *role_name(enum role role);
/* File name of the role's program. */
const char *role_program(enum role role);
bool role_is_singleton(enum role role);
/* May opener ask the root for a link to acceptor? (links.def) */
bool role_may_open(enum role opener, enum role acceptor);

/* Version of the catalogue that this program speaks, and the oldest it can talk to. */
#define MESSAGE_VERSION 1u
#define MESSAGE_VERSION_OLDEST 1u
#define MESSAGE_HEADER_SIZE 12u
#define MESSAGE_FLAG_MORE 1u

enum message_type {
	MSG_NONE,
#define MESSAGE(NAME, name, number, since, from, to, kind, max, fds, fields) MSG_##NAME,
#include "messages.def"
#undef MESSAGE
	MSG_MAX,
};

/* struct msg_hello, struct msg_link_open, …: integers are uint64_t whatever their width on the
 * wire, STR is a struct span. */
#define FIELD_C_U8 uint64_t
#define FIELD_C_U32 uint64_t
#define FIELD_C_U64 uint64_t
#define FIELD_C_STR struct span
#define F(type, name) FIELD_C_##type name;
#define MESSAGE(NAME, name, number, since, from, to, kind, max, fds, fields) \
	struct msg_##name { \
		fields \
	};
#include "messages.def"
#undef MESSAGE
#undef F

enum message_kind { MESSAGE_CONTROL, MESSAGE_DATA };

struct message_row {
	const char *name;
	uint16_t number;
	uint16_t since;
	uint32_t senders;   /* bit per role */
	uint32_t receivers; /* bit per role */
	enum message_kind kind;
	uint32_t max_payload;
	uint8_t fds;
	const char *fields; /* one letter each: b U8, w U32, q U64, s STR */
};

const struct message_row *message_row(enum message_type type);
/* Number on the wire → type, or MSG_NONE. */
enum message_type message_by_number(uint16_t number);

struct message {
	enum message_type type;
	bool more;
	uint8_t nfds; /* announced */
	uint32_t stream;
	const void *fields; /* the struct msg_… of this type */
	struct span payload;
	int *fds; /* nfds of them; a handler that keeps one sets it to -1, the rest is closed after
		     it */
};

/* Room for the fields of any message. */
union message_fields {
	char none;
#define MESSAGE(NAME, name, number, since, from, to, kind, max, fds, fields) struct msg_##name name;
#include "messages.def"
#undef MESSAGE
};

/*
 * Append header and fields. fields: the struct of the type (NULL only if the type has no fields).
 * An integer too large for its width on the wire is sent as the largest. Returns 0, -ERR_TOO_LARGE
 * (fields over LIMIT_FRAME_FIELDS), -ERR_INVALID_ARGUMENT (no fields where the type has some),
 * -ERR_NO_MEMORY; out is as before then.
 */
int message_encode(struct buf *out, enum message_type type, uint32_t stream, bool more,
	unsigned nfds, const void *fields);

/*
 * Decode a frame. ret->fields points to storage, its spans and ret->payload into frame. Checks form
 * only; who may say what is the link's. Returns 0 or -ERR_PROTOCOL.
 */
int message_decode(
	struct span frame, union message_fields *storage, struct message *ret, struct err *err);

#endif
