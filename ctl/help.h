/* Help texts, pure functions of the tables. */
#ifndef GATEHOUSE_CTL_HELP_H
#define GATEHOUSE_CTL_HELP_H

#include "buf.h"
#include "ctl.h"

struct option_row {
	const char *name;
	int letter; /* 0: none */
	const char *argument;
	const char *help;
};

extern const struct option_row option_rows[OPT_MAX];
/* Bits of the options that every command takes. */
extern const uint32_t common_options;

/* Of all commands. */
int help_write_all(const struct command *commands, unsigned n, struct buf *out);
/* Of those that begin with this word ("config"). */
int help_write_group(
	const char *word, const struct command *commands, unsigned n, struct buf *out);
int help_write_command(const struct command *command, struct buf *out);

#endif
