/*
 * The parts of the supervision policy that are no traces: checks of specs, exit classes, the
 * window, the timers, ownership, size. Names cite SUPERVISION.md.
 */
#include "policy_world.h"

#include "timer_heap.h"
#include "window.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

/* A: what is refused. A row differs from a good spec in what `spoil` does. */

static int dummy;

static struct child_spec good_child(void)
{
	return (struct child_spec){.id = "a", .start = &dummy};
}

struct verdict_row {
	const char *name;
	enum spec_verdict verdict;
	struct supervisor_flags flags;
	struct child_spec child;
};

#define FLAGS(strategy, intensity, period, automatic) \
	((struct supervisor_flags){strategy, intensity, period, automatic, false})
#define CHILD(...) ((struct child_spec){.id = "a", .start = &dummy, __VA_ARGS__})

START_TEST(test_verdicts)
{
	const struct verdict_row table[] = {
		{"A1", SPEC_OK, SUPERVISOR_FLAGS_INIT, CHILD()},
		{"A3", SPEC_OK, FLAGS(0, 0, 5, 0), CHILD()},
		{"A3", SPEC_INVALID_INTENSITY, FLAGS(0, -1, 5, 0), CHILD()},
		{"A3", SPEC_INVALID_PERIOD, FLAGS(0, 1, 0, 0), CHILD()},
		{"A3", SPEC_INVALID_PERIOD, FLAGS(0, 1, -5, 0), CHILD()},
		{"A4", SPEC_INVALID_STRATEGY, FLAGS(STRATEGY_MAX, 1, 5, 0), CHILD()},
		{"A4", SPEC_INVALID_STRATEGY, FLAGS((enum strategy) - 1, 1, 5, 0), CHILD()},
		{"A4", SPEC_INVALID_AUTO_SHUTDOWN, FLAGS(0, 1, 5, AUTO_SHUTDOWN_MAX), CHILD()},
		{"A5", SPEC_OK, FLAGS(0, 1, 5, 0), CHILD(.shutdown = {SHUTDOWN_AFTER, 0})},
		{"A5", SPEC_OK, FLAGS(0, 1, 5, 0), CHILD(.shutdown = {SHUTDOWN_INFINITY, 0})},
		{"A5", SPEC_INVALID_SHUTDOWN, FLAGS(0, 1, 5, 0),
			CHILD(.shutdown = {SHUTDOWN_AFTER, -10})},
		{"A5", SPEC_INVALID_SHUTDOWN, FLAGS(0, 1, 5, 0),
			CHILD(.shutdown = {SHUTDOWN_MAX, 0})},
		{"A6", SPEC_INVALID_RESTART_TYPE, FLAGS(0, 1, 5, 0), CHILD(.restart = RESTART_MAX)},
		{"A6", SPEC_INVALID_CHILD_TYPE, FLAGS(0, 1, 5, 0), CHILD(.type = CHILD_MAX)},
		{"A6", SPEC_INVALID_SIGNIFICANT, FLAGS(0, 1, 5, 0), CHILD(.significant = 2)},
		{"A7", SPEC_MISSING_ID, FLAGS(0, 1, 5, 0), {.start = NULL}},
		{"A7", SPEC_MISSING_ID, FLAGS(0, 1, 5, 0), {.id = "", .start = &dummy}},
		{"A7", SPEC_MISSING_START, FLAGS(0, 1, 5, 0), {.id = "a"}},
		{"A9", SPEC_BAD_COMBINATION, FLAGS(0, 1, 5, 0),
			CHILD(.restart = RESTART_TRANSIENT, .significant = 1)},
		{"A10", SPEC_BAD_COMBINATION, FLAGS(0, 1, 5, AUTO_SHUTDOWN_ANY_SIGNIFICANT),
			CHILD(.significant = 1)},
		{"A11", SPEC_BAD_COMBINATION,
			FLAGS(STRATEGY_SIMPLE_ONE_FOR_ONE, 1, 5, AUTO_SHUTDOWN_ALL_SIGNIFICANT),
			CHILD()},
		{"Q1", SPEC_INVALID_START_TIMEOUT, FLAGS(0, 1, 5, 0),
			CHILD(.start_timeout_ms = -2)},
		{"Q2", SPEC_INVALID_BACKOFF, FLAGS(0, 1, 5, 0),
			CHILD(.backoff_min_ms = 5, .backoff_max_ms = 4)},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct verdict_row *row = &table[i];
		struct supervisor_spec spec = {row->flags, &row->child, 1};
		struct tree *tree = NULL;
		struct err err = {0};
		enum spec_verdict verdict = spec_check_supervisor(&spec, &err);

		ck_assert_msg(verdict == row->verdict, "%s, row %zu: %s, not %s", row->name, i,
			spec_verdict_name(verdict), spec_verdict_name(row->verdict));
		if (verdict != SPEC_OK)
			ck_assert_ptr_nonnull(strstr(err.detail, spec_verdict_name(verdict)));
		/* A13: a start says the same. */
		ck_assert_int_eq(tree_new(&spec, NULL, NULL, &tree, NULL),
			verdict == SPEC_OK ? 0 : -ERR_INVALID_ARGUMENT);
		tree_free(tree);
	}
}
END_TEST

