/* Which processes have their system call filter; whether this kernel has any. */
#include "node.h"
#include "sandbox.h"

#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int node_check_sandbox(const struct node *node, struct err *err)
{
	const uint32_t kill = SECCOMP_RET_KILL_PROCESS;

	if (node->config->sandbox == CONFIG_SANDBOX_BEST_EFFORT ||
		syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &kill) == 0)
		return 0;
	return err_set_errno(err,
		"this kernel refuses system call filters (seccomp), which keep each process of the "
		"node in its sandbox. To run without, set `sandbox: best-effort` in the "
		"configuration");
}

/* SECCOMP_MODE_FILTER */
static bool has_filter(pid_t pid)
{
	char path[64], line[128];
	int mode = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (fgets(line, sizeof(line), file) && sscanf(line, "Seccomp: %d", &mode) != 1)
		;
	fclose(file);
	return mode == SECCOMP_MODE_FILTER;
}

enum child_filter child_look_for_filter(struct child *child)
{
	if (child->filter == CHILD_FILTER_UNKNOWN && child->state == CHILD_RUNNING)
		child->filter = has_filter(child->pid) ? CHILD_FILTER_YES : CHILD_FILTER_NO;
	return child->filter;
}

void child_note_violation(const struct child *child, int code, int status)
{
	if (code != CLD_EXITED && status == SIGSYS && sandbox_groups(sandbox_of_role(child->role)))
		log_error("sandbox.violation",
			"killed by its system call filter: it made a call that its kind of process "
			"may not make; the kernel's log (journalctl -k) has the call's number",
			KV_STR("child_role", role_name(child->role)), KV_STR("name", child->name),
			KV_INT("instance", child->instance), KV_INT("child_pid", child->pid));
}

bool child_lacks_filter(const struct child *child)
{
	return child->filter == CHILD_FILTER_NO && sandbox_groups(sandbox_of_role(child->role));
}
