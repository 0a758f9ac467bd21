/*
 * What the gatehouse command shows: help texts of all commands, and tables from canned answers,
 * against the files of tests/golden. GOLDEN_UPDATE=1 in the environment writes them anew.
 */
#include "completion.h"
#include "help.h"
#include "render.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COLUMNS 80u
#define TEXT_MAX (1u << 20)

#define O(NAME) (1u << OPT_##NAME)
#define NODE (O(CONFIG) | O(SOCKET) | O(JSON))
static const struct command commands[] = {
#define COMMAND(words, usage, summary, example, options, handler) \
	{words, usage, summary, example, options, NULL},
#include "commands.def"
#undef COMMAND
};
#define N_COMMANDS (sizeof(commands) / sizeof(*commands))

static const struct {
	const char *name; /* NAME.json in, NAME.txt out */
	render_fn *render;
	bool wide; /* its lines are shown whole */
} tables[] = {
	{"status", render_status, false},
	{"tree", render_tree, false},
	{"ps", render_ps, false},
	{"top", render_top, false},
	{"servers", render_servers, false},
	{"sessions", render_sessions, false},
	{"tools", render_tools, false},
	{"tool_sizes", render_tool_sizes, false},
	{"resources", render_resources, false},
	{"prompts", render_prompts, false},
	{"logs", render_logs, true},
	{"logs_all", render_logs, true},
	{"doctor", render_doctor, false},
	{"message", render_message, false},
	{"call", render_call, true},
};

/* --- files ---------------------------------------------------------------------------------- */

static void read_golden(const char *name, struct buf *out)
{
	char path[1024];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", GOLDEN, name);
	file = fopen(path, "re");
	if (!file)
		ck_abort_msg("cannot read %s; GOLDEN_UPDATE=1 writes the texts", path);
	ck_assert_int_eq(buf_reserve(out, TEXT_MAX), 0);
	out->len = fread(out->data, 1, TEXT_MAX, file);
	fclose(file);
}

static void write_golden(const char *name, const struct buf *text)
{
	char path[1024];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", GOLDEN, name);
	file = fopen(path, "we");
	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(text->data, 1, text->len, file), text->len);
	fclose(file);
}

static void check_golden(const char *name, const struct buf *text)
{
	struct buf expected;

	if (getenv("GOLDEN_UPDATE")) {
		write_golden(name, text);
		return;
	}
	buf_init(&expected, 2 * TEXT_MAX);
	read_golden(name, &expected);
	if (!span_equal(buf_span(text), buf_span(&expected)))
		ck_abort_msg("%s is not as expected:\n%.*s", name, SPAN_ARG(buf_span(text)));
	buf_free(&expected);
}

/* The lines fit, end without blanks, and cannot drive a terminal. */
static void check_form(const char *name, const struct buf *text, bool wide)
{
	char *copy = strndup(text->data, text->len);
	char *rest = copy;

	ck_assert_uint_gt(text->len, 0);
	ck_assert_int_eq(text->data[text->len - 1], '\n');
	for (char *line; (line = strsep(&rest, "\n")) && rest;) {
		size_t len = strlen(line);

		if (!wide && text_width(line) > COLUMNS)
			ck_abort_msg("%s: %u columns: %s", name, text_width(line), line);
		ck_assert_msg(len == 0 || line[len - 1] != ' ', "%s: blank at the end of '%s'",
			name, line);
		ck_assert_msg(!strchr(line, '\033'), "%s: an escape in '%s'", name, line);
	}
	free(copy);
}

/* --- tests ---------------------------------------------------------------------------------- */

START_TEST(test_table)
{
	const struct style style = {.width = COLUMNS};
	struct buf json, out;
	char name[64];
	cJSON *reply;

	buf_init(&json, 2 * TEXT_MAX);
	buf_init(&out, TEXT_MAX);
	snprintf(name, sizeof(name), "%s.json", tables[_i].name);
	read_golden(name, &json);
	reply = cJSON_ParseWithLength(json.data, json.len);
	ck_assert_msg(reply != NULL, "%s is not JSON", name);
	ck_assert_int_eq(tables[_i].render(reply, &style, &out), 0);
	snprintf(name, sizeof(name), "%s.txt", tables[_i].name);
	check_form(name, &out, tables[_i].wide);
	check_golden(name, &out);
	cJSON_Delete(reply);
	buf_free(&out);
	buf_free(&json);
}
END_TEST

