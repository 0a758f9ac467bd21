/*
 * A fast, stable 64-bit hash (XXH64 as its public specification defines it): the same bytes give
 * the same number on every machine and in every version, so it may be stored and sent. Not for
 * secrets, nor against an adversary who chooses the bytes to collide.
 */
#ifndef GATEHOUSE_HASH_H
#define GATEHOUSE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* data may be NULL when len is 0. Chain parts by giving the hash of one as the seed of the next. */
uint64_t hash64(const void *data, size_t len, uint64_t seed);

#endif