START_TEST(test_lists)
{
	struct child_spec two[] = {good_child(), good_child()};
	struct supervisor_flags simple = FLAGS(STRATEGY_SIMPLE_ONE_FOR_ONE, 1, 5, 0);
	struct err err = {0};

	/* A8 */
	ck_assert_int_eq(
		spec_check_children(two, 2, AUTO_SHUTDOWN_NEVER, &err), SPEC_DUPLICATE_CHILD_NAME);
	two[1].id = "b";
	ck_assert_int_eq(spec_check_children(two, 2, AUTO_SHUTDOWN_NEVER, &err), SPEC_OK);
	/* A12 */
	ck_assert_int_eq(spec_check_supervisor(&(struct supervisor_spec){simple, two, 0}, &err),
		SPEC_BAD_START_SPEC);
	ck_assert_int_eq(
		spec_check_supervisor(&(struct supervisor_spec){simple, two, 1}, &err), SPEC_OK);
	ck_assert_int_eq(spec_check_supervisor(&(struct supervisor_spec){simple, two, 2}, &err),
		SPEC_BAD_START_SPEC);
}
END_TEST

/* A14: the whole matrix, against A9 and A10 said in one line. */
START_TEST(test_matrix)
{
	static const struct shutdown_rule rules[] = {{SHUTDOWN_AFTER, 0}, {SHUTDOWN_AFTER, 1000},
		{SHUTDOWN_INFINITY, 0}, {SHUTDOWN_BRUTAL_KILL, 0}, {SHUTDOWN_DEFAULT, 0}};

	for (int n = 0; n < 4 * 4 * 5 * 3 * 2; n++) {
		enum auto_shutdown automatic = (enum auto_shutdown)(n % 4);
		struct child_spec child = CHILD(.restart = (enum restart_type)(n / 4 % 4),
			.shutdown = rules[n / 16 % 5], .type = (enum child_type)(n / 80 % 3),
			.significant = n / 240);
		bool good = !child.significant ||
			    (automatic > AUTO_SHUTDOWN_NEVER && child.restart > RESTART_PERMANENT);

		ck_assert_int_eq(spec_check_child(&child, automatic, NULL),
			good ? SPEC_OK : SPEC_BAD_COMBINATION);
	}
}
END_TEST

