#include "points.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* What tests send is shorter. */
#define ROOM 65536

static const volatile unsigned char *switches;

void points_open(void)
{
	const char *path = getenv(POINTS_FILE);
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *map;

	if (fd < 0)
		return;
	map = mmap(NULL, POINT_MAX, PROT_READ, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		switches = map;
	close(fd);
}

bool point_holds(enum point point)
{
	return !switches || switches[point] == 0;
}

static size_t write_number(struct span token, char *at)
{
	char copy[512];

	snprintf(copy, sizeof(copy), "%.*s", SPAN_ARG(token));
	return (size_t)sprintf(at, "%.17g", strtod(copy, NULL));
}

static bool begins_number(char c)
{
	return c == '-' || isdigit((unsigned char)c);
}

struct span point_number(struct span token)
{
	static char rooms[64][64];
	static unsigned next;
	char *room = rooms[next++ % 64];

	if (token.len == 0 || token.len > 400 || !begins_number(token.p[0]))
		return token;
	return span_of(room, write_number(token, room));
}

/* The token that begins at value.p[at]. */
static size_t token_length(struct span value, size_t at)
{
	size_t end = at + 1;

	if (begins_number(value.p[at])) {
		while (end < value.len && (isalnum((unsigned char)value.p[end]) ||
						  memchr("+-.", value.p[end], 3)))
			end++;
	} else if (value.p[at] == '"') {
		while (end < value.len && value.p[end] != '"')
			end += value.p[end] == '\\' ? 2 : 1;
		end++;
	}
	return end - at;
}

struct span point_reencode(struct span value)
{
	static char room[ROOM];
	size_t len = 0, n;

	for (size_t at = 0; at < value.len; at += n) {
		struct span token = span_of(value.p + at, n = token_length(value, at));

		if (len + n + 32 > sizeof(room))
			return value;
		if (begins_number(token.p[0]) && n < 400) {
			len += write_number(token, room + len);
		} else if (!isspace((unsigned char)token.p[0])) {
			memcpy(room + len, token.p, n);
			len += n;
		}
	}
	return span_of(room, len);
}

struct span point_after_separator(struct span token)
{
	static char room[ROOM];
	const char *found = memmem(token.p, token.len, "__", 2);

	if (!found || token.len > sizeof(room))
		return token;
	return span_of(room, (size_t)snprintf(room, sizeof(room), "\"%.*s",
				     (int)(token.p + token.len - found - 2), found + 2));
}
