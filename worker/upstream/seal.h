/*
 * What a client brings back must be what it was given: a text that names something kept here, with
 * a MAC over that, over whose it is, what it is for and until when. The key is the node's, in a
 * file of the state folder: it survives every process, and a restart of the node.
 */
#ifndef GATEHOUSE_SEAL_H
#define GATEHOUSE_SEAL_H

#include "buf.h"
#include "err.h"

#include <stdbool.h>
#include <stdint.h>

/* A random name, in hexadecimal digits. */
#define SEAL_NAME_SIZE 33u
#define SEAL_DIGEST_SIZE 32u

struct seal;

/* What a text is bound to; all of it goes into the MAC, only name and expiry can be read off. */
struct seal_facts {
	char name[SEAL_NAME_SIZE];
	uint64_t expires_s; /* seconds of the calendar's clock */
	struct span server, principal, method;
	const unsigned char *digest; /* SEAL_DIGEST_SIZE bytes */
};

/* The node's key, made when there is none. Before a jail. */
int seal_new(const char *state_dir, struct seal **ret, struct err *err);
/* NULL is accepted. */
void seal_free(struct seal *seal);

/* -ERR_SYSTEM: no randomness. */
int seal_name(char room[SEAL_NAME_SIZE]);
/* SHA-256 of these spans, one after the other with their lengths. */
void seal_digest(const struct span *spans, size_t n, unsigned char ret[SEAL_DIGEST_SIZE]);
/* A MAC with the node's key over these spans with their lengths, in hexadecimal digits. */
#define SEAL_MAC_SIZE 65u
int seal_mac(
	const struct seal *seal, const struct span *spans, size_t n, char ret[SEAL_MAC_SIZE]);
/* Are two secrets the same? In a time that does not tell where they differ. */
bool seal_same(struct span a, struct span b);
/* Append the text; letters, digits and dots. */
int seal_write(const struct seal *seal, const struct seal_facts *facts, struct buf *out);
/* Name and expiry as in text, once the MAC over them and the other facts is right; else
 * -ERR_INVALID_ARGUMENT. */
int seal_read(const struct seal *seal, struct span text, struct seal_facts *facts);

#endif
