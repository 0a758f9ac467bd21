#include "policy_world_private.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 40
#define STATEMENT_MAX 512

typedef int statement_fn(struct world *world, char **words, int n);

/* Words to values. */

static int word_index(const char *word, const char *const *words, int n)
{
	for (int i = 0; i < n; i++) {
		if (strcmp(word, words[i]) == 0)
			return i;
	}
	return -1;
}

static int read_strategy(const char *word)
{
	static const char *const words[] = {"-", "one", "all", "rest", "simple"};

	return word_index(word, words, 5);
}

static int read_auto(const char *word)
{
	static const char *const words[] = {"-", "never", "any", "all"};

	return word_index(word, words, 4);
}

static int read_restart(const char *word)
{
	static const char *const words[] = {"-", "permanent", "transient", "temporary"};

	return word_index(word, words, 4);
}

static struct shutdown_rule read_shutdown(const char *word)
{
	if (strcmp(word, "-") == 0)
		return (struct shutdown_rule){.kind = SHUTDOWN_DEFAULT};
	if (strcmp(word, "brutal") == 0)
		return (struct shutdown_rule){.kind = SHUTDOWN_BRUTAL_KILL};
	if (strcmp(word, "infinity") == 0)
		return (struct shutdown_rule){.kind = SHUTDOWN_INFINITY};
	return (struct shutdown_rule){.kind = SHUTDOWN_AFTER, .ms = atoll(word)};
}

static struct exit_status read_exit(const char *word)
{
	struct exit_status status = {0};

	if (strcmp(word, "normal") == 0)
		status.code = 0;
	else if (strcmp(word, "shutdown") == 0)
		status.code = EXIT_CODE_SHUTDOWN;
	else if (strcmp(word, "reason") == 0)
		status = (struct exit_status){.code = EXIT_CODE_SHUTDOWN, .reason = "why"};
	else if (strcmp(word, "killed") == 0)
		status = (struct exit_status){.signalled = true, .code = SIGKILL};
	else if (strncmp(word, "code:", 5) == 0)
		status.code = atoi(word + 5);
	else if (strncmp(word, "signal:", 7) == 0)
		status = (struct exit_status){.signalled = true, .code = atoi(word + 7)};
	else
		status.code = 1;
	return status;
}

/* Declarations. */

static void read_options(struct child_spec *spec, char **words, int n)
{
	long long min;
	long long max;

	for (int i = 0; i < n; i++) {
		if (strcmp(words[i], "timeout=none") == 0)
			spec->start_timeout_ms = SPEC_TIMEOUT_NONE;
		if (sscanf(words[i], "timeout=%lld", &min) == 1)
			spec->start_timeout_ms = min;
		if (sscanf(words[i], "backoff=%lld-%lld", &min, &max) == 2) {
			spec->backoff_min_ms = min;
			spec->backoff_max_ms = max;
		}
	}
}

static int decl_place(struct world *world, struct decl *decl, const char *parent)
{
	struct decl *above;

	decl->spec.id = decl->of ? decl->of->name : decl->name;
	decl->spec.start = decl->of ? decl->of : decl;
	if (strcmp(parent, "-") == 0)
		world->root = decl;
	if (strcmp(parent, "-") == 0 || strcmp(parent, "+") == 0)
		return 0;
	above = decl_find(world, parent);
	if (!above || above->n_children == CHILDREN_MAX)
		return -ERR_INVALID_ARGUMENT;
	above->children[above->n_children++] = decl;
	return 0;
}

static int do_sup(struct world *world, char **words, int n)
{
	struct decl *decl;

	if (n < 7)
		return -ERR_INVALID_ARGUMENT;
	decl = decl_new(world, words[1]);
	decl->sup.flags = (struct supervisor_flags){
		.strategy = (enum strategy)read_strategy(words[3]),
		.intensity = atoll(words[4]),
		.period_s = atoll(words[5]),
		.auto_shutdown = (enum auto_shutdown)read_auto(words[6]),
		.overlap_starts = n > 10 && strcmp(words[10], "overlap") == 0,
	};
	decl->spec.supervisor = &decl->sup;
	if (n > 9) {
		decl->spec.restart = (enum restart_type)read_restart(words[7]);
		decl->spec.shutdown = read_shutdown(words[8]);
		decl->spec.significant = atoi(words[9]);
	}
	return decl_place(world, decl, words[2]);
}