/* Answers that lack everything, or have other types than expected, show as little and crash
 * nothing. */
START_TEST(test_odd_answers)
{
	static const char *const odd[] = {"{}", "[]", "null", "7", "{\"ok\":true}",
		"{\"processes\":[1,null,{}],\"servers\":[[]],\"tools\":{\"a\":1},\"tree\":[],"
		"\"sessions\":\"x\",\"lines\":[{\"ts\":1e300}],\"listen\":7,\"message\":[],"
		"\"content\":[{},7,{\"type\":\"resource\",\"resource\":3}],\"not_answering\":[7]}"};
	const struct style style = {.width = COLUMNS, .color = true};

	for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		cJSON *reply = cJSON_Parse(odd[i]);
		struct buf out;

		ck_assert_ptr_nonnull(reply);
		buf_init(&out, TEXT_MAX);
		ck_assert_int_eq(tables[_i].render(reply, &style, &out), 0);
		buf_free(&out);
		cJSON_Delete(reply);
	}
}
END_TEST

START_TEST(test_full_buffer)
{
	const struct style style = {.width = COLUMNS};
	struct buf json, out;
	char name[64];
	cJSON *reply;

	buf_init(&json, 2 * TEXT_MAX);
	snprintf(name, sizeof(name), "%s.json", tables[_i].name);
	read_golden(name, &json);
	reply = cJSON_ParseWithLength(json.data, json.len);
	buf_init(&out, 24);
	tables[_i].render(reply, &style, &out);
	ck_assert_uint_le(out.len, 24);
	buf_free(&out);
	cJSON_Delete(reply);
	buf_free(&json);
}
END_TEST

START_TEST(test_command_help)
{
	const struct command *command = &commands[_i];
	char name[80], file[96];
	struct buf out;

	buf_init(&out, TEXT_MAX);
	ck_assert_int_eq(help_write_command(command, &out), 0);
	snprintf(name, sizeof(name), "%s", command->words);
	for (char *p = name; *p; p++)
		*p = *p == ' ' ? '_' : *p;
	snprintf(file, sizeof(file), "help_%s.txt", name);
	check_form(file, &out, false);
	check_golden(file, &out);
	/* the example is one of this very command */
	ck_assert_ptr_nonnull(strstr(command->example, command->words));
	buf_free(&out);
}
END_TEST

START_TEST(test_all_help)
{
	struct buf out;

	buf_init(&out, TEXT_MAX);
	ck_assert_int_eq(help_write_all(commands, N_COMMANDS, &out), 0);
	check_form("help.txt", &out, false);
	check_golden("help.txt", &out);
	buf_free(&out);
}
END_TEST

/* The shells themselves complete with it: what they offer for each of four lines. */
static const struct {
	const char *shell, *ask;
} completions[] = {
	{"bash", "ask() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _gatehouse; "
		 "echo \"${COMPREPLY[*]}\"; }\n"},
	/* zsh's own part, which filters, is played */
	{"zsh", "_describe() { print -r -- ${${(@P)2}%%:*} | tr ' ' '\\n' | grep \"^$word\" | tr "
		"'\\n' ' ' | "
		"sed 's/ $//'; echo; }\n"
		"ask() { words=(\"$@\") CURRENT=$# word=${@[-1]}; _gatehouse; }\n"},
	{"fish", "function ask; complete -C \"$argv\" | cut -f1 | string join ' '; end\n"},
};

