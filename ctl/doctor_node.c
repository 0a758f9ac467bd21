/* The node: can it be reached, how is it, and its servers. */
#include "doctor.h"
#include "render.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* --- reaching it ----------------------------------------------------------------------------- */

/* Whoever asks about a configuration may well not have started its node yet. */
static enum finding absent(const struct doctor *doctor)
{
	return doctor->config_file && !doctor->inv->option[OPT_SOCKET] ? FINDING_WARNING
								       : FINDING_PROBLEM;
}

static void tell_unreachable(struct doctor *doctor, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		doctor_found(doctor, errno == EACCES ? FINDING_PROBLEM : absent(doctor), "node",
			errno == EACCES ? "run this as the user of the node, or as root"
					: "gatehouse serve -c FILE, or name the node's socket: "
					  "--socket PATH",
			"no node at %s: %s", path, strerror(errno));
	else if (!S_ISSOCK(st.st_mode))
		doctor_found(doctor, FINDING_PROBLEM, "node", "set admin.socket to another path",
			"%s is no socket", path);
	else if (access(path, W_OK) < 0)
		doctor_found(doctor, FINDING_PROBLEM, "node",
			"run this as the user of the node or as root, or set admin.group",
			"you may not use %s (mode %04o, owner %u, group %u)", path,
			(unsigned)st.st_mode & 07777, (unsigned)st.st_uid, (unsigned)st.st_gid);
	else
		doctor_found(doctor, absent(doctor), "node", "gatehouse serve -c FILE",
			"%s is there and nobody answers: its node has ended", path);
}

static bool reach(struct doctor *doctor)
{
	char path[4096];
	struct stat st;

	path[0] = '\0';
	if (doctor->config && !doctor->inv->option[OPT_SOCKET] && *doctor->config->admin_socket.p)
		snprintf(path, sizeof(path), "%s", doctor->config->admin_socket.p);
	else if (doctor->config_file && !doctor->config && !doctor->inv->option[OPT_SOCKET])
		return false; /* where it is, only the broken file could say */
	else if (client_find_socket(doctor->inv, path, sizeof(path)) != EXIT_DONE)
		return false;
	if (client_open_quietly(path, &doctor->client) < 0) {
		tell_unreachable(doctor, path);
		return false;
	}
	if (stat(path, &st) == 0)
		doctor_found(doctor, st.st_mode & 0007 ? FINDING_WARNING : FINDING_OK,
			"admin socket", "chmod o-rwx it, and see who has changed it",
			"%s, mode %04o", path, (unsigned)st.st_mode & 07777);
	return true;
}

/* --- how it is ------------------------------------------------------------------------------- */

static void examine_state_of_node(struct doctor *doctor)
{
	const char *state = json_text(doctor->status, "state");
	const char *build = json_text(doctor->status, "build");
	char age[16];

	render_age((unsigned long long)json_number(doctor->status, "uptime_ms"), age);
	doctor_found(doctor, strcmp(state, "ready") == 0 ? FINDING_OK : FINDING_WARNING, "node",
		"gatehouse tree", "%s, up %s, pid %.0f, %.0f processes", state, age,
		json_number(doctor->status, "pid"), json_number(doctor->status, "processes"));
	if (strcmp(build, GATEHOUSE_BUILD_ID) != 0)
		doctor_found(doctor, FINDING_WARNING, "version",
			"restart the node, or use the command that stands beside its programs",
			"the node is %s, build %s; this command is %s, build %s",
			json_text(doctor->status, "version"), build, GATEHOUSE_VERSION,
			GATEHOUSE_BUILD_ID);
}

static void tell_silent(struct doctor *doctor)
{
	const cJSON *row;

	cJSON_ArrayForEach(row, member(doctor->status, "not_answering"))
		doctor_found(doctor, FINDING_PROBLEM, "silent",
			"gatehouse tree; a process that stays silent is ended and started anew, the "
			"root is for you to end",
			"%s", cJSON_IsString(row) ? row->valuestring : "");
}

/* The node's limit counts, not that of whoever asks. */
static void examine_node_limits(struct doctor *doctor)
{
	pid_t pid = (pid_t)json_number(doctor->status, "pid");
	struct config_report report;
	struct config_budget budget;
	struct rlimit limit;

	if (!doctor->config || pid <= 0 || prlimit(pid, RLIMIT_NOFILE, NULL, &limit) < 0)
		return;
	config_report_init(&report);
	config_check_environment(doctor->config, &report, &budget);
	config_report_free(&report);
	if ((int64_t)limit.rlim_cur < budget.descriptors)
		doctor_found(doctor, FINDING_WARNING, "node limits",
			"raise LimitNOFILE= of its unit, or lower http.max_connections",
			"the node may open %llu descriptors in one process, %lld are needed at "
			"worst",
			(unsigned long long)limit.rlim_cur, (long long)budget.descriptors);
	else
		doctor_found(doctor, FINDING_OK, "node limits", NULL,
			"up to %lld descriptors in one process, of %llu",
			(long long)budget.descriptors, (unsigned long long)limit.rlim_cur);
}

