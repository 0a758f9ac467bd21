/* What of the kernel a node uses, the clock, and the programs that stand beside this one. */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* --- the kernel: 0, or the error it gave ------------------------------------------------------ */

static int try_pidfd(void)
{
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int try_clone(uint64_t flags)
{
	int pidfd = -1;
	struct clone_args args = {.flags = CLONE_PIDFD | flags,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return errno;
	waitpid(pid, NULL, 0);
	close(pidfd);
	return 0;
}

static int try_clone3(void)
{
	return try_clone(0);
}

static int try_pid_namespace(void)
{
	return try_clone(CLONE_NEWPID);
}

static int try_user_namespace(void)
{
	return try_clone(CLONE_NEWUSER);
}

static int try_seccomp(void)
{
	uint32_t action = SECCOMP_RET_KILL_PROCESS;

	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0 ? 0 : errno;
}

static int try_sealing(void)
{
	int fd = memfd_create("gatehouse-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING), r = 0;

	if (fd < 0)
		return errno;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		r = errno;
	close(fd);
	return r;
}

/* Where the cgroups of version 2 are mounted. */
static bool find_cgroups(char *path, size_t size)
{
	FILE *file = fopen("/proc/self/mounts", "re");
	char line[1024], folder[256], type[32];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = sscanf(line, "%*s %255s %31s", folder, type) == 2 &&
			strcmp(type, "cgroup2") == 0;
	if (file)
		fclose(file);
	if (found)
		snprintf(path, size, "%s", folder);
	return found;
}

/* The cgroup of this process, where a node's servers would get theirs. */
static int try_cgroup(void)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	char line[512], mount[256], path[1024] = "";

	while (file && !path[0] && find_cgroups(mount, sizeof(mount)) &&
		fgets(line, sizeof(line), file))
		if (strncmp(line, "0::", 3) == 0) {
			line[strcspn(line, "\n")] = '\0';
			snprintf(path, sizeof(path), "%s%s", mount, line + 3);
		}
	if (file)
		fclose(file);
	if (!path[0])
		return ENOENT;
	return access(path, W_OK) == 0 ? 0 : errno;
}

static const struct {
	const char *check;
	int (*try)(void);
	enum finding lack;
	const char *without, *next;
} features[] = {
	{"pidfd", try_pidfd, FINDING_PROBLEM, "a node cannot run", "Linux 5.14 or newer"},
	{"clone3", try_clone3, FINDING_PROBLEM, "a node cannot run",
		"Linux 5.14 or newer; in a container, a runtime whose seccomp profile allows "
		"clone3"},
	{"memfd sealing", try_sealing, FINDING_PROBLEM, "a node cannot run", "Linux 5.14 or newer"},
	{"seccomp", try_seccomp, FINDING_PROBLEM, "processes cannot be jailed",
		"a kernel with CONFIG_SECCOMP_FILTER"},
	{"pid namespaces", try_pid_namespace, FINDING_WARNING,
		"a server's descendants are found and ended one by one, not all at once",
		"run the node as root, or with CAP_SYS_ADMIN in a container"},
	{"user namespaces", try_user_namespace, FINDING_WARNING,
		"a server that sandboxes its own children may not work",
		"sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces"},
	{"cgroup", try_cgroup, FINDING_WARNING,
		"the kernel's own way of ending all of a server is not there",
		"Delegate=yes in the unit of the node; a writable cgroup2 mount in a container"},
};

static void examine_kernel(struct doctor *doctor)
{
	for (size_t i = 0; i < sizeof(features) / sizeof(*features); i++) {
		int r = features[i].try();

		if (r == 0)
			doctor_found(doctor, FINDING_OK, features[i].check, NULL, "can be used");
		else
			doctor_found(doctor, features[i].lack, features[i].check, features[i].next,
				"%s: %s", strerror(r), features[i].without);
	}
}

/* --- the clock -------------------------------------------------------------------------------- */

/* Log lines, idle times over a restart and certificates depend on it. */
static void examine_clock(struct doctor *doctor)
{
	struct timex state = {0};
	time_t now = time(NULL);
	struct tm tm;
	char text[64] = "";

	if (gmtime_r(&now, &tm))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (tm.tm_year + 1900 < 2026)
		doctor_found(doctor, FINDING_PROBLEM, "clock", "timedatectl set-ntp true",
			"it says %s, which is before this program was written", text);
	else if (adjtimex(&state) == TIME_ERROR)
		doctor_found(doctor, FINDING_WARNING, "clock", "timedatectl set-ntp true",
			"%s, not synchronized with others", text);
	else
		doctor_found(doctor, FINDING_OK, "clock", NULL, "%s", text);
}

/* --- the programs ----------------------------------------------------------------------------- */

/* All carry the same build id; links between different ones are refused. */
static bool has_build(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *bytes;
	bool found;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (bytes == MAP_FAILED)
		return false;
	found = memmem(bytes, (size_t)st.st_size, GATEHOUSE_BUILD_ID,
			strlen(GATEHOUSE_BUILD_ID)) != NULL;
	munmap(bytes, (size_t)st.st_size);
	return found;
}

static void examine_programs(struct doctor *doctor)
{
	static const char *const names[] = {"supervisor", "admin", "registry", "session-manager",
		"launcher", "upstream", "worker", "gateway"};
	char self[PATH_MAX], path[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	unsigned good = 0;

	self[n > 0 ? n : 0] = '\0';
	dirname(self);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "%s/gatehouse-%s", self, names[i]);
		if (access(path, X_OK) < 0)
			doctor_found(doctor, FINDING_PROBLEM, "programs", "install Gatehouse anew",
				"%s: %s", path, strerror(errno));
		else if (!has_build(path))
			doctor_found(doctor, FINDING_PROBLEM, "programs", "install Gatehouse anew",
				"%s is of another build than this command (%s)", path,
				GATEHOUSE_BUILD_ID);
		else
			good++;
	}
	if (good == sizeof(names) / sizeof(*names))
		doctor_found(doctor, FINDING_OK, "programs", NULL, "%u in %s, build %s", good, self,
			GATEHOUSE_BUILD_ID);
}

void doctor_examine_machine(struct doctor *doctor)
{
	examine_kernel(doctor);
	examine_clock(doctor);
	examine_programs(doctor);
}