/* A2, J9 */
START_TEST(test_defaults)
{
	struct supervisor_spec below = {SUPERVISOR_FLAGS_INIT, NULL, 0};
	struct child_spec specs[] = {good_child(), {.id = "s", .supervisor = &below}};
	struct supervisor_spec root = {SUPERVISOR_FLAGS_INIT, specs, 2};
	const struct child_spec *got;
	struct tree *tree;

	ck_assert_int_eq(tree_new(&root, NULL, NULL, &tree, NULL), 0);
	ck_assert_int_eq(tree_get_childspec(tree, TREE_ROOT, "a", &got), 0);
	ck_assert_int_eq(got->restart, RESTART_PERMANENT);
	ck_assert_int_eq(got->type, CHILD_WORKER);
	ck_assert_int_eq(got->significant, 0);
	ck_assert_int_eq(got->shutdown.kind, SHUTDOWN_AFTER);
	ck_assert_int_eq(got->shutdown.ms, 5000);
	ck_assert_int_eq(got->start_timeout_ms, 10000);
	ck_assert_ptr_eq(got->start, &dummy);
	ck_assert_int_eq(tree_get_childspec(tree, TREE_ROOT, "s", &got), 0);
	ck_assert_int_eq(got->type, CHILD_SUPERVISOR);
	ck_assert_int_eq(got->shutdown.kind, SHUTDOWN_INFINITY);
	ck_assert_int_eq(tree_get_childspec(tree, TREE_ROOT, "q", &got), -ERR_NOT_FOUND);
	tree_free(tree);
}
END_TEST

/* C5 */
START_TEST(test_exit_classes)
{
	static const struct {
		int how;
		int status;
		const char *reason;
		bool stop_requested;
		enum exit_class exit_class;
	} table[] = {
		{CLD_EXITED, 0, NULL, false, EXIT_CLASS_NORMAL},
		{CLD_EXITED, 0, NULL, true, EXIT_CLASS_SHUTDOWN},
		{CLD_EXITED, 1, NULL, false, EXIT_CLASS_ABNORMAL},
		{CLD_EXITED, 1, NULL, true, EXIT_CLASS_ABNORMAL},
		{CLD_EXITED, 80, NULL, false, EXIT_CLASS_SHUTDOWN},
		{CLD_EXITED, 80, "drained", false, EXIT_CLASS_SHUTDOWN_REASON},
		{CLD_EXITED, 1, "drained", false, EXIT_CLASS_ABNORMAL},
		{CLD_EXITED, 81, NULL, false, EXIT_CLASS_ABNORMAL},
		{CLD_EXITED, 255, NULL, false, EXIT_CLASS_ABNORMAL},
		{CLD_KILLED, SIGTERM, NULL, false, EXIT_CLASS_ABNORMAL},
		{CLD_KILLED, SIGTERM, NULL, true, EXIT_CLASS_SHUTDOWN},
		{CLD_KILLED, SIGKILL, NULL, false, EXIT_CLASS_KILLED},
		{CLD_KILLED, SIGKILL, NULL, true, EXIT_CLASS_KILLED},
		{CLD_DUMPED, SIGSEGV, NULL, false, EXIT_CLASS_ABNORMAL},
		{CLD_DUMPED, SIGABRT, NULL, true, EXIT_CLASS_ABNORMAL},
		{CLD_KILLED, SIGSYS, NULL, false, EXIT_CLASS_ABNORMAL},
		{CLD_KILLED, SIGXCPU, NULL, false, EXIT_CLASS_ABNORMAL},
		{CLD_KILLED, SIGHUP, NULL, true, EXIT_CLASS_ABNORMAL},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct exit_status status =
			exit_status_from_wait(table[i].how, table[i].status, table[i].reason);
		enum exit_class exit_class = exit_status_classify(&status, table[i].stop_requested);

		ck_assert_msg(exit_class == table[i].exit_class, "row %zu: %s", i,
			exit_class_name(exit_class));
	}
}
END_TEST

