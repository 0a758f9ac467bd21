/* gatehouse: see ctl.h. */
#include "completion.h"
#include "ctl.h"
#include "help.h"

#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HELP_MAX 65536u

#define O(NAME) (1u << OPT_##NAME)
#define NODE (O(CONFIG) | O(SOCKET) | O(JSON))
static const struct command commands[] = {
#define COMMAND(words, usage, summary, example, options, handler) \
	{words, usage, summary, example, options, handler},
#include "commands.def"
#undef COMMAND
};
#define N_COMMANDS (sizeof(commands) / sizeof(*commands))

/* --- what is told when something is wrong --------------------------------------------------- */

int ctl_fail(int status, const char *next, const char *fmt, ...)
{
	va_list args;

	fputs("gatehouse: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	if (next && *next)
		fprintf(stderr, "try: %s\n", next);
	return status;
}

int ctl_usage(const struct invocation *inv, const char *fmt, ...)
{
	va_list args;

	fputs("gatehouse: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\nusage: gatehouse %s %s\ntry: gatehouse %s --help\n", inv->command->words,
		inv->command->usage, inv->command->words);
	return EXIT_USAGE;
}

int ctl_status_of(const struct err *err)
{
	switch (-err->code) {
	case ERR_NOT_FOUND:
		return EXIT_NOT_FOUND;
	case ERR_TIMEOUT:
		return EXIT_TIMEOUT;
	case ERR_CONFIG:
		return EXIT_CONFIG;
	case ERR_INVALID_ARGUMENT:
		return EXIT_USAGE;
	default:
		return EXIT_NODE;
	}
}

/* --- the command line ------------------------------------------------------------------------ */

static int print(const struct buf *out)
{
	fwrite(out->data, 1, out->len, stdout);
	return fflush(stdout) == 0 ? EXIT_DONE : EXIT_NODE;
}

/* "config" alone, of which there are several: is the word one of those? */
static bool is_group(const char *word)
{
	size_t len = strlen(word);

	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strncmp(commands[i].words, word, len) == 0 && commands[i].words[len] == ' ')
			return true;
	return false;
}

static int print_group(const char *word, int status)
{
	struct buf out;

	buf_init(&out, HELP_MAX);
	help_write_group(word, commands, N_COMMANDS, &out);
	print(&out);
	buf_free(&out);
	return status;
}

static bool is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

static int print_help(const struct command *command)
{
	struct buf out;
	int status;

	buf_init(&out, HELP_MAX);
	if (command)
		help_write_command(command, &out);
	else
		help_write_all(commands, N_COMMANDS, &out);
	status = print(&out);
	buf_free(&out);
	return status;
}

int run_completion(struct invocation *inv)
{
	struct buf out;
	int status = EXIT_USAGE;

	buf_init(&out, HELP_MAX);
	if (inv->n_args == 1 &&
		completion_write(inv->args[0], commands, N_COMMANDS, &out) != -ERR_NOT_FOUND)
		status = print(&out);
	else
		ctl_usage(inv, "name the shell: bash, zsh or fish");
	buf_free(&out);
	return status;
}

/* Does the command begin with these words? Returns how many, 0 if not. */
static int match(const struct command *command, int argc, char **argv)
{
	const char *space = strchr(command->words, ' ');
	size_t first = space ? (size_t)(space - command->words) : strlen(command->words);

	if (argc < 1 || strlen(argv[0]) != first || strncmp(argv[0], command->words, first) != 0)
		return 0;
	if (!space)
		return 1;
	return argc > 1 && strcmp(argv[1], space + 1) == 0 ? 2 : 0;
}

static const struct command *find_command(int argc, char **argv, int *ret_words)
{
	const struct command *found = NULL;

	*ret_words = 0;
	for (size_t i = 0; i < N_COMMANDS; i++) {
		int words = match(&commands[i], argc, argv);

		if (words <= *ret_words)
			continue;
		found = &commands[i];
		*ret_words = words;
	}
	return found;
}

static int fill_options(uint32_t allowed, struct option *known, char *letters)
{
	int n = 0;

	*letters++ = ':';
	for (int i = 0; i < OPT_MAX; i++) {
		const struct option_row *row = &option_rows[i];

		if (!(allowed & 1u << i))
			continue;
		known[n++] = (struct option){
			row->name, row->argument ? required_argument : no_argument, NULL, 256 + i};
		if (!row->letter)
			continue;
		*letters++ = (char)row->letter;
		if (row->argument)
			*letters++ = ':';
	}
	*letters = '\0';
	known[n] = (struct option){0};
	return n;
}

static int option_of(int c, uint32_t allowed)
{
	if (c >= 256)
		return c - 256;
	for (int i = 0; i < OPT_MAX; i++)
		if (c > 0 && allowed & 1u << i && option_rows[i].letter == c)
			return i;
	return -1;
}

/* argv[0] is the last word of the command. */
static int parse_options(struct invocation *inv, int argc, char **argv)
{
	uint32_t allowed = inv->command->options | common_options;
	struct option known[OPT_MAX + 1];
	char letters[3 * OPT_MAX + 2];
	int c, which;

	fill_options(allowed, known, letters);
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, letters, known, NULL)) != -1) {
		if (c == ':')
			return ctl_usage(inv, "%s needs an argument", argv[optind - 1]);
		which = c == '?' ? -1 : option_of(c, allowed);
		if (which < 0)
			return ctl_usage(inv, "'%s' is no option of gatehouse %s", argv[optind - 1],
				inv->command->words);
		inv->option[which] = optarg ? optarg : "";
		if (which == OPT_LISTEN && inv->n_listen < LISTEN_OPTIONS_MAX)
			inv->listen[inv->n_listen++] = optarg;
	}
	inv->args = argv + optind;
	inv->n_args = argc - optind;
	return EXIT_DONE;
}

int ctl_run(int argc, char **argv)
{
	struct invocation inv = {0};
	int words, status;
	bool group;

	if (argc < 2 || is_help(argv[1])) {
		inv.command = argc > 2 ? find_command(argc - 2, argv + 2, &words) : NULL;
		if (argc > 2 && !inv.command && is_group(argv[2]))
			return print_group(argv[2], EXIT_DONE);
		print_help(inv.command);
		return argc < 2 ? EXIT_USAGE : EXIT_DONE;
	}
	if (strcmp(argv[1], "--version") == 0)
		return run_version(&inv);
	inv.command = find_command(argc - 1, argv + 1, &words);
	group = !inv.command && is_group(argv[1]);
	if (group && (argc == 2 || is_help(argv[2])))
		return print_group(argv[1], argc == 2 ? EXIT_USAGE : EXIT_DONE);
	if (group)
		return ctl_fail(EXIT_USAGE, "gatehouse config --help",
			"there is no command '%s %s'", argv[1], argv[2]);
	if (!inv.command)
		return ctl_fail(
			EXIT_USAGE, "gatehouse --help", "there is no command '%s'", argv[1]);
	status = parse_options(&inv, argc - words, argv + words);
	if (status != EXIT_DONE)
		return status;
	if (inv.option[OPT_HELP])
		return print_help(inv.command);
	return inv.command->run(&inv);
}

int run_version(struct invocation *inv)
{
	if (inv->option[OPT_JSON])
		printf("{\"version\":\"%s\",\"build\":\"%s\"}\n", GATEHOUSE_VERSION,
			GATEHOUSE_BUILD_ID);
	else
		printf("gatehouse %s, build %s\n", GATEHOUSE_VERSION, GATEHOUSE_BUILD_ID);
	return EXIT_DONE;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	return ctl_run(argc, argv);
}
