/*
 * The node as the root holds it: configuration, listeners, catalogue, and the children under their supervisors. The files
 * of this folder are its parts:
 *
 *   policy.h    what a death means (a pure function)         plan.h    which processes there are
 *   child.h     processes and their pidfds                   runtime.c carries the policy's actions out
 *   broker.c    links between children                       forks.c   workers (zygote) and stdio servers (launcher)
 *   control.c   what the admin process asks and commands     reload.c  a new configuration
 *   kept.h    what outlives an upstream worker           sandbox.c who has a system call filter
 *   levels.c    log levels, of all or some                log_file.c  the log file and its rotation
 *   watch.c     the configuration file under watch         rolling.c   processes replaced one by one
 *   swap.c      a gateway's successor, ready first
 *   programs.h  the programs' files, kept open             state.h   all of this, saved and loaded
 *   exchange.h  the root goes on as another program        upgrade.h   new programs: check.c, preflight.c, replace.c
 */
#ifndef GATEHOUSE_NODE_H
#define GATEHOUSE_NODE_H

#include "child.h"
#include "config.h"
#include "kept.h"
#include "log.h"
#include "policy.h"
#include "programs.h"

#define NODE_LISTENERS_MAX 64
/* Workers wanted while there is no zygote. */
#define NODE_EARLY_WANTS_MAX 256
/* Exit status of a node that cannot go on. */
#define EXIT_GAVE_UP 70

/* One slot of a gateway on one listen address (or the metrics listener of the admin process). */
struct node_listener {
	int fd;
	bool owned;      /* false: the same descriptor as an earlier row (a Unix socket) */
	unsigned index;  /* of the address */
	unsigned slot;   /* the gateway's */
	char kind[8];    /* mcp, metrics */
	char url[160];
};

struct server_retry;
struct level_rule;
struct watch;
struct rolling;
struct upgrade;

/* What is known of the processes of a role that are gone. */
struct node_tally {
	unsigned long long cpu_ticks;
	uint64_t killed, failed; /* ended by a signal, or with an exit status, untold */
};

#define NODE_LISTEN_OPTIONS_MAX 16

/* The command line; it wins over the configuration, also over one that is reloaded. */
struct node_options {
	const char *config;
	const char *listen[NODE_LISTEN_OPTIONS_MAX];
	unsigned n_listen;
	const char *state;  /* NULL: not given */
	const char *socket; /* NULL: not given */
	bool watch;         /* reload when the file changes */
	bool dev;           /* for who develops servers or a configuration: see node_apply_options */
	bool private;       /* no metrics port: there may be several such nodes of one configuration */
	int resume;          /* descriptor of a saved state to go on with; -1: none */
	const char *because; /* why the program that saved it is not to be gone on with; NULL: it is not so */
	int preflight;       /* descriptor of a saved state to check; -1: none */
};

/* Processes of one gateway slot at once: one that serves, its successor, predecessors that finish. */
#define NODE_GENERATIONS 8

/* Memory in which a gateway counts. */
struct node_counters {
	int fd;         /* 0: none yet */
	uint64_t owner; /* the latest process that counts there */
};

/* Processes of servers wanted while there is no launcher. */
#define NODE_SPAWNS_MAX 256

struct node_spawn {
	uint64_t upstream; /* instance of who wants it */
	uint32_t stream;
	char session[LIMIT_SESSION_ID + 1]; /* as in SERVER_SPAWN */
};

struct node {
	struct event_base *base;
	const struct node_options *options;
	char *config_path; /* NULL: the configuration was given as a whole, no reload */
	struct config *config;
	uint64_t generation; /* of the configuration */
	/* settings that the file has changed and that wait for the next start */
	const char *pending[CONFIG_SETTING_COUNT + 1];
	unsigned n_pending;
	struct programs programs; /* what runs; of children, those of this epoch */
	struct programs former;   /* to return to while the present ones are on probation; else none */
	struct upgrade *upgrade;  /* the latest; NULL: none since the start */
	bool aged;                /* what was loaded was not quite what was (child.h, children_load) */
	bool exchange_wanted;     /* leave the loop, and go on as another program (exchange.h) */
	char state_dir[4096];
	char run_dir[4096];
	int state_lock;
	struct tree *tree;
	struct event *timer;
	struct children children;
	struct node_listener listeners[NODE_LISTENERS_MAX];
	unsigned n_listeners;
	unsigned gateways;
	int catalogue; /* memory file, -1: none yet */
	uint64_t catalogue_generation;
	uint64_t catalogues; /* received */
	struct event *spread; /* the next part of its distribution */
	unsigned spread_left; /* children to look at */
	int view;             /* memory file: the configuration without secrets */
	uint64_t view_generation; /* 0: none yet */
	enum log_level log_level; /* of all processes for which levels has no other */
	struct level_rule *levels;
	unsigned n_levels;
	char *log_path; /* log.file; NULL: standard error */
	int log_file;   /* -1: none */
	uint64_t log_dropped; /* of the root: lines that could not be written */
	struct watch *watch;
	struct rolling *rolling;
	struct event *heartbeat;
	struct node_tally tally[ROLE_MAX];
	bool reload_failed; /* the last one */
	struct event *loans;
	struct node_counters counters[NODE_LISTENERS_MAX][NODE_GENERATIONS]; /* by slot */
	uint64_t lent[NODE_LISTENERS_MAX]; /* by slot: the gateway that serves it for another, or 0 */
	struct server_retry *retries;
	struct kept *kept; /* one for each process of a stdio server (kept.h) */
	struct event *signals[5];
	struct event *orphans;
	uint64_t started_ms;
	uint64_t next_request;
	uint32_t early_wants[NODE_EARLY_WANTS_MAX]; /* streams of WORKER_WANT */
	unsigned n_early_wants;
	struct node_spawn spawns[NODE_SPAWNS_MAX];
	unsigned n_spawns;
	bool in_actions;
	bool ready;
	bool servers_started;
	bool stopping;
	bool finished; /* the tree has ended */
	int exit_status;
};

