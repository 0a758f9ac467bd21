/*
 * What the load generator is told on its command line.
 */
#ifndef BENCH_LOAD_OPTIONS_H
#define BENCH_LOAD_OPTIONS_H

#include <stdbool.h>
#include <netinet/in.h>

struct load_options {
	struct sockaddr_in address;
	char host[80]; /* for the Host header */
	char path[128];
	int connections;
	int opening;       /* sessions being opened at once */
	double duration_s; /* measured time */
	double warmup_s;   /* before it, not measured */
	double rate;       /* calls per second of all connections together; 0: back to back */
	double timeout_s;  /* of one call */
	const char *tool;
	int size;       /* letters in each answer */
	bool stateless; /* revision 2026-07-28: no session, every request stands alone */
	bool hold;      /* open all sessions, one call each, say so, wait for the end of stdin */
	bool quiet;     /* only the JSON line */
};

/* Returns 0, or -1 after having told on stderr what is wrong. */
int load_options_read(struct load_options *options, int argc, char **argv);

#endif
