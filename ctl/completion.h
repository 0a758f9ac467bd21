/* Completion scripts for shells, from the tables of commands and options. */
#ifndef GATEHOUSE_CTL_COMPLETION_H
#define GATEHOUSE_CTL_COMPLETION_H

#include "buf.h"
#include "ctl.h"

/* shell: bash, zsh or fish. -ERR_NOT_FOUND for another one, else 0 or the buffer's error. */
int completion_write(
	const char *shell, const struct command *commands, unsigned n, struct buf *out);

#endif
