#include "events.h"
#include "buf.h"
#include "door.h"
#include "json_write.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define EVENT_MAX 16384u

struct events {
	struct door *door;
	uint64_t seq;
};

/* A subscriber filters for itself and says nothing: who speaks is sent away. */
static const struct door_ops ops = {
	.sp = {.protocol = SP_PUB0,
		.mapping = SP_MAPPING_IPC,
		.max_message = EVENT_MAX,
		.max_queue = EVENTS_QUEUE_MAX},
};

int events_open(struct event_base *base, const char *admin_socket, const char *group,
	struct events **ret_events, struct err *err)
{
	struct events *events = calloc(1, sizeof(*events));
	char copy[4096], path[4112];
	int r;

	if (!events)
		return err_set(err, ERR_NO_MEMORY, "no memory for events");
	snprintf(copy, sizeof(copy), "%s", admin_socket);
	snprintf(path, sizeof(path), "%s/events.sock", dirname(copy));
	r = door_open(base, path, group, &ops, &events->door, err);
	if (r < 0) {
		free(events);
		return r;
	}
	*ret_events = events;
	return 0;
}

void events_close(struct events *events)
{
	if (!events)
		return;
	door_close(events->door);
	free(events);
}

static void send_all(struct events *events, struct span text)
{
	const struct iovec part = {(void *)(uintptr_t)text.p, text.len};
	struct door_peer *peer;

	/* what a full queue refuses is lost to that subscriber, and seq tells it so */
	for (peer = door_peers(events->door); peer; peer = peer->next)
		sp_send(peer->sp, SP_DATA, 0, &part, 1, NULL, 0);
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
	if (buf_append_char(&text, '}') == 0)
		send_all(events, buf_span(&text));
	buf_free(&text);
}