static int do_child(struct world *world, char **words, int n)
{
	struct decl *decl;

	if (n < 6)
		return -ERR_INVALID_ARGUMENT;
	decl = decl_new(world, words[1]);
	decl->spec.restart = (enum restart_type)read_restart(words[3]);
	decl->spec.shutdown = read_shutdown(words[4]);
	decl->spec.significant = atoi(words[5]);
	read_options(&decl->spec, words + 6, n - 6);
	return decl_place(world, decl, words[2]);
}

/* Two declarations of one name: the second is found as PARENT/NAME. */
static int do_as(struct world *world, char **words, int n)
{
	struct decl *of = decl_find(world, words[1]);
	char name[NAME_MAX_LEN];
	struct decl *decl;

	if (!of || n < 6)
		return -ERR_INVALID_ARGUMENT;
	snprintf(name, sizeof(name), "%s/%s", words[2], words[1]);
	decl = decl_new(world, name);
	decl->of = of;
	decl->spec = of->spec;
	decl->spec.restart = (enum restart_type)read_restart(words[3]);
	decl->spec.shutdown = read_shutdown(words[4]);
	decl->spec.significant = atoi(words[5]);
	return decl_place(world, decl, words[2]);
}

static int do_plan(struct world *world, char **words, int n)
{
	static const char *const plans[] = {"ok", "fail", "ignore", "hang"};
	struct decl *decl = decl_new(world, words[1]);

	decl->n_plan = 0;
	decl->plan_sticks = false;
	for (int i = 2; i < n && decl->n_plan < PLAN_MAX; i++) {
		size_t len = strlen(words[i]);
		int plan;

		if (words[i][len - 1] == '*') {
			words[i][len - 1] = '\0';
			decl->plan_sticks = true;
		}
		plan = word_index(words[i], plans, PLAN_MAX_KIND);
		if (plan < 0)
			return -ERR_INVALID_ARGUMENT;
		decl->plan[decl->n_plan++] = (enum plan)plan;
	}
	return 0;
}

static int do_onstop(struct world *world, char **words, int n)
{
	struct decl *decl = decl_new(world, words[1]);

	if (n != 3)
		return -ERR_INVALID_ARGUMENT;
	decl->onstop = ONSTOP_EXIT;
	decl->onstop_exit = read_exit(words[2]);
	if (strcmp(words[2], "hang") == 0)
		decl->onstop = ONSTOP_HANG;
	if (sscanf(words[2], "after:%lu", &decl->onstop_after) == 1) {
		decl->onstop = ONSTOP_AFTER;
		decl->onstop_exit = read_exit("shutdown");
	}
	return 0;
}

/* Statements that make things happen. */

void cookie_released(void *ctx, void *cookie)
{
	struct world *world = ctx;

	(void)cookie;
	world->cookies--;
}

static int do_start(struct world *world, char **words, int n)
{
	long cookies;
	int rc;

	(void)words;
	(void)n;
	cookies = decl_build(world->root) - 1;
	rc = tree_new(&world->root->sup, cookie_released, world, &world->tree, world->err);
	if (rc < 0)
		return rc;
	world->cookies += cookies;
	tree_start(world->tree, world->now);
	return 0;
}

static int do_stop(struct world *world, char **words, int n)
{
	(void)words;
	(void)n;
	tree_stop(world->tree, world->now);
	return 0;
}

static int do_advance(struct world *world, char **words, int n)
{
	uint64_t until = world->now + strtoull(n > 1 ? words[1] : "0", NULL, 10);

	world_pass(world, until);
	world->now = until;
	tree_tick(world->tree, until);
	return 0;
}

static int do_auto(struct world *world, char **words, int n)
{
	(void)words;
	(void)n;
	world->by_itself = true;
	return 0;
}

static int do_reports(struct world *world, char **words, int n)
{
	(void)words;
	(void)n;
	world->reports = true;
	return 0;
}

static int do_exit(struct world *world, char **words, int n)
{
	struct decl *decl = decl_find(world, words[1]);
	struct exit_status status;

	if (!decl || n != 3)
		return -ERR_INVALID_ARGUMENT;
	status = read_exit(words[2]);
	if (decl->instance)
		process_ends(world, decl, NULL, &status);
	else
		say(world, "not running");
	return 0;
}

static int do_ready(struct world *world, char **words, int n)
{
	struct decl *decl = decl_find(world, words[1]);

	(void)n;
	if (!decl)
		return -ERR_INVALID_ARGUMENT;
	if (!decl->instance) {
		say(world, "not running");
		return 0;
	}
	say(world, "start %s", decl->name);
	tree_child_ready(world->tree, world->now, decl->instance, 0);
	return 0;
}

