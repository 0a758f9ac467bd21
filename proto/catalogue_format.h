/*
 * The bytes of a catalogue file: header, servers, items, one index per kind, then text. Integers
 * little-endian, tables aligned to 8. Behind it, each from the next multiple of 8 on, the catalogues
 * of the views, which are of the same form. Private to catalogue*.c. A change here is a new
 * CATALOGUE_VERSION: during an upgrade old readers meet new writers and refuse.
 */
#ifndef GATEHOUSE_CATALOGUE_FORMAT_H
#define GATEHOUSE_CATALOGUE_FORMAT_H

#include "catalogue.h"

#include <assert.h>

/* The records are read in place. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "catalogue records are little-endian");

#define CATALOGUE_MAGIC 0x31746163656c7467ull /* "gtlecat1" */
#define CATALOGUE_VERSION 3u

/* Bytes of the text part; len 0 is nothing, wherever it points. Offsets count from the header. */
struct text_ref {
	uint32_t at;
	uint32_t len;
};

struct kind_range {
	uint32_t first; /* in the item table */
	uint32_t count;
};

struct file_header {
	uint64_t magic;
	uint32_t version;
	uint32_t size; /* of the catalogue, without the views behind it */
	uint64_t generation;
	uint32_t servers_at, servers_len;
	uint32_t items_at, items_len;
	uint32_t index_at; /* items_len numbers of items: those of a kind at that kind's range,
			      sorted by name */
	uint32_t text_at;
	struct kind_range kinds[CATALOGUE_KIND_MAX];
	uint32_t ttl_ms[CATALOGUE_KIND_MAX];
	uint8_t cache_private[CATALOGUE_KIND_MAX];
	uint8_t unused[4];
	struct text_ref capabilities[CATALOGUE_ERA_MAX];
	struct text_ref instructions;
	struct text_ref view; /* whose it is; empty: that of all */
};

struct file_server {
	struct text_ref name, upstream, version, capabilities, info, instructions, error;
	struct text_ref alike; /* struct catalogue_alike, not aligned */
	uint8_t state, isolation, transport, era;
	uint32_t call_timeout_ms, start_timeout_ms, idle_ms;
	uint32_t ttl_ms[CATALOGUE_KIND_MAX];
	uint8_t cache_private[CATALOGUE_KIND_MAX];
	uint8_t late;
	uint8_t unused[3];
	struct kind_range kinds[CATALOGUE_KIND_MAX];
};

struct file_item {
	uint64_t digest;
	uint32_t server;
	uint32_t flags;
	struct text_ref name, original, json, name_token, schema, output_schema;
};

#define CATALOGUE_ALIGN(size) (((size_t)(size) + 7u) & ~(size_t)7u)

static_assert(sizeof(struct file_header) % 8 == 0, "tables follow aligned");
static_assert(sizeof(struct file_server) % 8 == 0, "tables follow aligned");
static_assert(sizeof(struct file_item) % 8 == 0, "tables follow aligned");

#endif
