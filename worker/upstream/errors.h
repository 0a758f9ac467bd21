/* What a process of the server writes to stderr: lines for the log and for `gatehouse logs`. */
#ifndef GATEHOUSE_UPSTREAM_ERRORS_H
#define GATEHOUSE_UPSTREAM_ERRORS_H

#include "upstream.h"

struct errors;

/* Takes over fd, also when it fails. label: whose process it is. NULL: no memory. */
struct errors *errors_new(struct upstream *up, const char *label, int fd);
/* The process has exited: read what it left. NULL is accepted, here and in errors_free. */
void errors_finish(struct errors *errors);
void errors_free(struct errors *errors);

#endif
