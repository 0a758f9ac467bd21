/* Tables for a terminal of 80 columns: column widths from the cells, the elastic one is cut. */
#ifndef GATEHOUSE_CTL_TABLE_H
#define GATEHOUSE_CTL_TABLE_H

#include "buf.h"

#include <stdbool.h>

#define TABLE_COLUMNS_MAX 12u
#define TABLE_CELL_MAX 1024u

/* How text is shown. */
struct style {
	unsigned width; /* columns of the terminal; 0: cells are never cut */
	bool color;
};

struct column {
	const char *title;
	bool right;   /* numbers */
	bool elastic; /* cut with an ellipsis when the line is too long; at most one */
};

struct table;

/* columns must outlive the table. NULL when out of memory. */
struct table *table_new(const struct column *columns, unsigned n);
void table_free(struct table *table);
/* The next cell, row by row. Control characters become spaces. */
void table_cell(struct table *table, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Lines of their own below the row of the last cell, indented, broken at the width. */
void table_note(struct table *table, const char *text);
/* 0 or the buffer's error; -ERR_NO_MEMORY when a cell was lost. */
int table_write(const struct table *table, const struct style *style, struct buf *out);

/* Columns that UTF-8 text takes, one for each code point. */
unsigned text_width(const char *text);
/* Append text cut to so many columns, "…" at its end if it was cut. Control characters become
 * spaces. */
void text_cut(const char *text, unsigned width, struct buf *out);
/*
 * Append text broken into lines of at most width columns (0: one line), at spaces where there are
 * any; indent is written before each line but the first, and counts. Ends without a newline.
 */
void text_wrap(const char *text, unsigned indent, unsigned width, struct buf *out);

#endif
