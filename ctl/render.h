/*
 * Answers of the admin socket as people read them: pure functions from JSON to text. They take what
 * is there; a member that is missing shows as nothing.
 */
#ifndef GATEHOUSE_CTL_RENDER_H
#define GATEHOUSE_CTL_RENDER_H

#include "table.h"

#include <cjson/cJSON.h>

/* One answer ({"ok":true, …}). 0 or the buffer's error. */
typedef int render_fn(const cJSON *reply, const struct style *style, struct buf *out);

render_fn render_status;
render_fn render_tree;
render_fn render_ps;
render_fn render_servers;
render_fn render_sessions;
render_fn render_tools;
render_fn render_tool_sizes; /* with the bytes a client gets */
render_fn render_resources;
render_fn render_prompts;
render_fn render_logs;
render_fn render_top;
render_fn render_doctor;
render_fn render_message; /* of commands: the sentence they are answered with */

/* The result of a tool call as text: its content, one part a line. */
render_fn render_call;

/* "5 s", "12 min", "3 h", "4 d" */
void render_age(unsigned long long ms, char text[16]);
/* "812 B", "1.5 KiB", "230 MiB" */
void render_bytes(double bytes, char text[16]);

/* Parts shared by the renderers. Never NULL. */
const char *json_text(const cJSON *object, const char *member);
double json_number(const cJSON *object, const char *member);

#endif
