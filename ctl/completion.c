#include "completion.h"
#include "help.h"

#include <stdio.h>
#include <string.h>

/* What may follow a command beside its options. */
static const struct {
	const char *command, *words;
} values[] = {
	{"completion", "bash zsh fish"},
	{"log-level", "debug info warn error"},
	{"restart", "sessions"},
};

static const char *values_of(const struct command *command)
{
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++)
		if (strcmp(values[i].command, command->words) == 0)
			return values[i].words;
	return "";
}

/* Of "config show": 6. */
static size_t first_len(const struct command *command)
{
	return strcspn(command->words, " ");
}

static const char *second_word(const struct command *command)
{
	const char *space = strchr(command->words, ' ');

	return space ? space + 1 : NULL;
}

static bool same_first(const struct command *a, const struct command *b)
{
	return first_len(a) == first_len(b) && strncmp(a->words, b->words, first_len(a)) == 0;
}

/* "config show" and "config schema" are one first word, of which this row is the first. */
static bool begins_word(const struct command *commands, unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (same_first(&commands[k], &commands[i]))
			return false;
	return true;
}

static bool has(const struct command *command, unsigned option)
{
	return (command->options | common_options) & 1u << option;
}

static bool takes_file(unsigned option)
{
	return option == OPT_CONFIG || option == OPT_SOCKET || option == OPT_STATE;
}

/* Text within '…' of a shell; each of special is preceded by a backslash. */
static void write_quoted(const char *text, const char *special, struct buf *out)
{
	for (; *text; text++) {
		if (strchr(special, *text))
			buf_append_char(out, '\\');
		buf_append_str(out, *text == '\'' ? "'\\''" : (char[]){*text, '\0'});
	}
}

/* --- bash ------------------------------------------------------------------------------------ */

static void bash_options(const struct command *command, struct buf *out)
{
	for (unsigned i = 0; i < OPT_MAX; i++)
		if (has(command, i))
			buf_printf(out, "--%s ", option_rows[i].name);
}

static void bash_second_words(
	const struct command *commands, unsigned n, const struct command *first, struct buf *out)
{
	for (unsigned i = 0; i < n; i++)
		if (second_word(&commands[i]) && same_first(&commands[i], first))
			buf_printf(out, "%s ", second_word(&commands[i]));
}

static int write_bash(const struct command *commands, unsigned n, struct buf *out)
{
	buf_append_str(out,
		"_gatehouse() {\n"
		"\tlocal word=${COMP_WORDS[COMP_CWORD]} words=\n"
		"\tcase ${COMP_WORDS[COMP_CWORD-1]} in\n"
		"\t-c|--config|--socket|--state) COMPREPLY=($(compgen -f -- \"$word\")); return;;\n"
		"\tesac\n"
		"\tcase $COMP_CWORD:${COMP_WORDS[1]}:${COMP_WORDS[2]} in\n\t1:*) words=\"");
	for (unsigned i = 0; i < n; i++)
		if (begins_word(commands, i))
			buf_printf(out, "%.*s ", (int)first_len(&commands[i]), commands[i].words);
	buf_append_str(out, "\";;\n");
	/* the longer pattern first */
	for (unsigned i = 0; i < n; i++) {
		if (!second_word(&commands[i]))
			continue;
		buf_printf(out, "\t[3-9]*:%.*s:%s) words=\"", (int)first_len(&commands[i]),
			commands[i].words, second_word(&commands[i]));
		bash_options(&commands[i], out);
		buf_append_str(out, "\";;\n");
	}
	for (unsigned i = 0; i < n; i++) {
		if (!begins_word(commands, i))
			continue;
		buf_printf(out, "\t*:%.*s:*) words=\"", (int)first_len(&commands[i]),
			commands[i].words);
		bash_second_words(commands, n, &commands[i], out);
		if (!second_word(&commands[i])) {
			buf_printf(out, "%s ", values_of(&commands[i]));
			bash_options(&commands[i], out);
		}
		buf_append_str(out, "\";;\n");
	}
	return buf_append_str(out, "\tesac\n"
				   "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
				   "}\n"
				   "complete -o default -F _gatehouse gatehouse\n");
}

/* --- zsh ------------------------------------------------------------------------------------- */

static void zsh_item(const char *prefix, const char *word, int len, const char *about,
	struct buf *out)
{
	buf_printf(out, " '%s%.*s:", prefix, len, word);
	write_quoted(about, ":", out);
	buf_append_char(out, '\'');
}

static void zsh_options(const struct command *command, struct buf *out)
{
	for (unsigned i = 0; i < OPT_MAX; i++)
		if (has(command, i))
			zsh_item("--", option_rows[i].name, 64, option_rows[i].help, out);
}

static void zsh_second_words(
	const struct command *commands, unsigned n, const struct command *first, struct buf *out)
{
	for (unsigned i = 0; i < n; i++)
		if (second_word(&commands[i]) && same_first(&commands[i], first))
			zsh_item("", second_word(&commands[i]), 64, commands[i].summary, out);
}