static int do_go(struct world *world, char **words, int n)
{
	struct decl *decl = decl_find(world, words[1]);

	if (!decl)
		return -ERR_INVALID_ARGUMENT;
	if (!decl->began) {
		say(world, "not waiting");
		return 0;
	}
	if (strcmp(words[2], "fail") == 0) {
		process_ends(world, decl, "fail", &(struct exit_status){.code = 3});
		return 0;
	}
	decl->began = false;
	return do_ready(world, words, n);
}

static int do_gone(struct world *world, char **words, int n)
{
	struct decl *decl = decl_find(world, words[1]);

	(void)n;
	if (!decl)
		return -ERR_INVALID_ARGUMENT;
	if (decl->instance)
		process_ends(world, decl, "stop", &decl->onstop_exit);
	else
		say(world, "not running");
	return 0;
}

static int do_mark(struct world *world, char **words, int n)
{
	(void)words;
	(void)n;
	for (struct decl *decl = world->decls; decl; decl = decl->hh.next)
		decl->marked = decl->instance;
	return 0;
}

static int do_same(struct world *world, char **words, int n)
{
	for (int i = 1; i < n; i++) {
		struct decl *decl = decl_find(world, words[i]);

		if (!decl)
			return -ERR_INVALID_ARGUMENT;
		say(world, "%s %s", decl->marked == decl->instance ? "same" : "other", words[i]);
	}
	return 0;
}

/* Requests. */

static uint64_t world_sup(struct world *world, const char *path)
{
	return tree_find_supervisor(world->tree, strcmp(path, "root") == 0 ? "" : path);
}

/* A request that is refused at once is part of the trace, not a fault of the script. */
static int refused(struct world *world, int rc, struct err *err)
{
	if (rc == 0)
		world->unanswered++;
	if (rc == -ERR_NOT_FOUND)
		say(world, "reply noproc");
	else if (rc < 0)
		say(world, "refused %.*s", (int)strcspn(err->detail, ":"), err->detail);
	return 0;
}

static int do_add(struct world *world, char **words, int n)
{
	struct decl *decl = n == 3 ? decl_find(world, words[2]) : NULL;
	struct err err = {0};
	long cookies;
	int rc;

	if (!decl)
		return -ERR_INVALID_ARGUMENT;
	cookies = decl_build(decl);
	rc = tree_start_child(world->tree, world->now, world_sup(world, words[1]),
		++world->requests, &decl->spec, &err);
	if (rc == 0)
		world->cookies += cookies;
	return refused(world, rc, &err);
}

static void decl_changed(struct world *world, const char *path, struct decl *to)
{
	const char *last = strrchr(path, '/');
	struct decl *sup;

	HASH_FIND_STR(world->decls, last ? last + 1 : path, sup);
	if (sup)
		sup->now = to;
}

static int do_change(struct world *world, char **words, int n)
{
	struct decl *decl = n == 3 ? decl_find(world, words[2]) : NULL;
	struct err err = {0};
	long cookies;
	int rc;

	if (!decl)
		return -ERR_INVALID_ARGUMENT;
	cookies = decl_build(decl) - 1;
	rc = tree_change(world->tree, world->now, world_sup(world, words[1]), ++world->requests,
		&decl->sup, &err);
	if (rc == 0) {
		world->cookies += cookies;
		decl_changed(world, words[1], decl);
	}
	return refused(world, rc, &err);
}

static int do_dyn(struct world *world, char **words, int n)
{
	struct err err = {0};
	struct decl *decl;
	int rc;

	if (n != 3)
		return -ERR_INVALID_ARGUMENT;
	decl = decl_new(world, words[2]);
	rc = tree_start_dynamic(
		world->tree, world->now, world_sup(world, words[1]), ++world->requests, decl, &err);
	if (rc == 0)
		world->cookies++;
	return refused(world, rc, &err);
}

typedef int request_fn(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t request,
	const char *id, struct err *err);

static int ask(struct world *world, char **words, int n, request_fn *fn)
{
	struct err err = {0};

	if (n != 3)
		return -ERR_INVALID_ARGUMENT;
	return refused(world,
		fn(world->tree, world->now, world_sup(world, words[1]), ++world->requests, words[2],
			&err),
		&err);
}

static int do_terminate(struct world *world, char **words, int n)
{
	return ask(world, words, n, tree_terminate_child);
}

