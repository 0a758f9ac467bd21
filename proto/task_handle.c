#include "task_handle.h"
#include "bounds.h"

#include <string.h>

bool task_handle_split(struct span text, struct task_handle *ret)
{
	const size_t prefix = sizeof(TASK_HANDLE_PREFIX) - 1;
	const char *name = text.p + prefix, *dot;
	size_t rest;

	if (text.len <= prefix || memcmp(text.p, TASK_HANDLE_PREFIX, prefix) != 0)
		return false;
	/* no server's name has a dot */
	dot = memchr(name, '.', text.len - prefix);
	if (!dot || dot == name || (size_t)(dot - name) > LIMIT_SERVER_NAME)
		return false;
	rest = text.len - (size_t)(dot + 1 - text.p);
	if (rest <= TASK_HANDLE_MAC + 1 || rest > TASK_HANDLE_MAC + 1 + TASK_ID_MAX ||
		dot[1 + TASK_HANDLE_MAC] != '.')
		return false;
	*ret = (struct task_handle){
		.server = span_of(name, (size_t)(dot - name)),
		.mac = span_of(dot + 1, TASK_HANDLE_MAC),
		.id = span_of(dot + 1 + TASK_HANDLE_MAC + 1, rest - TASK_HANDLE_MAC - 1),
	};
	return true;
}
