/*
 * A server on the gateway's HTTP connections that answers each request at once: for comparing with
 * nginx `return 200`.
 *
 *   http_server PORT [echo]      PORT 0 takes a free one; the one taken is printed
 */
#include "http_conn.h"
#include "http_listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static bool echo;

static const struct http1_header headers[] = {{{"Content-Type", 12}, {"application/json", 16}}};

static void on_request(struct http_conn *conn, const struct http_request *request, void *arg)
{
	(void)arg;
	http_conn_respond(conn, 200, headers, 1, echo ? request->body : SPAN_LIT("{\"ok\":true}"));
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	event_base_loopbreak(arg);
}

static int listen_on(uint16_t port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, 4096) < 0) {
		perror("listen");
		exit(EXIT_FAILURE);
	}
	getsockname(fd, (struct sockaddr *)&address, &len);
	printf("listening on 127.0.0.1:%u, pid %d\n", ntohs(address.sin_port), getpid());
	fflush(stdout);
	return fd;
}

static void report(const struct http_server *server)
{
	const struct http_server_stats *stats = http_server_stats(server);
	struct rusage usage;
	double us;

	getrusage(RUSAGE_SELF, &usage);
	us = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
	printf("%llu requests, %.2f us of CPU each\n", (unsigned long long)stats->requests,
		stats->requests ? us / (double)stats->requests : 0.0);
}

int main(int argc, char **argv)
{
	static const struct http_server_ops ops = {.request = on_request};
	struct http_limits limits = http_limits_default;
	struct event_base *base = event_base_new();
	struct event *stop = evsignal_new(base, SIGTERM, on_signal, base);
	struct http_server *server;
	struct http_listener *listener;
	struct err err = {0};

	if (argc < 2) {
		fprintf(stderr, "usage: http_server PORT [echo]\n");
		return EXIT_FAILURE;
	}
	echo = argc > 2 && strcmp(argv[2], "echo") == 0;
	limits.connections = 100000;
	event_add(stop, NULL);
	if (http_server_new(base, &limits, &ops, NULL, &server, &err) < 0 ||
		http_listener_new(server, listen_on((uint16_t)atoi(argv[1])), NULL, NULL, &listener,
			&err) < 0) {
		fprintf(stderr, "%s\n", err_text(&err));
		return EXIT_FAILURE;
	}
	event_base_dispatch(base);
	report(server);
	http_listener_free(listener);
	http_server_free(server);
	event_free(stop);
	event_base_free(base);
	return EXIT_SUCCESS;
}
