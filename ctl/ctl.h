/*
 * gatehouse: the command people type. commands.def is the table of commands, options.def of
 * options; a handler gets the parsed line and returns the exit status.
 */
#ifndef GATEHOUSE_CTL_H
#define GATEHOUSE_CTL_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>

enum exit_status {
	EXIT_DONE = 0,
	EXIT_NODE = 1, /* the node says no, or something went wrong on the way */
	EXIT_USAGE = 2,
	EXIT_NO_NODE = 3,
	EXIT_NOT_FOUND = 4,
	EXIT_TOOL = 5, /* the tool's result says isError */
	EXIT_CONFIG = 78,
	EXIT_TIMEOUT = 124,
};

enum ctl_option {
#define OPTION(NAME, text, letter, argument, help) OPT_##NAME,
#include "options.def"
#undef OPTION
	OPT_MAX,
};

#define LISTEN_OPTIONS_MAX 16

struct invocation;

struct command {
	const char *words; /* one or two */
	const char *usage;
	const char *summary;
	const char *example;
	uint32_t options; /* bits of enum ctl_option */
	int (*run)(struct invocation *inv);
};

/* A parsed command line. Strings are those of argv. */
struct invocation {
	const struct command *command;
	const char *option[OPT_MAX]; /* NULL: not given; "" for those without argument */
	const char *listen[LISTEN_OPTIONS_MAX];
	unsigned n_listen;
	char **args;
	int n_args;
};

/* ctl_parse.c. Both print what is wrong (with what to do) and return an exit status. */
int ctl_run(int argc, char **argv);
/* An error of usage: message, then the command's usage line. */
int ctl_usage(const struct invocation *inv, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* "gatehouse: message" and "try: next" on standard error; returns status. next may be NULL. */
int ctl_fail(int status, const char *next, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The exit status of an error of ours. */
int ctl_status_of(const struct err *err);

#define COMMAND(words, usage, summary, example, options, handler) \
	int handler(struct invocation *inv);
#include "commands.def"
#undef COMMAND

#endif