/* F3, F7, F8 */
START_TEST(test_window)
{
	struct window window;

	window_init(&window, 3, 2000);
	for (uint64_t now = 0; now < 10000000; now += 1000) {
		/* 0, 1000, 2000 lie within the period of 2000: the fourth is one too many. */
		bool allowed = window_add(&window, now);

		ck_assert(allowed);
		ck_assert_uint_le(window.count, 3);
		ck_assert_uint_le(window.cap, 8);
	}
	ck_assert(!window_add(&window, 9999000));
	window_set(&window, 1, 2000);
	ck_assert(!window_add(&window, 9999000));
	/* F6: what was recorded counts again under the old limit. */
	window_set(&window, 3, 2000);
	ck_assert(!window_add(&window, 9999000));
	window_set(&window, 1, 2000);
	ck_assert(window_add(&window, 10001001));
	window_free(&window);
	window_init(&window, 0, 2000);
	ck_assert(!window_add(&window, 5));
	window_free(&window);
}
END_TEST

START_TEST(test_timer_heap)
{
	struct timer_heap heap = {0};
	struct heap_timer timers[500] = {0};
	uint64_t seed = 12345;
	uint64_t last = 0;
	struct heap_timer *timer;

	for (size_t i = 0; i < 500; i++)
		ck_assert_int_eq(timer_heap_reserve(&heap), 0);
	for (int round = 0; round < 5000; round++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		timer = &timers[(seed >> 33) % 500];
		if (seed >> 63)
			timer_heap_arm(&heap, timer, (seed >> 20) % 1000);
		else
			timer_heap_disarm(&heap, timer);
	}
	ck_assert_uint_gt(heap.count, 100);
	while ((timer = timer_heap_pop(&heap, 1000))) {
		ck_assert_uint_ge(timer->at, last);
		last = timer->at;
	}
	for (size_t i = 0; i < 500; i++)
		ck_assert_uint_eq(timers[i].place, 0);
	timer_heap_free(&heap);
}
END_TEST

/* J13, and events that come twice or too late. */
START_TEST(test_strangers)
{
	struct child_spec child = good_child();
	struct supervisor_spec root = {SUPERVISOR_FLAGS_INIT, &child, 1};
	struct exit_status status = {.code = 1};
	struct action action;
	struct tree *tree;

	ck_assert_int_eq(tree_new(&root, NULL, NULL, &tree, NULL), 0);
	tree_start(tree, 0);
	ck_assert(tree_next_action(tree, &action));
	ck_assert_int_eq(action.kind, ACTION_START);
	ck_assert_int_eq(tree_child_exited(tree, 0, action.instance + 1, &status), -ERR_NOT_FOUND);
	ck_assert_int_eq(tree_child_exited(tree, 0, TREE_ROOT, &status), -ERR_NOT_FOUND);
	ck_assert_int_eq(tree_child_ready(tree, 0, 0, 0), -ERR_NOT_FOUND);
	/* Ready and gone before anybody looked: it was started, and died. */
	ck_assert_int_eq(tree_child_ready(tree, 0, action.instance, 0), 0);
	ck_assert_int_eq(tree_child_exited(tree, 0, action.instance, &status), 0);
	ck_assert_int_eq(tree_child_exited(tree, 0, action.instance, &status), -ERR_NOT_FOUND);
	ck_assert_int_eq(tree_child_ready(tree, 0, action.instance, 0), -ERR_NOT_FOUND);
	ck_assert(tree_next_action(tree, &action));
	ck_assert_int_eq(action.context, REPORT_PROGRESS);
	ck_assert(tree_next_action(tree, &action));
	ck_assert_int_eq(action.kind, ACTION_READY);
	ck_assert(tree_next_action(tree, &action));
	ck_assert_int_eq(action.context, REPORT_CHILD_TERMINATED);
	ck_assert(tree_next_action(tree, &action));
	ck_assert_int_eq(action.kind, ACTION_START);
	/* F4: a clock that seems to go back changes nothing. */
	tree_tick(tree, 5000);
	tree_tick(tree, 100);
	ck_assert(!tree_next_action(tree, &action));
	ck_assert_uint_eq(tree_next_deadline(tree), 10000);
	tree_free(tree);
}
END_TEST

