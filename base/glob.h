/* Patterns on names, as the configuration has them. */
#ifndef GATEHOUSE_GLOB_H
#define GATEHOUSE_GLOB_H

#include "span.h"

#include <stdbool.h>

/* Does the whole text fit? * stands for any bytes, none included, ? for one byte; nothing escapes. */
bool glob_match(const char *pattern, struct span text);

#endif
