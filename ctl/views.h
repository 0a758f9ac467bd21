/* What the files of views share. */
#ifndef GATEHOUSE_CTL_VIEWS_H
#define GATEHOUSE_CTL_VIEWS_H

#include "ctl.h"
#include "render.h"

/*
 * How to write to standard output: as wide as the terminal is, or COLUMNS says; lines are whole
 * where it is no terminal.
 */
struct style view_style(void);
/*
 * Print an answer: as text by render, or with --json as it came (text). clear: on a terminal, in
 * place of what stands there. Returns an exit status.
 */
int view_print(const struct invocation *inv, const char *text, const cJSON *json, render_fn *render,
	bool clear);
/* The member of a request that --view makes, in room (buf_free); "" without the option;
 * NULL: too long. */
const char *view_argument(const struct invocation *inv, struct buf *room);

#endif