/* Every cookie is given back, once: after a full life,
 * and when the tree is dropped at any point. */
START_TEST(test_cookies)
{
	static const char *const lives[] = {
		"sup root - all 3 5 never;child a root - - 0;child t root temporary - 0;child x + "
		"- - 0;"
		"sup s root simple 3 5 never;child d s temporary - 0;start;dyn s y;dyn s z;add "
		"root x",
		"exit y killed;exit t killed;terminate root x;delete root x;plan x fail;add root x",
		"onstop a hang;terminate root a;add root x;terminate_dyn s z",
		"stop;gone a",
	};

	for (size_t n = 1; n <= 4; n++) {
		struct world *world = world_new();
		struct err err = {0};

		for (size_t i = 0; i < n; i++)
			ck_assert_msg(world_run(world, lives[i], &err) == 0, "%s", err_text(&err));
		if (n < 4)
			ck_assert_int_gt(world_cookies(world), 0);
		world_drop_tree(world);
		ck_assert_int_eq(world_cookies(world), 0);
		world_free(world);
	}
}
END_TEST

/* K6, K8, K9: size. */

static uint64_t cpu_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* Carries the actions out; returns the last instance started. */
static uint64_t drain(struct tree *tree)
{
	struct exit_status status = {.code = EXIT_CODE_SHUTDOWN};
	struct action action;
	uint64_t started = 0;

	while (tree_next_action(tree, &action)) {
		if (action.kind == ACTION_START) {
			started = action.instance;
			tree_child_ready(tree, 0, action.instance, 0);
		} else if (action.kind == ACTION_SIGNAL || action.kind == ACTION_KILL) {
			tree_child_exited(tree, 0, action.instance, &status);
		}
	}
	return started;
}

static uint64_t time_dynamic(size_t n)
{
	struct child_spec child = CHILD(.restart = RESTART_TEMPORARY);
	struct supervisor_spec root = {FLAGS(STRATEGY_SIMPLE_ONE_FOR_ONE, 1, 5, 0), &child, 1};
	uint64_t *instances = calloc(n, sizeof(*instances));
	struct child_counts counts;
	struct tree *tree;
	uint64_t began = cpu_us();

	ck_assert_int_eq(tree_new(&root, NULL, NULL, &tree, NULL), 0);
	tree_start(tree, 0);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq(tree_start_dynamic(tree, 0, TREE_ROOT, i, NULL, NULL), 0);
		instances[i] = drain(tree);
	}
	ck_assert_int_eq(tree_count_children(tree, TREE_ROOT, &counts), 0);
	ck_assert_uint_eq(counts.specs, 1);
	ck_assert_uint_eq(counts.active, n);
	ck_assert_uint_eq(counts.workers, n);
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq(
			tree_terminate_instance(tree, 0, TREE_ROOT, i, instances[i], NULL), 0);
		drain(tree);
	}
	ck_assert_int_eq(tree_count_children(tree, TREE_ROOT, &counts), 0);
	ck_assert_uint_eq(counts.active, 0);
	tree_free(tree);
	free(instances);
	return cpu_us() - began;
}

START_TEST(test_size_dynamic)
{
	uint64_t small = time_dynamic(1000);
	uint64_t large = time_dynamic(10000);

	ck_assert_msg(large < small * 50, "10,000: %lu us, 1,000: %lu us", large, small);
}
END_TEST

