/* Lists of tools, resources, templates and prompts, written from the catalogue and own_lists.h. */
#ifndef GATEHOUSE_LISTS_H
#define GATEHOUSE_LISTS_H

#include "catalogue.h"
#include "request.h"

/* Answer a list request (tools/list, …); params may carry a cursor. */
void list_request(struct request *request, struct span params);
/* The same with what is known now. */
void list_answer(struct request *request, struct span params);
/* Do the lists of a kind differ? NULL catalogues are empty. */
bool list_differs(const struct catalogue *a, const struct catalogue *b, enum catalogue_kind kind);
/* The same of what one server has, by its number in each; or CATALOGUE_ALL_SERVERS. */
bool list_part_differs(const struct catalogue *a, uint32_t server_a, const struct catalogue *b,
	uint32_t server_b, enum catalogue_kind kind);

#endif
