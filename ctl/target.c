#include "target.h"
#include "render.h"

#include <stdio.h>
#include <string.h>

int target_parse(const char *text, struct target *ret)
{
	static const struct {
		const char *any, *loopback;
	} wildcards[] = {
		{"http://0.0.0.0:", "http://127.0.0.1:"}, {"http://[::]:", "http://[::1]:"}};
	const char *scheme, *path;
	int n;

	ret->unix_path[0] = '\0';
	if (strncmp(text, "unix:", 5) == 0) {
		n = snprintf(ret->unix_path, sizeof(ret->unix_path), "%s", text + 5);
		snprintf(ret->url, sizeof(ret->url), "http://localhost/mcp");
		return n < (int)sizeof(ret->unix_path) ? 0 : -1;
	}
	n = snprintf(ret->url, sizeof(ret->url), "%s", text);
	for (size_t i = 0; i < sizeof(wildcards) / sizeof(*wildcards); i++) {
		size_t len = strlen(wildcards[i].any);

		if (strncmp(text, wildcards[i].any, len) == 0)
			n = snprintf(ret->url, sizeof(ret->url), "%s%s", wildcards[i].loopback,
				text + len);
	}
	scheme = strstr(ret->url, "://");
	path = strchr(scheme ? scheme + 3 : ret->url, '/');
	if (n < (int)sizeof(ret->url) && (!path || !path[1]))
		n = snprintf(ret->url + (path ? path - ret->url : n),
			    sizeof(ret->url) - (size_t)(path ? path - ret->url : n), "/mcp") +
		    n;
	return n < (int)sizeof(ret->url) ? 0 : -1;
}

int target_ask(struct client *client, struct target *ret)
{
	cJSON *status = NULL;
	const cJSON *row;
	const char *url = NULL;
	int result = client_ask(client, "status", "", NULL, &status);

	if (result != EXIT_DONE)
		return result;
	cJSON_ArrayForEach(row,
		cJSON_GetObjectItemCaseSensitive(status,
			"listen")) if (!url && strcmp(json_text(row, "kind"), "mcp") == 0) url =
		json_text(row, "url");
	if (!url)
		result = ctl_fail(EXIT_NODE, "gatehouse call --url URL …",
			"the node does not listen for clients");
	else if (target_parse(url, ret) < 0)
		result = ctl_fail(EXIT_NODE, NULL, "%s is too long", url);
	cJSON_Delete(status);
	return result;
}

int target_find(const struct invocation *inv, struct target *ret)
{
	struct client *client;
	int status;

	if (inv->option[OPT_URL])
		return target_parse(inv->option[OPT_URL], ret) == 0
			       ? EXIT_DONE
			       : ctl_usage(inv, "%s is too long", inv->option[OPT_URL]);
	status = client_open(inv, &client);
	if (status != EXIT_DONE)
		return status;
	status = target_ask(client, ret);
	client_close(client);
	return status;
}

void target_apply(const struct target *target, CURL *curl)
{
	curl_easy_setopt(curl, CURLOPT_URL, target->url);
	if (target->unix_path[0])
		curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, target->unix_path);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	/* no proxy between this machine and its own node */
	if (target->unix_path[0] || strstr(target->url, "://127.") ||
		strstr(target->url, "://[::1]") || strstr(target->url, "://localhost"))
		curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
}
