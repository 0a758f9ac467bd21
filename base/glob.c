#include "glob.h"

/* Back up to the last star only: linear in the text for each star, never exponential. */
bool glob_match(const char *pattern, struct span text)
{
	const char *star = NULL;
	size_t i = 0, resume = 0;

	while (i < text.len) {
		if (*pattern == '*') {
			star = pattern++;
			resume = i;
		} else if (*pattern && (*pattern == '?' || *pattern == text.p[i])) {
			pattern++;
			i++;
		} else if (star) {
			pattern = star + 1;
			i = ++resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}