static uint64_t time_static(size_t n)
{
	struct supervisor_spec root = {SUPERVISOR_FLAGS_INIT, NULL, 0};
	char id[32];
	struct child_spec child = {.id = id, .start = &dummy};
	struct child_counts counts;
	struct tree *tree;
	uint64_t began = cpu_us();

	ck_assert_int_eq(tree_new(&root, NULL, NULL, &tree, NULL), 0);
	tree_start(tree, 0);
	for (size_t i = 0; i < n; i++) {
		snprintf(id, sizeof(id), "child-%zu", i);
		ck_assert_int_eq(tree_start_child(tree, 0, TREE_ROOT, i, &child, NULL), 0);
		drain(tree);
	}
	ck_assert_int_eq(tree_count_children(tree, TREE_ROOT, &counts), 0);
	ck_assert_uint_eq(counts.active, n);
	ck_assert_uint_ne(tree_find_child(tree, TREE_ROOT, "child-7"), 0);
	tree_stop(tree, 0);
	drain(tree);
	ck_assert_int_eq(tree_count_children(tree, TREE_ROOT, &counts), -ERR_NOT_FOUND);
	tree_free(tree);
	return cpu_us() - began;
}

START_TEST(test_size_static)
{
	uint64_t small = time_static(1000);
	uint64_t large = time_static(10000);

	ck_assert_msg(large < small * 100, "10,000: %lu us, 1,000: %lu us", large, small);
}
END_TEST

/* The queue of a supervisor has an end, and who does not fit in hears it at once. */
START_TEST(test_queue_limit)
{
	struct child_spec child = good_child();
	struct supervisor_spec root = {SUPERVISOR_FLAGS_INIT, &child, 1};
	struct tree *tree;
	struct err err = {0};

	ck_assert_int_eq(tree_new(&root, NULL, NULL, &tree, NULL), 0);
	tree_start(tree, 0);
	for (size_t i = 0; i < TREE_REQUESTS_MAX; i++)
		ck_assert_int_eq(tree_delete_child(tree, 0, TREE_ROOT, i, "a", &err), 0);
	ck_assert_int_eq(tree_delete_child(tree, 0, TREE_ROOT, 1, "a", &err), -ERR_TOO_MANY);
	drain(tree);
	ck_assert_int_eq(tree_delete_child(tree, 0, TREE_ROOT, 1, "a", &err), 0);
	tree_free(tree);
}
END_TEST

/*
 * Anything at any time: children that hang in their start or their stop, requests and deaths amid
 * both, a stop of all at some moment. Whatever came before, the tree then ends (E7, H6-H8), no
 * process is left (H9), none was started while its former incarnation lived, each request was
 * answered once (J12), and each cookie came back.
 */

static const char chaos_tree[] =
	"sup root - rest 4 5 never;child a root - 100 0;child b root transient infinity 0;"
	"sup s root all 3 5 any;child c s - 50 0;child d s temporary brutal 0;child e s transient "
	"0 1;"
	"sup u s one 2 5 never permanent 200 0;child f u - 100 0 backoff=10-40;child g u - "
	"infinity 0;"
	"sup m root simple 3 5 never transient 300 0;child t m - 100 0;"
	"sup o root one 5 5 never - - 0 overlap;child x + temporary 50 0;child y + temporary - 0;"
	"child z + permanent 100 0;sup w + one 1 5 never temporary 100 0;child v w - 100 0;"
	"child k7 + - - 0;child p u transient 0 0;child q + - - 0;";

static const char *const chaos_names[] = {
	"a", "b", "c", "d", "e", "f", "g", "x", "y", "z", "v", "p", "k7", "q"};
static const char *const chaos_sups[] = {"root", "s", "s/u", "m", "o", "o/w"};