/* --- its servers ----------------------------------------------------------------------------- */

static const cJSON *find_down(const struct doctor *doctor, const char *name)
{
	const cJSON *row;

	cJSON_ArrayForEach(row, member(member(doctor->status, "servers"), "down"))
	{
		if (strcmp(json_text(row, "name"), name) == 0)
			return row;
	}
	return NULL;
}

static void examine_server(struct doctor *doctor, const cJSON *server)
{
	const char *name = json_text(server, "name"), *state = json_text(server, "state");
	const char *error = json_text(server, "error");
	const cJSON *down = find_down(doctor, name);
	bool stdio = strcmp(json_text(server, "transport"), "stdio") == 0;
	bool starting = strcmp(state, "starting") == 0;
	char check[160], next[320], age[16];

	snprintf(check, sizeof(check), "server %s", name);
	snprintf(next, sizeof(next),
		stdio ? "gatehouse logs %s" : "is its url right? then gatehouse restart server/%s",
		name);
	render_age((unsigned long long)json_number(server, "since_ms"), age);
	doctor_found(doctor,
		strcmp(state, "up") == 0 || strcmp(state, "disabled") == 0 ? FINDING_OK
		: starting						    ? FINDING_WARNING
									    : FINDING_PROBLEM,
		check, next, "%s for %s%s%s%s", state, age,
		cJSON_IsTrue(member(down, "required"))
			? ", and required: the node is not ready without it"
			: "",
		*error ? ": " : "", error);
}

static void examine_servers(struct doctor *doctor)
{
	const cJSON *row;
	cJSON *reply = NULL;

	if (client_ask_quietly(doctor->client, "servers", &reply) < 0)
		doctor_found(doctor, FINDING_PROBLEM, "servers", "gatehouse tree",
			"the registry does not answer");
	cJSON_ArrayForEach(row, member(reply, "servers")) examine_server(doctor, row);
	cJSON_Delete(reply);
}

/* Behind what is to be said about the file comes what would change, on a line of its own. */
static const char *last_line(char *text)
{
	size_t len = strlen(text);
	char *newline;

	while (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
	newline = strrchr(text, '\n');
	return newline ? newline + 1 : text;
}

/* A file that was changed and not taken up is a trap for the next start. Asking needs the right to
 * operate. */
static void examine_drift(struct doctor *doctor)
{
	const char *changes;
	cJSON *reply = NULL, *text;

	if (client_ask_with(doctor->client, "reload", "\"dry_run\":true", &reply) < 0) {
		cJSON_Delete(reply);
		return;
	}
	if (cJSON_IsTrue(member(reply, "ok"))) {
		text = cJSON_GetObjectItemCaseSensitive(reply, "message");
		changes = cJSON_IsString(text) ? last_line(text->valuestring) : "";
		if (*changes && strcmp(changes, "no changes") != 0)
			doctor_found(doctor, FINDING_WARNING, "changes", "gatehouse reload",
				"the file has changes that the node has not taken up: %s", changes);
	} else if (strcmp(json_text(member(reply, "error"), "reason"), "config") == 0) {
		doctor_found(doctor, FINDING_PROBLEM, "changes", "gatehouse check -c FILE",
			"the node could not be started with its file as it is now: %s",
			json_text(member(reply, "error"), "message"));
	}
	cJSON_Delete(reply);
}

void doctor_examine_node(struct doctor *doctor)
{
	const char *dir = doctor->config ? doctor->config->state.p : NULL;

	if (reach(doctor) && client_ask_quietly(doctor->client, "status", &doctor->status) < 0)
		doctor_found(doctor, FINDING_PROBLEM, "node",
			"gatehouse stop, or look at its log: it may be stopped or overloaded",
			"it takes requests on its socket and does not answer");
	if (*json_text(doctor->status, "state_dir"))
		dir = json_text(doctor->status, "state_dir");
	if (dir && !(doctor->client && json_number(doctor->status, "pid") == 0))
		doctor_examine_state(doctor, dir, (int)json_number(doctor->status, "pid"));
	if (!doctor->status)
		return;
	tell_silent(doctor);
	/* the root is what would say how the node is */
	if (json_number(doctor->status, "pid") == 0)
		return;
	examine_state_of_node(doctor);
	examine_node_limits(doctor);
	examine_servers(doctor);
	examine_drift(doctor);
}
