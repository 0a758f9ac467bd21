/* What the files of worker_scene.h share. */
#ifndef TEST_WORKER_SCENE_PARTS_H
#define TEST_WORKER_SCENE_PARTS_H

#include "worker_scene.h"

#define BUF_MAX (256u * 1024 * 1024)

void scene_copy(char *dst, size_t size, struct span text);
extern const struct link_handlers scene_upstream_handlers; /* arg: struct played */
extern const struct link_handlers scene_sessions_handlers; /* arg: struct subject */

#endif