static void chaos_statement(unsigned *seed, unsigned number, char *text, size_t size)
{
	static const char *const forms[] = {"exit %s abnormal", "exit %s killed", "exit %s normal",
		"gone %s", "ready %s", "plan %s hang", "plan %s fail fail", "plan %s fail hang ok",
		"plan %s ignore", "onstop %s hang", "onstop %s shutdown", "onstop %s after:70"};
	/* Each under one supervisor only: the world has one process per name. */
	static const char *const adds[] = {
		"add o x", "add o y", "add root z", "add s q", "add o w"};
	static const char *const asks[] = {
		"terminate %s %s", "restart %s %s", "delete %s %s", "terminate_dyn %s %s"};
	const char *name = chaos_names[(unsigned)rand_r(seed) % 14];
	unsigned kind = (unsigned)rand_r(seed) % 20;

	if (kind < 9)
		snprintf(text, size, forms[(unsigned)rand_r(seed) % 12], name);
	else if (kind < 14)
		snprintf(text, size, asks[(unsigned)rand_r(seed) % 4],
			chaos_sups[(unsigned)rand_r(seed) % 6], name);
	else if (kind < 16)
		snprintf(text, size, "%s", adds[(unsigned)rand_r(seed) % 5]);
	else if (kind < 18)
		snprintf(text, size, "dyn m k%u", number);
	else if (kind == 18)
		snprintf(text, size, "terminate root %s", rand_r(seed) % 2 ? "s" : "m");
	else
		snprintf(text, size, "advance %d", rand_r(seed) % 120);
}

static void chaos_run(struct world *world, const char *text, char *trace, size_t size)
{
	struct err err = {0};

	ck_assert_msg(world_run(world, text, &err) == 0, "%s: %s", text, err_text(&err));
	snprintf(trace + strlen(trace), size - strlen(trace), "%s\n", world_take_trace(world));
}

static const char *trace_end(const char *trace)
{
	size_t len = strlen(trace);

	return trace + (len > 2000 ? len - 2000 : 0);
}

static void chaos_live(unsigned seed, bool exchange_trees, char *trace, size_t size)
{
	unsigned statements = 20 + seed % 150, state = seed;
	struct world *world = world_new();
	char text[128];

	trace[0] = '\0';
	if (exchange_trees)
		world_exchange_trees(world);
	chaos_run(world, chaos_tree, trace, size);
	if (seed % 3 == 0)
		chaos_run(world, "plan e hang", trace, size);
	chaos_run(world, "start", trace, size);
	for (unsigned i = 0; i < statements; i++) {
		chaos_statement(&state, i, text, sizeof(text));
		chaos_run(world, text, trace, size);
	}
	chaos_run(world, "stop;advance 400", trace, size);
	for (int round = 0; round < 40; round++) {
		for (size_t i = 0; i < 14; i++) {
			snprintf(text, sizeof(text), "gone %s;advance 400", chaos_names[i]);
			chaos_run(world, text, trace, size);
		}
	}
	ck_assert_msg(strstr(trace, "stopped") || strstr(trace, "gave_up"), "seed %u: ...%s", seed,
		trace_end(trace));
	ck_assert_msg(!strstr(trace, "STILL ALIVE"), "seed %u: ...%s", seed, trace_end(trace));
	ck_assert_uint_eq(world_alive(world), 0);
	ck_assert_int_eq(world_unanswered(world), 0);
	world_drop_tree(world);
	ck_assert_int_eq(world_cookies(world), 0);
	world_free(world);
}

/* Q11: and it all is the same when one tree takes the other's place after each statement. */
START_TEST(test_chaos)
{
	static char trace[1u << 18], exchanging[1u << 18];

	chaos_live((unsigned)_i, false, trace, sizeof(trace));
	chaos_live((unsigned)_i, true, exchanging, sizeof(exchanging));
	ck_assert_msg(strcmp(trace, exchanging) == 0, "seed %d", _i);
}
END_TEST

static void save_dummy(struct saved_writer *writer, const void *cookie)
{
	saved_put_uint(writer, "dummy", cookie == &dummy);
}

static void *load_dummy(void *ctx, struct span object, struct err *err)
{
	(void)ctx;
	if (saved_get_uint(object, "dummy", 0) == 1)
		return &dummy;
	err_set(err, ERR_PROTOCOL, "another cookie");
	return NULL;
}

