/*
 * How a child ended, and what that means to its supervisor (SUPERVISION.md 0, "Translation table").
 */
#ifndef GATEHOUSE_EXIT_STATUS_H
#define GATEHOUSE_EXIT_STATUS_H

#include <stdbool.h>

#define EXIT_CODE_SHUTDOWN 80 /* a child that ends for a good reason of its own */
#define EXIT_CODE_IGNORE 81   /* before readiness: nothing to do, and no fault */
#define EXIT_REASON_MAX 96    /* bytes of a reason with its terminating zero; longer ones are cut */

enum exit_class {
	EXIT_CLASS_NORMAL,   /* code 0 */
	EXIT_CLASS_SHUTDOWN, /* code 80; or asked to stop, code 0 or death by the stop signal */
	EXIT_CLASS_SHUTDOWN_REASON, /* code 80 and a reason written on the control descriptor */
	EXIT_CLASS_KILLED,          /* SIGKILL, whoever sent it: abnormal */
	EXIT_CLASS_ABNORMAL,        /* everything else, an unsolicited SIGTERM too */
	EXIT_CLASS_MAX,
};

struct exit_status {
	bool signalled; /* code is a signal's number, else an exit code */
	int code;
	char reason[EXIT_REASON_MAX]; /* what the child said on its control descriptor; "" if
					 nothing */
};

/*
 * From what waitid gave: code is si_code (CLD_EXITED, CLD_KILLED, CLD_DUMPED), status_code is
 * si_status. reason is what the child wrote before it ended, or NULL.
 */
struct exit_status exit_status_from_wait(int code, int status_code, const char *reason);

/* stop_requested: the supervisor had sent this child its stop signal. */
enum exit_class exit_status_classify(const struct exit_status *status, bool stop_requested);

/* normal, shutdown, {shutdown,T}: a transient child is not restarted after it. */
bool exit_class_is_clean(enum exit_class exit_class);
const char *exit_class_name(enum exit_class exit_class);

#endif
