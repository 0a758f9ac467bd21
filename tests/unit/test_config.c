/* base/config: dialects, every kind of mistake with its message, substitution, secrets, views,
 * differences. */
#include "bounds.h"
#include "config.h"
#include "glob.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define Y CONFIG_SYNTAX_YAML
#define J CONFIG_SYNTAX_JSON

static char dir[64];

static void set_up(void)
{
	snprintf(dir, sizeof(dir), "/tmp/gatehouse-config-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	setenv("GH_PLAIN", "plain", 1);
	setenv("GH_EMPTY", "", 1);
	setenv("GH_TOKEN", "t0ps3cret", 1);
	setenv("GATEHOUSE_INPUT_API_KEY", "inp4t", 1);
	setenv("HOME", "/home/u", 1);
	setenv("GH_LATIN1", "\xe4", 1);
	unsetenv("GH_UNSET");
}

static void tear_down(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static void write_file(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static const char *report_text(const struct config_report *report, struct buf *out)
{
	buf_clear(out);
	ck_assert_int_eq(config_report_write(report, out), 0);
	buf_append_char(out, '\0');
	return out->data;
}

/* Loads text that must be good; *notices, if not NULL, gets the report (buf_free). */
static struct config *load(enum config_syntax syntax, const char *text, struct buf *notices)
{
	struct config *config = NULL;
	struct config_report report;
	struct buf out;
	int r;

	config_report_init(&report);
	buf_init(&out, 1 << 20);
	r = config_load_text(span_str(text), syntax, "t", dir, &config, &report);
	report_text(&report, &out);
	ck_assert_msg(r == 0, "%s", out.data);
	config_report_free(&report);
	if (notices)
		*notices = out;
	else
		buf_free(&out);
	return config;
}

/* ---- mistakes ---- */

static const struct {
	enum config_syntax syntax;
	const char *text, *report;
} mistakes[] = {
	{Y, "- a\n", "t:1:1: error: found a list, expected a map of settings\n"},
	{Y, "hello\n", "t:1:1: error: found \"hello\", expected a map of settings\n"},
	{Y, "views: { \"a b\": {} }\n",
		"t:1:10: error: views: found the name \"a b\", expected 1 to 64 letters, digits, - "
		"and _\n"},
	{Y, "views: { a: { servers: [none], tool: 1 } }\n",
		"t:1:1: error: views.a.servers: found \"none\", which names no server of "
		"mcpServers\n"
		"t:1:32: error: views.a.tool: unknown setting; `gatehouse config schema` lists the "
		"known ones\n"},
	{Y, "views:\n  a:\n    tools: { rename: { x: y, z: y, long: \"a b\" } }\n",
		"t:3:1: error: views.a.tools.rename.z: found \"y\", expected a name that nothing "
		"before it is given\n"
		"t:3:1: error: views.a.tools.rename.long: found \"a b\", expected a name of 1 to "
		"64 letters, digits, - and _\n"},
	{Y, "mcpServers: { s: { command: x, tools: { rename: { x: y, z: y } } } }\n",
		"t:1:1: error: mcpServers.s.tools.rename.z: found \"y\", expected a name that "
		"nothing before it is given\n"},
	{Y, "worker: { max: lots }\n",
		"t:1:16: error: worker.max: found \"lots\", expected a whole number from 1 to "
		"1000000\n"},
	{Y, "worker: { max: 0 }\n",
		"t:1:16: error: worker.max: found \"0\", expected a whole number from 1 to "
		"1000000\n"},
	{Y, "worker: { max: 99999999999999999999 }\n",
		"t:1:16: error: worker.max: found \"99999999999999999999\", expected a whole "
		"number from 1 to 1000000\n"},
	{Y, "worker: { max: [1] }\n",
		"t:1:16: error: worker.max: found a list, expected a whole number from 1 to "
		"1000000\n"},
	{Y, "worker: 3\n", "t:1:9: error: worker: found \"3\", expected a map\n"},
	{Y, "gateways: many\n",
		"t:1:11: error: gateways: found \"many\", expected auto or a whole number from 1 "
		"to 256\n"},
	{Y, "http:\n  header_timeout: 10\n",
		"t:2:19: error: http.header_timeout: found \"10\", which has no unit; write 10s or "
		"10ms\n"},
	{Y, "http: { header_timeout: 10 parsecs }\n",
		"t:1:25: error: http.header_timeout: found \"10 parsecs\", expected a duration "
		"from 10ms to 1h, such as "
		"60s or 500ms\n"},
	{Y, "http: { header_timeout: 9999999999999999d }\n",
		"t:1:25: error: http.header_timeout: found \"9999999999999999d\", expected a "
		"duration from 10ms to 1h, "
		"such as 60s or 500ms\n"},
	{Y, "http: { max_body: 4Mb }\n",
		"t:1:19: error: http.max_body: found \"4Mb\", expected a size from 1KiB to 1GiB, "
		"such as 64KiB or 4MiB\n"},
	{Y, "naming: postfix\n",
		"t:1:9: error: naming: found \"postfix\", expected one of prefix, none\n"},
	{Y, "log: { payloads: yes }\n",
		"t:1:18: error: log.payloads: found \"yes\", expected true or false\n"},
	{Y, "log: { access: slow }\n",
		"t:1:16: error: log.access: found \"slow\", expected all, errors, slow(500ms) or "
		"off\n"},
	{Y, "log: { access: slow(5) }\n",
		"t:1:16: error: log.access: found \"slow(5)\", expected all, errors, slow(500ms) "
		"or off\n"},
	{Y, "state: [x]\n", "t:1:8: error: state: found a list, expected a path\n"},
	{Y, "allowed_hosts: example.org\n",
		"t:1:16: error: allowed_hosts: found \"example.org\", expected a list of "
		"strings\n"},
	{Y, "allowed_hosts: [{a: b}]\n",
		"t:1:17: error: allowed_hosts: found a map, expected a string\n"},
	{Y, "allowed_hosts: [null]\n",
		"t:1:17: error: allowed_hosts: found nothing, expected a string\n"},
	{Y, "allowed_hosts: [\"http://x\"]\n",
		"t:1:1: error: allowed_hosts: found \"http://x\", expected a host name, with a "
		"port or without\n"},
	{Y, "allowed_origins: [x.org]\n",
		"t:1:1: error: allowed_origins: found \"x.org\", expected scheme://host or "
		"scheme://host:port\n"},
	{Y, "trusted_proxies: [10.0.0.0/33, \"::1/128\", 1.2.3.4, unix]\n",
		"t:1:1: error: trusted_proxies: found \"10.0.0.0/33\", expected an IP address or "
		"network such as 10.0.0.0/8, or unix\n"},
	{Y, "admin: { http: \"9464\" }\n",
		"t:1:1: error: admin.http: found \"9464\", expected ADDRESS:PORT such as "
		"127.0.0.1:9464\n"},
	{Y, "worker: { warm: 9, max: 8 }\n",
		"t:1:1: error: worker.warm: found 9, expected at most worker.max (8)\n"},
	/* unknown keys */
	{Y, "wroker: { max: 1 }\n",
		"t:1:1: error: wroker: unknown setting; did you mean \"worker\"?\n"},
	{Y, "worker: { mxa: 1 }\n",
		"t:1:11: error: worker.mxa: unknown setting; did you mean \"worker.max\"?\n"},
	{Y, "max_header: 1KiB\n",
		"t:1:1: error: max_header: unknown setting; did you mean \"http.max_header\"?\n"},
	{Y, "mcpserver: {}\n",
		"t:1:1: error: mcpserver: unknown setting; did you mean \"mcpServers\"?\n"},
	{Y, "<<: {a: b}\n", "t:1:1: error: <<: merge keys (<<) are not read; write the keys out\n"},
	{J, "{\"worker\": {\"mxa\": 1}}",
		"t:1:13: error: worker.mxa: unknown setting; did you mean \"worker.max\"?\n"},
	{J, "{\"mcpServer\": {}}",
		"t:1:2: error: mcpServer: unknown setting; did you mean \"mcpServers\"?\n"},
	/* listeners */
	{Y, "listen: 8080\n",
		"t:1:9: error: listen: found \"8080\", expected http://ADDRESS:PORT (an IP address "
		"or localhost) or unix:PATH\n"},
	{Y, "listen: [\"http://127.0.0.1:70000\"]\n",
		"t:1:10: error: listen: found \"http://127.0.0.1:70000\", expected "
		"http://ADDRESS:PORT (an IP address or "
		"localhost) or unix:PATH\n"},
	{Y, "listen: [\"http://::1:80\"]\n",
		"t:1:10: error: listen: found \"http://::1:80\", expected http://ADDRESS:PORT (an "
		"IP address or localhost) "
		"or unix:PATH\n"},
	{Y, "listen: [\"http://127.0.0.1:80\", \"http://127.0.0.1:80/\"]\n",
		"t:1:33: error: listen: \"http://127.0.0.1:80/\" stands here for the second time, "
		"first at line 1\n"},
	{Y, "listen: [{max_body: 1MiB}]\n",
		"t:1:10: error: listen: found a map without url, expected one\n"},
	{Y, "listen: [{url: \"http://127.0.0.1:80\", max_bdy: 1MiB}]\n",
		"t:1:39: error: listen.max_bdy: unknown setting; did you mean \"max_body\"?\n"},
	{Y,
		"listen: "
		"[\"unix:/"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaaaa"
		"aaaaaaaaaaaaaaaaaaa\"]\n",
		"t:1:10: error: listen: found \"unix:/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"…, the "
		"path of a socket has at "
		"most 107 bytes\n"},
	/* servers */
	{Y, "mcpServers: [a]\n",
		"t:1:13: error: mcpServers: found a list, expected a map of servers by name\n"},
	{Y, "mcpServers: { a: cat }\n",
		"t:1:18: error: mcpServers.a: found \"cat\", expected a map with command or url\n"},
	{Y, "mcpServers: { a: {} }\n",
		"t:1:1: error: mcpServers.a: found neither command nor url, expected one of "
		"them\n"},
	{Y, "sesion:\n  max: 5\n",
		"t:1:1: error: sesion: unknown setting; did you mean \"session\"?\n"},
	{Y, "supervisor:\n  rooot:\n    period: 5s\n",
		"t:2:3: error: supervisor.rooot: unknown setting; did you mean "
		"\"supervisor.root\"?\n"},
	{Y, "mcpServers:\n  a:\n    command: x\n    url: http://x\n",
		"t:4:1: error: mcpServers.a: found command and url, expected one of them\n"},
	{Y, "mcpServers: { a: {command: x, timeout: 60000} }\n",
		"t:1:40: error: mcpServers.a.timeout: found \"60000\", which has no unit; write "
		"60000s or 60000ms\n"},
	{Y, "mcpServers: { a: {command: x, type: http} }\n",
		"t:1:1: error: mcpServers.a.type: found http with a command, expected a url\n"},
	{Y, "mcpServers: { a: {url: http://x, type: stdio} }\n",
		"t:1:1: error: mcpServers.a.type: found stdio with a url, expected a command\n"},
	{Y, "mcpServers: { a: {url: ftp://x} }\n",
		"t:1:1: error: mcpServers.a.url: expected http://HOST… or https://HOST…\n"},
	{Y, "mcpServers: { a: {url: \"http://x y\"} }\n",
		"t:1:1: error: mcpServers.a.url: found a space or control character, expected "
		"none\n"},
	{Y, "mcpServers: { a: {url: http://x, type: ws} }\n",
		"t:1:1: error: mcpServers.a.url: expected ws://HOST… or wss://HOST…\n"},
	{Y, "sse: { path: /mcp/events }\n",
		"t:1:1: error: sse.path: found \"/mcp/events\", expected a path such as /sse that "
		"is not below /mcp or /v1 nor one of the node's own pages, or nothing\n"},
	{Y, "mcpServers: { a: {url: http://x, type: grpc} }\n",
		"t:1:40: error: mcpServers.a.type: found \"grpc\", expected one of auto, stdio, "
		"http, sse, ws\n"},
	{Y, "mcpServers: { a: {url: http://x, headers: {\"A B\": c, D: \"e\\r\\nF: g\"}} }\n",
		"t:1:1: error: mcpServers.a.headers: found the name \"A B\", expected a header's\n"
		"t:1:1: error: mcpServers.a.headers.D: found a control character in the value, "
		"expected none\n"},
	{Y, "mcpServers: { a: {command: x, env: {\"A=B\": c}} }\n",
		"t:1:1: error: mcpServers.a.env: found the name \"A=B\", expected one without "
		"\"=\"\n"},
	{Y, "mcpServers: { a: {command: x, args: all} }\n",
		"t:1:37: error: mcpServers.a.args: found \"all\", expected a list of strings\n"},
	{Y, "mcpServers: { a: {command: x, env: [A]} }\n",
		"t:1:36: error: mcpServers.a.env: found a list, expected a map of names to "
		"strings\n"},
	{Y, "mcpServers: { a: {comand: x, command: y} }\n",
		"t:1:19: error: mcpServers.a.comand: unknown setting; did you mean \"command\"?\n"},
	{Y, "mcpServers: { a: {url: http://x, httpUrl: http://y} }\n",
		"t:1:43: error: mcpServers.a.url: given twice, first at line 1\n"},
	{Y, "mcpServers: { a: {command: x, enabled: perhaps} }\n",
		"t:1:40: error: mcpServers.a.enabled: found \"perhaps\", expected true or false\n"},
	{Y, "mcpServers: { a: {command: x, tools: {include: [\"\"]}} }\n",
		"t:1:1: error: mcpServers.a.tools.include: found \"\", expected a tool's name or "
		"pattern\n"},
	{Y, "mcpServers: { a: {command: x, envFile: none.env} }\n",
		"t:1:1: error: mcpServers.a.envFile: the file DIR/none.env cannot be opened: No "
		"such file or directory\n"},
	{Y, "mcpServers: { \"日本\": {command: x} }\n",
		"t:1:15: error: mcpServers: found the name \"日本\", expected one with letters or "
		"digits (a-z, 0-9)\n"},
	{Y, "mcpServers:\n  my-server: {command: x}\n  My Server: {command: y}\n",
		"t:3:3: notice: mcpServers: the server \"My Server\" is called my-server here\n"
		"t:3:3: error: mcpServers: \"My Server\" and \"my-server\" (line 2) are both "
		"called my-server\n"},
	/* substitution */
	{Y, "state: \"${GH_UNSET}/x\"\n",
		"t:1:8: error: the environment variable GH_UNSET is not set; set it, or give a "
		"default: ${VAR:-default}\n"},
	{Y, "state: \"${env:GH_UNSET}\"\n",
		"t:1:8: error: the environment variable GH_UNSET is not set; set it, or give a "
		"default: ${VAR:-default}\n"},
	{Y, "state: \"${GH_PLAIN\"\n",
		"t:1:8: error: found \"${\" without its \"}\"; $${ stands for a plain ${\n"},
	{Y, "state: \"${command:x} y\"\n",
		"t:1:8: error: found \"${command:x}\", expected ${VAR}, ${VAR:-default}, "
		"${env:VAR}, ${file:PATH}, "
		"${input:ID}, ${workspaceFolder} or ${userHome}; $${ stands for a plain ${\n"},
	{Y, "state: \"${file:none}\"\n",
		"t:1:8: error: the file DIR/none cannot be opened: No such file or directory\n"},
	{Y, "state: \"${file:/dev/zero}\"\n",
		"t:1:8: error: the file /dev/zero is no regular file\n"},
	{Y, "state: \"${file:}\"\n", "t:1:8: error: found \"${file:}\", expected ${file:PATH}\n"},
	{Y, "state: \"${input:other}\"\n",
		"t:1:8: error: the input \"other\" is not set; set the environment variable "
		"GATEHOUSE_INPUT_OTHER\n"},
	{Y, "state: \"${A:-${A:-${A:-${A:-${A:-${A:-x}}}}}}\"\n",
		"t:1:8: error: ${…} nested deeper than 4 levels\n"},
	{Y, "worker: { max: \"${GH_TOKEN}\" }\n",
		"t:1:16: error: worker.max: found \"${GH_TOKEN}\", expected a whole number from 1 "
		"to 1000000\n"},
	{Y, "state: \"${GH_LATIN1}\"\n", "t:1:8: error: what ${…} stands for is not UTF-8 text\n"},
	{Y, "state: \"${file:latin1}\"\n", "t:1:8: error: the file DIR/latin1 is not UTF-8 text\n"},
	/* syntax */
	{Y, "a: [\n",
		"t:2:1: error: did not find expected node content (while parsing a flow node that "
		"begins at line 2)\n"},
	{Y, "naming: none\nnaming: prefix\n",
		"t:2:1: error: the key \"naming\" stands here for the second time, first at line "
		"1\n"},
	/* all at once */
	{Y, "naming: x\nworker:\n  max: y\nfoo: 1\nmcpServers:\n  a: {command: [b], timeout: 5}\n",
		"t:1:9: error: naming: found \"x\", expected one of prefix, none\n"
		"t:3:8: error: worker.max: found \"y\", expected a whole number from 1 to 1000000\n"
		"t:4:1: error: foo: unknown setting; `gatehouse config schema` lists the known "
		"ones\n"
		"t:6:16: error: mcpServers.a.command: found a list, expected a string\n"
		"t:6:30: error: mcpServers.a.timeout: found \"5\", which has no unit; write 5s or "
		"5ms\n"},
};

/* The report with the test's own folder as DIR. */
static void without_dir(char *text)
{
	size_t len = strlen(dir);
	char *at;

	while ((at = strstr(text, dir))) {
		memcpy(at, "DIR", 3);
		memmove(at + 3, at + len, strlen(at + len) + 1);
	}
}

START_TEST(test_mistake)
{
	struct config *config = NULL;
	struct config_report report;
	struct buf out;

	write_file("latin1", "\xe4\n");
	config_report_init(&report);
	buf_init(&out, 1 << 20);
	ck_assert_int_eq(config_load_text(span_str(mistakes[_i].text), mistakes[_i].syntax, "t",
				 dir, &config, &report),
		-ERR_CONFIG);
	ck_assert_ptr_null(config);
	report_text(&report, &out);
	without_dir(out.data);
	ck_assert_str_eq(out.data, mistakes[_i].report);
	config_report_free(&report);
	buf_free(&out);
}
END_TEST

START_TEST(test_report_bounded)
{
	struct config *config = NULL;
	struct config_report report;
	struct buf text, out;

	config_report_init(&report);
	buf_init(&text, 1 << 20);
	buf_init(&out, 1 << 20);
	for (int i = 0; i < 150; i++)
		buf_printf(&text, "nonsense_%d: 1\n", i);
	ck_assert_int_eq(
		config_load_text(buf_span(&text), Y, "t", dir, &config, &report), -ERR_CONFIG);
	ck_assert_uint_eq(report.count, CONFIG_REPORT_MAX);
	ck_assert_uint_eq(report.errors, 150);
	ck_assert_ptr_nonnull(strstr(report_text(&report, &out), "t: 50 more are not shown\n"));
	config_report_free(&report);
	buf_free(&text);
	buf_free(&out);
}
END_TEST

/* ---- good files ---- */

START_TEST(test_defaults)
{
	struct config *config = load(Y, "", NULL);
	char state[128];

	snprintf(state, sizeof(state), "%s/state", dir);
	ck_assert_str_eq(config->state.p, state);
	ck_assert_int_eq(config->worker_max, 10000);
	ck_assert_int_eq(config->worker_per_principal, 0);
	ck_assert_int_eq(config->http_max_header, 16384);
	ck_assert_int_eq(config->http_idle_timeout, 75000);
	ck_assert_int_eq(config->session_idle, 1800000);
	ck_assert_int_eq(config->naming, CONFIG_NAMING_PREFIX);
	ck_assert_int_eq(config->log_level, CONFIG_LOG_INFO);
	ck_assert_int_eq(config->log_access.mode, CONFIG_ACCESS_ALL);
	ck_assert_int_eq(config->supervisor_edge_intensity, 20);
	ck_assert_uint_eq(config->listen_count + config->server_count, 0);
	config_free(config);
	config_free(NULL);
}
END_TEST

static const char whole[] =
	"listen:\n"
	"  - http://127.0.0.1:8080\n"
	"  - { url: \"http://[::1]:0\", max_body: 1MiB }\n"
	"  - unix:run/gw.sock\n"
	"admin: { socket: run/admin.sock, http: 127.0.0.1:9464 }\n"
	"state: /var/lib/gatehouse\n"
	"naming: none\n"
	"trusted_proxies: [10.0.0.0/8]\n"
	"http: { max_body: 2MiB, idle_timeout: 1m30s }\n"
	"worker: { warm: 2, max: 50, per_principal: 4 }\n"
	"log: { level: debug, access: slow(500ms) }\n"
	"supervisor: { edge: { intensity: 3, period: 5s } }\n"
	"mcpServers:\n"
	"  files:\n"
	"    command: ./bin/server\n"
	"    args: [\"/srv/docs\", \"--api-key\", \"abc123\", \"--token=xyz987\"]\n"
	"    env: { PORT: 8080, DEBUG: true, API_TOKEN: hush1 }\n"
	"    max: 4\n"
	"    stderr: discard\n"
	"    tools: { include: [\"read_*\"], exclude: [\"read_secret\"] }\n"
	"    idempotent: [\"read_*\"]\n"
	"  wiki:\n"
	"    url: \"https://wiki.example.org/mcp\"\n"
	"    headers: { Authorization: \"Bearer ${file:wiki}\", X-Plain: shown }\n"
	"    timeout: 10s\n"
	"  old: { url: \"wss://h/x\", disabled: true }\n"
	"views:\n"
	"  docs: { servers: [files], tools: { include: [\"*__read_*\"], exclude: [\"*_raw\"],\n"
	"    rename: { files__read_secret: secret_token } } }\n";

static struct config *load_whole(void)
{
	write_file("wiki", "w1k1s3cret\n");
	return load(Y, whole, NULL);
}

START_TEST(test_whole)
{
	struct config *c = load_whole();
	const struct config_server *files, *wiki;
	char path[128];

	ck_assert_uint_eq(c->listen_count, 3);
	ck_assert_str_eq(c->listen[0].host, "127.0.0.1");
	ck_assert_int_eq(c->listen[0].port, 8080);
	ck_assert_int_eq(c->listen[0].max_body, 2 << 20);
	ck_assert_int_eq(c->listen[0].idle_timeout, 90000);
	ck_assert_str_eq(c->listen[1].host, "::1");
	ck_assert_int_eq(c->listen[1].max_body, 1 << 20);
	ck_assert_int_eq(c->listen[2].kind, CONFIG_LISTEN_UNIX);
	snprintf(path, sizeof(path), "%s/run/gw.sock", dir);
	ck_assert_str_eq(c->listen[2].path, path);
	ck_assert_int_eq(c->log_access.slow_ms, 500);
	ck_assert_int_eq(c->supervisor_edge_period, 5000);
	files = config_find_server(c, "files");
	wiki = config_find_server(c, "wiki");
	snprintf(path, sizeof(path), "%s/bin/server", dir);
	ck_assert_str_eq(files->command.p, path);
	ck_assert_int_eq(files->type, CONFIG_TYPE_STDIO);
	ck_assert_int_eq(files->isolation, CONFIG_ISOLATION_SESSION);
	ck_assert_int_eq(files->start_timeout, 60000);
	ck_assert_str_eq(files->env.items[0].value.p, "8080");
	ck_assert_str_eq(files->env.items[1].value.p, "true");
	ck_assert_uint_eq(files->line, 14);
	ck_assert_int_eq(wiki->type, CONFIG_TYPE_AUTO);
	ck_assert_int_eq(wiki->isolation, CONFIG_ISOLATION_SHARED);
	ck_assert_str_eq(wiki->headers.items[0].value.p, "Bearer w1k1s3cret");
	ck_assert_int_eq(config_find_server(c, "old")->type, CONFIG_TYPE_WS);
	ck_assert_ptr_null(config_find_server(c, "none"));
	ck_assert(config_offers_tool(files, SPAN_LIT("read_file")));
	ck_assert(!config_offers_tool(files, SPAN_LIT("read_secret")));
	ck_assert(!config_offers_tool(files, SPAN_LIT("write_file")));
	ck_assert(config_offers_tool(wiki, SPAN_LIT("anything")));
	ck_assert(config_tool_idempotent(files, SPAN_LIT("read_x")));
	ck_assert(!config_tool_idempotent(files, SPAN_LIT("write_x")));
	config_free(c);
}
END_TEST

/* ---- dialects ---- */

struct dialect {
	enum config_syntax syntax;
	const char *text;
	const char *name; /* of the one server to look at */
	enum config_type type;
	const char *reach;   /* its command or url */
	const char *notices; /* NULL: none */
};

static const struct dialect dialects[] = {
	/* Claude Desktop */
	{J,
		"{\n  \"globalShortcut\": \"Ctrl+Space\",\n  \"mcpServers\": {\n    "
		"\"filesystem\": {\n"
		"      \"command\": \"npx\",\n      \"args\": [\"-y\", "
		"\"@modelcontextprotocol/server-filesystem\", \"/tmp\"]\n"
		"    }\n  }\n}\n",
		"filesystem", CONFIG_TYPE_STDIO, "npx",
		"t:2:3: notice: globalShortcut: ignored: not a setting of this program\n"},
	/* VS Code */
	{J,
		"{\n\t// what to ask for\n\t\"inputs\": [{\"type\": \"promptString\", \"id\": "
		"\"api-key\", \"password\": true}],\n"
		"\t\"servers\": {\n\t\t\"Perplexity\": {\n\t\t\t\"type\": \"stdio\", /* a child "
		"*/\n\t\t\t\"command\": \"npx\",\n"
		"\t\t\t\"env\": {\"K\": \"${input:api-key}\",},\n\t\t},\n\t},\n}\n",
		"Perplexity", CONFIG_TYPE_STDIO, "npx", NULL},
	{J,
		"{\"servers\": {\"GitHub MCP\": {\"type\": \"http\", \"url\": "
		"\"https://api.x/mcp/\"}}}",
		"github-mcp", CONFIG_TYPE_HTTP, "https://api.x/mcp/",
		"t:1:14: notice: mcpServers: the server \"GitHub MCP\" is called github-mcp "
		"here\n"},
	/* VS Code's settings.json */
	{J,
		"{\"editor.fontSize\": 14, \"mcp\": {\"inputs\": [], \"servers\": {\"a\": "
		"{\"command\": \"x\"}}}}",
		"a", CONFIG_TYPE_STDIO, "x",
		"t:1:2: notice: editor.fontSize: ignored: not a setting of this program\n"},
	/* Cursor */
	{J,
		"{\"mcpServers\": {\"web\": {\"url\": \"http://localhost:3000/sse\", \"headers\": "
		"{\"K\": \"${env:GH_TOKEN}\"}}}}",
		"web", CONFIG_TYPE_AUTO, "http://localhost:3000/sse", NULL},
	/* Gemini CLI */
	{J,
		"{\"mcpServers\": {\"g\": {\"httpUrl\": \"http://localhost:3000/mcp\", \"trust\": "
		"true, "
		"\"includeTools\": [\"a\"], \"excludeTools\": [\"b\"]}}}",
		"g", CONFIG_TYPE_HTTP, "http://localhost:3000/mcp",
		"t:1:63: notice: mcpServers.g.trust: ignored: approving calls is the client's "
		"part\n"},
	/* Windsurf */
	{J,
		"{\"mcpServers\": {\"w\": {\"serverUrl\": \"https://w/sse\", \"disabledTools\": "
		"[\"b\"]}}}",
		"w", CONFIG_TYPE_AUTO, "https://w/sse", NULL},
	/* Cline, Roo Code */
	{J,
		"{\"mcpServers\": {\"c\": {\"type\": \"streamableHttp\", \"url\": \"https://c\", "
		"\"disabled\": false, "
		"\"autoApprove\": [\"x\"], \"alwaysAllow\": []}}}",
		"c", CONFIG_TYPE_HTTP, "https://c",
		"t:1:88: notice: mcpServers.c.autoApprove: ignored: approving calls is the "
		"client's part\n"
		"t:1:110: notice: mcpServers.c.alwaysAllow: ignored: approving calls is the "
		"client's part\n"},
	{J, "{\"mcpServers\": {\"c\": {\"type\": \"streamable-http\", \"url\": \"https://c\"}}}",
		"c", CONFIG_TYPE_HTTP, "https://c", NULL},
	{J, "{\"mcpServers\": {\"c\": {\"transportType\": \"sse\", \"url\": \"https://c\"}}}", "c",
		CONFIG_TYPE_SSE, "https://c", NULL},
	/* Claude Code and others: what the type says is not probed */
	{J, "{\"mcpServers\": {\"s\": {\"type\": \"sse\", \"url\": \"https://s/sse\", \"headers\": "
	    "{\"X\": \"1\"}}}}",
		"s", CONFIG_TYPE_SSE, "https://s/sse", NULL},
	{J, "{\"mcpServers\": {\"s\": {\"type\": \"http\", \"serverUrl\": \"https://s\"}}}", "s",
		CONFIG_TYPE_HTTP, "https://s", NULL},
	/* VS Code, all that a command may come with */
	{J,
		"{\"servers\": {\"v\": {\"type\": \"stdio\", \"command\": \"x\", \"args\": "
		"[\"${workspaceFolder}\"], \"env\": {\"H\": \"${userHome}\"}, \"cwd\": "
		"\"${workspaceFolder}\", \"dev\": {\"watch\": \"*\"}}}} // the end\n",
		"v", CONFIG_TYPE_STDIO, "x",
		"t:1:143: notice: mcpServers.v.dev: ignored: only a client's developer mode uses "
		"it\n"},
	/* Copilot CLI */
	{J,
		"{\"mcpServers\": {\"p\": {\"type\": \"local\", \"command\": \"x\", \"tools\": "
		"[\"*\"], \"env\": null}}}",
		"p", CONFIG_TYPE_STDIO, "x", NULL},
	{J,
		"{\"mcpServers\": {\"p\": {\"command\": \"x\", \"enabled\": false, \"env\": "
		"{\"A\": \"${GH_UNSET}\"}}}}",
		"p", CONFIG_TYPE_STDIO, "x",
		"t:1:70: notice: the environment variable GH_UNSET is not set; it is empty while "
		"this server is disabled\n"},
	{Y, "mcpServers: { a_b: {url: \"http://x\", cwd: /x} }\n", "a_b", CONFIG_TYPE_AUTO,
		"http://x",
		"t:1:1: notice: mcpServers.a_b.cwd: not used by a server of type auto\n"},
	{Y, "listen: http://0.0.0.0:80\nmcpServers: { \"__My.Server (2)_\": {command: x} }\n",
		"my-server-2", CONFIG_TYPE_STDIO, "x",
		"t:1:1: notice: listen: http://0.0.0.0:80 can be reached from other machines\n"
		"t:2:15: notice: mcpServers: the server \"__My.Server (2)_\" is called my-server-2 "
		"here\n"},
};

START_TEST(test_dialect)
{
	const struct dialect *d = &dialects[_i];
	struct buf notices;
	struct config *config = load(d->syntax, d->text, &notices);
	const struct config_server *server = config_find_server(config, d->name);

	ck_assert_str_eq(notices.data, d->notices ? d->notices : "");
	ck_assert_ptr_nonnull(server);
	ck_assert_int_eq(server->type, d->type);
	ck_assert_str_eq(server->command.p[0] ? server->command.p : server->url.p, d->reach);
	buf_free(&notices);
	config_free(config);
}
END_TEST

START_TEST(test_dialect_lists)
{
	struct config *c = load(J, dialects[5].text, NULL);

	ck_assert_str_eq(c->servers[0].tools_include.items[0].p, "a");
	ck_assert_str_eq(c->servers[0].tools_exclude.items[0].p, "b");
	config_free(c);
	c = load(J, dialects[1].text, NULL);
	ck_assert_str_eq(c->servers[0].env.items[0].value.p, "inp4t");
	ck_assert(c->servers[0].env.items[0].value.secret);
	config_free(c);
	c = load(J, dialects[14].text, NULL);
	ck_assert(c->servers[0].disabled);
	config_free(c);
}
END_TEST

/* What stands where the client's file says: workspace and home are those of this user. */
START_TEST(test_dialect_command)
{
	struct config *c = load(J, dialects[12].text, NULL);

	ck_assert_str_eq(c->servers[0].args.items[0].p, dir);
	ck_assert_str_eq(c->servers[0].cwd.p, dir);
	ck_assert_str_eq(c->servers[0].env.items[0].value.p, "/home/u");
	config_free(c);
	c = load(J, dialects[10].text, NULL);
	ck_assert_str_eq(c->servers[0].headers.items[0].name, "X");
	config_free(c);
}
END_TEST

/* ---- settings without an effect ---- */

START_TEST(test_unused)
{
	struct buf notices;
	struct config *config = load(Y,
		"worker:\n  idle: 30s\n  connections_per_process: 2\n  max: 50\n", &notices);

	ck_assert_str_eq(notices.data,
		"t:2:1: notice: worker.idle: has no effect in this version\n"
		"t:3:1: notice: worker.connections_per_process: has no effect in this version\n");
	buf_free(&notices);
	config_free(config);
	config = load(Y, "worker: {idle: 60s, connections_per_process: 1}\n", &notices);
	ck_assert_str_eq(notices.data, "");
	buf_free(&notices);
	config_free(config);
}
END_TEST

/* ---- durations and addresses that others ask for ---- */

START_TEST(test_duration)
{
	static const struct {
		const char *text;
		int64_t ms; /* -1: none */
	} rows[] = {{"10m", 600000}, {"1h30m", 5400000}, {"500ms", 500}, {"0s", 0}, {"10", -1},
		{"", -1}, {"-1s", -1}, {"1y", -1}, {"1 m", -1}, {"99999999999999d", -1}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t ms = -1;

		ck_assert_msg(config_duration_parse(rows[i].text, &ms) == (rows[i].ms >= 0), "%s",
			rows[i].text);
		if (rows[i].ms >= 0)
			ck_assert_int_eq(ms, rows[i].ms);
	}
}
END_TEST

START_TEST(test_local)
{
	static const struct {
		const char *listen, *http;
		bool local;
	} rows[] = {{"http://127.0.0.1:1", "127.0.0.1:1", true},
		{"http://127.9.9.9:1", "127.9.9.9:1", true}, {"http://[::1]:1", "[::1]:1", true},
		{"http://localhost:1", "localhost:1", true}, {"http://0.0.0.0:1", "0.0.0.0:1", false},
		{"http://[::]:1", "[::]:1", false}, {"http://10.0.0.1:1", "10.0.0.1:1", false},
		{"unix:x.sock", "127.0.0.1:1", true}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct config *config = config_new_default(dir);
		struct err err = {0};

		ck_assert_int_eq(config_add_listen(config, rows[i].listen, true, &err), 0);
		ck_assert_msg(config_listen_is_local(&config->listen[0]) == rows[i].local, "%s",
			rows[i].listen);
		ck_assert_msg(config_host_is_local(rows[i].http) == rows[i].local, "%s",
			rows[i].http);
		config_free(config);
	}
}
END_TEST

/* ---- substitution ---- */

static const struct {
	const char *text, *value;
	bool secret;
} substitutions[] = {
	{"plain", "plain", false},
	{"a ${GH_PLAIN} b", "a plain b", false},
	{"${env:GH_PLAIN}", "plain", false},
	{"${GH_UNSET:-x}", "x", false},
	{"${GH_EMPTY:-x}", "x", false},
	{"${GH_EMPTY}", "", false},
	{"${GH_UNSET:-}", "", false},
	{"${GH_UNSET:-${GH_PLAIN}}!", "plain!", false},
	{"${GH_PLAIN:-${GH_UNSET}}", "plain", false},
	{"$$", "$", false},
	{"$${GH_PLAIN}", "${GH_PLAIN}", false},
	{"$HOME $", "$HOME $", false},
	{"${GH_TOKEN}", "t0ps3cret", true},
	{"${file:secret}", "from file", true},
	{"x${file:secret}y${GH_PLAIN}", "xfrom fileyplain", true},
	{"${input:api-key}", "inp4t", true},
	{"${userHome}/x", "/home/u/x", false},
	{"${workspaceFolder}", NULL, false}, /* the folder of the test */
	{"postgres://u:pw@h/db", "postgres://u:pw@h/db", true},
	{"https://h/?api_key=1", "https://h/?api_key=1", true},
	{"https://h:80/?q=1", "https://h:80/?q=1", false},
	{"Authorization: Bearer x", "Authorization: Bearer x", true},
	{"GITHUB_TOKEN=x", "GITHUB_TOKEN=x", true},
	{"--token=x", "--token=x", true},
	{"--tokenizer", "--tokenizer", false},
};

START_TEST(test_substitution)
{
	struct config *config;
	struct buf text;

	write_file("secret", "from file\n");
	buf_init(&text, 4096);
	buf_printf(&text, "mcpServers: { a: {command: x, args: [\"%s\"]} }\n%c",
		substitutions[_i].text, 0);
	config = load(Y, text.data, NULL);
	ck_assert_str_eq(config->servers[0].args.items[0].p,
		substitutions[_i].value ? substitutions[_i].value : dir);
	ck_assert_int_eq(config->servers[0].args.items[0].secret, substitutions[_i].secret);
	config_free(config);
	buf_free(&text);
}
END_TEST

START_TEST(test_substituted_number)
{
	struct config *config;

	setenv("GH_MAX", "77", 1);
	config = load(Y, "worker: { max: \"${GH_MAX}\" }\n", NULL);
	ck_assert_int_eq(config->worker_max, 77);
	config_free(config);
}
END_TEST

START_TEST(test_env_file)
{
	struct config *config;

	write_file("x.env", "# comment\n\nexport A=1\nB = \"two words\"\r\nC='x'\nOWN=file\n");
	config = load(
		Y, "mcpServers: { a: {command: x, envFile: x.env, env: {OWN: mine}} }\n", NULL);
	ck_assert_uint_eq(config->servers[0].env.count, 4);
	ck_assert_str_eq(config->servers[0].env.items[0].value.p, "mine");
	ck_assert_str_eq(config->servers[0].env.items[1].name, "A");
	ck_assert_str_eq(config->servers[0].env.items[2].value.p, "two words");
	ck_assert_str_eq(config->servers[0].env.items[3].value.p, "x");
	ck_assert(config->servers[0].env.items[3].value.secret);
	config_free(config);
}
END_TEST

/* ---- files ---- */

START_TEST(test_load_file)
{
	struct config *config = NULL;
	struct config_report report;
	struct buf out;
	char path[128];

	buf_init(&out, 4096);
	config_report_init(&report);
	snprintf(path, sizeof(path), "%s/.vscode", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	write_file(".vscode/mcp.json", "{\"servers\": {\"a\": {\"command\": \"x\", \"cwd\": "
				       "\"${workspaceFolder}\"}}} // end");
	snprintf(path, sizeof(path), "%s/.vscode/mcp.json", dir);
	ck_assert_int_eq(config_load(path, &config, &report), 0);
	ck_assert_str_eq(config->servers[0].cwd.p, dir);
	ck_assert_str_eq(config->file, path);
	config_free(config);
	config = NULL;
	snprintf(path, sizeof(path), "%s/none.yaml", dir);
	ck_assert_int_eq(config_load(path, &config, &report), -ERR_CONFIG);
	ck_assert_ptr_null(config);
	report_text(&report, &out);
	without_dir(out.data);
	ck_assert_str_eq(
		out.data, "DIR/none.yaml: error: cannot be read: No such file or directory\n");
	config_report_free(&report);
	ck_assert_int_eq(config_load(dir, &config, &report), -ERR_CONFIG);
	config_report_free(&report);
	buf_free(&out);
}
END_TEST

/* Nothing is set, and nothing has to be. */
START_TEST(test_load_verbatim)
{
	struct config *config = NULL;
	struct config_report report;
	const struct config_server *server;
	struct buf out;
	char path[128];

	buf_init(&out, 4096);
	config_report_init(&report);
	write_file("client.json",
		"{\"inputs\": [{\"id\": \"k\", \"password\": true}], \"servers\": {\"a\": {"
		"\"command\": \"${workspaceFolder}/x\", \"args\": [\"$$ ${input:k}\"], "
		"\"envFile\": \"${env:GH_UNSET}/no.env\", \"env\": {\"API_KEY\": \"${env:GH_UNSET}\", "
		"\"TOKEN\": \"clear\"}}, \"b\": {\"url\": \"${GH_UNSET}/mcp\"}}}");
	snprintf(path, sizeof(path), "%s/client.json", dir);
	ck_assert_int_eq(config_load_verbatim(path, &config, &report), 0);
	server = &config->servers[0];
	ck_assert_str_eq(server->command.p, "${workspaceFolder}/x");
	ck_assert_str_eq(server->args.items[0].p, "$$ ${input:k}");
	ck_assert_str_eq(server->env_file.p, "${env:GH_UNSET}/no.env");
	ck_assert_uint_eq(server->env.count, 2);
	ck_assert_str_eq(server->env.items[0].value.p, "${env:GH_UNSET}");
	ck_assert_str_eq(config->servers[1].url.p, "${GH_UNSET}/mcp");
	ck_assert_str_eq(config->inputs, "[{\"id\":\"k\",\"password\":true}]");
	report_text(&report, &out);
	without_dir(out.data);
	ck_assert_ptr_nonnull(strstr(out.data, "mcpServers.a.env.TOKEN: stands there in clear"));
	ck_assert_ptr_null(strstr(out.data, "API_KEY"));
	config_report_free(&report);
	config_free(config);
	buf_free(&out);
}
END_TEST

START_TEST(test_hide_secrets)
{
	struct config *config = load(Y,
		"mcpServers: { a: {command: x, args: [plain, \"${GH_TOKEN}\", \"--key-x=1\"], "
		"env: {A_TOKEN: abc, B_TOKEN: longsecretvalue}} }\n",
		NULL);
	char text[] = "plain t0ps3cret and t0ps3cret abc, longsecretva";

	config_hide_secrets(&config->servers[0], text);
	ck_assert_str_eq(text, "plain *** and *** abc, ***");
	config_hide_secrets(NULL, text);
	config_free(config);
}
END_TEST

START_TEST(test_add_listen)
{
	struct config *config =
		load(Y, "listen: http://127.0.0.1:1\nhttp: {max_body: 1MiB}\n", NULL);
	struct err err = {0};

	ck_assert_int_eq(config_add_listen(config, "unix:/run/x", false, &err), 0);
	ck_assert_uint_eq(config->listen_count, 2);
	ck_assert_int_eq(config->listen[1].max_body, 1 << 20);
	ck_assert_int_eq(config_add_listen(config, "http://localhost:0", true, &err), 0);
	ck_assert_uint_eq(config->listen_count, 1);
	ck_assert_int_eq(config_add_listen(config, "gopher://x", true, &err), -ERR_CONFIG);
	ck_assert_str_eq(err_text(&err),
		"listen: found \"gopher://x\", expected http://ADDRESS:PORT (an IP address or "
		"localhost) or unix:PATH");
	ck_assert_uint_eq(config->listen_count, 1);
	config_free(config);
}
END_TEST

/* ---- views ---- */

static const char *const secrets[] = {"abc123", "xyz987", "hush1", "w1k1s3cret"};

static char *view_text(const struct config *config, enum config_view view, const char *server)
{
	struct buf out;
	size_t len;

	buf_init(&out, 8 << 20);
	ck_assert_int_eq(config_write_json(config, view, server, &out), 0);
	buf_append_char(&out, '\0');
	return buf_steal(&out, &len);
}

START_TEST(test_views)
{
	struct config *config = load_whole();
	char *full = view_text(config, CONFIG_VIEW_FULL, NULL);
	char *only = view_text(config, CONFIG_VIEW_FULL, "files");
	char *public = view_text(config, CONFIG_VIEW_PUBLIC, NULL);
	char *display = view_text(config, CONFIG_VIEW_DISPLAY, NULL);
	char *origin = view_text(config, CONFIG_VIEW_ORIGIN, NULL);
	struct buf out;

	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
		ck_assert_ptr_nonnull(strstr(full, secrets[i]));
		ck_assert_ptr_null(strstr(public, secrets[i]));
		ck_assert_ptr_null(strstr(display, secrets[i]));
		ck_assert_ptr_null(strstr(origin, secrets[i]));
	}
	ck_assert_ptr_null(strstr(public, "\"command\""));
	ck_assert_ptr_null(strstr(public, "wiki.example.org"));
	ck_assert_ptr_nonnull(strstr(public, "\"idempotent\":[\"read_*\"]"));
	ck_assert_ptr_null(strstr(only, "w1k1s3cret"));
	ck_assert_ptr_nonnull(strstr(only, "hush1"));
	ck_assert_ptr_nonnull(strstr(display, "\"Authorization\":\"***\",\"X-Plain\":\"shown\""));
	ck_assert_ptr_nonnull(strstr(display, "\"/srv/docs\",\"--api-key\",\"***\",\"***\""));
	ck_assert_ptr_nonnull(
		strstr(display, "\"http\":{\"max_header\":\"16KiB\",\"max_body\":\"2MiB\""));
	ck_assert_ptr_nonnull(
		strstr(origin, "\"max_header\":{\"value\":\"16KiB\",\"origin\":\"default\"},"
			       "\"max_body\":{\"value\":\"2MiB\",\"origin\":\"t:9\"}"));
	buf_init(&out, 100);
	ck_assert_int_eq(config_write_json(config, CONFIG_VIEW_FULL, "none", &out), -ERR_NOT_FOUND);
	ck_assert_int_eq(config_write_json(config, CONFIG_VIEW_FULL, NULL, &out), -ERR_TOO_LARGE);
	buf_free(&out);
	free(full);
	free(only);
	free(public);
	free(display);
	free(origin);
	config_free(config);
}
END_TEST

/* What a virtual server shows, also to the processes that get no secrets. */
START_TEST(test_virtual)
{
	struct config *config = load_whole(), *back = NULL;
	char *text = view_text(config, CONFIG_VIEW_PUBLIC, NULL);
	const struct config_virtual *view;
	struct err err = {0};

	ck_assert_int_eq(config_read_json(span_str(text), &back, &err), 0);
	ck_assert_ptr_null(config_find_view(back, SPAN_LIT("other")));
	view = config_find_view(back, SPAN_LIT("docs"));
	ck_assert_ptr_nonnull(view);
	ck_assert(config_view_has_server(view, SPAN_LIT("files")));
	ck_assert(!config_view_has_server(view, SPAN_LIT("wiki")));
	ck_assert(config_view_offers(view, CONFIG_TOOLS, SPAN_LIT("files__read_a")));
	ck_assert(!config_view_offers(view, CONFIG_TOOLS, SPAN_LIT("files__read_raw")));
	ck_assert(!config_view_offers(view, CONFIG_TOOLS, SPAN_LIT("files__write")));
	ck_assert(config_view_offers(view, CONFIG_PROMPTS, SPAN_LIT("any")));
	ck_assert(!config_view_hides(view, CONFIG_TOOLS));
	ck_assert(span_is(config_view_name(view, CONFIG_TOOLS, SPAN_LIT("files__read_secret")),
		"secret_token"));
	ck_assert(span_is(config_view_name(view, CONFIG_TOOLS, SPAN_LIT("x")), "x"));
	free(text);
	config_free(back);
	config_free(config);
}
END_TEST

/* What was written reads back the same, and writes the same again. */
START_TEST(test_round_trip)
{
	static const enum config_view views[] = {CONFIG_VIEW_FULL, CONFIG_VIEW_PUBLIC};
	struct config *config = load_whole(), *back = NULL;
	char *text = view_text(config, views[_i], NULL), *again;
	struct config_diff diff;
	struct err err = {0};

	ck_assert_msg(config_read_json(span_str(text), &back, &err) == 0, "%s", err_text(&err));
	again = view_text(back, views[_i], NULL);
	ck_assert_str_eq(text, again);
	ck_assert_str_eq(back->dir, dir);
	ck_assert_str_eq(back->file, "t");
	ck_assert_int_eq(config_diff(config, back, &diff), 0);
	ck_assert_uint_eq(diff.count, views[_i] == CONFIG_VIEW_FULL ? 0 : 2);
	config_diff_free(&diff);
	free(text);
	free(again);
	config_free(back);
	config_free(config);
}
END_TEST

START_TEST(test_round_trip_odd_strings)
{
	struct config *back = NULL;
	struct config *config = load(Y,
		"mcpServers:\n  A b: {command: x, args: [\"$${x}\", \"\\x7f\\e\\n\\\"\", "
		"\"\xf0\x9f\x98\x80\", \"null\", \"1\", "
		"\"\"], env: {\"sec\\nret\": \"~\"}}\n",
		NULL);
	char *text = view_text(config, CONFIG_VIEW_FULL, NULL);
	struct err err = {0};

	ck_assert_int_eq(config_read_json(span_str(text), &back, &err), 0);
	for (size_t i = 0; i < 6; i++)
		ck_assert_str_eq(
			back->servers[0].args.items[i].p, config->servers[0].args.items[i].p);
	ck_assert_str_eq(back->servers[0].args.items[0].p, "${x}");
	ck_assert_str_eq(back->servers[0].title, "A b");
	ck_assert_str_eq(back->servers[0].name, "a-b");
	ck_assert_str_eq(back->servers[0].env.items[0].name, "sec\nret");
	free(text);
	config_free(back);
	config_free(config);
}
END_TEST

START_TEST(test_read_json_bad)
{
	static const char *const texts[] = {"", "{", "[]", "3", "{\"worker\":{\"max\":\"x\"}}",
		"{\"mcpServers\":{\"a\":3}}", "{\"file\":[],\"dir\":{}}x",
		"{\"dir\":null,\"listen\":[{\"url\":\"x\"}]}"};
	struct config *config = NULL;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct err err = {0};

		ck_assert_msg(config_read_json(span_str(texts[i]), &config, &err) == -ERR_CONFIG,
			"%s", texts[i]);
		ck_assert(err.detail[0]);
		ck_assert_ptr_null(config);
	}
}
END_TEST

/* What a version writes that knows more settings. */
START_TEST(test_read_json_newer)
{
	struct config *config = NULL;
	struct err err = {0};
	int r = config_read_json(SPAN_LIT("{\"nonsense\":1,\"worker\":{\"max\":7,\"colour\":[]},"
					  "\"mcpServers\":{\"a\":{\"type\":\"stdio\",\"command\":\"x\","
					  "\"taste\":{\"sour\":true}}}}"),
		&config, &err);

	ck_assert_msg(r == 0, "%s", err_text(&err));
	ck_assert_int_eq(config->worker_max, 7);
	ck_assert_str_eq(config->servers[0].command.p, "x");
	config_free(config);
}
END_TEST

/* The effective configuration, with its secrets masked, is itself a good file. */
START_TEST(test_display_loads)
{
	struct config *config = load_whole(), *again;
	char *text = view_text(config, CONFIG_VIEW_DISPLAY, NULL);

	again = load(J, text, NULL);
	ck_assert_uint_eq(again->server_count, 3);
	ck_assert_int_eq(again->log_access.slow_ms, 500);
	free(text);
	config_free(again);
	config_free(config);
}
END_TEST

/* ---- differences ---- */

static const struct {
	const char *before, *after, *told;
} diffs[] = {
	{"", "", "no changes"},
	{"log: {level: info}\n", "", "no changes"},
	{"", "log: {level: debug}\nstate: x\n", "state (takes effect at the next start)  log.level"},
	{"", "listen: http://127.0.0.1:1\n", "listen (takes effect at the next start)"},
	{"listen: [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]\n",
		"listen: [\"http://127.0.0.1:2\", \"http://127.0.0.1:1\"]\n", "listen"},
	{"listen: [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]\n",
		"listen: [\"http://127.0.0.1:2\", \"http://127.0.0.1:3\"]\n",
		"listen (takes effect at the next start)"},
	{"listen: http://127.0.0.1:1\n", "listen: {url: \"http://127.0.0.1:1\", max_body: 1MiB}\n",
		"listen"},
	{"mcpServers: {files: {command: x, env: {A: 1, B: 2}}, old: {command: y}}\n",
		"mcpServers: {wiki: {url: \"http://x\"}, files: {command: x, env: {A: 1, B: 3}}}\n",
		"+ wiki  ~ files (env)  - old"},
	{"mcpServers: {a: {command: x, env: {A: 1, B: 2}}}\n",
		"mcpServers: {a: {env: {B: 2, A: 1}, command: x}}\n", "no changes"},
	{"mcpServers: {a: {command: x, args: [a, b]}}\n",
		"mcpServers: {a: {command: x, args: [b, a], timeout: 1s}}\n",
		"~ a (args, timeout)"},
	{"views: {a: {}, b: {instructions: x}, old: {}}\n",
		"views: {b: {instructions: y, tools: {exclude: [z]}}, a: {}, c: {}}\n",
		"~ view b (tools.exclude, instructions)  + view c  - view old"},
	{"mcpServers: {a: {command: x}, b: {command: x, disabled: true}}\n",
		"mcpServers: {a: {command: x, disabled: true}, b: {command: x}}\n", "+ b  - a"},
};

START_TEST(test_diff)
{
	struct config *before = load(Y, diffs[_i].before, NULL),
		      *after = load(Y, diffs[_i].after, NULL);
	struct config_diff diff;
	struct buf out;

	buf_init(&out, 4096);
	ck_assert_int_eq(config_diff(before, after, &diff), 0);
	ck_assert_int_eq(config_diff_write(&diff, &out), 0);
	buf_append_char(&out, '\0');
	ck_assert_str_eq(out.data, diffs[_i].told);
	buf_free(&out);
	config_diff_free(&diff);
	config_free(before);
	config_free(after);
}
END_TEST

/* A node keeps its addresses and what else needs a start; limits of an address are new at once. */
START_TEST(test_keep_running)
{
	struct config *running = load(Y,
		"state: /one\nworker: {warm: 1}\ngateways: 3\nsandbox: require\nnaming: prefix\n"
		"listen:\n- {url: \"http://127.0.0.1:1\", max_body: 1MiB}\n"
		"- {url: \"http://127.0.0.1:2\", max_body: 2MiB}\n- http://127.0.0.1:3\n",
		NULL);
	struct config *fresh = load(Y,
		"state: /two\nworker: {warm: 2}\ngateways: 4\nsandbox: best-effort\nnaming: none\n"
		"http: {max_body: 9MiB}\n"
		"listen:\n- http://127.0.0.1:3\n- {url: \"http://127.0.0.1:1\", max_body: 5MiB}\n"
		"- http://127.0.0.1:4\n",
		NULL);

	ck_assert_int_eq(config_keep_running(fresh, running), 0);
	config_free(running);
	ck_assert_str_eq(fresh->state.p, "/one");
	ck_assert_int_eq(fresh->gateways, 3);
	ck_assert_int_eq(fresh->worker_warm, 2);
	ck_assert_int_eq(fresh->naming, CONFIG_NAMING_NONE);
	ck_assert_uint_eq(fresh->listen_count, 3);
	ck_assert_str_eq(fresh->listen[0].url.p, "http://127.0.0.1:1");
	ck_assert_int_eq(fresh->listen[0].max_body, 5 << 20);
	ck_assert_str_eq(fresh->listen[1].host, "127.0.0.1");
	ck_assert_uint_eq(fresh->listen[1].port, 2);
	ck_assert_int_eq(fresh->listen[1].max_body, 2 << 20);
	ck_assert_str_eq(fresh->listen[2].url.p, "http://127.0.0.1:3");
	ck_assert_int_eq(fresh->listen[2].max_body, 9 << 20);
	config_free(fresh);
}
END_TEST

/* ---- the rest ---- */

static const struct {
	const char *pattern, *name;
	bool match;
} matches[] = {
	{"", "", true},
	{"", "a", false},
	{"*", "", true},
	{"*", "abc", true},
	{"a*", "abc", true},
	{"a*c", "abc", true},
	{"a*c", "abd", false},
	{"?", "a", true},
	{"?", "", false},
	{"a?c", "abc", true},
	{"*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
	{"abc", "abc", true},
	{"abc", "abcd", false},
	{"abcd", "abc", false},
	{"**x", "xx", true},
};

START_TEST(test_match)
{
	ck_assert_int_eq(
		glob_match(matches[_i].pattern, span_str(matches[_i].name)), matches[_i].match);
}
END_TEST

static void write_program(const char *name)
{
	char path[128];

	write_file(name, "#!/bin/sh\n");
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	ck_assert_int_eq(chmod(path, 0700), 0);
}

START_TEST(test_environment)
{
	struct config *config;
	struct config_report report;
	struct config_budget budget;
	struct buf text, out;
	char *path;

	write_program("prog");
	write_file("plain", "no program");
	buf_init(&text, 4096);
	buf_init(&out, 1 << 16);
	buf_printf(&text,
		"gateways: 2\nworker: {max: 100, warm: 4}\nhttp: {max_connections: 1000}\n"
		"mcpServers:\n"
		"  here: {command: prog, env: {PATH: \"/nonexistent::%s\"}, max: 10}\n"
		"  gone: {command: gatehouse-no-such-program}\n"
		"  plain: {command: ./plain}\n"
		"  shared: {command: ./prog, isolation: shared}\n"
		"  off: {command: gatehouse-no-such-program, disabled: true}\n"
		"  far: {url: \"http://x\"}\n%c",
		dir, 0);
	config = load(Y, text.data, NULL);
	config_report_init(&report);
	config_check_environment(config, &report, &budget);
	ck_assert_uint_eq(budget.commands, 4);
	ck_assert_uint_eq(budget.missing, 2);
	/* 6 singletons, 2 gateways, 104 workers; servers: 1+20, 1+64, 1+64, 1+2, 1 */
	ck_assert_int_eq(budget.processes, 112 + 21 + 65 + 65 + 3 + 1);
	ck_assert_int_gt(budget.memory, (int64_t)75 * 64 << 20);
	ck_assert_int_ge(budget.descriptors, 1104);
	report_text(&report, &out);
	ck_assert_ptr_nonnull(strstr(out.data,
		":6:1: notice: mcpServers.gone.command: \"gatehouse-no-such-program\" is "
		"not on the PATH it will have\n"));
	ck_assert_ptr_nonnull(strstr(out.data, "/plain\" is no program on this machine\n"));
	ck_assert_ptr_nonnull(strstr(out.data, "notice: listen: none in this file"));
	ck_assert_int_eq(config_resolve_command(config_find_server(config, "here"), &path), 0);
	ck_assert_int_eq(strncmp(path, dir, strlen(dir)), 0);
	free(path);
	buf_clear(&out);
	ck_assert_int_eq(config_budget_write(&budget, &out), 0);
	buf_append_char(&out, '\0');
	ck_assert_ptr_nonnull(strstr(out.data, "processes           267"));
	config_report_free(&report);
	config_free(config);
	buf_free(&text);
	buf_free(&out);
}
END_TEST

START_TEST(test_environment_too_little)
{
	struct config *config =
		load(Y, "worker: {max: 1000000}\nhttp: {max_connections: 4000000}\n", NULL);
	struct config_report report;
	struct config_budget budget;
	struct buf out;

	buf_init(&out, 1 << 16);
	config_report_init(&report);
	config_check_environment(config, &report, &budget);
	report_text(&report, &out);
	ck_assert_ptr_nonnull(strstr(out.data, "notice: up to "));
	ck_assert_ptr_nonnull(strstr(out.data,
		"notice: with 4000000 clients at once (http.max_connections) one process needs"));
	/* that many do fit */
	ck_assert_int_gt(budget.connections_fit, 0);
	config->http_max_connections = budget.connections_fit;
	config_check_environment(config, &report, &budget);
	ck_assert_int_le(budget.descriptors, budget.max_descriptors);
	config_report_free(&report);
	config_free(config);
	buf_free(&out);
}
END_TEST

/* Whether the socket's folder is there, can be made, or neither. */
START_TEST(test_environment_socket)
{
	static const struct {
		const char *path;
		bool fits;
	} cases[] = {{"./admin.sock", true}, {"a/b/admin.sock", true}, {"prog/admin.sock", false}};
	struct config_budget budget;
	char text[128];

	write_program("prog");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct config_report report;
		struct config *config;
		struct buf out;

		snprintf(text, sizeof(text), "admin: {socket: %s}\n", cases[i].path);
		config = load(Y, text, NULL);
		config_report_init(&report);
		config_check_environment(config, &report, &budget);
		buf_init(&out, 1 << 16);
		report_text(&report, &out);
		ck_assert_int_eq(strstr(out.data, "admin.socket: this user cannot make") == NULL,
			cases[i].fits);
		buf_free(&out);
		config_report_free(&report);
		config_free(config);
	}
}
END_TEST

START_TEST(test_reference)
{
	struct config *config = NULL;
	struct config_report report;
	struct buf out;

	buf_init(&out, 1 << 20);
	ck_assert_int_eq(config_write_reference(&out), 0);
	buf_append_char(&out, '\0');
	ck_assert_ptr_nonnull(strstr(out.data,
		"\n| `http.max_header` | a size from 1KiB to 1MiB, such as 64KiB or 4MiB | "
		"`16KiB` | Request line and headers of one request together |\n"));
	buf_clear(&out);
	ck_assert_int_eq(config_write_schema(&out), 0);
	/* valid JSON: it gets past the parser, to be refused for its keys; a key given twice would
	 * be told */
	config_report_init(&report);
	ck_assert_int_eq(config_load_text(buf_span(&out), J, "schema", dir, &config, &report), 0);
	for (size_t i = 0; i < report.count; i++)
		ck_assert_ptr_nonnull(
			strstr(report.items[i].text, "not a setting of this program"));
	config_free(config);
	config_report_free(&report);
	buf_free(&out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config");
	TCase *tc = tcase_create("config");
	SRunner *runner = srunner_create(suite);
	int failed;

#define LOOP(test, table) tcase_add_loop_test(tc, test, 0, sizeof(table) / sizeof((table)[0]))
	tcase_add_checked_fixture(tc, set_up, tear_down);
	LOOP(test_mistake, mistakes);
	tcase_add_test(tc, test_report_bounded);
	tcase_add_test(tc, test_defaults);
	tcase_add_test(tc, test_whole);
	LOOP(test_dialect, dialects);
	tcase_add_test(tc, test_dialect_lists);
	tcase_add_test(tc, test_dialect_command);
	tcase_add_test(tc, test_unused);
	tcase_add_test(tc, test_duration);
	tcase_add_test(tc, test_local);
	LOOP(test_substitution, substitutions);
	tcase_add_test(tc, test_substituted_number);
	tcase_add_test(tc, test_env_file);
	tcase_add_test(tc, test_load_file);
	tcase_add_test(tc, test_load_verbatim);
	tcase_add_test(tc, test_hide_secrets);
	tcase_add_test(tc, test_add_listen);
	tcase_add_test(tc, test_views);
	tcase_add_test(tc, test_virtual);
	tcase_add_loop_test(tc, test_round_trip, 0, 2);
	tcase_add_test(tc, test_round_trip_odd_strings);
	tcase_add_test(tc, test_read_json_bad);
	tcase_add_test(tc, test_read_json_newer);
	tcase_add_test(tc, test_display_loads);
	LOOP(test_diff, diffs);
	tcase_add_test(tc, test_keep_running);
	LOOP(test_match, matches);
	tcase_add_test(tc, test_environment);
	tcase_add_test(tc, test_environment_too_little);
	tcase_add_test(tc, test_environment_socket);
	tcase_add_test(tc, test_reference);
	suite_add_tcase(suite, tc);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
