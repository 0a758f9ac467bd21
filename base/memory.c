#include "memory.h"

#include <malloc.h>

#define LARGE_BLOCK (128 * 1024)

void memory_tune(void)
{
	mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
	mallopt(M_TRIM_THRESHOLD, LARGE_BLOCK);
}
