/*
 * How each stdio server is started: program, arguments, folder, the whole environment. Taken from
 * the configuration, secrets included.
 *
 * It all lies in one mapping, and nowhere else in this process: the configuration is read by a
 * short-lived child, whose heap goes with it. A keeper, which begins as a copy of the launcher, so
 * gets rid of every server's secrets with one munmap.
 */
#ifndef GATEHOUSE_RECIPES_H
#define GATEHOUSE_RECIPES_H

#include "err.h"
#include "span.h"

struct recipes;

/* In the place of what is secret. */
#define RECIPE_MASK "***"

/* count zero-terminated strings, one after the other. */
struct recipe_strings {
	const char *first;
	size_t count;
};

/* All of it borrowed from the recipes. */
struct recipe {
	const char *server;
	const char *command; /* a name to look up, or an absolute path */
	const char *folder;  /* absolute; to start in */
	/* both as people may see them, *** for what is secret */
	const char *shown, *shown_folder;
	struct recipe_strings args;
	struct recipe_strings env; /* NAME=VALUE, names unique */
};

/*
 * The recipes of a configuration (view FULL, JSON). The base environment is that of this process.
 * Blocks for the milliseconds that reading takes. Returns 0 with *ret_recipes (recipes_free),
 * -ERR_CONFIG when it is no configuration, -ERR_NO_MEMORY, -ERR_SYSTEM.
 */
int recipes_read(struct span config, struct recipes **ret_recipes, struct err *err);
/* NULL is accepted. */
void recipes_free(struct recipes *recipes);

/* 0, or -ERR_NOT_FOUND when there is no stdio server of that name. */
int recipes_find(const struct recipes *recipes, struct span server, struct recipe *ret_recipe,
	struct err *err);
/* The value of an environment variable, or NULL. */
const char *recipe_env(const struct recipe *recipe, const char *name);
/* The string after this one. */
const char *recipe_next(const char *string);

#endif