/* What a child spec's cookie says: what to run. */
struct program {
	enum role role;
	char name[LIMIT_SERVER_NAME + 1];
	uint32_t stop_ms; /* told to the child; the policy kills after it */
};

/* runtime.c: let the policy work off what was posted to it. Safe to call from anywhere in the loop. */
void node_turn(struct node *node);
/* Tell a child its START and what else its role is born with. */
void node_introduce(struct node *node, struct child *child);
/* A child said READY, or one that had said it before is now known to be made. */
void node_child_ready(struct child *child);
/* The configuration as this child may see it; the caller closes *ret_fd. */
int node_config_view(struct node *node, const struct child *child, int *ret_fd, struct err *err);
/* Hand the newest catalogue to some more of those who lack it. */
void node_spread_catalogue(struct node *node);
/* It lives and does not do its work: end it. */
void node_child_stuck(struct child *child, const char *why);
/* Begin to stop; exit status when all are gone. */
void node_stop(struct node *node, int exit_status);
extern const struct link_handlers node_child_handlers;
extern const struct child_ops node_child_ops;

/* heartbeat.c: event_callback_fn, every second */
#define NODE_HEARTBEAT_MS 1000
void node_on_heartbeat(evutil_socket_t fd, short what, void *arg);

/* listeners.c */
int node_open_listeners(struct node *node, struct err *err);
void node_close_listeners(struct node *node);
void node_give_listeners(struct node *node, struct child *child);
void node_send_listener(const struct node_listener *row, struct link *link, bool lent);

/* loans.c */
#define NODE_LOAN_MS 50
int node_make_loans(struct node *node);
/* A gateway has come, gone, or was asked for a sign of life: see in a moment whose slots need help. */
void node_check_loans(struct node *node);

/* broker.c */
void node_on_link_open(struct link *link, const struct message *msg, void *arg);

/* forks.c */
void node_start_worker(struct node *node, const struct action *action);
void node_serve_early_wants(struct node *node);
void node_on_worker_want(struct link *link, const struct message *msg, void *arg);
void node_on_worker_kill(struct link *link, const struct message *msg, void *arg);
void node_on_forked(struct link *link, const struct message *msg, void *arg);
void node_on_fork_failed(struct link *link, const struct message *msg, void *arg);
void node_worker_answered(struct node *node, const struct action *action);
void node_on_server_spawn(struct link *link, const struct message *msg, void *arg);
/* There is a launcher again. */
void node_serve_spawns(struct node *node);
void node_on_launched(struct link *link, const struct message *msg, void *arg);
void node_on_server_stop(struct link *link, const struct message *msg, void *arg);
void node_on_serving(struct link *link, const struct message *msg, void *arg);
void node_on_server_pid(struct link *link, const struct message *msg, void *arg);
void node_on_server_exited(struct link *link, const struct message *msg, void *arg);
/* A child is gone: what hung on it goes too (keepers of an upstream worker, forks asked of a zygote or launcher). */
void node_release_dependants(struct node *node, struct child *child);

/* sandbox.c: -ERR_SYSTEM with err when the configuration requires what the kernel has not */
int node_check_sandbox(const struct node *node, struct err *err);
/* Reads /proc once in a child's life. */
enum child_filter child_look_for_filter(struct child *child);
/* Logs it when that was the reason of the child's end. code, status: as waitid gave them. */
void child_note_violation(const struct child *child, int code, int status);
/* It was looked at, and should have one. */
bool child_lacks_filter(const struct child *child);