static int do_restart(struct world *world, char **words, int n)
{
	return ask(world, words, n, tree_restart_child);
}

static int do_delete(struct world *world, char **words, int n)
{
	return ask(world, words, n, tree_delete_child);
}

/* The process of a label; a number is an instance itself. */
static int do_terminate_dyn(struct world *world, char **words, int n)
{
	struct err err = {0};
	struct decl *decl;
	uint64_t instance;

	if (n != 3)
		return -ERR_INVALID_ARGUMENT;
	HASH_FIND_STR(world->decls, words[2], decl);
	instance = decl ? decl->last : strtoull(words[2], NULL, 10);
	if (instance == 0) {
		say(world, "never started");
		return 0;
	}
	return refused(world,
		tree_terminate_instance(world->tree, world->now, world_sup(world, words[1]),
			++world->requests, instance, &err),
		&err);
}

static int do_which(struct world *world, char **words, int n)
{
	static const char *const words_of[] = {
		"undefined", "starting", "running", "stopping", "restarting"};
	struct child_row rows[CHILDREN_MAX];
	char text[1024] = "";
	size_t count;
	size_t at = 0;

	if (n != 2)
		return -ERR_INVALID_ARGUMENT;
	if (tree_which_children(
		    world->tree, world_sup(world, words[1]), rows, CHILDREN_MAX, &count))
		return refused(world, -ERR_NOT_FOUND, NULL);
	for (size_t i = 0; i < count && i < CHILDREN_MAX; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, " %s=%s",
			rows[i].id ? rows[i].id : "", words_of[rows[i].status]);
	say(world, "which%s", text);
	return 0;
}

static int do_count(struct world *world, char **words, int n)
{
	struct child_counts counts;

	if (n != 2)
		return -ERR_INVALID_ARGUMENT;
	if (tree_count_children(world->tree, world_sup(world, words[1]), &counts))
		return refused(world, -ERR_NOT_FOUND, NULL);
	say(world, "count %zu %zu %zu %zu", counts.specs, counts.active, counts.supervisors,
		counts.workers);
	return 0;
}

static const struct statement {
	const char *word;
	int min_words;
	statement_fn *fn;
} statements[] = {
	{"sup", 7, do_sup},
	{"child", 6, do_child},
	{"as", 6, do_as},
	{"plan", 3, do_plan},
	{"onstop", 3, do_onstop},
	{"start", 1, do_start},
	{"stop", 1, do_stop},
	{"advance", 2, do_advance},
	{"auto", 1, do_auto},
	{"reports", 1, do_reports},
	{"exit", 3, do_exit},
	{"ready", 2, do_ready},
	{"go", 3, do_go},
	{"gone", 2, do_gone},
	{"mark", 1, do_mark},
	{"same", 2, do_same},
	{"add", 3, do_add},
	{"change", 3, do_change},
	{"dyn", 3, do_dyn},
	{"terminate", 3, do_terminate},
	{"terminate_dyn", 3, do_terminate_dyn},
	{"restart", 3, do_restart},
	{"delete", 3, do_delete},
	{"which", 2, do_which},
	{"count", 2, do_count},
};

static int world_statement(struct world *world, char *text)
{
	char *words[WORDS_MAX];
	char *save = NULL;
	int n = 0;
	int rc = -ERR_INVALID_ARGUMENT;

	text[strcspn(text, "#")] = '\0';
	for (char *word = strtok_r(text, " \t\r", &save); word && n < WORDS_MAX;
		word = strtok_r(NULL, " \t\r", &save))
		words[n++] = word;
	if (n == 0)
		return 0;
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
		if (strcmp(words[0], statements[i].word) == 0 && n >= statements[i].min_words)
			rc = statements[i].fn(world, words, n);
	}
	if (!world->tree)
		return rc;
	if (world->by_itself)
		world_pass(world, TREE_NO_DEADLINE - 1);
	else
		world_drain(world);
	return rc < 0 ? rc : world_exchange(world);
}

int world_run(struct world *world, const char *script, struct err *err)
{
	world->err = err;
	while (*script) {
		size_t len = strcspn(script, "\n;");
		char text[STATEMENT_MAX];
		int rc;

		snprintf(text, sizeof(text), "%.*s", (int)len, script);
		rc = world_statement(world, text);
		if (rc < 0)
			return err && err->code ? rc
						: err_set(err, ERR_INVALID_ARGUMENT,
							  "what is '%.*s'?", (int)len, script);
		script += len + (script[len] != '\0');
	}
	return 0;
}
