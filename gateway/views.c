#include "views.h"
#include "gateway.h"

#include <stdlib.h>

struct view *view_get(struct gateway *gateway, struct span name)
{
	struct view *view;

	if (!name.len)
		return &gateway->all;
	if (name.len > LIMIT_VIEW_NAME)
		return NULL;
	HASH_FIND(hh, gateway->views, name.p, (unsigned)name.len, view);
	if (view)
		return view;
	view = calloc(1, sizeof(*view));
	if (!view)
		return NULL;
	memcpy(view->name, name.p, name.len);
	HASH_ADD(hh, gateway->views, name, (unsigned)name.len, view);
	return view;
}

void views_free(struct gateway *gateway)
{
	struct view *view, *next;

	HASH_ITER (hh, gateway->views, view, next) {
		HASH_DEL(gateway->views, view);
		free(view);
	}
}
