#include "events.h"
#include "buf.h"
#include "json_write.h"
#include "socket.h"

#include <libgen.h>
#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define EVENT_MAX 16384u

struct events {
	nng_socket nng;
	uint64_t seq;
};

static int listen_at(struct events *events, const char *path, struct err *err)
{
	nng_listener listener;
	char url[SOCKET_PATH_MAX + 8];
	int r = socket_check_path(path, err);

	if (r < 0)
		return r;
	snprintf(url, sizeof(url), "ipc://%.*s", (int)SOCKET_PATH_MAX, path);
	r = nng_pub0_open(&events->nng);
	if (r == 0)
		r = nng_listener_create(&listener, events->nng, url);
	if (r == 0)
		r = nng_listener_set_int(listener, NNG_OPT_IPC_PERMISSIONS, 0600);
	if (r == 0)
		r = nng_listener_start(listener, 0);
	if (r != 0)
		return err_set(err, ERR_SYSTEM, "cannot listen on %s: %s", path, nng_strerror(r));
	return 0;
}

int events_open(
	const char *admin_socket, const char *group, struct events **ret_events, struct err *err)
{
	struct events *events = calloc(1, sizeof(*events));
	char copy[4096], path[4112];
	int r;

	if (!events)
		return err_set(err, ERR_NO_MEMORY, "no memory for events");
	snprintf(copy, sizeof(copy), "%s", admin_socket);
	snprintf(path, sizeof(path), "%s/events.sock", dirname(copy));
	r = listen_at(events, path, err);
	if (r == 0)
		r = socket_set_access(path, group, err);
	if (r < 0) {
		events_close(events);
		return r;
	}
	*ret_events = events;
	return 0;
}

void events_close(struct events *events)
{
	if (!events)
		return;
	if (nng_socket_id(events->nng) > 0)
		nng_close(events->nng);
	free(events);
}

void events_publish(struct events *events, const char *event, struct span members)
{
	struct timespec now;
	struct buf text;

	buf_init(&text, EVENT_MAX);
	clock_gettime(CLOCK_REALTIME, &now);
	buf_printf(&text,
		"{\"seq\":%llu,\"ts\":%lld.%03ld,\"event\":", (unsigned long long)++events->seq,
		(long long)now.tv_sec, now.tv_nsec / 1000000);
	json_write_string(&text, span_str(event));
	if (members.len) {
		buf_append_char(&text, ',');
		buf_append_span(&text, members);
	}
	/* pub0 never blocks: what a subscriber's queue does not take is lost to it, and seq says so
	 */
	if (buf_append_char(&text, '}') == 0)
		nng_send(events->nng, text.data, text.len, NNG_FLAG_NONBLOCK);
	buf_free(&text);
}
