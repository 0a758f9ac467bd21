/*
 * The skeleton of every process but the root. A role hands it a table; the skeleton does the rest
 * in the one order that is right: descriptors, log, the link with the root, configuration,
 * before-jail hook, sandbox, after-jail hook, ready, loop, stop. A role's main file is its table,
 * its hooks and a main of one line.
 */
#ifndef GATEHOUSE_PROCESS_H
#define GATEHOUSE_PROCESS_H

#include "link.h"
#include "sandbox.h"

/* The descriptor on which a process finds its link with the root. */
#define PROCESS_ROOT_FD 3

struct process;

/* How this role deals with links to one kind of peer. */
struct process_peer {
	enum role role;
	const struct link_handlers *handlers; /* their arg is the struct process */
	/* A link that the peer opened is there. May be NULL. */
	void (*accepted)(struct process *process, struct link *link);
};

struct process_role {
	enum role role;
	/* What the role does with messages of the root beyond those the skeleton handles itself.
	 * closed is not used. */
	const struct link_handlers *root;
	const struct process_peer *peers; /* ends with a row whose handlers are NULL; may be NULL */
	/*
	 * Open what needs rights: stores, sockets. config: the JSON of this role's view, borrowed
	 * for the call (empty for roles that get none).
	 */
	int (*before_jail)(struct process *process, struct span config, struct err *err);
	/* From here the process is in its sandbox (sandbox.def). Return 0 when ready now, 1 when the role will call process_ready() itself. */
	int (*after_jail)(struct process *process, struct err *err);
	/* A new configuration. May be NULL. */
	void (*configured)(struct process *process, struct span config, uint64_t generation);
	/* Finish what runs, then call process_exit(). NULL: exit at once. */
	void (*stop)(struct process *process, uint32_t deadline_ms);
	/* Free what the hooks made; for leak checkers. May be NULL. */
	void (*cleanup)(struct process *process);
};

/* What a program says of itself after its name, to --version. */
#define PROCESS_VERSION GATEHOUSE_VERSION " (build " GATEHOUSE_BUILD_ID ")"

/* Run the process until it is told to stop. Returns its exit status. The only argument is --version. */
int process_main(const struct process_role *role, int argc, char **argv);
/* Was it called with --version? Then that is answered. */
bool process_version(enum role role, int argc, char **argv);
/*
 * The same in a freshly forked child whose link with the root is root_fd. process_main's base etc.
 * were the parent's. filter: of the role's sandbox, compiled by the parent, borrowed; NULL: it is
 * compiled here.
 */
int process_run(const struct process_role *role, int root_fd, struct syscall_filter *filter);

/* In before_jail: a narrower sandbox than the role's. */
void process_set_sandbox(struct process *process, enum sandbox sandbox);

/*
 * In a freshly forked child: leave the loop inherited from the parent without a word to the root.
 * process_main returns in the child, with the parent's descriptors closed; the child then calls
 * process_run.
 */
void process_abandon(struct process *process);

/* The answer to process_open_link: link is NULL when it was refused, and err says why. */
typedef void process_link_fn(
	struct process *process, struct link *link, const struct err *err, void *arg);

/*
 * Ask the root for a link. name: for a server's upstream worker; instance: for one process among
 * many; both empty for a singleton. The answer comes by fn, once, from the loop. Its handlers are
 * those of process_role.peers. Returns 0 or -ERR_NO_MEMORY, -ERR_CLOSED, -ERR_AGAIN.
 */
int process_open_link(struct process *process, enum role role, const char *name, uint64_t instance,
	process_link_fn *fn, void *arg);

/* Tell the root that this process is ready, where after_jail returned 1. */
void process_ready(struct process *process);
/* Leave the loop; the process exits with status. reason (may be NULL) is told to the root when
 * status is 80. */
void process_exit(struct process *process, int status, const char *reason);
bool process_stopping(const struct process *process);
/* It is stopping because another process has its place already. */
bool process_has_successor(const struct process *process);

struct event_base *process_base(const struct process *process);
struct link *process_root(const struct process *process);
uint64_t process_instance(const struct process *process);
/* Name within the role: the server's for an upstream worker, the slot for a gateway. */
const char *process_name(const struct process *process);
const char *process_state_dir(const struct process *process);
const char *process_run_dir(const struct process *process);
/* The role's own state. */
void *process_user(const struct process *process);
void process_set_user(struct process *process, void *user);

/* Exit statuses with a meaning to the supervisor (SUPERVISION: translation table). */
#define EXIT_STATUS_SHUTDOWN 80
#define EXIT_STATUS_IGNORE 81

#endif
