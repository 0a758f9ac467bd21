/* Lists of tools, resources, templates and prompts, written from the catalogue. */
#ifndef GATEHOUSE_LISTS_H
#define GATEHOUSE_LISTS_H

#include "catalogue.h"
#include "request.h"

/* Answer a list request (tools/list, …) from the catalogue; params may carry a cursor. */
void list_answer(struct request *request, const struct catalogue *catalogue, struct span params);
/* Do the lists of a kind differ? NULL catalogues are empty. */
bool list_differs(const struct catalogue *a, const struct catalogue *b, enum catalogue_kind kind);

#endif