static const struct tree_cookies dummy_cookies = {save_dummy, load_dummy};

/* What was cut, or is no tree, is refused, and nothing is left of it. */
START_TEST(test_load_refuses)
{
	struct child_spec child = good_child();
	struct supervisor_spec root = {SUPERVISOR_FLAGS_INIT, &child, 1};
	struct saved_writer writer;
	struct tree *tree, *other;
	struct span values;
	struct buf out;

	buf_init(&out, 65536);
	ck_assert_int_eq(tree_new(&root, NULL, NULL, &tree, NULL), 0);
	tree_start(tree, 0);
	saved_begin(&writer, &out, 3, 2);
	ck_assert_int_eq(tree_save(tree, &dummy_cookies, &writer), -ERR_BUSY);
	drain(tree);
	ck_assert_int_eq(tree_save(tree, &dummy_cookies, &writer), 0);
	ck_assert_int_eq(saved_end(&writer), 0);
	tree_free(tree);
	for (size_t len = 0; len < out.len; len++) {
		struct err err = {0};
		ck_assert_int_eq(saved_read(span_of(out.data, len), 3, 3, &values, &err),
			-ERR_PROTOCOL);
	}
	ck_assert_int_eq(saved_read(buf_span(&out), 1, 1, &values, NULL), -ERR_PROTOCOL);
	ck_assert_int_eq(saved_read(buf_span(&out), 5, 4, &values, NULL), -ERR_PROTOCOL);
	ck_assert_int_eq(saved_read(buf_span(&out), 2, 1, &values, NULL), 0);
	ck_assert_int_eq(tree_load(values, &dummy_cookies, NULL, NULL, &other, NULL), 0);
	tree_free(other);
	buf_free(&out);
}
END_TEST

/* Bytes that were changed load as another tree or as none, and nothing of it is left. */
START_TEST(test_load_garbage)
{
	struct child_spec child = good_child();
	struct supervisor_spec root = {SUPERVISOR_FLAGS_INIT, &child, 1};
	struct saved_writer writer;
	struct tree *tree, *other;
	struct span values;
	struct buf out;

	buf_init(&out, 65536);
	ck_assert_int_eq(tree_new(&root, NULL, NULL, &tree, NULL), 0);
	tree_start(tree, 0);
	drain(tree);
	saved_begin(&writer, &out, 1, 1);
	ck_assert_int_eq(tree_save(tree, &dummy_cookies, &writer), 0);
	ck_assert_int_eq(saved_end(&writer), 0);
	tree_free(tree);
	for (size_t at = 0; at < out.len; at++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			out.data[at] ^= (char)(1u << bit);
			if (saved_read(buf_span(&out), 1, 1, &values, NULL) == 0 &&
				tree_load(values, &dummy_cookies, NULL, NULL, &other, NULL) == 0)
				tree_free(other);
			out.data[at] ^= (char)(1u << bit);
		}
	}
	buf_free(&out);
}
END_TEST

static TCase *policy_rules(void)
{
	TCase *rules = tcase_create("rules");

	tcase_add_test(rules, test_verdicts);
	tcase_add_test(rules, test_lists);
	tcase_add_test(rules, test_matrix);
	tcase_add_test(rules, test_defaults);
	tcase_add_test(rules, test_exit_classes);
	tcase_add_test(rules, test_window);
	tcase_add_test(rules, test_timer_heap);
	tcase_add_test(rules, test_strangers);
	tcase_add_test(rules, test_cookies);
	tcase_add_test(rules, test_size_dynamic);
	tcase_add_test(rules, test_size_static);
	tcase_add_test(rules, test_queue_limit);
	tcase_add_test(rules, test_load_refuses);
	tcase_add_test(rules, test_load_garbage);
	tcase_add_loop_test(rules, test_chaos, 0, 150);
	return rules;
}

int main(void)
{
	Suite *suite = suite_create("policy rules");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, policy_rules());
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
