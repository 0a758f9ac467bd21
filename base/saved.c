#include "saved.h"

#include <endian.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC "GHSAVED\n"
#define MAGIC_LEN (sizeof(MAGIC) - 1)
#define HEAD_LEN (MAGIC_LEN + 12)

/* --- writing -------------------------------------------------------------------------------- */

static void put32(struct buf *out, uint64_t value)
{
	uint32_t wire = htole32((uint32_t)value);

	if (value > UINT32_MAX)
		buf_fail(out, -ERR_TOO_LARGE);
	buf_append(out, &wire, sizeof(wire));
}

static void put64(struct buf *out, uint64_t value)
{
	uint64_t wire = htole64(value);

	buf_append(out, &wire, sizeof(wire));
}

static void put_head(struct saved_writer *writer, enum saved_kind kind, const char *name)
{
	size_t len = strlen(name);

	if (len > UINT8_MAX)
		buf_fail(writer->out, -ERR_TOO_LARGE);
	buf_append_char(writer->out, (char)kind);
	buf_append_char(writer->out, (char)len);
	buf_append(writer->out, name, len);
}

void saved_begin(struct saved_writer *writer, struct buf *out, uint32_t version, uint32_t oldest)
{
	*writer = (struct saved_writer){.out = out, .start = out->len};
	buf_append(out, MAGIC, MAGIC_LEN);
	put32(out, version);
	put32(out, oldest);
	put32(out, 0);
}

/* Of all from begin, written at `at`. */
static void put_length(struct buf *out, size_t at, size_t begin)
{
	size_t len = out->len - begin;
	uint32_t wire = htole32((uint32_t)len);

	if (len > UINT32_MAX)
		buf_fail(out, -ERR_TOO_LARGE);
	else
		memcpy(out->data + at, &wire, sizeof(wire));
}

int saved_end(struct saved_writer *writer)
{
	if (!writer->out->failed)
		put_length(writer->out, writer->start + MAGIC_LEN + 8, writer->start);
	return writer->out->failed;
}

void saved_put_uint(struct saved_writer *writer, const char *name, uint64_t value)
{
	put_head(writer, SAVED_UINT, name);
	put64(writer->out, value);
}

void saved_put_int(struct saved_writer *writer, const char *name, int64_t value)
{
	put_head(writer, SAVED_INT, name);
	put64(writer->out, (uint64_t)value);
}

void saved_put_bytes(struct saved_writer *writer, const char *name, struct span bytes)
{
	put_head(writer, SAVED_BYTES, name);
	put32(writer->out, bytes.len);
	buf_append_span(writer->out, bytes);
}

static uint64_t inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

void saved_put_fd(struct saved_writer *writer, const char *name, int fd)
{
	if (fd < 0)
		return;
	put_head(writer, SAVED_FD, name);
	put64(writer->out, (uint64_t)fd);
	put64(writer->out, inode_of(fd));
}

void saved_open(struct saved_writer *writer, const char *name)
{
	if (writer->depth == SAVED_DEPTH_MAX) {
		buf_fail(writer->out, -ERR_TOO_LARGE);
		return;
	}
	put_head(writer, SAVED_OBJECT, name);
	writer->open[writer->depth++] = writer->out->len;
	put32(writer->out, 0);
}

void saved_close(struct saved_writer *writer)
{
	size_t at;

	if (writer->out->failed || writer->depth == 0)
		return;
	at = writer->open[--writer->depth];
	put_length(writer->out, at, at + sizeof(uint32_t));
}

/* --- reading -------------------------------------------------------------------------------- */

static uint32_t get32(const char *p)
{
	uint32_t wire;

	memcpy(&wire, p, sizeof(wire));
	return le32toh(wire);
}

static uint64_t get64(const char *p)
{
	uint64_t wire;

	memcpy(&wire, p, sizeof(wire));
	return le64toh(wire);
}

static bool take(struct span *rest, size_t len, struct span *ret)
{
	if (rest->len < len)
		return false;
	*ret = span_of(rest->p, len);
	*rest = span_of(rest->p + len, rest->len - len);
	return true;
}

static bool take_value(struct span *rest, struct saved_item *item)
{
	struct span number;

	if (item->kind == SAVED_UINT || item->kind == SAVED_INT || item->kind == SAVED_FD) {
		if (!take(rest, 8, &number))
			return false;
		item->number = get64(number.p);
		if (item->kind != SAVED_FD)
			return true;
		if (!take(rest, 8, &number))
			return false;
		item->inode = get64(number.p);
		return true;
	}
	return (item->kind == SAVED_BYTES || item->kind == SAVED_OBJECT) &&
	       take(rest, 4, &number) && take(rest, get32(number.p), &item->bytes);
}

bool saved_next(struct span *rest, struct saved_item *ret_item)
{
	struct saved_item item = {0};
	struct span head;

	if (!take(rest, 2, &head))
		return false;
	item.kind = (enum saved_kind)(unsigned char)head.p[0];
	if (!take(rest, (unsigned char)head.p[1], &item.name) || !take_value(rest, &item))
		return false;
	*ret_item = item;
	return true;
}

static bool is_whole(struct span values, unsigned depth)
{
	struct saved_item item;

	while (values.len > 0) {
		if (!saved_next(&values, &item))
			return false;
		if (item.kind == SAVED_OBJECT &&
			(depth == SAVED_DEPTH_MAX || !is_whole(item.bytes, depth + 1)))
			return false;
	}
	return true;
}

int saved_read(struct span document, uint32_t version, uint32_t oldest, struct span *ret_values,
	struct err *err)
{
	struct span rest = document, head;
	uint32_t its_version, its_oldest;

