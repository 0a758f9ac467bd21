/*
 * See load_options.h.
 */
#include "load_options.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"usage: load --url http://ADDRESS:PORT/PATH [options]\n"
	"  --connections N   connections, each a session (16)\n"
	"  --opening N       sessions being opened at once (64)\n"
	"  --duration S      seconds measured (10)\n"
	"  --warmup S        seconds before that (1)\n"
	"  --rate N          calls per second in all; 0: back to back (0)\n"
	"  --timeout S       of one call (30)\n"
	"  --tool NAME       tool that answers {size} with so many letters x (echo)\n"
	"  --size N          letters in each answer (64)\n"
	"  --stateless       revision 2026-07-28 instead of a session\n"
	"  --hold            open all sessions, one call each, then wait for the end of stdin\n"
	"  --json            only the JSON line\n"
	"example: load --url http://127.0.0.1:8080/mcp --connections 32 --duration 10\n";

static bool read_url(struct load_options *o, const char *url)
{
	char ip[64];
	unsigned int port;
	o->path[0] = '\0';
	if (sscanf(url, "http://%63[0-9.]:%u%127s", ip, &port, o->path) < 2 || port > 65535)
		return false;
	if (!o->path[0])
		strcpy(o->path, "/mcp");
	o->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	snprintf(o->host, sizeof o->host, "%s:%u", ip, port);
	return inet_pton(AF_INET, ip, &o->address.sin_addr) == 1;
}

static bool take_option(struct load_options *o, int option)
{
	switch (option) {
	case 'u':
		return read_url(o, optarg);
	case 'c':
		return (o->connections = atoi(optarg)) > 0;
	case 'o':
		return (o->opening = atoi(optarg)) > 0;
	case 'd':
		return (o->duration_s = atof(optarg)) > 0;
	case 'w':
		return (o->warmup_s = atof(optarg)) >= 0;
	case 'r':
		return (o->rate = atof(optarg)) >= 0;
	case 't':
		return (o->timeout_s = atof(optarg)) > 0;
	case 'n':
		o->tool = optarg;
		return true;
	case 's':
		return (o->size = atoi(optarg)) >= 0;
	case 'l':
		return o->stateless = true;
	case 'h':
		return o->hold = true;
	case 'j':
		return o->quiet = true;
	default:
		return false;
	}
}

int load_options_read(struct load_options *o, int argc, char **argv)
{
	static const struct option names[] = {
		{"url", required_argument, NULL, 'u'},
		{"connections", required_argument, NULL, 'c'},
		{"opening", required_argument, NULL, 'o'},
		{"duration", required_argument, NULL, 'd'},
		{"warmup", required_argument, NULL, 'w'},
		{"rate", required_argument, NULL, 'r'},
		{"timeout", required_argument, NULL, 't'},
		{"tool", required_argument, NULL, 'n'},
		{"size", required_argument, NULL, 's'},
		{"stateless", no_argument, NULL, 'l'},
		{"hold", no_argument, NULL, 'h'},
		{"json", no_argument, NULL, 'j'},
		{0},
	};
	*o = (struct load_options){.connections = 16,
		.opening = 64,
		.duration_s = 10,
		.warmup_s = 1,
		.timeout_s = 30,
		.tool = "echo",
		.size = 64};
	int c;
	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (!take_option(o, c)) {
			fputs(usage, stderr);
			return -1;
		}
	}
	if (!o->host[0]) {
		fputs(usage, stderr);
		return -1;
	}
	return 0;
}