/* servers.c: the supervisor of each MCP server, and its return after it gave up */
void node_server_dropped(struct node *node, const char *name);
void node_server_ready(struct node *node, const char *name);
/* Is there a server of that name that is to run? */
bool node_wants_server(const struct node *node, const char *name);
int node_server_add(struct node *node, const char *name, struct err *err);
void node_servers_save(const struct node *node, struct saved_writer *writer);
int node_server_load(struct node *node, struct span values, struct err *err);
void node_server_remove(struct node *node, const char *name);
void node_servers_free(struct node *node);
void node_tell_server_states(struct node *node, struct child *registry);

/* control.c */
void node_on_query(struct link *link, const struct message *msg, void *arg);
void node_on_command(struct link *link, const struct message *msg, void *arg);

/* levels.c: of processes that live and of those to come */
#define NODE_LEVELS_MAX 64u
enum level_scope { LEVEL_OF_NODE, LEVEL_OF_ROLE, LEVEL_OF_SERVER };
struct level_target {
	enum log_level level;
	enum level_scope scope;
	enum role role;     /* LEVEL_OF_ROLE */
	const char *server; /* LEVEL_OF_SERVER; else "" */
};
/* The level of a process of this role (name: of an upstream worker, its server). */
enum log_level node_log_level(const struct node *node, enum role role, const char *name);
/* Of all processes; ends what was set for some of them. */
void node_set_log_level(struct node *node, enum log_level level);
/* for_ms 0: until the level of the node is set. Returns 0, -ERR_TOO_MANY or -ERR_NO_MEMORY. */
int node_set_level_of(struct node *node, const struct level_target *target, uint64_t for_ms, struct err *err);
void node_levels_free(struct node *node);
void node_levels_save(const struct node *node, struct saved_writer *writer);
int node_level_load(struct node *node, struct span values, struct err *err);

/* log_file.c */
int node_open_log(struct node *node, struct err *err);
/* With node->log_file as a former program had it. */
int node_resume_log(struct node *node, struct err *err);
void node_give_log(struct node *node, struct child *child);
/* A file that was moved away is begun anew, by all processes; on failure they go on with the old one. */
int node_reopen_log(struct node *node, struct err *err);
void node_close_log(struct node *node);

/* watch.c */
int node_watch_config(struct node *node, struct err *err);
void node_unwatch_config(struct node *node);
void node_watch_save(const struct node *node, struct saved_writer *writer);
void node_watch_load(struct node *node, struct span values);

/*
 * rolling.c: replace all session workers (ROLE_WORKER) or gateways (ROLE_GATEWAY) of now, one after the
 * other. -ERR_BUSY while that goes on, -ERR_NO_MEMORY.
 */
int node_roll(struct node *node, enum role role, unsigned *ret_total, struct err *err);
bool node_is_rolling(struct node *node);
/* {"role","total","replaced","finishing","failed","running"} of the latest; zeros when there was none. */
void node_write_rolling(struct node *node, struct buf *out);
void node_rolling_free(struct node *node);
void node_rolling_save(struct node *node, struct saved_writer *writer);
int node_rolling_load(struct node *node, struct span values, struct err *err);

/*
 * swap.c: begin to replace a gateway that runs. -ERR_BUSY: it is being replaced, the node stops, or too
 * many predecessors still finish; or why a process cannot be made. The outcome is logged.
 */
int node_swap(struct node *node, struct child *child, struct err *err);
bool node_is_being_swapped(struct node *node, const struct child *child);
/* It is ready: true when it was a successor, which has its place now (or is told to stop). */
bool node_swap_ready(struct child *fresh);
/* It is gone: true when the policy does not know it, because it was replaced or never got its place. */
bool node_swap_exited(const struct child *child, const char *reason);
/* The node stops: successors that are not ready yet end. */
void node_swaps_abandon(struct node *node);
/* By what number the policy knows it, and whom it means by a number; NULL: nobody who lives. */
uint64_t node_policy_number(const struct child *child);
struct child *node_acting(struct node *node, uint64_t number);
void node_on_connection(struct link *link, const struct message *msg, void *arg);
void node_give_counters(struct node *node, struct child *child);
void node_close_counters(struct node *node);

/* main.c: what the command line says wins. -ERR_CONFIG when the configuration does not go with it. */
int node_apply_options(const struct node_options *options, struct config *config, struct err *err);

/* reload.c: 0, or an error that names what is wrong; text (for people) in out. dry: only say. */
int node_reload(struct node *node, bool dry, struct buf *out, struct err *err);
/* The same when nobody waits for an answer: what came of it is logged. */
void node_reload_aloud(struct node *node);

static inline struct node *child_node(const struct child *child)
{
	return child->all->arg;
}

#endif
