#include "help.h"

#include <stdio.h>
#include <string.h>

const struct option_row option_rows[OPT_MAX] = {
#define OPTION(NAME, text, letter, argument, help) {text, letter, argument, help},
#include "options.def"
#undef OPTION
};

const uint32_t common_options = 1u << OPT_SOCKET | 1u << OPT_JSON | 1u << OPT_HELP;

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

int help_write_command(const struct command *command, struct buf *out)
{
	uint32_t options = command->options | common_options;

	buf_printf(out, "%s.\n\nusage: gatehouse %s%s%s\n\n", command->summary, command->words,
		*command->usage ? " " : "", command->usage);
	for (unsigned i = 0; i < OPT_MAX; i++)
		if (options & 1u << i)
			write_option(&option_rows[i], out);
	return buf_printf(out, "\nexample: %s\n", command->example);
}

/* --- completion ----------------------------------------------------------------------------- */

static int write_words(
	const struct command *commands, unsigned n, const char *first, struct buf *out)
{
	size_t len = strlen(first);

	for (unsigned i = 0; i < n; i++) {
		const char *space = strchr(commands[i].words, ' ');

		if (*first && space && (size_t)(space - commands[i].words) == len &&
			strncmp(commands[i].words, first, len) == 0)
			buf_printf(out, "%s ", space + 1);
		/* "config show" and "config schema" are one first word */
		else if (!*first && (!space || i == 0 ||
					    strncmp(commands[i - 1].words, commands[i].words,
						    (size_t)(space - commands[i].words)) != 0))
			buf_printf(out, "%.*s ",
				(int)(space ? (size_t)(space - commands[i].words)
					    : strlen(commands[i].words)),
				commands[i].words);
	}
	return buf_append(out, "", 0);
}

static void write_options_of(const struct command *command, struct buf *out)
{
	uint32_t options = command->options | common_options;

	for (unsigned i = 0; i < OPT_MAX; i++)
		if (options & 1u << i)
			buf_printf(out, "--%s ", option_rows[i].name);
}

int help_write_completion(const struct command *commands, unsigned n, struct buf *out)
{
	buf_append_str(out, "_gatehouse() {\n"
			    "\tlocal word=${COMP_WORDS[COMP_CWORD]} words=\n"
			    "\tcase ${COMP_WORDS[COMP_CWORD-1]} in\n"
			    "\t-c|--config) COMPREPLY=($(compgen -f -- \"$word\")); return;;\n"
			    "\tesac\n"
			    "\tcase $COMP_CWORD:${COMP_WORDS[1]} in\n\t1:*) words=\"");
	write_words(commands, n, "", out);
	buf_append_str(out, "\";;\n");
	for (unsigned i = 0; i < n; i++) {
		const char *words = commands[i].words;

		if (strchr(words, ' '))
			continue;
		buf_append_str(out, "\t*:");
		buf_append_str(out, words);
		buf_append_str(out, ") words=\"");
		write_words(commands, n, words, out);
		if (strcmp(words, "completion") == 0)
			buf_append_str(out, "bash ");
		if (strcmp(words, "log-level") == 0)
			buf_append_str(out, "debug info warn error ");
		write_options_of(&commands[i], out);
		buf_append_str(out, "\";;\n");
	}
	buf_append_str(out, "\t*:config) words=\"");
	write_words(commands, n, "config", out);
	return buf_append_str(out, "--config --origin --json --help \";;\n"
				   "\tesac\n"
				   "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
				   "}\n"
				   "complete -o default -F _gatehouse gatehouse\n");
}
