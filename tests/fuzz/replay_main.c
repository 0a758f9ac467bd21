/* Runs a fuzz target over every file of the directories named on the command line, as a test
 * without libFuzzer. */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>

#define INPUT_MAX (8u << 20)

static int replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	char *data;
	size_t size;

	if (!file) {
		perror(path);
		return -1;
	}
	data = malloc(INPUT_MAX);
	if (!data) {
		fclose(file);
		return -1;
	}
	size = fread(data, 1, INPUT_MAX, file);
	fclose(file);
	/* an exact allocation, so that a read beyond the end is seen by the sanitizer */
	data = realloc(data, size ? size : 1);
	if (!data)
		return -1;
	LLVMFuzzerTestOneInput((const uint8_t *)data, size);
	free(data);
	return 0;
}

/* Returns the number of files, or -1. */
static int replay_directory(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char name[4096];
	int n = 0;

	if (!dir) {
		perror(path);
		return -1;
	}
	while (n >= 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		n = replay_file(name) < 0 ? -1 : n + 1;
	}
	closedir(dir);
	return n;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int n = replay_directory(argv[i]);

		if (n <= 0) {
			fprintf(stderr, "%s: no input was run\n", argv[i]);
			return EXIT_FAILURE;
		}
		printf("%s: %d inputs\n", argv[i], n);
	}
	return argc > 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
