#include "launcher_scene.h"
#include "clock.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK "GATEHOUSE_TEST_MARK"

static char self[4096];

struct scene scene;

/* %1$s: this program, %2$s: the mark's value, %3$s and %4$s: two scripts */
static const char config_format[] =
	"mcpServers:\n"
	"  cat: { command: cat, env: { " MARK ": '%2$s', TOKEN: '" SCENE_SECRET "' } }\n"
	"  missing: { command: no-such-program-here }\n"
	"  file: { command: /etc/passwd }\n"
	"  hidden: { command: '/none/token=t0ps3cret' }\n"
	"  nofolder: { command: cat, cwd: /no/such/folder }\n"
	"  badscript: { command: '%3$s' }\n"
	"  plainscript: { command: '%4$s', args: [ one, 'two words' ] }\n"
	"  stderr: { command: sh, args: [ -c, 'echo complaint >&2; cat' ] }\n"
	"  stubborn: { command: '%1$s', args: [ stubborn ], env: { " MARK ": '%2$s' } }\n"
	"  polite: { command: sh, args: [ -c, 'trap \"exit 7\" TERM; echo up;"
	" while :; do sleep 0.02; done' ], env: { " MARK ": '%2$s' } }\n"
	"  wrapper: { command: sh, args: [ -c, 'sleep 1000 & sh -c \"sleep 1001 & wait\" &"
	" echo up; wait' ], env: { " MARK ": '%2$s' } }\n"
	"  daemon: { command: sh, args: [ -c, '(setsid sh -c \"sleep 1000 & sleep 1001\""
	" </dev/null >/dev/null 2>&1 &); sleep 0.1; echo up; read x; exit 5' ],"
	" env: { " MARK ": '%2$s' } }\n"
	"  swarm: { command: sh, args: [ -c, 'i=0; while [ $i -lt 100 ]; do setsid sleep 1000 &"
	" i=$((i+1)); done; echo up; while :; do sleep 0.01; done' ],"
	" env: { " MARK ": '%2$s' } }\n"
	"  probe: { command: '%1$s', args: [ probe ], env: { GREETING: 'hello you' }, cwd: /tmp }\n"
	"  quick: { command: 'true' }\n"
	"  remote: { url: 'http://127.0.0.1:1/mcp', type: http }\n"
	"  off: { command: cat, disabled: true }\n";

static char script_dir[] = "/tmp/gatehouse-launcher-XXXXXX";

static void write_script(char *path, size_t size, const char *name, const char *text)
{
	FILE *file;

	snprintf(path, size, "%s/%s", script_dir, name);
	file = fopen(path, "we");
	if (!file)
		abort();
	fputs(text, file);
	fclose(file);
	chmod(path, 0755);
}

static char *config_text(void)
{
	char *text = NULL;

	ck_assert_int_gt(asprintf(&text, config_format, self, strchr(scene.mark, '=') + 1,
				 scene.bad_script, scene.plain_script),
		0);
	return text;
}

void scene_start(int poor)
{
	char *text;

	snprintf(scene.mark, sizeof(scene.mark), MARK "=%d-%llu", (int)getpid(),
		(unsigned long long)clock_us());
	text = config_text();
	node_start(&scene.node, text, poor);
	free(text);
	ck_assert(scene.node.launcher_ready);
}

void scene_finish(void)
{
	node_end(&scene.node);
	ck_assert_uint_eq(count_marked(scene.mark), 0);
}

/* So many processes of the server are there. */
void await_marked(unsigned count)
{
	uint64_t end = clock_ms() + PATIENCE_MS;

	while (count_marked(scene.mark) < count && clock_ms() < end)
		usleep(5000);
	ck_assert_uint_ge(count_marked(scene.mark), count);
}

void await_exit(struct kept *kept, const char *reason)
{
	int status;

	if (!node_wait(&scene.node, &kept->exited, PATIENCE_MS))
		ck_abort_msg("no SERVER_EXITED");
	ck_assert_str_eq(kept->reason, reason);
	ck_assert(node_wait(&scene.node, &kept->closed, PATIENCE_MS));
	ck_assert(node_keeper_gone(kept, PATIENCE_MS, &status));
	ck_assert_int_eq(status, 0);
}

void expect_line(struct kept *kept, const char *expected)
{
	char line[4096];

	node_hear(kept->out, line, sizeof(line));
	ck_assert_str_eq(line, expected);
}

/* --- this program as a server --------------------------------------------------------------- */

static _Noreturn void be_stubborn(void)
{
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	printf("up\n");
	fflush(stdout);
	for (;;)
		pause();
}

static void print_signals(void)
{
	sigset_t mask;
	int masked = 0, ignored = 0;

	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int sig = 1; sig < NSIG; sig++) {
		struct sigaction action;

		masked += sigismember(&mask, sig) == 1;
		ignored += sigaction(sig, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
	}
	printf("masked %d ignored %d\n", masked, ignored);
}

static void print_file(const char *label, const char *path)
{
	char text[100] = "";
	FILE *file = fopen(path, "re");

	if (file && fgets(text, sizeof(text), file))
		text[strcspn(text, "\n")] = '\0';
	if (file)
		fclose(file);
	printf("%s %s\n", label, text);
}

static int be_probe(void)
{
	struct rlimit core;
	char path[64], folder[256] = "";

	printf("descriptors");
	for (int fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			printf(" %d", fd);
	printf("\n");
	print_signals();
	getrlimit(RLIMIT_CORE, &core);
	printf("core %d\n", (int)core.rlim_max);
	printf("leader %d\n", getsid(0) == getpid() && getpgid(0) == getpid());
	print_file("oom", "/proc/self/oom_score_adj");
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)getpid());
	printf("proc %d\n", readlink("/proc/self", folder, sizeof(folder)) > 0 &&
				    (int)strtol(folder, NULL, 10) == (int)getpid() &&
				    access(path, R_OK) == 0);
	printf("folder %s\n", getcwd(folder, sizeof(folder)));
	for (char **variable = environ; *variable; variable++)
		printf("%s\n", *variable);
	return 0;
}

int scene_main(int argc, char **argv, Suite *(*make_suite)(void))
{
	SRunner *runner;
	int failed;

	if (argc > 1 && strcmp(argv[1], "stubborn") == 0)
		be_stubborn();
	if (argc > 1)
		return be_probe();
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0 || !mkdtemp(script_dir))
		return 1;
	write_script(scene.bad_script, sizeof(scene.bad_script), "bad", "#!/no/such/interpreter\n");
	write_script(
		scene.plain_script, sizeof(scene.plain_script), "plain", "echo $# $1/$2\nexit 3\n");
	chmod(script_dir, 0755);
	runner = srunner_create(make_suite());
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	unlink(scene.bad_script);
	unlink(scene.plain_script);
	rmdir(script_dir);
	return failed == 0 ? 0 : 1;
}
