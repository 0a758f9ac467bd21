/*
 * Runs scripts (see policy_world.h) read from standard input through the policy. `case NAME` begins
 * one with nothing left of the previous; every other line is a statement and is answered by one
 * line, the trace it left.
 */
#include "policy_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	struct world *world = world_new();
	char line[1024];

	while (fgets(line, sizeof(line), stdin)) {
		struct err err = {0};

		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "case ", 5) == 0) {
			world_free(world);
			world = world_new();
			puts(line);
			continue;
		}
		if (world_run(world, line, &err) < 0) {
			fprintf(stderr, "%s\n", err_text(&err));
			world_free(world);
			return 1;
		}
		printf("= %s\n", world_take_trace(world));
	}
	world_free(world);
	return 0;
}
