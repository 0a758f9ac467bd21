#include "resolver.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct resolver {
	struct event *event;
	int read_fd, write_fd;
};

/* One look-up. Belongs to the thread until its address is written to the pipe. */
struct job {
	char host[256], port[8];
	int fd; /* its own copy of the pipe's end: it may outlive the resolver */
	resolver_fn *fn;
	void *arg;
	struct resolver_result result;
};

static void keep_addresses(const struct addrinfo *list, struct resolver_result *ret)
{
	for (; list && ret->count < RESOLVER_ADDRESSES_MAX; list = list->ai_next) {
		struct resolver_address *address = &ret->list[ret->count++];

		memcpy(&address->address, list->ai_addr, list->ai_addrlen);
		address->len = list->ai_addrlen;
	}
}

static void look_up(const char *host, const char *port, int flags, struct resolver_result *ret)
{
	const struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	int code = getaddrinfo(host, port, &hints, &list);

	*ret = (struct resolver_result){0};
	if (code == 0)
		keep_addresses(list, ret);
	else
		err_set(&ret->err, ERR_SERVER_DOWN, "cannot resolve %s: %s", host,
			gai_strerror(code));
	if (list)
		freeaddrinfo(list);
}

bool resolver_numeric(const char *host, const char *port, struct resolver_result *ret)
{
	look_up(host, port, AI_NUMERICHOST, ret);
	return ret->count > 0;
}

static void *run(void *arg)
{
	struct job *job = arg;
	int fd = job->fd;

	look_up(job->host, job->port, AI_ADDRCONFIG, &job->result);
	if (write(fd, &job, sizeof(job)) != sizeof(job))
		free(job);
	close(fd);
	return NULL;
}

static void on_done(evutil_socket_t fd, short what, void *arg)
{
	struct job *job;

	(void)what;
	(void)arg;
	if (read(fd, &job, sizeof(job)) != sizeof(job))
		return;
	job->fn(&job->result, job->arg);
	free(job);
}

struct resolver *resolver_new(struct event_base *base)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));
	int pair[2];

	if (!resolver || pipe2(pair, O_CLOEXEC) < 0) {
		free(resolver);
		return NULL;
	}
	resolver->read_fd = pair[0];
	resolver->write_fd = pair[1];
	resolver->event = event_new(base, pair[0], EV_READ | EV_PERSIST, on_done, resolver);
	if (!resolver->event) {
		resolver_free(resolver);
		return NULL;
	}
	event_add(resolver->event, NULL);
	return resolver;
}

/* What was found after the last turn of the loop. */
static void drop_results(struct resolver *resolver)
{
	struct pollfd ready = {.fd = resolver->read_fd, .events = POLLIN};
	struct job *job;

	while (poll(&ready, 1, 0) == 1 && read(resolver->read_fd, &job, sizeof(job)) == sizeof(job))
		free(job);
}

void resolver_free(struct resolver *resolver)
{
	if (!resolver)
		return;
	if (resolver->event)
		event_free(resolver->event);
	drop_results(resolver);
	close(resolver->read_fd);
	close(resolver->write_fd);
	free(resolver);
}

int resolver_start(struct resolver *resolver, const char *host, const char *port, resolver_fn *fn,
	void *arg, struct err *err)
{
	struct job *job = calloc(1, sizeof(*job));
	pthread_attr_t attributes;
	pthread_t thread;
	int r;

	if (!job)
		return err_set(err, ERR_NO_MEMORY, "no memory to resolve %s", host);
	snprintf(job->host, sizeof(job->host), "%s", host);
	snprintf(job->port, sizeof(job->port), "%s", port);
	job->fn = fn;
	job->arg = arg;
	job->fd = fcntl(resolver->write_fd, F_DUPFD_CLOEXEC, 3);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	r = job->fd < 0 ? 1 : pthread_create(&thread, &attributes, run, job);
	pthread_attr_destroy(&attributes);
	if (r == 0)
		return 0;
	if (job->fd >= 0)
		close(job->fd);
	free(job);
	return err_set(err, ERR_SYSTEM, "cannot start a thread to resolve %s", host);
}
