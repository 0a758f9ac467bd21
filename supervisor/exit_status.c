#include "exit_status.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

struct exit_status exit_status_from_wait(int code, int status_code, const char *reason)
{
	struct exit_status status = {.signalled = code != CLD_EXITED, .code = status_code};

	snprintf(status.reason, sizeof(status.reason), "%s", reason ? reason : "");
	return status;
}

enum exit_class exit_status_classify(const struct exit_status *status, bool stop_requested)
{
	if (status->signalled) {
		if (status->code == SIGKILL)
			return EXIT_CLASS_KILLED;
		if (stop_requested && status->code == SIGTERM)
			return EXIT_CLASS_SHUTDOWN;
		return EXIT_CLASS_ABNORMAL;
	}
	if (status->code == 0)
		return stop_requested ? EXIT_CLASS_SHUTDOWN : EXIT_CLASS_NORMAL;
	if (status->code == EXIT_CODE_SHUTDOWN)
		return status->reason[0] ? EXIT_CLASS_SHUTDOWN_REASON : EXIT_CLASS_SHUTDOWN;
	return EXIT_CLASS_ABNORMAL;
}

bool exit_class_is_clean(enum exit_class exit_class)
{
	return exit_class == EXIT_CLASS_NORMAL || exit_class == EXIT_CLASS_SHUTDOWN ||
	       exit_class == EXIT_CLASS_SHUTDOWN_REASON;
}

const char *exit_class_name(enum exit_class exit_class)
{
	static const char *const names[EXIT_CLASS_MAX] = {
		[EXIT_CLASS_NORMAL] = "normal",
		[EXIT_CLASS_SHUTDOWN] = "shutdown",
		[EXIT_CLASS_SHUTDOWN_REASON] = "shutdown_reason",
		[EXIT_CLASS_KILLED] = "killed",
		[EXIT_CLASS_ABNORMAL] = "abnormal",
	};

	return exit_class < EXIT_CLASS_MAX ? names[exit_class] : "unknown";
}