START_TEST(test_completion)
{
	static const char asked[] = "ask gatehouse con\nask gatehouse config sh\n"
				    "ask gatehouse log-level d\nask gatehouse tools --si\n"
				    "ask gatehouse config show --ori\nask gatehouse sessions cl\n";
	char path[] = "/tmp/completion-XXXXXX", command[128], text[512] = "";
	struct buf out;
	FILE *shell;
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	buf_init(&out, TEXT_MAX);
	ck_assert_int_eq(
		completion_write(completions[_i].shell, commands, N_COMMANDS, &out), 0);
	buf_append_char(&out, '\n');
	buf_append_str(&out, completions[_i].ask);
	buf_append_str(&out, asked);
	ck_assert_int_eq(write(fd, out.data, out.len), (ssize_t)out.len);
	close(fd);
	snprintf(command, sizeof(command), "HOME=/nonexistent %s %s 2>&1", completions[_i].shell,
		path);
	shell = popen(command, "re");
	ck_assert_ptr_nonnull(shell);
	text[fread(text, 1, sizeof(text) - 1, shell)] = '\0';
	pclose(shell);
	unlink(path);
	ck_assert_str_eq(text, "config\nshow\ndebug\n--size\n--origin\nclose\n");
	buf_free(&out);
}
END_TEST

START_TEST(test_unknown_shell)
{
	struct buf out;

	buf_init(&out, TEXT_MAX);
	ck_assert_int_eq(completion_write("tcsh", commands, N_COMMANDS, &out), -ERR_NOT_FOUND);
	buf_free(&out);
}
END_TEST

START_TEST(test_wrap)
{
	static const struct {
		const char *text;
		unsigned indent, width;
		const char *expected;
	} rows[] = {{"one two three", 2, 12, "one two\n  three"},
		{"abcdefghijkl", 2, 12, "abcdefghij\n  kl"},
		{"one two three", 2, 0, "one two three"}, {"", 2, 12, ""}, {"  x", 0, 9, "  x"},
		{"äöü äöü äöü", 0, 8, "äöü äöü\näöü"}, {"a\nb", 0, 20, "a b"}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct buf out;

		buf_init(&out, 64);
		text_wrap(rows[i].text, rows[i].indent, rows[i].width, &out);
		buf_append_char(&out, '\0');
		ck_assert_str_eq(out.data, rows[i].expected);
		buf_free(&out);
	}
}
END_TEST

START_TEST(test_measures)
{
	char text[16];

	render_age(0, text);
	ck_assert_str_eq(text, "0 s");
	render_age(119999, text);
	ck_assert_str_eq(text, "119 s");
	render_age(120000, text);
	ck_assert_str_eq(text, "2 min");
	render_age(UINT64_C(172800000), text);
	ck_assert_str_eq(text, "2 d");
	render_bytes(1023, text);
	ck_assert_str_eq(text, "1023 B");
	render_bytes(1536, text);
	ck_assert_str_eq(text, "1.5 KiB");
	render_bytes(3e13, text);
	ck_assert_str_eq(text, "27 TiB");
}
END_TEST

START_TEST(test_cut)
{
	static const struct {
		const char *text;
		unsigned width;
		const char *expected;
	} rows[] = {{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöü", 3, "äöü"}, {"äöüß", 3, "äö…"},
		{"a\tb\n", 10, "a b "}, {"abcd", 0, "abcd"}, {"abcd", 1, "…"}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct buf out;

		buf_init(&out, 64);
		text_cut(rows[i].text, rows[i].width, &out);
		buf_append_char(&out, '\0');
		ck_assert_str_eq(out.data, rows[i].expected);
		buf_free(&out);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ctl_render");
	TCase *tcase = tcase_create("render");
	SRunner *runner = srunner_create(suite);
	int n = (int)(sizeof(tables) / sizeof(*tables));
	int failed;

	tcase_add_loop_test(tcase, test_table, 0, n);
	tcase_add_loop_test(tcase, test_odd_answers, 0, n);
	tcase_add_loop_test(tcase, test_full_buffer, 0, n);
	tcase_add_loop_test(tcase, test_command_help, 0, (int)N_COMMANDS);
	tcase_add_test(tcase, test_all_help);
	tcase_add_loop_test(
		tcase, test_completion, 0, (int)(sizeof(completions) / sizeof(*completions)));
	tcase_add_test(tcase, test_unknown_shell);
	tcase_add_test(tcase, test_measures);
	tcase_add_test(tcase, test_cut);
	tcase_add_test(tcase, test_wrap);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
