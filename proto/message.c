#include "message.h"

#include <assert.h>
#include <endian.h>

static const struct {
	const char *name;
	const char *program;
	bool singleton;
} roles[ROLE_MAX] = {
#define ROLE(name, text, program, singleton) [ROLE_##name] = {text, program, singleton},
#include "roles.def"
#undef ROLE
};

const char *role_name(enum role role)
{
	return role < ROLE_MAX ? roles[role].name : "unknown";
}

const char *role_program(enum role role)
{
	return roles[role].program;
}

bool role_is_singleton(enum role role)
{
	return roles[role].singleton;
}

bool role_may_open(enum role opener, enum role acceptor)
{
	static const bool allowed[ROLE_MAX][ROLE_MAX] = {
#define LINK(from, to) [ROLE_##from][ROLE_##to] = true,
#include "links.def"
#undef LINK
	};

	return opener < ROLE_MAX && acceptor < ROLE_MAX && allowed[opener][acceptor];
}

enum {
#define ROLE(name, text, program, singleton) name = 1u << ROLE_##name,
#include "roles.def"
#undef ROLE
	ANY = (1u << ROLE_MAX) - 1,
};

#define FIELD_LETTER_U8 "b"
#define FIELD_LETTER_U32 "w"
#define FIELD_LETTER_U64 "q"
#define FIELD_LETTER_STR "s"
#define F(type, name) FIELD_LETTER_##type
static const struct message_row rows[MSG_MAX] = {
#define MESSAGE(NAME, name_, number_, since_, from, to, kind_, max, fds_, fields_) \
	[MSG_##NAME] = {#NAME, number_, since_, from, to, MESSAGE_##kind_, max, fds_, "" fields_},
#include "messages.def"
#undef MESSAGE
};
#undef F

const struct message_row *message_row(enum message_type type)
{
	return &rows[type];
}

/* A switch, so that a number given twice does not compile. */
enum message_type message_by_number(uint16_t number)
{
	switch (number) {
#define MESSAGE(NAME, name, number, since, from, to, kind, max, fds, fields) \
	case number: \
		return MSG_##NAME;
#include "messages.def"
#undef MESSAGE
	default:
		return MSG_NONE;
	}
}

/* What the link relies on: a control message is one frame,
 * and descriptors travel only with those. */
#define MESSAGE(NAME, name, number, since, from, to, kind, max, fds, fields) \
	static_assert((number) > 0 && (number) <= UINT16_MAX, #NAME ": number"); \
	static_assert((since) > 0 && (since) <= MESSAGE_VERSION, #NAME ": since"); \
	static_assert((max) <= LIMIT_MESSAGE_PAYLOAD, #NAME ": maximum"); \
	static_assert(MESSAGE_##kind == MESSAGE_DATA || (max) <= LIMIT_FRAME_PAYLOAD, \
		#NAME ": a control message is not cut into frames"); \
	static_assert( \
		(fds) == 0 || (MESSAGE_##kind == MESSAGE_CONTROL && (fds) <= LIMIT_FRAME_FDS), \
		#NAME ": descriptors");
#include "messages.def"
#undef MESSAGE

/* What encode_fields relies on: members without gaps. */
#define F(type, name) +sizeof(FIELD_C_##type)
#define MESSAGE(NAME, name, number, since, from, to, kind, max, fds, fields) \
	static_assert(sizeof(struct msg_##name) == (0 fields), #NAME ": gaps between fields");
#include "messages.def"
#undef MESSAGE
#undef F

static void put_u32(char *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
}

static uint32_t get_u32(const char *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return be32toh(v);
}

static int put_string(struct buf *out, struct span s)
{
	char len[4];
	int r;

	if (s.len > LIMIT_FRAME_FIELDS)
		return -ERR_TOO_LARGE;
	put_u32(len, (uint32_t)s.len);
	r = buf_append(out, len, sizeof(len));
	return r < 0 ? r : buf_append_span(out, s);
}

/* The last width bytes of v, big endian; a value that needs more is sent as the largest. */
static int put_integer(struct buf *out, uint64_t v, size_t width)
{
	uint64_t largest = width < 8 ? (UINT64_C(1) << 8 * width) - 1 : UINT64_MAX;
	char bytes[8];

	v = htobe64(v < largest ? v : largest);
	memcpy(bytes, &v, sizeof(bytes));
	return buf_append(out, bytes + sizeof(bytes) - width, width);
}

static size_t integer_width(char letter)
{
	switch (letter) {
	case 'b':
		return 1;
	case 'w':
		return 4;
	default:
		return 8;
	}
}

/* The members of a message struct lie one after the other without gaps: integers 8 bytes, spans two
 * words. */
static int encode_fields(struct buf *out, const char *letters, const char *member)
{
	int r = 0;

	for (; *letters && r == 0; letters++) {
		uint64_t v;
		struct span s;

		if (*letters == 's') {
			memcpy(&s, member, sizeof(s));
			member += sizeof(s);
			r = put_string(out, s);
		} else {
			memcpy(&v, member, sizeof(v));
			member += sizeof(v);
			r = put_integer(out, v, integer_width(*letters));
		}
	}
	return r;
}

int message_encode(struct buf *out, enum message_type type, uint32_t stream, bool more,
	unsigned nfds, const void *fields)
{
	size_t start = out->len;
	uint16_t number = htobe16(rows[type].number);
	char header[MESSAGE_HEADER_SIZE];
	int r;

	if (*rows[type].fields && !fields)
		return -ERR_INVALID_ARGUMENT;
	memcpy(header, &number, 2);
	header[2] = more ? MESSAGE_FLAG_MORE : 0;
	header[3] = (char)nfds;
	put_u32(header + 4, stream);
	put_u32(header + 8, 0);
	r = buf_append(out, header, sizeof(header));
	if (r == 0 && *rows[type].fields)
		r = encode_fields(out, rows[type].fields, fields);
	if (r == 0 && out->len - start - MESSAGE_HEADER_SIZE > LIMIT_FRAME_FIELDS)
		r = -ERR_TOO_LARGE;
	if (r < 0) {
		buf_cut(out, start);
		return r;
	}
	put_u32(out->data + start + 8, (uint32_t)(out->len - start - MESSAGE_HEADER_SIZE));
	return 0;
}

struct field_reader {
	struct span left;
	bool broken;
};

/* n bytes, or NULL at the end of the fields: an older sender knew no such field. */
static const char *take(struct field_reader *reader, size_t n)
{
	const char *p = reader->left.p;

	if (reader->left.len == 0)
		return NULL;
	if (reader->left.len < n) {
		reader->broken = true;
		return NULL;
	}
	reader->left.p += n;
	reader->left.len -= n;
	return p;
}

static uint64_t take_integer(struct field_reader *reader, size_t width)
{
	const char *p = take(reader, width);
	uint64_t v = 0;

	for (size_t i = 0; p && i < width; i++)
		v = v << 8 | (unsigned char)p[i];
	return v;
}

static struct span take_string(struct field_reader *reader)
{
	size_t len = (size_t)take_integer(reader, 4);

	return len ? span_of(take(reader, len), len) : SPAN_NONE;
}

static bool decode_fields(struct span fields, const char *letters, char *member)
{
	struct field_reader reader = {fields, false};

	for (; *letters; letters++) {
		if (*letters == 's') {
			struct span s = take_string(&reader);

			reader.broken |= s.len > 0 && !s.p;
			memcpy(member, &s, sizeof(s));
			member += sizeof(s);
		} else {
			uint64_t v = take_integer(&reader, integer_width(*letters));

			memcpy(member, &v, sizeof(v));
			member += sizeof(v);
		}
	}
	return !reader.broken;
}

int message_decode(
	struct span frame, union message_fields *storage, struct message *ret, struct err *err)
{
	enum message_type type;
	uint32_t fields_len;

	if (frame.len < MESSAGE_HEADER_SIZE)
		return err_set(err, ERR_PROTOCOL, "a frame of %zu bytes is shorter than its header",
			frame.len);
	type = message_by_number(
		(uint16_t)((unsigned char)frame.p[0] << 8 | (unsigned char)frame.p[1]));
	if (type == MSG_NONE)
		return err_set(err, ERR_PROTOCOL, "unknown message number %u",
			(unsigned)((unsigned char)frame.p[0] << 8 | (unsigned char)frame.p[1]));
	fields_len = get_u32(frame.p + 8);
	if (fields_len > frame.len - MESSAGE_HEADER_SIZE)
		return err_set(err, ERR_PROTOCOL, "%s: fields of %u bytes in a frame of %zu",
			rows[type].name, fields_len, frame.len);
	if (!decode_fields(span_of(frame.p + MESSAGE_HEADER_SIZE, fields_len), rows[type].fields,
		    (char *)storage))
		return err_set(err, ERR_PROTOCOL, "%s: a field is cut short", rows[type].name);
	*ret = (struct message){
		.type = type,
		.more = frame.p[2] & MESSAGE_FLAG_MORE,
		.nfds = (uint8_t)frame.p[3],
		.stream = get_u32(frame.p + 4),
		.fields = storage,
		.payload = span_of(frame.p + MESSAGE_HEADER_SIZE + fields_len,
			frame.len - MESSAGE_HEADER_SIZE - fields_len),
	};
	return 0;
}
