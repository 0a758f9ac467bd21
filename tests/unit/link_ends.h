/* Two ends of a link in one loop, and what each has heard; for test_link.c and test_link_flow.c. */
#ifndef GATEHOUSE_TEST_LINK_ENDS_H
#define GATEHOUSE_TEST_LINK_ENDS_H

#include "link.h"

#include <check.h>

#define MIB (1024u * 1024u)
#define RECORDS_MAX 65536

struct record {
	enum message_type type;
	uint32_t stream;
	size_t len;
	uint32_t sum;
};

/* One end of a link, and what it has heard. */
struct end {
	struct link *link;
	struct link_handlers handlers;
	struct record *records;
	unsigned n;
	unsigned closed;
	int code;
	char why[512];
	bool free_on_message, free_on_closed, keep_fd;
	int kept;
};

extern struct event_base *base;
extern struct end a, b;

/* Fixtures: a loop and two ends without links. */
void set_up(void);
void tear_down(void);
/* Take fd for a link; a message of any type but PING is recorded. */
void end_open(struct end *end, int fd, enum role self, enum role peer, bool opener);
/* a and b, connected. */
void open_pair(enum role role_a, enum role role_b);
/* What can happen without waiting, once. */
void turn(void);
/* Turn until nothing is on its way. */
void settle(void);
/* Bytes that differ from message to message; valid until the next call. */
struct span payload_of(size_t len, unsigned seed);
/* Send an EXCHANGE with payload_of(len, seed). */
int exchange(struct end *end, uint32_t stream, size_t len, unsigned seed);
/* The i-th message that end has heard. */
void check_record(const struct end *end, unsigned i, enum message_type type, uint32_t stream,
	size_t len, unsigned seed);

#endif
