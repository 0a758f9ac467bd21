/* A node of the real programs for test_supervisor.c:
 * gatehouse-supervisor in a folder of its own. */
#ifndef GATEHOUSE_TEST_SUPERVISOR_NODE_H
#define GATEHOUSE_TEST_SUPERVISOR_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define NODE_PIDS_MAX 512

struct pids {
	pid_t pid[NODE_PIDS_MAX]; /* in the order in which they were made */
	unsigned n;
};

struct test_node {
	char dir[64]; /* configuration, state, run and log lie here */
	char log[96];
	char mark[96]; /* in the environment of all its processes */
	pid_t pid;
	void (*before_exec)(void); /* in the new process; NULL: nothing */
};

/* Make the folder and the configuration: what a test node has anyway,
 * and more (YAML, may be ""). */
void node_prepare(struct test_node *node, const char *more);
/* Write the configuration anew. */
void node_configure(const struct test_node *node, const char *more);
/* Start program (NULL: the build's supervisor); the test fails unless the log says node.ready. */
void node_start(struct test_node *node, const char *program);
/* The same without waiting. */
void node_launch(struct test_node *node, const char *program);
/* Exit status, or 128 + signal; the test fails when it takes longer than ms. */
int node_wait(struct test_node *node, unsigned ms);
/* End all that is left of it and remove the folder. */
void node_remove(struct test_node *node);

/* The root's children whose program's file is gatehouse-WHAT. "worker": without the zygote. */
struct pids node_find(const struct test_node *node, const char *what);
/* The only, or first one; the test fails when there is none within 5 s. */
pid_t node_one(const struct test_node *node, const char *what);
/* Wait until there are n of that kind and none of them is in former. The test fails after ms. */
struct pids node_await_new(const struct test_node *node, const char *what, unsigned n,
	const struct pids *former, unsigned ms);
/* Processes with the node's mark, wherever they hang. */
unsigned node_processes(const struct test_node *node);
bool node_await_no_process(const struct test_node *node, unsigned ms);
/* Lines of the log that have both words. */
unsigned node_log_count(const struct test_node *node, const char *one, const char *other);
bool node_await_log(
	const struct test_node *node, const char *one, const char *other, unsigned n, unsigned ms);

bool pids_equal(const struct pids *a, const struct pids *b);
unsigned long now_ms(void);
void pause_ms(unsigned ms);
/* Open descriptors, and resident KB, of a process. */
unsigned open_fds(pid_t pid);
unsigned resident_kb(pid_t pid);

#endif
