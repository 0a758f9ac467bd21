#include "table.h"
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define GAP 2u
#define ELASTIC_MIN 8u
#define NOTE_INDENT 4u

struct row {
	char *cells[TABLE_COLUMNS_MAX];
	char *note;
};

struct table {
	const struct column *columns;
	unsigned n;
	struct row *rows;
	size_t count, room;
	unsigned next; /* column of the next cell */
	bool lost;
};

unsigned text_width(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

void text_cut(const char *text, unsigned width, struct buf *out)
{
	bool cut = width > 0 && text_width(text) > width;
	unsigned n = 0;

	for (; *text; text++) {
		if (((unsigned char)*text & 0xc0) != 0x80 && cut && ++n == width)
			break;
		buf_append_char(out, (unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text);
	}
	if (cut)
		buf_append_str(out, "…");
}

static void pad(struct buf *out, unsigned n)
{
	while (n-- > 0)
		buf_append_char(out, ' ');
}

/* Bytes of the first line of text: as many words as fit, or so many columns of one word. */
static size_t line_bytes(const char *text, unsigned width)
{
	size_t space = 0, i;
	unsigned columns = 0;

	for (i = 0; text[i]; i++) {
		if (((unsigned char)text[i] & 0xc0) != 0x80 && ++columns > width)
			return space ? space : i;
		if (text[i] == ' ' && i > 0)
			space = i;
	}
	return i;
}

void text_wrap(const char *text, unsigned indent, unsigned width, struct buf *out)
{
	unsigned room = width > indent + ELASTIC_MIN ? width - indent : ELASTIC_MIN;

	for (bool first = true; *text; first = false) {
		size_t n = width ? line_bytes(text, room) : strlen(text);

		if (!first) {
			buf_append_char(out, '\n');
			pad(out, indent);
		}
		for (size_t i = 0; i < n; i++)
			buf_append_char(out,
				(unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i]);
		for (text += n; *text == ' '; text++)
			;
	}
}

struct table *table_new(const struct column *columns, unsigned n)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->columns = columns;
	table->n = n < TABLE_COLUMNS_MAX ? n : TABLE_COLUMNS_MAX;
	return table;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->count; i++) {
		for (unsigned j = 0; j < table->n; j++)
			free(table->rows[i].cells[j]);
		free(table->rows[i].note);
	}
	free(table->rows);
	free(table);
}

static struct row *current_row(struct table *table)
{
	struct row *rows;

	if (table->next == 0) {
		if (table->count == table->room) {
			table->room = table->room ? table->room * 2 : 16;
			rows = realloc(table->rows, table->room * sizeof(*rows));
			if (!rows) {
				table->room = table->count;
				return NULL;
			}
			table->rows = rows;
		}
		table->rows[table->count++] = (struct row){0};
	}
	return &table->rows[table->count - 1];
}

void table_cell(struct table *table, const char *fmt, ...)
{
	struct row *row = table ? current_row(table) : NULL;
	char text[TABLE_CELL_MAX];
	va_list args;

	if (!row) {
		if (table)
			table->lost = true;
		return;
	}
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	row->cells[table->next] = strdup(text);
	table->lost |= !row->cells[table->next];
	table->next = (table->next + 1) % table->n;
}

void table_note(struct table *table, const char *text)
{
	if (table && table->count > 0 && !table->rows[table->count - 1].note)
		table->rows[table->count - 1].note = strdup(text);
}

static void measure(const struct table *table, const struct style *style, unsigned *widths)
{
	unsigned total = 0;

	for (unsigned j = 0; j < table->n; j++) {
		widths[j] = text_width(table->columns[j].title);
		for (size_t i = 0; i < table->count; i++) {
			const char *cell = table->rows[i].cells[j];
			unsigned width = cell ? text_width(cell) : 0;

			if (width > widths[j])
				widths[j] = width;
		}
		total += widths[j] + (j ? GAP : 0);
	}
	for (unsigned j = 0; j < table->n && style->width > 0 && total > style->width; j++) {
		unsigned over = total - style->width;

		if (!table->columns[j].elastic)
			continue;
		widths[j] = widths[j] > over + ELASTIC_MIN ? widths[j] - over : ELASTIC_MIN;
	}
}

static void write_line(const struct table *table, const char *const *cells, const unsigned *widths,
	struct buf *out)
{
	size_t end;

	for (unsigned j = 0; j < table->n; j++) {
		const char *cell = cells[j] ? cells[j] : "";
		unsigned width = text_width(cell);
		unsigned rest = width < widths[j] ? widths[j] - width : 0;

		pad(out, j ? GAP : 0);
		if (table->columns[j].right)
			pad(out, rest);
		text_cut(cell, widths[j], out);
		if (!table->columns[j].right)
			pad(out, rest);
	}
	for (end = out->len; end > 0 && out->data[end - 1] == ' '; end--)
		;
	out->len = end;
}

int table_write(const struct table *table, const struct style *style, struct buf *out)
{
	const char *titles[TABLE_COLUMNS_MAX];
	unsigned widths[TABLE_COLUMNS_MAX];
	int r;

	if (!table || table->lost)
		return -ERR_NO_MEMORY;
	measure(table, style, widths);
	for (unsigned j = 0; j < table->n; j++)
		titles[j] = table->columns[j].title;
	if (style->color)
		buf_append_str(out, "\033[1m");
	write_line(table, titles, widths, out);
	r = buf_append_str(out, style->color ? "\033[0m\n" : "\n");
	for (size_t i = 0; i < table->count && r == 0; i++) {
		write_line(table, (const char *const *)table->rows[i].cells, widths, out);
		r = buf_append_char(out, '\n');
		if (!table->rows[i].note)
			continue;
		pad(out, NOTE_INDENT);
		text_wrap(table->rows[i].note, NOTE_INDENT, style->width, out);
		r = buf_append_char(out, '\n');
	}
	return r;
}