static void zsh_first_words(const struct command *commands, unsigned n, struct buf *out)
{
	for (unsigned i = 0; i < n; i++)
		if (begins_word(commands, i))
			zsh_item("", commands[i].words, (int)first_len(&commands[i]),
				second_word(&commands[i]) ? "" : commands[i].summary, out);
}

static int write_zsh(const struct command *commands, unsigned n, struct buf *out)
{
	buf_append_str(out, "#compdef gatehouse\n"
			    "_gatehouse() {\n"
			    "\tlocal -a items\n"
			    "\tcase $words[CURRENT-1] in\n"
			    "\t-c|--config|--socket|--state) _files; return;;\n"
			    "\tesac\n"
			    "\tcase $CURRENT:$words[2]:$words[3] in\n\t2:*) items=(");
	zsh_first_words(commands, n, out);
	buf_append_str(out, ");;\n");
	for (unsigned i = 0; i < n; i++) {
		if (!second_word(&commands[i]))
			continue;
		buf_printf(out, "\t<4->:%.*s:%s) items=(", (int)first_len(&commands[i]),
			commands[i].words, second_word(&commands[i]));
		zsh_options(&commands[i], out);
		buf_append_str(out, ");;\n");
	}
	for (unsigned i = 0; i < n; i++) {
		if (!begins_word(commands, i))
			continue;
		buf_printf(out, "\t*:%.*s:*) items=(", (int)first_len(&commands[i]),
			commands[i].words);
		zsh_second_words(commands, n, &commands[i], out);
		if (!second_word(&commands[i])) {
			buf_printf(out, " %s", values_of(&commands[i]));
			zsh_options(&commands[i], out);
		}
		buf_append_str(out, ");;\n");
	}
	return buf_append_str(out, "\tesac\n"
				   "\t_describe gatehouse items || _files\n"
				   "}\n"
				   "if [[ $funcstack[1] = _gatehouse ]]; then\n"
				   "\t_gatehouse \"$@\"\n"
				   "elif (( $+functions[compdef] )); then\n"
				   "\tcompdef _gatehouse gatehouse\n"
				   "fi\n");
}

/* --- fish ------------------------------------------------------------------------------------ */

static void fish_condition(const struct command *command, struct buf *out)
{
	const char *second = second_word(command);

	buf_printf(out, "complete -c gatehouse -n '__fish_seen_subcommand_from %.*s",
		(int)first_len(command), command->words);
	if (second)
		buf_printf(out, "; and __fish_seen_subcommand_from %s", second);
	buf_append_char(out, '\'');
}

static void fish_options(const struct command *command, struct buf *out)
{
	for (unsigned i = 0; i < OPT_MAX; i++) {
		const struct option_row *row = &option_rows[i];

		if (!has(command, i))
			continue;
		fish_condition(command, out);
		buf_printf(out, " -l %s", row->name);
		if (row->letter)
			buf_printf(out, " -s %c", row->letter);
		if (row->argument)
			buf_append_str(out, takes_file(i) ? " -r -F" : " -x");
		buf_append_str(out, " -d '");
		write_quoted(row->help, "\\", out);
		buf_append_str(out, "'\n");
	}
}

static void fish_word(const char *condition, const char *word, int len, const char *about,
	struct buf *out)
{
	buf_printf(out, "complete -c gatehouse -n '%s' -a %.*s -d '", condition, len, word);
	write_quoted(about, "\\", out);
	buf_append_str(out, "'\n");
}

static int write_fish(const struct command *commands, unsigned n, struct buf *out)
{
	buf_append_str(out, "complete -c gatehouse -f\n");
	for (unsigned i = 0; i < n; i++) {
		const struct command *command = &commands[i];
		char condition[96];

		if (begins_word(commands, i))
			fish_word("__fish_use_subcommand", command->words, (int)first_len(command),
				second_word(command) ? "" : command->summary, out);
		snprintf(condition, sizeof(condition), "__fish_seen_subcommand_from %.*s",
			(int)first_len(command), command->words);
		if (second_word(command))
			fish_word(condition, second_word(command), 64, command->summary, out);
		else if (*values_of(command))
			buf_printf(out, "complete -c gatehouse -n '%s' -a '%s'\n", condition,
				values_of(command));
		fish_options(command, out);
	}
	return buf_append(out, "", 0);
}

int completion_write(
	const char *shell, const struct command *commands, unsigned n, struct buf *out)
{
	static const struct {
		const char *name;
		int (*write)(const struct command *commands, unsigned n, struct buf *out);
	} shells[] = {{"bash", write_bash}, {"zsh", write_zsh}, {"fish", write_fish}};

	for (size_t i = 0; i < sizeof(shells) / sizeof(*shells); i++)
		if (strcmp(shells[i].name, shell) == 0)
			return shells[i].write(commands, n, out);
	return -ERR_NOT_FOUND;
}
