#include "transport.h"

static const struct {
	enum config_type type;
	const struct transport_ops *ops;
} transports[] = {
	{CONFIG_TYPE_STDIO, &transport_stdio},
	{CONFIG_TYPE_HTTP, &transport_http},
	{CONFIG_TYPE_AUTO, &transport_http},
	{CONFIG_TYPE_SSE, &transport_sse},
	{CONFIG_TYPE_WS, &transport_ws},
};

const struct transport_ops *transport_find(const struct config_server *server, struct err *err)
{
	for (size_t i = 0; i < sizeof(transports) / sizeof(*transports); i++)
		if (server->type == (int)transports[i].type)
			return transports[i].ops;
	err_set(err, ERR_CONFIG, "there is no transport for servers of type %s",
		config_type_name(server->type));
	return NULL;
}