	if (!take(&rest, HEAD_LEN, &head) || memcmp(head.p, MAGIC, MAGIC_LEN) != 0)
		return err_set(err, ERR_PROTOCOL, "this is no saved state");
	its_version = get32(head.p + MAGIC_LEN);
	its_oldest = get32(head.p + MAGIC_LEN + 4);
	if (its_oldest > version)
		return err_set(err, ERR_PROTOCOL,
			"the saved state has version %u and cannot be read by programs that know "
			"version %u",
			its_version, version);
	if (its_version < oldest)
		return err_set(err, ERR_PROTOCOL,
			"the saved state has version %u; the oldest that these programs read is %u",
			its_version, oldest);
	if (get32(head.p + MAGIC_LEN + 8) != document.len || !is_whole(rest, 1))
		return err_set(err, ERR_PROTOCOL, "the saved state is damaged");
	*ret_values = rest;
	return 0;
}

bool saved_is(const struct saved_item *item, const char *name, enum saved_kind kind)
{
	return item->kind == kind && span_is(item->name, name);
}

static bool find(
	struct span object, const char *name, enum saved_kind kind, struct saved_item *ret)
{
	while (saved_next(&object, ret))
		if (saved_is(ret, name, kind))
			return true;
	return false;
}

uint64_t saved_get_uint(struct span object, const char *name, uint64_t missing)
{
	struct saved_item item;

	return find(object, name, SAVED_UINT, &item) ? item.number : missing;
}

struct span saved_get_bytes(struct span object, const char *name)
{
	struct saved_item item;

	return find(object, name, SAVED_BYTES, &item) ? item.bytes : SPAN_NONE;
}

int saved_get_fd(struct span object, const char *name)
{
	struct saved_item item;

	return find(object, name, SAVED_FD, &item) ? (int)item.number : -1;
}

struct span saved_get_object(struct span object, const char *name)
{
	struct saved_item item;

	return find(object, name, SAVED_OBJECT, &item) ? item.bytes : SPAN_NONE;
}

void saved_each_fd(struct span values, void (*fn)(int fd, void *arg), void *arg)
{
	struct saved_item item;

	while (saved_next(&values, &item)) {
		if (item.kind == SAVED_FD)
			fn((int)item.number, arg);
		else if (item.kind == SAVED_OBJECT)
			saved_each_fd(item.bytes, fn, arg);
	}
}

bool saved_fd_stands(const struct saved_item *item)
{
	return item->inode != 0 && inode_of((int)item->number) == item->inode;
}

bool saved_fds_stand(struct span object)
{
	struct saved_item item;

	while (saved_next(&object, &item)) {
		if (item.kind == SAVED_FD && !saved_fd_stands(&item))
			return false;
		if (item.kind == SAVED_OBJECT && !saved_fds_stand(item.bytes))
			return false;
	}
	return true;
}

/* --- structs -------------------------------------------------------------------------------- */

static uint64_t load_uint(const char *at, size_t size)
{
	uint64_t value = 0;

	/* members are in the machine's order, little endian on all that Gatehouse is built for */
	memcpy(&value, at, size);
	return le64toh(value);
}

static int64_t load_int(const char *at, size_t size)
{
	uint64_t value = load_uint(at, size);
	unsigned unused = 64 - 8 * (unsigned)size;

	return (int64_t)(value << unused) >> unused;
}

static void put_field(
	struct saved_writer *writer, const struct saved_field *row, const char *member)
{
	switch (row->kind) {
	case SAVED_UINT:
		saved_put_uint(writer, row->name, load_uint(member, row->size));
		break;
	case SAVED_INT:
		saved_put_int(writer, row->name, load_int(member, row->size));
		break;
	case SAVED_FD:
		saved_put_fd(writer, row->name, (int)load_int(member, row->size));
		break;
	case SAVED_BYTES:
		saved_put_bytes(writer, row->name, span_of(member, strnlen(member, row->size)));
		break;
	case SAVED_OBJECT:
		break;
	}
}

void saved_put_fields(struct saved_writer *writer, const struct saved_field *rows, size_t n,
	const void *members)
{
	for (size_t i = 0; i < n; i++)
		put_field(writer, &rows[i], (const char *)members + rows[i].offset);
}

static bool fits(const struct saved_field *row, const struct saved_item *item)
{
	unsigned bits = 8 * (unsigned)row->size;

	if (row->kind == SAVED_BYTES)
		return item->bytes.len < row->size;
	if (row->kind == SAVED_UINT)
		return (bits == 64 || item->number >> bits == 0) &&
		       (row->max == 0 || item->number <= row->max);
	return bits == 64 || (int64_t)(item->number << (64 - bits)) >> (64 - bits) ==
				     (int64_t)item->number;
}

static void get_field(const struct saved_field *row, const struct saved_item *item, char *member)
{
	uint64_t wire = htole64(item->number);

	if (row->kind == SAVED_BYTES) {
		memset(member, 0, row->size);
		if (item->bytes.len)
			memcpy(member, item->bytes.p, item->bytes.len);
	} else {
		memcpy(member, &wire, row->size);
	}
}

int saved_get_fields(struct span object, const struct saved_field *rows, size_t n, void *members,
	struct err *err)
{
	struct saved_item item;

	for (size_t i = 0; i < n; i++)
		if (rows[i].kind == SAVED_FD)
			memset((char *)members + rows[i].offset, 0xff, rows[i].size);
	while (saved_next(&object, &item)) {
		for (size_t i = 0; i < n; i++) {
			if (!saved_is(&item, rows[i].name, rows[i].kind))
				continue;
			if (!fits(&rows[i], &item))
				return err_set(err, ERR_PROTOCOL,
					"the saved state says of %s what these programs do not "
					"know",
					rows[i].name);
			get_field(&rows[i], &item, (char *)members + rows[i].offset);
			break;
		}
	}
	return 0;
}
