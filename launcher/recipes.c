#include "recipes.h"
#include "buf.h"
#include "config.h"
#include "memfile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* All recipes together: a configuration is at most 8 MiB, the base environment comes on top for
 * each server. */
#define RECIPES_MAX (64u * 1024u * 1024u)
#define DEFAULT_PATH "PATH=/usr/local/bin:/usr/bin:/bin"

/* What a server gets of our own environment. Anything else it needs is named in its env. */
static const char *const base_names[] = {
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TERM", "TZ", "TMPDIR"};
static const char *const base_prefixes[] = {"LC_", "XDG_"};

struct recipes {
	struct memfile file;
};

/* Before each recipe's strings: server, command, folder, both as shown, arguments, environment. */
struct head {
	uint32_t size; /* this struct and the strings */
	uint32_t args;
	uint32_t env;
};

/* --- writing, in the child ------------------------------------------------------------------ */

static bool is_base_variable(const char *variable)
{
	size_t len = strcspn(variable, "=");

	for (size_t i = 0; i < sizeof(base_names) / sizeof(*base_names); i++)
		if (strlen(base_names[i]) == len && strncmp(variable, base_names[i], len) == 0)
			return true;
	for (size_t i = 0; i < sizeof(base_prefixes) / sizeof(*base_prefixes); i++)
		if (strncmp(variable, base_prefixes[i], strlen(base_prefixes[i])) == 0)
			return true;
	return false;
}

static bool is_configured(const struct config_map *env, const char *variable)
{
	size_t len = strcspn(variable, "=");

	for (size_t i = 0; i < env->count; i++)
		if (strlen(env->items[i].name) == len &&
			strncmp(env->items[i].name, variable, len) == 0)
			return true;
	return false;
}

static int append_string(struct buf *out, const char *string)
{
	return buf_append(out, string, strlen(string) + 1);
}

static int append_base(
	struct buf *out, const struct config_map *env, const char *variable, uint32_t *count)
{
	if (is_configured(env, variable))
		return 0;
	++*count;
	return append_string(out, variable);
}

static int append_environment(struct buf *out, const struct config_map *env, uint32_t *count)
{
	int r = getenv("PATH") ? 0 : append_base(out, env, DEFAULT_PATH, count);

	for (char **variable = environ; r == 0 && *variable; variable++)
		if (is_base_variable(*variable))
			r = append_base(out, env, *variable, count);
	for (size_t i = 0; r == 0 && i < env->count; i++) {
		r = buf_printf(out, "%s=%s", env->items[i].name, env->items[i].value.p);
		if (r == 0)
			r = buf_append_char(out, '\0');
		++*count;
	}
	return r;
}

static int append_shown(struct buf *out, const struct config_text *text, const char *otherwise)
{
	if (text->secret)
		return append_string(out, RECIPE_MASK);
	return append_string(out, text->p[0] ? text->p : otherwise);
}

static int append_recipe(
	struct buf *out, const struct config *config, const struct config_server *server)
{
	struct head head = {.args = (uint32_t)server->args.count};
	size_t start = out->len;
	int r = buf_append(out, &head, sizeof(head));

	if (r == 0)
		r = append_string(out, server->name);
	if (r == 0)
		r = append_string(out, server->command.p);
	if (r == 0)
		r = append_string(out, server->cwd.p[0] ? server->cwd.p : config->dir);
	if (r == 0)
		r = append_shown(out, &server->command, "");
	if (r == 0)
		r = append_shown(out, &server->cwd, config->dir);
	for (size_t i = 0; r == 0 && i < server->args.count; i++)
		r = append_string(out, server->args.items[i].p);
	if (r == 0)
		r = append_environment(out, &server->env, &head.env);
	if (r < 0)
		return r;
	head.size = (uint32_t)(out->len - start);
	memcpy(out->data + start, &head, sizeof(head));
	return 0;
}

static int append_recipes(struct buf *out, struct span json, struct err *err)
{
	struct config *config;
	int r = config_read_json(json, &config, err);

	for (size_t i = 0; r == 0 && i < config->server_count; i++) {
		const struct config_server *server = &config->servers[i];

		if (server->type != CONFIG_TYPE_STDIO || server->disabled)
			continue;
		r = append_recipe(out, config, server);
		if (r < 0)
			err_set(err, (enum err_code) - r, "no room for the recipe of server %s",
				server->name);
	}
	return r;
}

static void write_all(int fd, struct span bytes)
{
	while (bytes.len > 0) {
		ssize_t n = write(fd, bytes.p, bytes.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			_exit(ERR_NO_MEMORY);
		bytes.p += n;
		bytes.len -= (size_t)n;
	}
}

/* Exits with 0 when the recipes are in the file, else with an error code, the file then holding
 * what to say about it. */
static _Noreturn void write_recipes(struct span json, int fd)
{
	struct err err = {0};
	struct buf out;
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	buf_init(&out, RECIPES_MAX);
	r = append_recipes(&out, json, &err);
	write_all(fd, r == 0 ? buf_span(&out) : span_str(err_text(&err)));
	_exit(r == 0 ? 0 : -r);
}

/* --- reading -------------------------------------------------------------------------------- */

static int read_failure(int fd, int status, struct err *err)
{
	char text[ERR_DETAIL_MAX];
	ssize_t n = pread(fd, text, sizeof(text), 0);

	if (!WIFEXITED(status))
		return err_set(err, ERR_SYSTEM, "the reader of the configuration died by signal %d",
			WTERMSIG(status));
	return err_set(err, (enum err_code)WEXITSTATUS(status), "%.*s", n > 0 ? (int)n : 0, text);
}

static int fill(int fd, struct span json, struct err *err)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return err_set_errno(err, "cannot fork a reader of the configuration");
	if (pid == 0)
		write_recipes(json, fd);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_set_errno(err, "lost the reader of the configuration");
	if (status != 0)
		return read_failure(fd, status, err);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return err_set_errno(err, "cannot seal the recipes");
	return 0;
}

int recipes_read(struct span config, struct recipes **ret_recipes, struct err *err)
{
	struct recipes *recipes = calloc(1, sizeof(*recipes));
	int fd = memfd_create("recipes", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (!recipes)
		r = err_set(err, ERR_NO_MEMORY, "no memory for recipes");
	else if (fd < 0)
		r = err_set_errno(err, "cannot create a memory file");
	else
		r = fill(fd, config, err);
	if (r == 0)
		r = memfile_map(&recipes->file, fd, err);
	if (fd >= 0)
		close(fd);
	if (r < 0) {
		free(recipes);
		return r;
	}
	*ret_recipes = recipes;
	return 0;
}

void recipes_free(struct recipes *recipes)
{
	if (!recipes)
		return;
	memfile_unmap(&recipes->file);
	free(recipes);
}

const char *recipe_next(const char *string)
{
	return string + strlen(string) + 1;
}

static void unpack(const char *p, const struct head *head, struct recipe *recipe)
{
	recipe->server = p + sizeof(*head);
	recipe->command = recipe_next(recipe->server);
	recipe->folder = recipe_next(recipe->command);
	recipe->shown = recipe_next(recipe->folder);
	recipe->shown_folder = recipe_next(recipe->shown);
	recipe->args = (struct recipe_strings){recipe_next(recipe->shown_folder), head->args};
	recipe->env = (struct recipe_strings){recipe->args.first, head->env};
	for (uint32_t i = 0; i < head->args; i++)
		recipe->env.first = recipe_next(recipe->env.first);
}

int recipes_find(const struct recipes *recipes, struct span server, struct recipe *ret_recipe,
	struct err *err)
{
	struct span rest = memfile_span(&recipes->file);
	struct head head;

	while (rest.len > 0) {
		memcpy(&head, rest.p, sizeof(head));
		if (span_is(server, rest.p + sizeof(head))) {
			unpack(rest.p, &head, ret_recipe);
			return 0;
		}
		rest.p += head.size;
		rest.len -= head.size;
	}
	return err_set(err, ERR_NOT_FOUND, "no server '%.*s' with a command in the configuration",
		SPAN_ARG(server));
}

const char *recipe_env(const struct recipe *recipe, const char *name)
{
	const char *variable = recipe->env.first;
	size_t len = strlen(name);

	for (size_t i = 0; i < recipe->env.count; i++, variable = recipe_next(variable))
		if (strncmp(variable, name, len) == 0 && variable[len] == '=')
			return variable + len + 1;
	return NULL;
}
