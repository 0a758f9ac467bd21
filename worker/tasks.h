/* tasks/list over all servers (2025-11-25): the tasks of this session, on one page. */
#ifndef GATEHOUSE_TASKS_H
#define GATEHOUSE_TASKS_H

#include "request.h"

/* Answer it: the servers with tasks of this session are asked one after the other, all their pages;
 * one that fails is done without, unless all do. */
void tasks_list(struct request *request, struct span params);
/* NULL is accepted. */
void task_list_free(struct task_list *list);

#endif
