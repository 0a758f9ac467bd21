#include "help.h"

#include <stdio.h>
#include <string.h>

const struct option_row option_rows[OPT_MAX] = {
#define OPTION(NAME, text, letter, argument, help) {text, letter, argument, help},
#include "options.def"
#undef OPTION
};

const uint32_t common_options = 1u << OPT_HELP;

static void write_option(const struct option_row *row, struct buf *out)
{
	char text[64];

	snprintf(text, sizeof(text), "--%s%s%s", row->name, row->argument ? " " : "",
		row->argument ? row->argument : "");
	if (row->letter)
		buf_printf(out, "  -%c, %-20s %s\n", row->letter, text, row->help);
	else
		buf_printf(out, "      %-20s %s\n", text, row->help);
}

int help_write_all(const struct command *commands, unsigned n, struct buf *out)
{
	buf_append_str(out, "Gatehouse, a gateway for MCP servers.\n\n"
			    "usage: gatehouse COMMAND [options]\n\n");
	for (unsigned i = 0; i < n; i++)
		buf_printf(out, "  %-14s  %s\n", commands[i].words, commands[i].summary);
	return buf_append_str(out,
		"\nThe node is found by --socket PATH, else -c FILE, else $GATEHOUSE_SOCKET, else\n"
		"$XDG_RUNTIME_DIR/gatehouse/admin.sock, else /run/gatehouse/admin.sock.\n"
		"Exit status: 0 done, 1 node error, 2 usage, 3 no node there, 4 not found,\n"
		"5 the tool said isError, 70 the node gave up, 78 configuration, 124 timeout.\n\n"
		"example: gatehouse serve -c gatehouse.yaml\n"
		"more:    gatehouse COMMAND --help\n");
}

int help_write_group(
	const char *word, const struct command *commands, unsigned n, struct buf *out)
{
	size_t len = strlen(word);

	buf_printf(out, "usage: gatehouse %s COMMAND [options]\n\n", word);
	for (unsigned i = 0; i < n; i++)
		if (strncmp(commands[i].words, word, len) == 0 && commands[i].words[len] == ' ')
			buf_printf(out, "  %-14s  %s\n", commands[i].words, commands[i].summary);
	return buf_printf(out, "\nmore: gatehouse %s COMMAND --help\n", word);
}

/* What one line of an option cannot say. */
static const struct {
	const char *words, *text;
} notes[] = {
	{"serve", "--dev is for developing a server or a configuration: the node watches the file\n"
		  "(--watch), logs as text at level debug to standard error, with arguments and\n"
		  "results of calls (log.payloads), and refuses addresses that other machines can\n"
		  "reach. A file without a listen address gets http://127.0.0.1:8080.\n"},
	{"doctor", "Looks at the configuration if -c names one, at this machine, and at the node if\n"
		   "one answers. Exit status 1 when there is a problem; warnings are none.\n"},
	{"status", "sessions: with a worker, a process serves it now; hibernating, it waits on disk\n"
		   "for the client's next request; sessionless, shared connections of clients that\n"
		   "need no session (revision 2026-07-28).\n"},
	{"tree", "A session worker that is warm waits for its first session; any other shows the\n"
		 "short name of its session, as gatehouse sessions has it.\n"},
	{"ps", "A session worker that is warm waits for its first session; SESSION is the short\n"
	       "name that gatehouse sessions shows, SERVER the pid of a stdio server.\n"},
	{"tools", "RO: the server says that the tool only reads. Descriptions are cut to the width\n"
		  "of the terminal, or COLUMNS; they are whole where the output is no terminal.\n"},
	{"restart", "KIND is server, role, gateway or session; a bare NAME is a server's. The process\n"
		    "of a server or role is started again at once. With sessions --rolling, each\n"
		    "session worker hands its session over between two calls; with edge --rolling,\n"
		    "each gateway gets a successor that is ready first and takes its connections\n"
		    "over: no client loses a call.\n"},
	{"upgrade", "DIR is the folder of the new gatehouse-supervisor and the programs beside it;\n"
		    "without it, that of the present ones, whose files may have been replaced. All\n"
		    "are checked first; then the root goes on as the new program, and one process\n"
		    "after the other is replaced. If the new ones do not do well while\n"
		    "upgrade.probation lasts, the node returns to the former ones by itself. Later\n"
		    "the way back is the same command.\n"},
	{"log-level", "Of a server or role, the level stays until the time is over or the level of the\n"
		      "whole node is set, which ends all others. A restart takes it from log.level.\n"},
};

int help_write_command(const struct command *command, struct buf *out)
{
	uint32_t options = command->options | common_options;

	buf_printf(out, "%s.\n\nusage: gatehouse %s%s%s\n\n", command->summary, command->words,
		*command->usage ? " " : "", command->usage);
	for (unsigned i = 0; i < OPT_MAX; i++)
		if (options & 1u << i)
			write_option(&option_rows[i], out);
	for (unsigned i = 0; i < sizeof(notes) / sizeof(*notes); i++)
		if (strcmp(notes[i].words, command->words) == 0)
			buf_printf(out, "\n%s", notes[i].text);
	return buf_printf(out, "\nexample: %s\n", command->example);
}
