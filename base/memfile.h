/*
 * Sealed memory files: bytes that one process writes once and others map read-only. Nobody can
 * change or shorten them afterwards (F_SEAL_*), so a reader needs no copy and fears no SIGBUS.
 */
#ifndef GATEHOUSE_MEMFILE_H
#define GATEHOUSE_MEMFILE_H

#include "err.h"
#include "span.h"

struct memfile {
	void *map;
	size_t len;
};

#define MEMFILE_NONE ((struct memfile){NULL, 0})

/* A sealed memory file with these bytes. name shows up in /proc. The caller owns the descriptor
 * (close-on-exec). */
int memfile_new(const char *name, struct span bytes, int *ret_fd, struct err *err);
/*
 * Map fd (borrowed) read-only. Refuses one that is not sealed against writing and shrinking with
 * -ERR_PROTOCOL. An empty file maps to an empty span.
 */
int memfile_map(struct memfile *ret, int fd, struct err *err);
/* MEMFILE_NONE is accepted. */
void memfile_unmap(struct memfile *file);
struct span memfile_span(const struct memfile *file);

#endif
