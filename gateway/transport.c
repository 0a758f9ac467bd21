#include "transport.h"

/* The first that takes a request gets it. */
static const struct client_transport *const transports[] = {
	&transport_rest,
	&transport_websocket,
	&transport_streamable,
	&transport_sse,
};

#define N (sizeof(transports) / sizeof(*transports))

const struct client_transport *transport_find(
	const struct gateway *gateway, const struct http1_head *head, struct span *ret_view)
{
	for (size_t i = 0; i < N; i++)
		if (transports[i]->takes(gateway, head, ret_view))
			return transports[i];
	return NULL;
}

int transports_prepare(struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < N; i++)
		r = transports[i]->prepare ? transports[i]->prepare(err) : 0;
	return r;
}

const struct client_transport *transport_at(unsigned i)
{
	return i < N ? transports[i] : NULL;
}
